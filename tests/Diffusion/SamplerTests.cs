using AfaNative.Engine.Core;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Samplers;
using Xunit;

namespace AfaNative.Tests.Diffusion;

/// <summary>
/// What every sampler must do, whatever its method; their numbers are compared with diffusers' in the reference cases.
/// </summary>
public class SamplerTests
{
    public static TheoryData<string> All => [.. SamplerChoice.All.Select(s => s.Id)];

    [Theory]
    [MemberData(nameof(All))]
    public void A_perfect_denoiser_ends_at_the_picture(string id)
    {
        // The truth is one point: the noise in a sample is known exactly, and so every method must arrive there.
        var schedule = new NoiseSchedule(SchedulerConfig.StableDiffusion);
        Sampler sampler = SamplerChoice.Find(id).Create(schedule, 20, 0);
        float[] truth = [0.8f, -1.3f, 0.1f, 2f],
            sample = new float[4],
            input = new float[4],
            output = new float[4],
            noise = new float[4];
        var random = new System.Random(3);
        for (int i = 0; i < 4; i++)
            sample[i] = (random.NextSingle() * 4 - 2) * sampler.InitNoiseSigma;
        for (int k = 0; k < sampler.Timesteps.Count; k++)
        {
            sampler.ScaleInput(k, sample, input);
            double t = sampler.Timesteps[k];
            int low = (int)Math.Floor(t),
                high = Math.Min(low + 1, 999);
            // Between two steps sigma is interpolated, as the samplers do.
            double a = Sigma(low),
                sigma = a + (t - low) * (Sigma(high) - a),
                alpha = 1 / (sigma * sigma + 1);
            for (int i = 0; i < 4; i++)
            {
                output[i] = (float)((input[i] - Math.Sqrt(alpha) * truth[i]) / Math.Sqrt(1 - alpha));
                noise[i] = random.NextSingle() - 0.5f;
            }

            sampler.Step(k, output, noise, sample);
        }

        // DDIM, PLMS and DDPM stop at the first training step's noise, not at none; Karras' time steps are rounded in 2M and
        // UniPC.
        for (int i = 0; i < 4; i++)
            Assert.True(Math.Abs(truth[i] - sample[i]) < 0.12, $"{id}: {sample[i]} instead of {truth[i]}");

        double Sigma(int step) => Math.Sqrt((1 - schedule.AlphasCumprod[step]) / (double)schedule.AlphasCumprod[step]);
    }

    [Theory]
    [MemberData(nameof(All))]
    public void Steps_from_one_up_run_through_falling_timesteps(string id)
    {
        var schedule = new NoiseSchedule(SchedulerConfig.StableDiffusion);
        foreach (int steps in (int[])[1, 2, 3, 7, 50])
        {
            Sampler sampler = SamplerChoice.Find(id).Create(schedule, steps, 0);
            Assert.InRange(sampler.Timesteps.Count, steps, 2 * steps);
            Assert.All(
                sampler.Timesteps.Zip(sampler.Timesteps.Skip(1)),
                p => Assert.True(p.First >= p.Second, $"{id}, {steps} steps")
            );
            Assert.All(sampler.Timesteps, t => Assert.InRange(t, 0, 999));
            float[] sample = [1, 2];
            for (int k = 0; k < sampler.Timesteps.Count; k++)
                sampler.Step(k, [0.1f, 0.2f], [0.3f, 0.4f], sample);
            Assert.All(sample, v => Assert.True(float.IsFinite(v), $"{id}, {steps} steps: {v}"));
            Assert.Throws<ArgumentException>(() => sampler.Step(0, new float[3], new float[2], sample));
            Assert.Throws<ArgumentOutOfRangeException>(() =>
                sampler.Step(sampler.Timesteps.Count, new float[2], new float[2], sample)
            );
        }

        Assert.Throws<AfaException>(() => SamplerChoice.Find(id).Create(schedule, 0, 0));
    }

    [Theory]
    [InlineData("DPM++ 2M Karras", "dpmpp_2m_karras")]
    [InlineData("dpmpp_2m_karras", "dpmpp_2m_karras")]
    [InlineData("dpm++ 2m sde", "dpmpp_2m_sde")]
    [InlineData("Euler a", "euler_a")]
    [InlineData("k_euler_ancestral", "euler_a")]
    [InlineData("PLMS", "pndm")]
    [InlineData("pndm", "pndm")]
    [InlineData("UniPC", "unipc")]
    [InlineData("LMS Karras", "lms_karras")]
    public void Names_are_taken_as_people_write_them(string name, string id) => Assert.Equal(id, SamplerChoice.Find(name).Id);

    [Fact]
    public void An_unknown_name_lists_what_there_is() =>
        Assert.Contains("dpmpp_2m_karras", Assert.Throws<AfaException>(() => SamplerChoice.Find("magic")).Message);

    [Fact]
    public void Names_are_unique() =>
        Assert.Equal(SamplerChoice.All.Count, SamplerChoice.All.Select(s => s.Id).Distinct().Count());
}
