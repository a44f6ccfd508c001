using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Engine.Sampling;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Random;

namespace AfaNative.Engine.Training;

/// <summary>What screening found at one time step.</summary>
/// <param name="Timestep">The training time step.</param>
/// <param name="Errors">Mean squared error of every expert.</param>
/// <param name="Mean">Error of the experts' averaged predictions: what untrained aggregators start from (in the output; inside
/// the network they average features).</param>
/// <param name="Oracle">Error if the best expert were known for every element: a bound no aggregator of outputs by choice can
/// pass.</param>
/// <param name="Routed">Error on a noise draw when every pixel uses the expert that won on the other draws.</param>
/// <param name="Agreement">How often two halves of the draws name the same winner.</param>
/// <param name="Chance">How often they would if winners were drawn independently with the same frequencies.</param>
public sealed record ScreeningStep(
    int Timestep,
    double[] Errors,
    double Mean,
    double Oracle,
    double Routed,
    double Agreement,
    double Chance
);

/// <summary>The whole of a screening.</summary>
/// <param name="Steps">By time step.</param>
/// <param name="Gain">Relative error saved by routing against the best single expert, mean over pictures.</param>
/// <param name="StandardError">Of the gain, over pictures.</param>
public sealed record ScreeningResult(IReadOnlyList<ScreeningStep> Steps, double Gain, double StandardError)
{
    /// <summary>Savings below this are not worth a training run.</summary>
    public const double Threshold = 0.005;

    /// <summary>A gain above the threshold that is also twice its standard error.</summary>
    public bool WorthTraining => Gain > Threshold && Gain > 2 * StandardError;
}

/// <summary>
/// Is there anything for aggregators to learn? Every expert predicts the noise in the same latents at the same time steps,
/// several noise draws each. If one
/// expert is better everywhere, take it; if winners change from draw to draw, there is nothing to route by; if the winner of a
/// place on some draws also wins
/// on a draw not looked at, place and prompt tell who should act, and that is what SABW learns.
/// </summary>
public static class ExpertScreening
{
    /// <summary>Screens experts on encoded pictures. Even numbers of draws only, at least 4.</summary>
    public static ScreeningResult Run(
        IDevice device,
        EnsembleFolder models,
        IReadOnlyList<EncodedRecord> data,
        IReadOnlyList<int> timesteps,
        int draws,
        ulong seed,
        Action<int, int>? progress = null,
        CancellationToken cancellation = default
    )
    {
        if (models.UNets.Count < 2)
            throw new AfaException("Screening compares experts: at least two are needed.");
        if (draws < 4 || draws % 2 != 0)
            throw new AfaException($"`draws` takes an even number of at least 4, not {draws}.");
        if (data.Count == 0)
            throw new AfaException("Screening needs at least one picture.");
        UNetConfig config = UNetConfig.Load(models.UNets[0]);
        var schedule = new NoiseSchedule(SchedulerConfig.Load(models.Scheduler));
        float scale = VaeConfig.Load(models.Vae).ScalingFactor;
        (UNetModel unet, CheckpointParameters parameters) = DiffusionModel.ReadComponent(
            device,
            models.UNets,
            p => new UNetModel(p, config)
        );
        using CheckpointParameters owned = parameters;
        int experts = unet.Experts;
        var totals = timesteps.Select(_ => new Totals(experts)).ToArray();
        var best = new double[data.Count];
        var routed = new double[data.Count];
        var perPicture = new double[data.Count][];
        for (int picture = 0; picture < data.Count; picture++)
        {
            perPicture[picture] = new double[experts];
            for (int t = 0; t < timesteps.Count; t++)
            {
                cancellation.ThrowIfCancellationRequested();
                float[] errors = Errors(picture, timesteps[t], out float[] mean, out int pixels, out int channels);
                totals[t].Add(errors, mean, experts, draws, pixels, channels, out double[] single, out double choice);
                for (int e = 0; e < experts; e++)
                    perPicture[picture][e] += single[e];
                routed[picture] += choice;
                progress?.Invoke(picture * timesteps.Count + t + 1, data.Count * timesteps.Count);
            }
        }

        // The best single expert over all pictures, and the gain of routing against it picture by picture.
        int champion = Enumerable.Range(0, experts).MinBy(e => perPicture.Sum(p => p[e]));
        double[] gains = [.. Enumerable.Range(0, data.Count).Select(i => 1 - routed[i] / perPicture[i][champion])];
        double gain = gains.Average(),
            variance = gains.Length > 1 ? gains.Sum(g => (g - gain) * (g - gain)) / (gains.Length - 1) : 0;
        return new ScreeningResult(
            [.. totals.Select((x, t) => x.Result(timesteps[t], data.Count))],
            gain,
            Math.Sqrt(variance / gains.Length)
        );

        // Squared errors [experts][draws][pixels * channels] and those of the mean prediction [draws][...], channels last.
        float[] Errors(int picture, int timestep, out float[] meanErrors, out int pixels, out int channels)
        {
            float[] moments = LatentCache.Read(data[picture].Latents, out int[] dims);
            channels = dims[0] / 2;
            pixels = dims[1] * dims[2];
            int per = channels * pixels;
            float[] latents = new float[per],
                noise = new float[draws * per],
                noisy = new float[draws * per],
                target = new float[draws * per];
            for (int i = 0; i < per; i++)
                latents[i] = moments[i] * scale;
            GaussianNoise.Fill(noise, seed, (ulong)picture);
            for (int d = 0; d < draws; d++)
            {
                Span<float> n = noise.AsSpan(d * per, per);
                schedule.AddNoise(latents, n, timestep, noisy.AsSpan(d * per, per));
                schedule.GetTarget(latents, n, timestep, target.AsSpan(d * per, per));
            }

            var ops = new Ops(device, cancellation);
            using TensorScope scope = ops.Scope();
            float[] hidden = LatentCache.Read(data[picture].Text, out int[] text);
            int width = text[1] * text[2];
            var repeated = new float[experts * draws * width];
            for (int i = 0; i < experts * draws; i++)
                hidden.AsSpan(i / draws * width, width).CopyTo(repeated.AsSpan(i * width, width));
            var shape = new Shape(1, draws, dims[1], dims[2], channels);
            float[] wanted = Layout.ToChannelsLast(target, shape);
            Tensor time = unet.EmbedTime(ops, Enumerable.Repeat((float)timestep, draws).ToArray());
            float[] came = ops.Download(
                unet.Forward(
                    ops,
                    ops.UploadNchw(noisy, shape),
                    time,
                    ops.Upload(repeated, new Shape(experts, draws, text[1], 1, text[2]))
                )
            );
            var errors = new float[came.Length];
            meanErrors = new float[wanted.Length];
            for (int i = 0; i < wanted.Length; i++)
            {
                double sum = 0;
                for (int e = 0; e < experts; e++)
                {
                    float d = came[e * wanted.Length + i] - wanted[i];
                    errors[e * wanted.Length + i] = d * d;
                    sum += came[e * wanted.Length + i];
                }

                double m = sum / experts - wanted[i];
                meanErrors[i] = (float)(m * m);
            }

            return errors;
        }
    }

    private sealed class Totals(int experts)
    {
        private readonly double[] _errors = new double[experts],
            _wins = new double[experts];
        private double _mean,
            _oracle,
            _routed,
            _agree,
            _pixels;

        public void Add(
            float[] errors,
            float[] meanErrors,
            int count,
            int draws,
            int pixels,
            int channels,
            out double[] single,
            out double routed
        )
        {
            int per = pixels * channels,
                all = draws * per;
            single = new double[count];
            for (int e = 0; e < count; e++)
            {
                single[e] = errors.AsSpan(e * all, all).ToArray().Average(v => (double)v);
                _errors[e] += single[e];
            }

            _mean += meanErrors.Average(v => (double)v);
            double oracle = 0;
            for (int i = 0; i < all; i++)
            {
                float least = errors[i];
                for (int e = 1; e < count; e++)
                    least = Math.Min(least, errors[e * all + i]);
                oracle += least;
            }

            _oracle += oracle / all;
            routed = 0;
            var sums = new double[count];
            for (int p = 0; p < pixels; p++)
            {
                double At(int e, int d)
                {
                    double sum = 0;
                    for (int c = 0; c < channels; c++)
                        sum += errors[e * all + d * per + p * channels + c];
                    return sum;
                }

                for (int held = 0; held < draws; held++)
                {
                    for (int e = 0; e < count; e++)
                        sums[e] = Enumerable.Range(0, draws).Where(d => d != held).Sum(d => At(e, d));
                    routed += At(Array.IndexOf(sums, sums.Min()), held);
                }

                int Winner(int first)
                {
                    for (int e = 0; e < count; e++)
                        sums[e] = Enumerable.Range(first, draws / 2).Sum(d => At(e, d));
                    return Array.IndexOf(sums, sums.Min());
                }

                int a = Winner(0),
                    b = Winner(draws / 2);
                _agree += a == b ? 1 : 0;
                _wins[a] += 0.5;
                _wins[b] += 0.5;
                _pixels++;
            }

            routed /= all;
            _routed += routed;
        }

        public ScreeningStep Result(int timestep, int pictures) =>
            new(
                timestep,
                [.. _errors.Select(e => e / pictures)],
                _mean / pictures,
                _oracle / pictures,
                _routed / pictures,
                _agree / _pixels,
                _wins.Sum(w => w / _pixels * (w / _pixels))
            );
    }
}
