using AfaNative.Demo;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Samplers;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Tests.Ensemble;
using Xunit;

namespace AfaNative.Tests.Diffusion;

/// <summary>Starting from a picture, and repainting part of one.</summary>
public sealed class ImageToImageTests(LoadedExpert loaded) : IClassFixture<LoadedExpert>
{
    private const int Size = 32;
    private readonly DiffusionModel _model = loaded.Model;
    private readonly float[] _picture = SceneRenderer.Render(SceneSampler.Draw(SceneDistribution.All, 1, 2), Size);

    [Fact]
    public void No_strength_is_the_picture_through_the_autoencoder()
    {
        float[] none = Draw(0),
            again = Draw(0, seed: 9);
        Assert.Equal(none, again);
        Assert.NotEqual(none, Draw(0.5));
        Assert.Equal(Draw(0.5), Draw(0.5));
        Assert.NotEqual(Draw(0.5), Draw(0.5, seed: 9));
    }

    public static TheoryData<string> All => [.. SamplerChoice.All.Select(s => s.Id)];

    [Theory]
    [MemberData(nameof(All))]
    public void Every_sampler_runs_the_share_of_its_steps(string id)
    {
        SamplerChoice sampler = SamplerChoice.Find(id);
        foreach (double strength in (double[])[0, 0.3, 0.75, 1])
        {
            int told = 0,
                total = -1;
            GenerationOptions options = Options(strength) with { Sampler = sampler, Steps = 8 };
            float[] picture = new TextToImagePipeline(_model).Generate(
                options,
                new GenerationObserver { Step = (step, of) => (told, total) = (step, of) }
            )[0];
            Assert.All(picture, v => Assert.InRange(v, 0f, 1f));
            int run = (int)(8 * strength),
                expected = run == 0 ? 0
                : id.StartsWith("heun", StringComparison.Ordinal) ? 2 * run - 1
                : id == "pndm" && run > 1 ? run + 1
                : run;
            Assert.Equal((expected, expected), (told, total));
            Assert.Equal(expected, new TextToImagePipeline(_model).Evaluations(options));
        }
    }

    [Fact]
    public void A_perfect_denoiser_brings_the_picture_back()
    {
        // Noise of a step is what that step's denoiser takes out again, for every method.
        var schedule = new NoiseSchedule(SchedulerConfig.StableDiffusion);
        foreach (SamplerChoice choice in SamplerChoice.All)
        {
            Sampler sampler = choice.Create(schedule, 20, 0);
            int begin = sampler.Begin(8);
            float[] truth = [0.8f, -1.3f, 0.1f, 2f],
                noise = [0.5f, -1, 2, 0.1f],
                noisy = new float[4],
                input = new float[4];
            sampler.AddNoise(begin, truth, noise, noisy);
            sampler.ScaleInput(begin, noisy, input);
            double t = sampler.Timesteps[begin],
                a = Sigma((int)t),
                sigma = a + (t - (int)t) * (Sigma(Math.Min((int)t + 1, 999)) - a),
                alpha = 1 / (sigma * sigma + 1);
            // What the denoiser is shown has signal sqrt(alpha) and noise sqrt(1 - alpha).
            for (int i = 0; i < 4; i++)
                Assert.True(
                    Math.Abs(Math.Sqrt(alpha) * truth[i] + Math.Sqrt(1 - alpha) * noise[i] - input[i]) < 2e-2,
                    $"{choice.Id}: {input[i]}"
                );
        }

        double Sigma(int step) => Math.Sqrt((1 - schedule.AlphasCumprod[step]) / (double)schedule.AlphasCumprod[step]);
    }

    [Fact]
    public void What_the_mask_keeps_is_kept_to_the_pixel()
    {
        var mask = new float[Size * Size];
        for (int i = 0; i < mask.Length; i++)
            mask[i] = i % Size < Size / 2 ? 1 : 0;
        float[] half = Draw(0.8, mask: mask),
            whole = Draw(0.8);
        for (int i = 0; i < half.Length; i++)
        {
            if (i / 3 % Size >= Size / 2)
                Assert.Equal(_picture[i], half[i]);
        }

        Assert.NotEqual(_picture[0], half[0]);
        var all = new float[Size * Size];
        Array.Fill(all, 1);
        Assert.Equal(whole, Draw(0.8, mask: all));
        Assert.Equal(_picture, Draw(0.8, mask: new float[Size * Size]));
    }

    [Fact]
    public void Sizes_and_shares_that_make_no_sense_are_refused()
    {
        Assert.Contains(
            "to start from holds",
            Assert.Throws<AfaException>(() => Generate(Options(0.5) with { InitImage = new float[5] })).Message
        );
        Assert.Contains("strength", Assert.Throws<AfaException>(() => Draw(1.5)).Message);
        Assert.Contains("mask holds", Assert.Throws<AfaException>(() => Draw(0.5, mask: new float[3])).Message);
    }

    private GenerationOptions Options(double strength, ulong seed = 1, float[]? mask = null) =>
        new()
        {
            Prompt = "a red circle",
            Steps = 6,
            Width = Size,
            Height = Size,
            Seeds = [seed],
            InitImage = _picture,
            Strength = strength,
            Mask = mask,
        };

    private float[] Draw(double strength, ulong seed = 1, float[]? mask = null) => Generate(Options(strength, seed, mask));

    private float[] Generate(GenerationOptions options) => new TextToImagePipeline(_model).Generate(options)[0];
}
