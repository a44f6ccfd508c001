using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Samplers;
using Xunit;

namespace AfaNative.Tests.Diffusion;

/// <summary>
/// What a model's scheduler folder means: what the pipeline sets for it, its own sampler, and keys that do not count.
/// </summary>
public sealed class SchedulerKeysTests
{
    private const string Betas =
        """ "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000 """;

    private static SchedulerConfig Load(string keys)
    {
        using var folder = new TemporaryFolder();
        folder.Write(SchedulerConfig.FileName, $"{{ {keys} }}");
        return SchedulerConfig.Load(folder.Path);
    }

    [Theory]
    [InlineData("EulerDiscreteScheduler")]
    [InlineData("DPMSolverMultistepScheduler")]
    [InlineData("PNDMScheduler")]
    public void What_a_class_did_not_save_is_as_stable_diffusion_needs_it(string schedulerClass)
    {
        SchedulerConfig config = Load($""" "_class_name": "{schedulerClass}", "skip_prk_steps": true, {Betas} """);
        Assert.Equal((false, 1), (config.ClipSample, config.StepsOffset));
        Assert.Empty(config.Warnings);
        // DDIM's numbers are those of a configuration that states all.
        var stated = new DdimSampler(new NoiseSchedule(SchedulerConfig.StableDiffusion with { SetAlphaToOne = true }), 10, 0);
        var left = new DdimSampler(new NoiseSchedule(config), 10, 0);
        Assert.Equal(stated.Timesteps, left.Timesteps);
        float[] one = [3, -4],
            other = [3, -4];
        stated.Step(2, [0.5f, 0.25f], [], one);
        left.Step(2, [0.5f, 0.25f], [], other);
        Assert.Equal(one, other);
    }

    [Fact]
    public void What_is_stated_otherwise_is_overruled_and_said()
    {
        SchedulerConfig config = Load($""" "_class_name": "DDIMScheduler", "clip_sample": true, "steps_offset": 0, {Betas} """);
        Assert.Equal((false, 1), (config.ClipSample, config.StepsOffset));
        Assert.Equal(["clip_sample", "steps_offset"], config.Warnings.Select(w => w.Split(": ")[1].Split(' ')[0]));
        // A schedule that is read by itself keeps what it says.
        using var document = System.Text.Json.JsonDocument.Parse("""{ "clip_sample": true, "steps_offset": 0 }""");
        SchedulerConfig raw = SchedulerConfig.FromJson(document.RootElement);
        Assert.Equal((true, 0), (raw.ClipSample, raw.StepsOffset));
        Assert.Empty(raw.Warnings);
    }

    [Theory]
    [InlineData(""" "_class_name": "DDIMScheduler" """, "ddim")]
    [InlineData(""" "_class_name": "DDIMParallelScheduler" """, "ddim")]
    [InlineData(""" "beta_start": 0.00085 """, "ddim")]
    [InlineData(""" "_class_name": "PNDMScheduler", "skip_prk_steps": true """, "pndm")]
    [InlineData(""" "_class_name": "PNDMScheduler" """, "pndm [skip_prk_steps=false]")]
    [InlineData(""" "_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": true """, "euler_karras")]
    [InlineData(""" "_class_name": "EulerAncestralDiscreteScheduler", "use_karras_sigmas": true """, "euler_a")]
    [InlineData(
        """ "_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": true """,
        "dpmpp_2m_sde_karras"
    )]
    [InlineData(
        """ "_class_name": "DPMSolverMultistepScheduler", "solver_order": 3, "lower_order_final": false """,
        "dpmpp_2m [solver_order=3 lower_order_final=false]"
    )]
    [InlineData(
        """ "_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -Infinity, "variance_type": null """,
        "dpmpp_2m"
    )]
    [InlineData(""" "_class_name": "UniPCMultistepScheduler", "solver_type": "bh1" """, "unipc [solver_type=bh1]")]
    [InlineData(""" "_class_name": "LCMScheduler", "original_inference_steps": 100 """, "lcm [original_inference_steps=100]")]
    public void The_class_and_its_keys_choose_the_sampler(string keys, string id)
    {
        SchedulerConfig config = Load(keys);
        Assert.Equal(id, config.Sampler.Id);
        Assert.Empty(config.Warnings);
        Assert.Equal(config.Sampler.Settings, SamplerChoice.Find(id).Settings);
    }

    [Theory]
    [InlineData(
        """{"a": -Infinity, "b": "-Infinity", "c": [NaN, Infinity]}""",
        """{"a": "-Infinity", "b": "-Infinity", "c": ["NaN", "Infinity"]}"""
    )]
    [InlineData("""{"a": "\"NaN", "b": NaN}""", """{"a": "\"NaN", "b": "NaN"}""")]
    public void Python_s_infinities_can_be_read(string json, string expected) =>
        Assert.Equal(expected, SchedulerConfig.WithoutPythonsNumbers(json));

    [Fact]
    public void A_class_that_is_not_there_gives_way_to_DDIM_and_is_named_with_its_keys()
    {
        SchedulerConfig config = Load(
            $""" "_class_name": "DEISMultistepScheduler", "_diffusers_version": "0.30", "solver_order": 3, {Betas} """
        );
        Assert.Equal("ddim", config.Sampler.Id);
        string warning = Assert.Single(config.Warnings);
        Assert.Contains("DEISMultistepScheduler", warning);
        Assert.Contains("solver_order", warning);
        Assert.DoesNotContain("beta_start", warning);
    }

    [Theory]
    [InlineData(""" "beta_schedul": "linear", "gamma": 1 """, "beta_schedul, gamma")]
    [InlineData(""" "_class_name": "DDPMScheduler", "variance_type": "learned_range" """, "variance_type")]
    [InlineData(""" "_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "dpmsolver" """, "noise 0")]
    [InlineData(
        """ "_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver", "solver_order": 3"""
            + """, "final_sigmas_type": "sigma_min" """,
        "order 3"
    )]
    [InlineData(""" "rescale_betas_zero_snr": true """, "rescale_betas_zero_snr")]
    public void Keys_that_do_not_count_are_named(string keys, string named) =>
        Assert.Contains(named, Assert.Single(Load(keys).Warnings));

    [Fact]
    public void Betas_may_be_given_or_follow_other_curves()
    {
        var usual = new NoiseSchedule(SchedulerConfig.StableDiffusion);
        var given = new NoiseSchedule(
            SchedulerConfig.StableDiffusion with
            {
                TrainedBetas = [.. usual.BetasByTimestep.Select(b => (double)b)],
            }
        );
        Assert.Equal(usual.AlphasCumprod, given.AlphasCumprod);
        var rescaled = new NoiseSchedule(SchedulerConfig.StableDiffusion with { ZeroTerminalSnr = true });
        Assert.Equal(0f, rescaled.AlphasCumprod[^1]);
        Assert.Equal(usual.AlphasCumprod[0], rescaled.AlphasCumprod[0], 1e-6f);
        var sigmoid = new NoiseSchedule(SchedulerConfig.StableDiffusion with { BetaSchedule = BetaSchedule.Sigmoid });
        Assert.Equal(0.00085 + (0.012 - 0.00085) / (1 + Math.Exp(6)), sigmoid.BetasByTimestep[0], 1e-7);
        Assert.Equal(0.00085 + (0.012 - 0.00085) / (1 + Math.Exp(-6)), sigmoid.BetasByTimestep[^1], 1e-7);
    }
}
