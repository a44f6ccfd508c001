using AfaNative.Engine.Core;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Samplers;
using Xunit;

namespace AfaNative.Tests.Diffusion;

/// <summary>Settings of samplers: eta, a single step, names with settings, and numbers of steps at the edges.</summary>
public sealed class SamplerSettingsTests
{
    private static readonly NoiseSchedule s_schedule = new(SchedulerConfig.StableDiffusion);

    public static TheoryData<string> All => [.. SamplerChoice.All.Select(s => s.Id)];

    // A run with made-up predictions and noise.
    private static float[] Run(string id, double? eta, int steps = 8)
    {
        Sampler sampler = SamplerChoice.Find(id).Create(s_schedule, steps, eta);
        float[] sample = [1, -2, 0.5f],
            output = new float[3],
            noise = new float[3];
        var random = new System.Random(4);
        for (int k = 0; k < sampler.Timesteps.Count; k++)
        {
            for (int i = 0; i < 3; i++)
                (output[i], noise[i]) = (random.NextSingle() - 0.5f, random.NextSingle() - 0.5f);
            sampler.Step(k, output, sampler.NeedsNoise(k) ? noise : [], sample);
        }

        return sample;
    }

    [Theory]
    [InlineData("euler_a", "euler")]
    [InlineData("dpmpp_2m_sde", "dpmpp_2m")]
    [InlineData("dpmpp_2m_sde_karras", "dpmpp_2m_karras")]
    public void An_eta_of_0_renews_nothing_and_1_is_usual(string id, string deterministic)
    {
        Assert.Equal(Run(id, null), Run(id, 1));
        Assert.Equal(Run(deterministic, null), Run(id, 0));
        float[] half = Run(id, 0.5);
        Assert.NotEqual(Run(id, 1), half);
        Assert.NotEqual(Run(id, 0), half);
        // Next to 1 the numbers are next to those of 1: it is the same method.
        Assert.All(Run(id, 1).Zip(Run(id, 1 - 1e-6)), p => Assert.Equal(p.First, p.Second, 1e-3f));
        Assert.Throws<AfaException>(() => Run(id, 1.5));
        Assert.Throws<AfaException>(() => Run(id, double.NaN));
    }

    [Theory]
    [MemberData(nameof(All))]
    public void A_single_step_starts_at_the_highest_noise_level(string id)
    {
        foreach (
            SchedulerConfig config in (SchedulerConfig[])
                [
                    SchedulerConfig.StableDiffusion,
                    .. Enum.GetValues<TimestepSpacing>()
                        .Select(s => SchedulerConfig.StableDiffusion with { StatesSpacing = true, TimestepSpacing = s }),
                ]
        )
        {
            Sampler sampler = SamplerChoice.Find(id).Create(new NoiseSchedule(config), 1);
            Assert.Equal(999, Assert.Single(sampler.Timesteps), 1e-3);
            Assert.True(
                sampler is not SigmaSampler || sampler.InitNoiseSigma > 14.6,
                $"{config.TimestepSpacing}: {sampler.InitNoiseSigma}"
            );
            float[] sample = [1, 2];
            sampler.Step(0, [0.1f, 0.2f], [0.3f, 0.4f], sample);
            Assert.All(sample, v => Assert.True(float.IsFinite(v)));
        }
    }

    [Theory]
    [MemberData(nameof(All))]
    public void Any_number_of_steps_runs_or_is_refused_in_a_sentence(string id)
    {
        foreach (int steps in (int[])[2, 3, 4, 334, 500, 999, 1000])
        {
            try
            {
                Assert.All(Run(id, null, steps), v => Assert.True(float.IsFinite(v), $"{steps} steps: {v}"));
            }
            catch (AfaException e)
            {
                Assert.True(steps == 1000 || id == "lcm", $"{steps} steps: {e.Message}");
                Assert.EndsWith(".", e.Message);
            }
        }

        Assert.Throws<AfaException>(() => Run(id, null, 1001));
    }

    [Theory]
    [InlineData("dpmpp_2m [solver_order=3 solver_type=heun]", "DPM++ 2M [solver_order=3 solver_type=heun]")]
    [InlineData("DPM++ 2M[solver_order=2]", "DPM++ 2M")]
    [InlineData("euler [use_beta_sigmas=true]", "Euler [use_beta_sigmas=true]")]
    [InlineData("euler_karras [use_karras_sigmas=false]", "Euler")]
    [InlineData("euler_karras [sigma_max=80]", "Euler Karras [sigma_max=80]")]
    [InlineData("unipc [disable_corrector=0+1]", "UniPC [disable_corrector=0+1]")]
    [InlineData("dpmpp_2m [lambda_min_clipped=-5.1]", "DPM++ 2M [lambda_min_clipped=-5.1]")]
    public void Settings_may_stand_behind_a_name(string text, string name)
    {
        SamplerChoice choice = SamplerChoice.Find(text);
        Assert.Equal(name, choice.Name);
        Assert.Equal(choice.Settings, SamplerChoice.Find(choice.Name).Settings);
        Assert.NotEmpty(choice.Create(s_schedule, 5).Timesteps);
    }

    [Theory]
    [InlineData("ddim [solver_order=3]", "it has none")]
    [InlineData("dpmpp_2m [order=3]", "solver_order")]
    [InlineData("dpmpp_2m [solver_order=9]", "solver_order")]
    [InlineData("dpmpp_2m [solver_order=3", "bracket")]
    [InlineData("euler [use_karras_sigmas=maybe]", "true or false")]
    public void Settings_that_are_none_are_named(string text, string named) =>
        Assert.Contains(named, Assert.ThrowsAny<AfaException>(() => SamplerChoice.Find(text)).Message);

    [Fact]
    public void Noise_levels_are_a_choice_of_their_own()
    {
        foreach (SamplerMethod method in SamplerMethod.All)
        {
            SamplerChoice plain = SamplerChoice.Find(method.Id);
            foreach (NoiseLevels levels in NoiseLevels.All)
            {
                if (!method.Levels.Contains(levels))
                {
                    Assert.Contains("takes noise levels", Assert.Throws<AfaException>(() => plain.At(levels)).Message);
                    continue;
                }

                SamplerChoice choice = plain.At(levels);
                Assert.Equal(choice, SamplerChoice.Find(choice.Id));
                Assert.Equal(choice, SamplerChoice.Find(choice.Name));
                if (levels != NoiseLevels.Trained)
                    Assert.Equal(choice, SamplerChoice.Find($"{method.Name} {levels.Name}"));
                Assert.Equal(plain, choice.At(NoiseLevels.Trained));
            }
        }

        Assert.Equal("DPM++ 2M Karras", SamplerChoice.Find("dpmpp_2m").At(NoiseLevels.Karras).Name);
        Assert.Equal("DPM++ 2M SDE [use_exponential_sigmas=true]", SamplerChoice.Find("DPM++ 2M SDE Exponential").Name);
    }

    [Fact]
    public void An_output_becomes_the_clean_sample_and_the_noise()
    {
        const float Clean = 0.7f;
        const float Noise = -1.3f;
        const double Ratio = 2.5;
        float signal = (float)(1 / Math.Sqrt(1 + Ratio * Ratio));
        float sigma = (float)(Ratio / Math.Sqrt(1 + Ratio * Ratio));
        foreach (
            (PredictionType type, float output) in ((PredictionType, float)[])
                [
                    (PredictionType.Epsilon, Noise),
                    (PredictionType.Sample, Clean),
                    (PredictionType.VPrediction, signal * Noise - sigma * Clean),
                ]
        )
        {
            var shown = Prediction.Of(type, signal, sigma);
            float sample = signal * Clean + sigma * Noise;
            Assert.Equal(Clean, shown.Clean(sample, output), 1e-6f);
            Assert.Equal(Noise, shown.Noise(sample, output), 1e-6f);
            var unscaled = Prediction.OfUnscaled(type, Ratio);
            sample = Clean + (float)Ratio * Noise;
            Assert.Equal(Clean, unscaled.Clean(sample, output), 1e-6f);
            Assert.Equal(Noise, unscaled.Noise(sample, output), 1e-6f);
            Assert.Equal(Noise, unscaled.NoiseOf(sample, Clean), 1e-6f);
        }
    }

    [Fact]
    public void Pndm_with_its_own_start_takes_twelve_evaluations_for_three_steps()
    {
        SamplerChoice choice = SamplerChoice.Find("pndm [skip_prk_steps=false]");
        Assert.Equal(19, choice.Create(s_schedule, 10).Timesteps.Count);
        Assert.Contains("4 steps or more", Assert.Throws<AfaException>(() => choice.Create(s_schedule, 3)).Message);
        Sampler late = choice.Create(s_schedule, 10);
        Assert.Equal(0, late.Begin(5));
        Assert.Equal(6, late.Timesteps.Count);
    }

    [Fact]
    public void Quantiles_of_the_beta_distribution()
    {
        // By scipy.stats.beta.ppf.
        Assert.Equal(0.5, BetaDistribution.Quantile(0.5, 0.6, 0.6), 1e-12);
        Assert.Equal(0.25, BetaDistribution.Quantile(0.25, 1, 1), 1e-12);
        Assert.Equal(Math.Pow(Math.Sin(Math.PI * 0.05), 2), BetaDistribution.Quantile(0.1, 0.5, 0.5), 1e-12);
        foreach (double p in (double[])[1e-6, 0.01, 0.3, 0.77, 0.999])
            Assert.Equal(p, BetaDistribution.Cumulative(BetaDistribution.Quantile(p, 0.6, 0.6), 0.6, 0.6), 1e-12);
    }
}
