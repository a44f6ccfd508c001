using System.Globalization;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Sampling.Samplers;

namespace AfaNative.Engine.Pipeline;

/// <summary>
/// The picture that image to image starts from (Meng et al., SDEdit, 2022): its latents are brought to the noise of a later step,
/// and sampling goes on from there. With a mask, what is to be kept is put back after every
/// step at the noise of that step (Lugmayr et al., RePaint, 2022, without going back), and in the finished picture.
/// </summary>
internal sealed class InitialPicture
{
    private readonly float[] _latents;
    private readonly int _each;
    private readonly float[]? _mask;

    private InitialPicture(float[] latents, int each, float[]? mask) => (_latents, _each, _mask) = (latents, each, mask);

    /// <summary>The noise every picture of the batch started from, [count, C, h, w].</summary>
    public float[] Noise { get; set; } = [];

    /// <summary>
    /// Latents [count, C, h, w], scaled as the U-Net sees them: every picture of the batch starts from its own.
    /// </summary>
    public static InitialPicture Of(float[] latents, int count) => new(latents, latents.Length / count, null);

    /// <summary>What picture <paramref name="i"/> of the batch starts from, [C, h, w].</summary>
    public ReadOnlySpan<float> Of(int i) => _latents.AsSpan(i * _each % _latents.Length, _each);

    /// <summary>Encodes the picture (the mean of the VAE's distribution) and brings the mask to the latents' size.</summary>
    /// <exception cref="AfaException">Sizes or strength make no sense.</exception>
    public static InitialPicture Encode(DiffusionModel model, Ops ops, GenerationOptions options)
    {
        int width = options.Width,
            height = options.Height,
            factor = model.Vae.Config.Downscale,
            channels = model.Vae.Config.LatentChannels;
        if (options.InitImage!.Length != width * height * 3)
            throw new AfaException(
                $"The picture to start from holds {options.InitImage.Length} values, {width}x{height} pixels are "
                    + $"{width * height * 3}."
            );
        if (!(options.Strength is >= 0 and <= 1))
            throw new AfaException(
                string.Create(CultureInfo.InvariantCulture, $"The strength is a share from 0 to 1, not {options.Strength}.")
            );
        if (options.Mask is { } given && given.Length != width * height)
            throw new AfaException($"The mask holds {given.Length} values, {width}x{height} pixels are {width * height}.");
        float[] latents = EncodeLatents(model, ops, options.InitImage, width, height);
        float[]? mask = null;
        if (options.Mask is { } pixels)
        {
            int w = width / factor,
                h = height / factor;
            mask = new float[channels * w * h];
            for (int i = 0; i < w * h; i++)
            {
                float sum = 0;
                for (int y = 0; y < factor; y++)
                {
                    for (int x = 0; x < factor; x++)
                        sum += pixels[(i / w * factor + y) * width + i % w * factor + x];
                }

                // Half covered is covered: the edges are blended in the finished picture.
                for (int c = 0; c < channels; c++)
                    mask[c * w * h + i] = sum >= factor * factor / 2f ? 1 : 0;
            }
        }

        return new InitialPicture(latents, latents.Length, mask);
    }

    /// <summary>A picture [height, width, 3], 0 to 1, as latents [C, h, w]: the mean of the VAE's distribution, scaled.</summary>
    public static float[] EncodeLatents(DiffusionModel model, Ops ops, float[] picture, int width, int height)
    {
        using TensorScope scope = ops.Scope();
        Tensor moments = model.Vae.Encode(
            ops,
            ops.Upload([.. picture.Select(v => 2 * v - 1)], new Shape(1, 1, height, width, 3))
        );
        float[] all = ops.DownloadNchw(moments),
            latents = new float[all.Length / 2];
        for (int i = 0; i < latents.Length; i++)
            latents[i] = all[i] * model.Vae.Config.ScalingFactor;
        FiniteCheck.Autoencoder(latents, "an encoded picture");
        return latents;
    }

    /// <summary>Steps of a run, by its strength (diffusers' counting).</summary>
    public static int StepsToRun(GenerationOptions options) => Math.Min((int)(options.Steps * options.Strength), options.Steps);

    /// <summary>
    /// Puts back what the mask keeps, at the noise that evaluation <paramref name="next"/> expects, or without any at the end.
    /// </summary>
    public void Keep(Sampler sampler, int next, int evaluations, float[] latents)
    {
        if (_mask is null)
            return;
        var original = new float[_each];
        for (int from = 0; from < latents.Length; from += _each)
        {
            if (next < evaluations)
                sampler.AddNoise(next, Of(from / _each), Noise.AsSpan(from, _each), original);
            else
                Of(from / _each).CopyTo(original);
            for (int i = 0; i < original.Length; i++)
                latents[from + i] = _mask[i] * latents[from + i] + (1 - _mask[i]) * original[i];
        }
    }

    /// <summary>The original's pixels where the mask keeps them.</summary>
    public static void Paste(float[] picture, float[] original, float[] mask)
    {
        for (int i = 0; i < picture.Length; i++)
            picture[i] = mask[i / 3] * picture[i] + (1 - mask[i / 3]) * original[i];
    }
}
