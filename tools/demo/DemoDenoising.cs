using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Sampling;
using AfaNative.Kernels.Random;

namespace AfaNative.Demo;

/// <summary>A method's error on one held-out scene.</summary>
/// <param name="Method">Who predicted.</param>
/// <param name="Scene">Which scene.</param>
/// <param name="Error">Mean squared error of the predicted noise over the time steps.</param>
public sealed record DemoError(string Method, int Scene, double Error);

/// <summary>
/// The training loss on scenes no stage has seen, with the same noise for every method: what aggregators are trained to lower,
/// which is not the same as drawing what was asked for.
/// </summary>
public static class DemoDenoising
{
    private static readonly int[] s_timesteps = [100, 300, 500, 700, 900];

    /// <summary>The error on every scene.</summary>
    /// <param name="model">A single model, an ensemble with aggregators, or experts apart, whose predictions are
    /// averaged.</param>
    /// <param name="size">Edge of a picture.</param>
    /// <param name="scenes">Mixed scenes.</param>
    /// <param name="seed">Decides scenes and noise.</param>
    /// <param name="cancellation">Stops between scenes.</param>
    public static double[] Measure(
        DiffusionModel model,
        int size,
        int scenes,
        ulong seed,
        CancellationToken cancellation = default
    )
    {
        var pictures = new ScenePictures(SceneDistribution.Mixed, size, seed);
        var schedule = new NoiseSchedule(model.Scheduler);
        var pipeline = new TextToImagePipeline(model);
        var errors = new double[scenes];
        int channels = model.Vae.Config.LatentChannels,
            side = size / model.Vae.Config.Downscale,
            per = channels * side * side,
            batch = s_timesteps.Length;
        for (int i = 0; i < scenes; i++)
        {
            (float[] pixels, string caption) = pictures.Get(i);
            var ops = new Ops(model.Device, cancellation);
            using TensorScope scope = ops.Scope();
            float[] moments = ops.DownloadNchw(model.Vae.Encode(ops, ops.Upload(pixels, new Shape(1, 1, size, size, 3)))),
                latents = moments[..per];
            for (int j = 0; j < per; j++)
                latents[j] *= model.Vae.Config.ScalingFactor;
            float[] noise = new float[batch * per],
                noisy = new float[batch * per],
                target = new float[batch * per];
            GaussianNoise.Fill(noise, seed, (ulong)i);
            for (int t = 0; t < batch; t++)
            {
                Span<float> n = noise.AsSpan(t * per, per);
                schedule.AddNoise(latents, n, s_timesteps[t], noisy.AsSpan(t * per, per));
                schedule.GetTarget(latents, n, s_timesteps[t], target.AsSpan(t * per, per));
            }

            Conditioning text = pipeline.EncodePrompts(ops, [.. Enumerable.Repeat(caption, batch)]);
            float[] came = ops.DownloadNchw(
                model.Ensemble.Predict(
                    ops,
                    ops.UploadNchw(noisy, new Shape(1, batch, side, side, channels)),
                    [.. s_timesteps.Select(t => (float)t)],
                    text
                )
            );
            int experts = came.Length / target.Length;
            double sum = 0;
            for (int j = 0; j < target.Length; j++)
            {
                double mean = 0;
                for (int e = 0; e < experts; e++)
                    mean += came[e * target.Length + j];
                double difference = mean / experts - target[j];
                sum += difference * difference;
            }

            errors[i] = sum / target.Length;
        }

        return errors;
    }
}
