using System.Globalization;
using AfaNative.Engine.Core;
using AfaNative.Engine.Models;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Random;

namespace AfaNative.Engine.Training;

/// <summary>
/// Trains an autoencoder on pictures: mean squared error of the reconstruction plus a little Kullback-Leibler divergence of the
/// latents from a unit normal (Kingma and Welling, 2014; the
/// autoencoder of Rombach et al., 2022, without its perceptual and adversarial losses).
/// </summary>
public sealed class VaeTrainer : NetworkTrainer
{
    private readonly IPictureSource _pictures;
    private readonly VaeModel _vae;
    private readonly float _divergence,
        _latentNoise;

    /// <summary>A trainer.</summary>
    /// <param name="device">Where to train.</param>
    /// <param name="options">How.</param>
    /// <param name="pictures">On what.</param>
    /// <param name="config">The architecture.</param>
    /// <param name="from">Folder of a trained VAE to go on from, or null.</param>
    /// <param name="divergence">Weight of the divergence, both losses being means over their elements.</param>
    /// <param name="latentNoise">Above 0 the decoder is trained alone, on latents with noise of this deviation instead of the
    /// encoder's own: it learns to make pictures of latents that are a little wrong, as a U-Net's are.</param>
    public VaeTrainer(
        IDevice device,
        TrainingOptions options,
        IPictureSource pictures,
        VaeConfig config,
        string? from = null,
        float divergence = 1e-5f,
        float latentNoise = 0
    )
        : base(device, options)
    {
        if (pictures.Size % config.Downscale != 0)
            throw new AfaException(
                $"A VAE that halves pictures {config.BlockOutChannels.Count - 1} times takes sizes divisible by "
                    + $"{config.Downscale}, not {pictures.Size}."
            );
        _pictures = pictures;
        _divergence = divergence;
        _latentNoise = latentNoise;
        _vae = Add("vae", from, p => new VaeModel(p, config));
    }

    /// <summary>
    /// The deviation of the latents' means over some pictures, whose inverse is the scaling factor of the trained VAE.
    /// </summary>
    public double LatentDeviation(int count)
    {
        double sum = 0,
            squares = 0;
        long elements = 0;
        for (int i = 0; i < count; i++)
        {
            var ops = new Ops(Device);
            using TensorScope scope = ops.Scope();
            Tensor moments = _vae.Encode(
                ops,
                ops.Upload(_pictures.Get(i).Pixels, new Shape(1, 1, _pictures.Size, _pictures.Size, 3))
            );
            int channels = moments.Shape.Channels / 2;
            float[] values = ops.Download(moments);
            for (int j = 0; j < values.Length; j++)
            {
                if (j % (2 * channels) >= channels)
                    continue;
                sum += values[j];
                squares += (double)values[j] * values[j];
                elements++;
            }
        }

        return Math.Sqrt(squares / elements - sum / elements * (sum / elements));
    }

    /// <inheritdoc/>
    protected override RunIdentity Describe(RunIdentity identity)
    {
        ArgumentNullException.ThrowIfNull(identity);
        return identity
            .Add("the divergence's weight", _divergence.ToString("R", CultureInfo.InvariantCulture))
            .Add("the latents' noise", _latentNoise.ToString("R", CultureInfo.InvariantCulture));
    }

    /// <inheritdoc/>
    protected internal override double Gradients(long number, float scale = 1)
    {
        int batch = Options.BatchSize,
            size = _pictures.Size,
            per = size * size * 3;
        var pixels = new float[batch * per];
        for (int b = 0; b < batch; b++)
            _pictures.Get(number * batch + b).Pixels.CopyTo(pixels, b * per);
        var ops = new Ops(Device);
        using TensorScope scope = ops.Scope();
        using Tape encoding = new(Device, Trained),
            decoding = new(Device, Trained);
        ops.Tape = _latentNoise > 0 ? null : encoding;
        Tensor moments = _vae.Encode(ops, ops.Upload(pixels, new Shape(1, batch, size, size, 3)));
        float[] m = ops.Download(moments);
        int channels = moments.Shape.Channels / 2,
            count = m.Length / 2;
        float[] z = new float[count],
            noise = new float[count];
        GaussianNoise.Fill(noise, Options.Seed, (ulong)number);
        for (int i = 0; i < count; i++)
        {
            (int mean, int variance) = Place(i);
            z[i] = m[mean] + (_latentNoise > 0 ? _latentNoise : MathF.Exp(0.5f * Math.Clamp(m[variance], -30f, 20f))) * noise[i];
        }

        ops.Tape = decoding;
        Tensor latent = Tape.Watch(ops.Upload(z, moments.Shape with { Channels = channels })),
            decoded = _vae.Decode(ops, latent);
        ops.Tape = null;
        float[] came = ops.Download(decoded);
        double loss = Losses.MeanSquaredError(came, pixels);
        decoding.Backward((decoded, ops.Upload(Losses.MeanSquaredErrorGradient(came, pixels, scale), decoded.Shape)));
        // No gradient reaches the encoder, so AdamW (without weight decay) leaves it as it is to the bit.
        if (_latentNoise > 0)
            return loss;
        float[] dz = ops.Download(decoding.GradientOf(latent)!),
            dm = new float[m.Length];
        double divergence = 0;
        for (int i = 0; i < count; i++)
        {
            (int mean, int variance) = Place(i);
            // Where the log variance is clamped it has no gradient.
            float log = Math.Clamp(m[variance], -30f, 20f),
                var = MathF.Exp(log);
            bool inside = log == m[variance];
            divergence += 0.5 * ((double)m[mean] * m[mean] + var - 1 - log);
            dm[mean] = dz[i] + scale * (_divergence * m[mean] / count);
            dm[variance] = inside
                ? dz[i] * noise[i] * 0.5f * MathF.Sqrt(var) + scale * (_divergence * 0.5f * (var - 1) / count)
                : 0;
        }

        encoding.Backward((moments, ops.Upload(dm, moments.Shape)));
        return loss + _divergence * divergence / count;

        (int Mean, int Variance) Place(int i)
        {
            int pixel = i / channels,
                channel = i - pixel * channels,
                at = pixel * 2 * channels + channel;
            return (at, at + channels);
        }
    }
}
