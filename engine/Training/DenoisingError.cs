using AfaNative.Engine.Core;
using AfaNative.Engine.Models;
using AfaNative.Engine.Sampling;
using AfaNative.Kernels.Random;

namespace AfaNative.Engine.Training;

/// <summary>
/// Mean squared error of a single U-Net's prediction on encoded pictures, at fixed time steps and with fixed noise: the training
/// loss, comparable between models.
/// </summary>
public static class DenoisingError
{
    /// <summary>The error of every picture, averaged over the time steps.</summary>
    /// <param name="ops">Where to compute.</param>
    /// <param name="unet">One expert.</param>
    /// <param name="schedule">Training noise schedule; its prediction type is what the U-Net predicts.</param>
    /// <param name="latentScale">The VAE's scaling factor.</param>
    /// <param name="data">Encoded pictures with their captions.</param>
    /// <param name="timesteps">Training time steps.</param>
    /// <param name="seed">Decides the noise, with the picture's index.</param>
    public static double[] Measure(
        Ops ops,
        UNetModel unet,
        NoiseSchedule schedule,
        float latentScale,
        IReadOnlyList<EncodedRecord> data,
        IReadOnlyList<int> timesteps,
        ulong seed
    )
    {
        if (unet.Experts != 1)
            throw new ArgumentException($"one expert at a time, not {unet.Experts}", nameof(unet));
        var errors = new double[data.Count];
        for (int i = 0; i < data.Count; i++)
        {
            float[] moments = LatentCache.Read(data[i].Latents, out int[] dims),
                hidden = LatentCache.Read(data[i].Text, out int[] text);
            int channels = dims[0] / 2,
                per = channels * dims[1] * dims[2],
                batch = timesteps.Count;
            float[] latents = new float[per],
                noise = new float[batch * per],
                noisy = new float[batch * per],
                target = new float[batch * per],
                context = new float[batch * hidden.Length];
            for (int j = 0; j < per; j++)
                latents[j] = moments[j] * latentScale;
            GaussianNoise.Fill(noise, seed, (ulong)i);
            for (int t = 0; t < batch; t++)
            {
                Span<float> n = noise.AsSpan(t * per, per);
                schedule.AddNoise(latents, n, timesteps[t], noisy.AsSpan(t * per, per));
                schedule.GetTarget(latents, n, timesteps[t], target.AsSpan(t * per, per));
                hidden.CopyTo(context.AsSpan(t * hidden.Length));
            }

            using TensorScope scope = ops.Scope();
            Tensor time = unet.EmbedTime(ops, [.. timesteps.Select(t => (float)t)]);
            float[] came = ops.DownloadNchw(
                unet.Forward(
                    ops,
                    ops.UploadNchw(noisy, new Shape(1, batch, dims[1], dims[2], channels)),
                    time,
                    ops.Upload(context, new Shape(1, batch, text[1], 1, text[2]))
                )
            );
            double sum = 0;
            for (int j = 0; j < came.Length; j++)
                sum += (double)(came[j] - target[j]) * (came[j] - target[j]);
            errors[i] = sum / came.Length;
        }

        return errors;
    }
}
