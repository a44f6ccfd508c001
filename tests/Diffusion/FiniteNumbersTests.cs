using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Samplers;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Tests.Ensemble;
using Xunit;

namespace AfaNative.Tests.Diffusion;

/// <summary>Numbers that are none never become a picture, and settings that do nothing are said.</summary>
public sealed class FiniteNumbersTests(TinyEnsemble tiny) : IClassFixture<TinyEnsemble>
{
    private static readonly GenerationOptions s_options = new()
    {
        Prompt = "x",
        Steps = 3,
        Width = 32,
        Height = 32,
        Seeds = [7, 8],
    };

    public static TheoryData<string, GenerationOptions> Odd =>
        new()
        {
            { "guidance", s_options with { GuidanceScale = float.NaN } },
            { "guidance", s_options with { GuidanceScale = float.PositiveInfinity } },
            { "guidance", s_options with { GuidanceScale = -1 } },
            { "eta", s_options with { Eta = float.NaN } },
            { "eta", s_options with { Eta = 1.5f } },
            { "strength", s_options with { Strength = double.NaN } },
            { "strength", s_options with { Strength = -0.1 } },
            { "step", s_options with { Steps = 0 } },
            { "seed", s_options with { Seeds = [] } },
            { "layers", s_options with { ClipSkip = -1 } },
            { "weight of MagicFusion", s_options with { Magic = new MagicFusionOptions { Weights = [1, float.NaN] } } },
            { "picture to start from", s_options with { InitImage = [0, float.NaN] } },
            { "mask", s_options with { Mask = [float.NegativeInfinity] } },
            { "initial latents", s_options with { InitialLatents = [1, float.NaN] } },
        };

    [Theory]
    [MemberData(nameof(Odd))]
    public void Settings_are_finite_and_in_range(string named, GenerationOptions options)
    {
        string message = Assert.Throws<AfaException>(options.Validate).Message;
        Assert.Contains(named, message, StringComparison.OrdinalIgnoreCase);
        Assert.EndsWith(".", message);
    }

    [Fact]
    public void A_run_whose_numbers_are_none_stops_and_says_where()
    {
        using var device = new CpuDevice(1);
        using DiffusionModel model = DiffusionModel.Load(device, tiny.Path, expert: 0);
        var pipeline = new TextToImagePipeline(model);
        float[] noise = [];
        pipeline.GenerateLatents(s_options, new GenerationObserver { Noise = n => noise = n });
        // The second picture's overflow.
        for (int i = noise.Length / 2; i < noise.Length; i++)
            noise[i] = 1e38f;
        int steps = 0;
        var observer = new GenerationObserver { Step = (step, _) => steps = step };
        string message = Assert
            .Throws<AfaException>(() => pipeline.Generate(s_options with { InitialLatents = noise }, observer))
            .Message;
        Assert.Contains("seed 8", message);
        Assert.Contains("step 1 of 3", message);
        Assert.Equal(0, steps);
        float[] latents = pipeline.GenerateLatents(s_options);
        latents[3] = float.NaN;
        Assert.Contains("seed 7", Assert.Throws<AfaException>(() => pipeline.DecodeImages(latents, s_options)).Message);
    }

    [Theory]
    [InlineData("euler", 0.5f, "no eta")]
    [InlineData("ddpm", 0.5f, "no eta")]
    [InlineData("lcm", 1f, "no eta")]
    [InlineData("euler_a", 0.5f, null)]
    [InlineData("dpmpp_2m_sde", 0.5f, null)]
    [InlineData("ddim", 0.5f, null)]
    [InlineData("euler", null, null)]
    public void An_eta_without_effect_is_said(string sampler, float? eta, string? expected)
    {
        IReadOnlyList<string> warnings = (
            s_options with
            {
                Sampler = SamplerChoice.Find(sampler),
                Steps = 20,
                Eta = eta,
            }
        ).Warnings(SchedulerConfig.StableDiffusion);
        if (expected is null)
            Assert.Empty(warnings);
        else
            Assert.Contains(expected, Assert.Single(warnings));
    }

    [Fact]
    public void A_run_that_changes_nothing_or_begins_late_is_said()
    {
        GenerationOptions picture = s_options with { InitImage = new float[32 * 32 * 3], Steps = 9, Strength = 0.1 };
        Assert.Contains("nothing will change", Assert.Single(picture.Warnings(SchedulerConfig.StableDiffusion)));
        Assert.Empty((picture with { Steps = 10 }).Warnings(SchedulerConfig.StableDiffusion));
        Assert.Empty((s_options with { Steps = 20 }).Warnings(SchedulerConfig.StableDiffusion));
        // Leading steps: of 600, the first 600 training steps; of 2, the half.
        foreach (int steps in (int[])[600, 2])
            Assert.Contains(
                "begin at training step",
                Assert.Single((s_options with { Steps = steps }).Warnings(SchedulerConfig.StableDiffusion))
            );
        Assert.Empty(
            (s_options with { Steps = 2, Sampler = SamplerChoice.Find("euler") }).Warnings(SchedulerConfig.StableDiffusion)
        );
        Assert.Contains(
            "enlarges",
            Assert.Single(
                (
                    s_options with
                    {
                        Steps = 20,
                        HighResolution = new HighResolutionPass { Strength = 0 },
                    }
                ).Warnings(SchedulerConfig.StableDiffusion)
            )
        );
        Assert.Contains(
            "thresholding",
            Assert.Single(
                (s_options with { Sampler = SamplerChoice.Find("euler") }).Warnings(
                    SchedulerConfig.StableDiffusion with
                    {
                        Thresholding = true,
                    }
                )
            )
        );
    }
}
