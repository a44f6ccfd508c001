using System.Text.Json;
using AfaNative.Engine.Core;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Samplers;
using AfaNative.Tests.Support;
using Xunit;

namespace AfaNative.Tests.Diffusion;

public class DdimSamplerTests
{
    private const double Tolerance = 1e-5;

    public static TheoryData<string> Cases =>
        ["ddim", "ddim_alpha_one_offset0", "ddim_eta0.5", "ddim_linspace", "ddim_trailing", "ddim_v_prediction"];

    [Theory]
    [MemberData(nameof(Cases))]
    public void Trajectories_match_the_reference(string name)
    {
        SchedulerGoldens goldens = SchedulerGoldens.Open(name);
        (NoiseSchedule schedule, double eta) = Read(goldens);
        foreach (JsonElement count in goldens.Case.GetProperty("trajectories_n").EnumerateArray())
        {
            int steps = count.GetInt32();
            DdimSampler sampler = new(schedule, steps, eta);
            float[] sample = goldens.Tensor("x0").Select(x => x * sampler.InitNoiseSigma).ToArray();
            for (int k = 0; k < steps; k++)
            {
                SchedulerGoldens.AssertClose(goldens.Tensor($"n{steps}.sample.{k}"), sample, Tolerance, $"n{steps}.sample.{k}");
                float[] output = PseudoModel(sample, (int)sampler.Timesteps[k]);
                SchedulerGoldens.AssertClose(goldens.Tensor($"n{steps}.output.{k}"), output, Tolerance, $"n{steps}.output.{k}");
                string noise = $"n{steps}.noise.{k}";
                Assert.Equal(sampler.NeedsNoise(k), goldens.Has(noise));
                sampler.Step(k, output, sampler.NeedsNoise(k) ? goldens.Tensor(noise) : [], sample);
            }
            SchedulerGoldens.AssertClose(
                goldens.Tensor($"n{steps}.sample.{steps}"),
                sample,
                Tolerance,
                $"n{steps}.sample.{steps}"
            );
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Timesteps_match_the_reference(string name)
    {
        SchedulerGoldens goldens = SchedulerGoldens.Open(name);
        (NoiseSchedule schedule, double eta) = Read(goldens);
        foreach (JsonProperty entry in goldens.Case.GetProperty("schedule").EnumerateObject())
        {
            // A single step starts at the highest noise level here.
            if (!int.TryParse(entry.Name, out int steps) || steps == 1)
                continue;
            DdimSampler sampler = new(schedule, steps, eta);
            int[] expected = entry.Value.GetProperty("timesteps").EnumerateArray().Select(t => (int)t.GetDouble()).ToArray();
            Assert.Equal(expected.Select(t => (double)t), sampler.Timesteps);
            Assert.Equal(entry.Value.GetProperty("init_noise_sigma").GetSingle(), sampler.InitNoiseSigma);
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Noise_is_added_as_the_reference_adds_it(string name)
    {
        SchedulerGoldens goldens = SchedulerGoldens.Open(name);
        (NoiseSchedule schedule, _) = Read(goldens);
        Compare(
            "add_noise",
            goldens.Case.GetProperty("schedule").GetProperty("add_noise").GetProperty("timesteps"),
            "noisy",
            schedule.AddNoise
        );
        if (goldens.Has("get_velocity.v"))
            Compare(
                "get_velocity",
                goldens.Case.GetProperty("schedule").GetProperty("get_velocity_timesteps"),
                "v",
                schedule.GetVelocity
            );

        void Compare(string group, JsonElement timesteps, string result, Mixer mix)
        {
            float[] original = goldens.Tensor($"{group}.original");
            float[] noise = goldens.Tensor($"{group}.noise");
            float[] actual = new float[original.Length];
            int row = original.Length / timesteps.GetArrayLength();
            for (int r = 0; r < timesteps.GetArrayLength(); r++)
            {
                Range range = (r * row)..((r + 1) * row);
                mix(original.AsSpan(range), noise.AsSpan(range), (int)timesteps[r].GetDouble(), actual.AsSpan(range));
            }
            SchedulerGoldens.AssertClose(goldens.Tensor($"{group}.{result}"), actual, Tolerance, group);
        }
    }

    [Fact]
    public void Alphas_match_the_reference()
    {
        SchedulerGoldens goldens = SchedulerGoldens.Open("ddim");
        (NoiseSchedule schedule, _) = Read(goldens);
        float[] expected = goldens.Tensor("alphas_cumprod");
        for (int t = 0; t < expected.Length; t++)
            Assert.InRange(schedule.AlphasCumprod[t] / expected[t], 1 - 3e-7, 1 + 3e-7);
    }

    [Fact]
    public void A_sample_prediction_of_the_truth_walks_to_it()
    {
        NoiseSchedule schedule = new(
            SchedulerConfig.StableDiffusion with
            {
                PredictionType = PredictionType.Sample,
                SetAlphaToOne = true,
                StepsOffset = 0,
            }
        );
        DdimSampler sampler = new(schedule, 25, 0);
        float[] truth = [0.5f, -2f, 3f];
        float[] sample = new float[3];
        schedule.AddNoise(truth, [1f, -1f, 0.3f], (int)sampler.Timesteps[0], sample);
        for (int k = 0; k < 25; k++)
            sampler.Step(k, truth, [], sample);
        SchedulerGoldens.AssertClose(truth, sample, 1e-6, "sample");
    }

    [Fact]
    public void A_clipped_sample_stays_in_range()
    {
        NoiseSchedule schedule = new(
            SchedulerConfig.StableDiffusion with
            {
                PredictionType = PredictionType.Sample,
                SetAlphaToOne = true,
                StepsOffset = 0,
                ClipSample = true,
                ClipSampleRange = 1.5,
            }
        );
        float[] sample = [4f, -4f];
        new DdimSampler(schedule, 1, 0).Step(0, [9f, -9f], [], sample);
        Assert.Equal([1.5f, -1.5f], sample);
    }

    [Theory]
    [InlineData(0, 0.0)]
    [InlineData(1001, 0.0)]
    [InlineData(1000, 0.0)]
    [InlineData(10, -0.1)]
    [InlineData(10, double.NaN)]
    public void Bad_settings_are_refused(int steps, double eta) =>
        Assert.Throws<AfaException>(() => new DdimSampler(new NoiseSchedule(SchedulerConfig.StableDiffusion), steps, eta));

    [Fact]
    public void Wrong_lengths_are_refused()
    {
        DdimSampler sampler = new(new NoiseSchedule(SchedulerConfig.StableDiffusion), 10, 1);
        Assert.Throws<ArgumentException>(() => sampler.Step(0, new float[3], new float[4], new float[4]));
        Assert.Throws<ArgumentException>(() => sampler.Step(0, new float[4], [], new float[4]));
        Assert.Throws<ArgumentOutOfRangeException>(() => sampler.Step(10, new float[4], new float[4], new float[4]));
    }

    private delegate void Mixer(ReadOnlySpan<float> original, ReadOnlySpan<float> noise, int timestep, Span<float> result);

    private static (NoiseSchedule Schedule, double Eta) Read(SchedulerGoldens goldens)
    {
        double eta = goldens.Case.GetProperty("step_kwargs").TryGetProperty("eta", out JsonElement value) ? value.GetDouble() : 0;
        return (new NoiseSchedule(SchedulerConfig.FromJson(goldens.Case.GetProperty("config"))), eta);
    }

    private static float[] PseudoModel(float[] sample, int timestep)
    {
        float scale = (float)(0.5 + timestep / 2000.0);
        return sample.Select(x => scale * x / (1f + 0.25f * x * x) + 0.05f).ToArray();
    }
}
