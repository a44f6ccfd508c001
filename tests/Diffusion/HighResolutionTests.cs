using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Samplers;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Tests.Ensemble;
using AfaNative.Tests.Tool;
using Xunit;

namespace AfaNative.Tests.Diffusion;

/// <summary>A second pass at a larger size, against the same two passes by hand.</summary>
public sealed class HighResolutionTests(LoadedExpert loaded) : IClassFixture<LoadedExpert>
{
    private readonly CpuDevice _device = loaded.Device;
    private readonly DiffusionModel _model = loaded.Model;
    private readonly string _path = loaded.Path;
    private readonly GenerationOptions _options = new()
    {
        Prompt = "a red circle",
        NegativePrompt = "blue",
        Steps = 4,
        Width = 32,
        Height = 48,
        Seeds = [5],
        HighResolution = new HighResolutionPass { Scale = 1.5, Strength = 0.5 },
    };

    public static TheoryData<string> All => [.. SamplerChoice.All.Select(s => s.Id)];

    [Theory]
    [MemberData(nameof(All))]
    public void A_resampled_picture_is_image_to_image_by_hand(string id)
    {
        GenerationOptions options = _options with
        {
            Sampler = SamplerChoice.Find(id),
            HighResolution = _options.HighResolution! with { Upscaler = HighResolutionUpscaler.Lanczos },
        };
        float[] first = Generate(options with { HighResolution = null })[0];
        // A strength of a half: 4 steps that are run are the last of 8.
        GenerationOptions second = options with
        {
            HighResolution = null,
            Width = 48,
            Height = 72,
            Steps = 8,
            Strength = 0.5,
            InitImage = Resampling.Lanczos(first, 48, 32, 72, 48),
        };
        int told = 0,
            total = 0;
        float[] came = new TextToImagePipeline(_model).Generate(
            options,
            new GenerationObserver { Step = (step, of) => (told, total) = (step, of) }
        )[0];
        Assert.Equal(48 * 72 * 3, came.Length);
        Assert.Equal(Generate(second)[0], came);
        int expected =
            new TextToImagePipeline(_model).Evaluations(options with { HighResolution = null })
            + new TextToImagePipeline(_model).Evaluations(second);
        Assert.Equal((expected, expected, expected), (told, total, new TextToImagePipeline(_model).Evaluations(options)));
    }

    [Theory]
    [InlineData("ddim", HighResolutionUpscaler.Latent)]
    [InlineData("euler_a", HighResolutionUpscaler.Latent)]
    [InlineData("dpmpp_2m_sde_karras", HighResolutionUpscaler.Lanczos)]
    public void Pictures_do_not_depend_on_their_batch(string id, HighResolutionUpscaler upscaler)
    {
        foreach (NoiseSource noise in (NoiseSource[])[NoiseSource.Own, NoiseSource.TorchCpu])
        {
            GenerationOptions options = _options with
            {
                Sampler = SamplerChoice.Find(id),
                Noise = noise,
                Seeds = [5, 6, 9],
                HighResolution = _options.HighResolution! with { Upscaler = upscaler, Steps = 2 },
            };
            IReadOnlyList<float[]> all = Generate(options);
            for (int i = 0; i < 3; i++)
                Assert.Equal(Generate(options with { Seeds = [options.Seeds[i]] })[0], all[i]);
            Assert.NotEqual(all[0], all[1]);
        }
    }

    [Fact]
    public void Without_strength_latents_are_enlarged_alone()
    {
        GenerationOptions options = _options with
        {
            Seeds = [5, 6],
            HighResolution = _options.HighResolution! with { Strength = 0 },
        };
        var pipeline = new TextToImagePipeline(_model);
        int factor = _model.Vae.Config.Downscale;
        float[] first = pipeline.GenerateLatents(options with { HighResolution = null }),
            came = pipeline.GenerateLatents(options);
        Assert.Equal(
            first
                .Chunk(first.Length / 2)
                .SelectMany(l => Resampling.Bilinear(l, 48 / factor, 32 / factor, 72 / factor, 48 / factor)),
            came
        );
        Assert.Equal(pipeline.Evaluations(options with { HighResolution = null }), pipeline.Evaluations(options));
    }

    [Theory]
    [InlineData(20, 0.7)]
    [InlineData(49, 0.1)]
    [InlineData(7, 0.3)]
    [InlineData(1, 0.001)]
    [InlineData(13, 1)]
    [InlineData(29, 0.29)]
    public void As_many_steps_are_run_as_are_asked_for(int steps, double strength)
    {
        GenerationOptions second = new HighResolutionPass { Strength = strength, Steps = steps }.Second(_options, 1000);
        Assert.Equal((steps, (int)(steps / Math.Min(strength, 0.999))), (InitialPicture.StepsToRun(second), second.Steps));
    }

    [Theory]
    [InlineData(2, 0, 0, 1024, 768)]
    [InlineData(1.5, 0, 0, 768, 576)]
    [InlineData(1.3, 0, 0, 664, 496)]
    [InlineData(2, 768, 0, 768, 576)]
    [InlineData(2, 0, 768, 1024, 768)]
    [InlineData(2, 640, 640, 640, 640)]
    public void Sizes_follow_from_what_is_given(double scale, int width, int height, int wide, int high) =>
        Assert.Equal(
            (wide, high),
            new HighResolutionPass
            {
                Scale = scale,
                Width = width,
                Height = height,
            }.Size(512, 384)
        );

    [Fact]
    public void Settings_that_make_no_sense_are_refused()
    {
        void Refused(string expected, HighResolutionPass pass) =>
            Assert.Contains(
                expected,
                Assert.Throws<AfaException>(() => Generate(_options with { HighResolution = pass })).Message
            );
        Refused("1 to 16 times", new HighResolutionPass { Scale = 0.5 });
        Refused("1 to 16 times", new HighResolutionPass { Scale = double.NaN });
        Refused("share from 0 to 1", new HighResolutionPass { Strength = 1.1 });
        Refused("takes 0 steps", new HighResolutionPass { Steps = -1 });
        Refused("the last of 5000", new HighResolutionPass { Steps = 50, Strength = 0.01 });
        Refused("multiple of", new HighResolutionPass { Width = 65 });
        Refused("cannot be negative", new HighResolutionPass { Width = -8 });
        Assert.Contains(
            "picture to start from",
            Assert.Throws<AfaException>(() => Generate(_options with { InitImage = new float[32 * 48 * 3] })).Message
        );
    }

    [Fact]
    public void Plans_count_the_larger_pass()
    {
        MemoryPlan small = MemoryPlan.For(_device, _path, _options with { HighResolution = null }, 0),
            large = MemoryPlan.For(_device, _path, _options with { HighResolution = new HighResolutionPass { Scale = 4 } }, 0);
        MemoryPlan whole = MemoryPlan.For(_device, _path, _options with { HighResolution = null, Width = 128, Height = 192 }, 0);
        Assert.True(
            large.Decoding >= whole.Decoding && large.Denoising >= whole.Denoising && large.Decoding > 4 * small.Decoding,
            $"{small.Decoding} {large.Decoding} {whole.Decoding}"
        );
    }

    [Fact]
    public void Kernels_are_what_they_say()
    {
        Assert.Equal([0, 0.25f, 0.75f, 1], Resampling.Bilinear([0, 1], 1, 2, 2, 4)[..4]);
        var random = new System.Random(3);
        float[] picture = [.. Enumerable.Range(0, 6 * 4 * 3).Select(_ => random.NextSingle())];
        Assert.Equal(
            picture,
            Resampling.Lanczos(picture, 4, 6, 4, 6).Select((v, i) => Math.Abs(v - picture[i]) < 1e-6 ? picture[i] : v)
        );
        Assert.All(Resampling.Lanczos([.. Enumerable.Repeat(0.25f, 72)], 4, 6, 7, 11), v => Assert.Equal(0.25f, v, 1e-6));
        // The sum over both axes at once, enlarging and shrinking.
        foreach ((int height, int width) in ((int, int)[])[(8, 12), (6, 9), (2, 3)])
        {
            float[] came = Resampling.Lanczos(picture, 4, 6, height, width);
            double scale = 4.0 / height,
                wide = Math.Max(1, scale);
            for (int i = 0; i < height * width; i++)
            {
                double sum = 0,
                    total = 0,
                    cy = (i / width + 0.5) * scale,
                    cx = (i % width + 0.5) * scale;
                for (int j = 0; j < 24; j++)
                {
                    double weight = Kernel((j / 6 + 0.5 - cy) / wide) * Kernel((j % 6 + 0.5 - cx) / wide);
                    (sum, total) = (sum + weight * picture[j * 3 + 1], total + weight);
                }

                Assert.Equal(Math.Clamp(sum / total, 0, 1), came[i * 3 + 1], 1e-5);
            }
        }

        // Another shape: the middle of the picture fills it.
        Assert.Equal(
            Resampling.Lanczos([.. picture.Chunk(18).SelectMany(row => row[3..15])], 4, 4, 4, 4).Select(v => MathF.Round(v, 5)),
            Resampling.Lanczos(picture, 4, 6, 4, 4).Select(v => MathF.Round(v, 5))
        );

        static double Kernel(double x) =>
            Math.Abs(x) >= 3 ? 0
            : x == 0 ? 1
            : Math.Sin(Math.PI * x) * Math.Sin(Math.PI * x / 3) * 3 / (Math.PI * Math.PI * x * x);
    }

    [Fact]
    public void Pictures_say_how_they_were_enlarged_and_are_drawn_again_from_it()
    {
        using var folder = new TemporaryFolder();
        string[] common = ["sample", _path, "--expert", "0"],
            passes =

            [
                "--prompt",
                "a red circle",
                "--steps",
                "3",
                "--width",
                "32",
                "--height",
                "32",
                "--seed",
                "4",
                "--count",
                "2",
                "--batch-size",
                "2",
            ];
        Run([
            .. common,
            .. passes,
            "--hires-scale",
            "1.5",
            "--hires-steps",
            "2",
            "--hires-strength",
            "0.6",
            "--hires-upscaler",
            "lanczos",
            "--out",
            folder.File("a"),
        ]);
        string first = Path.Combine(folder.File("a"), "00001-4.png");
        RgbImage picture = PngFile.Read(first, out string? text);
        Assert.Equal((48, 48), (picture.Width, picture.Height));
        Assert.Contains(
            "Size: 32x32, Denoising strength: 0.6, Hires upscale: 1.5, Hires steps: 2, Hires upscaler: Lanczos, ",
            text
        );
        Run([.. common, "--from", first, "--out", folder.File("b")]);
        Assert.Equal(File.ReadAllBytes(first), File.ReadAllBytes(Path.Combine(folder.File("b"), "00001-4.png")));
        Run([.. common, "--from", first, "--hires-width", "64", "--hires-upscaler", "latent", "--out", folder.File("c")]);
        Assert.Equal(64, PngFile.Read(Path.Combine(folder.File("c"), "00001-4.png"), out text).Height);
        Assert.Contains("Hires resize: 64x0, Hires steps: 2, Hires upscaler: Latent", text);
        Run([.. common, "--from", first, "--hires-scale", "2", "--out", folder.File("e")]);
        Assert.Equal(64, PngFile.Read(Path.Combine(folder.File("e"), "00001-4.png"), out text).Height);
        Assert.Contains("Denoising strength: 0.6, Hires upscale: 2, Hires steps: 2, Hires upscaler: Lanczos", text);
        Run([.. common, "--from", first, "--hires-scale", "0", "--out", folder.File("d")]);
        Assert.Equal(32, PngFile.Read(Path.Combine(folder.File("d"), "00001-4.png"), out text).Height);
        Assert.DoesNotContain("Hires", text);
        Assert.DoesNotContain("Denoising", text);
    }

    [Theory]
    [InlineData("--hires-steps is for a second pass", "--hires-steps", "3")]
    [InlineData("--hires-scale and --hires-width or", "--hires-scale", "2", "--hires-width", "64")]
    [InlineData("A second pass (--hires-scale", "--hires-scale", "2", "--attention-maps", "maps")]
    public void Options_that_do_not_fit_are_named(string expected, params string[] arguments)
    {
        (int code, _, string error) = InProcess.Run(["sample", _path, "--prompt", "x", .. arguments]);
        Assert.NotEqual(0, code);
        Assert.Contains(expected, error.ReplaceLineEndings(" "));
    }

    [Fact]
    public void Settings_as_A1111_writes_them_are_read()
    {
        GenerationMetadata m = GenerationMetadata.Parse(
            "a cat\nSteps: 20, Sampler: Euler a, Seed: 1, Size: 512x768, Denoising strength: 0.55, Hires upscale: 1.75, "
                + "Hires steps: 12, Hires upscaler: 4x-UltraSharp, Version: v1.9.4"
        );
        Assert.Equal(new HiresSettings(1.75, 0, 0, 12, "4x-UltraSharp"), m.Hires);
        Assert.Equal(
            new HiresSettings(2, 1024, 0, 0, "Latent"),
            GenerationMetadata.Parse("a cat\nSteps: 20, Seed: 1, Hires resize: 1024x0, Hires upscaler: Latent").Hires
        );
        Assert.Null(GenerationMetadata.Parse("a cat\nSteps: 20, Seed: 1, Denoising strength: 0.5").Hires);
        Assert.Contains(
            "Hires resize: big",
            Assert.Throws<AfaException>(() => GenerationMetadata.Parse("a\nSteps: 1, Seed: 1, Hires resize: big")).Message
        );
    }

    private IReadOnlyList<float[]> Generate(GenerationOptions options) => new TextToImagePipeline(_model).Generate(options);

    private static void Run(string[] arguments)
    {
        (int code, _, string error) = InProcess.Run(arguments);
        Assert.True(code == 0, error);
    }
}
