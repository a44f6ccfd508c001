using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Samplers;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Kernels.Random;
using AfaNative.Tests.Ensemble;
using Xunit;

namespace AfaNative.Tests.Diffusion;

/// <summary>
/// Linear previews: the fit finds a map that is there, the pictures are what the map says, and the clean estimate is exact where
/// it can be.
/// </summary>
public sealed class LatentPreviewTests(TinyEnsemble tiny) : IClassFixture<TinyEnsemble>
{
    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    [InlineData(16)]
    public void Least_squares_find_the_map_that_made_the_colours(int inputs)
    {
        const int rows = 200;
        var random = new System.Random(inputs);
        double[] map = [.. Enumerable.Range(0, (inputs + 1) * 3).Select(_ => random.NextDouble() - 0.5)],
            x = [.. Enumerable.Range(0, rows * inputs).Select(_ => 4 * random.NextDouble() - 2)],
            y = new double[rows * 3];
        for (int r = 0; r < rows; r++)
        {
            for (int c = 0; c < 3; c++)
                y[r * 3 + c] = map[inputs * 3 + c] + Enumerable.Range(0, inputs).Sum(k => x[r * inputs + k] * map[k * 3 + c]);
        }

        double[] found = LatentPreview.LeastSquares(x, y, inputs);
        for (int i = 0; i < map.Length; i++)
            Assert.Equal(map[i], found[i], 1e-5);
    }

    [Fact]
    public void Rows_that_say_nothing_leave_the_mean_colour()
    {
        double[] found = LatentPreview.LeastSquares(
            new double[20],
            [.. Enumerable.Range(0, 10).SelectMany(i => (double[])[i, 1, 0.25])],
            2
        );
        Assert.All(found[..6], v => Assert.Equal(0, v, 1e-9));
        Assert.Equal([4.5, 1, 0.25], found[6..].Select(v => Math.Round(v, 9)));
    }

    [Fact]
    public void A_picture_is_the_map_of_its_latents_blended_between()
    {
        // Red is channel 0, green channel 1, blue a constant half; 1 x 2 latent pixels.
        var preview = new LatentPreview([1, 0, 0, 0, 1, 0, 0, 0, 0.5]);
        RgbImage picture = preview.Draw([0, 1, 1, 0], 1, 2, 4);
        Assert.Equal((8, 4), (picture.Width, picture.Height));
        Assert.Equal(((byte)0, (byte)255, (byte)128), (picture.Pixels[0], picture.Pixels[1], picture.Pixels[2]));
        Assert.Equal([0, 0, 32, 96, 159, 223, 255, 255], Enumerable.Range(0, 8).Select(i => (int)picture.Pixels[3 * i]));
        Assert.Equal((4, 2), (preview.Draw(new float[16], 1, 2, 1).Width, preview.Draw(new float[16], 1, 2, 1).Height));
        Assert.Throws<ArgumentException>(() => preview.Draw(new float[5], 1, 2, 1));
    }

    [Fact]
    public void Colours_of_a_picture_the_fit_has_not_seen_come_back_where_they_were()
    {
        using var device = new CpuDevice(2);
        using DiffusionModel model = DiffusionModel.Load(device, tiny.Path, expert: 0);
        long before = device.AllocatedBytes;
        LatentPreview preview = LatentPreview.Fit(model);
        Assert.Equal(before, device.AllocatedBytes);
        // A picture that the fit has not seen: a gradient of red to the right, of blue downwards.
        const int size = 96;
        int factor = model.Vae.Config.Downscale,
            edge = size / factor;
        var picture = new float[size * size * 3];
        for (int i = 0; i < size * size; i++)
            (picture[3 * i], picture[3 * i + 1], picture[3 * i + 2]) = (i % size / (size - 1f), 0.4f, i / size / (size - 1f));
        var ops = new Ops(device);
        float[] moments = ops.DownloadNchw(
            model.Vae.Encode(ops, ops.Upload([.. picture.Select(v => 2 * v - 1)], new Shape(1, 1, size, size, 3)))
        );
        float[] latents = [.. moments[..(moments.Length / 2)].Select(v => v * model.Vae.Config.ScalingFactor)];
        RgbImage drawn = preview.Draw(latents, edge, edge, factor);
        // Random weights keep little of a colour, of this one's red hardly any; but blue has to rise downwards, and not to the
        // right.
        double down = Slope(i => i / size, 2),
            right = Slope(i => i % size, 2);
        Assert.True(down > 0.05 && down > 5 * Math.Abs(right), $"{down} {right}");

        double Slope(Func<int, int> place, int channel) =>
            Enumerable
                .Range(0, size * size)
                .Average(i => (place(i) / (size - 1.0) - 0.5) * (drawn.Pixels[3 * i + channel] / 255.0 - 0.5)) * 12;
    }

    [Theory]
    [InlineData(PredictionType.Epsilon)]
    [InlineData(PredictionType.VPrediction)]
    [InlineData(PredictionType.Sample)]
    public void The_clean_estimate_of_a_perfect_network_is_the_clean_sample(PredictionType type)
    {
        var schedule = new NoiseSchedule(new SchedulerConfig { PredictionType = type });
        float[] clean = new float[64],
            noise = new float[64],
            shown = new float[64],
            output = new float[64],
            found = new float[64];
        GaussianNoise.Fill(clean, 1, 0);
        GaussianNoise.Fill(noise, 2, 0);
        foreach (int t in new[] { 0, 1, 500, 999 })
        {
            schedule.AddNoise(clean, noise, t, shown);
            schedule.GetTarget(clean, noise, t, output);
            schedule.EstimateClean(shown, output, t, found);
            for (int i = 0; i < 64; i++)
                Assert.Equal(clean[i], found[i], 1e-4f);
        }

        // Between two time steps lies what is between their estimates.
        float[] above = new float[64],
            between = new float[64];
        schedule.EstimateClean(shown, output, 998, found);
        schedule.EstimateClean(shown, output, 999, above);
        schedule.EstimateClean(shown, output, 998.5, between);
        for (int i = 0; i < 64; i++)
            Assert.InRange(between[i], Math.Min(found[i], above[i]) - 1e-4f, Math.Max(found[i], above[i]) + 1e-4f);
    }

    [Fact]
    public void Every_sampler_ends_at_what_it_last_expected_or_near_it()
    {
        using var device = new CpuDevice(2);
        using DiffusionModel model = DiffusionModel.Load(device, tiny.Path, expert: 0);
        foreach (string name in new[] { "ddim", "euler", "heun", "dpmpp_2m_karras" })
        {
            var options = new GenerationOptions
            {
                Prompt = "a",
                Steps = 4,
                Width = 32,
                Height = 32,
                Seeds = [3],
                Sampler = AfaNative.Engine.Sampling.Samplers.SamplerChoice.Find(name),
            };
            float[] last = [];
            var steps = new List<int>();
            float[] end = new TextToImagePipeline(model).GenerateLatents(
                options,
                new GenerationObserver
                {
                    Denoised = (step, clean, _, _) =>
                    {
                        steps.Add(step);
                        last = clean;
                    },
                }
            );
            Assert.Equal(Enumerable.Range(1, new TextToImagePipeline(model).Evaluations(options)), steps);
            double scale = end.Average(v => Math.Abs(v));
            // Euler's last step goes to the estimate itself; the others stop at the schedule's first noise level or use their
            // history.
            Assert.InRange(end.Zip(last).Average(p => Math.Abs(p.First - p.Second)) / scale, 0, name == "euler" ? 1e-4 : 0.5);
        }
    }
}
