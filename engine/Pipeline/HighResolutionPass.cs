using System.Globalization;
using AfaNative.Engine.Core;
using AfaNative.Engine.Imaging;

namespace AfaNative.Engine.Pipeline;

/// <summary>What the first pass's result is enlarged as.</summary>
public enum HighResolutionUpscaler
{
    /// <summary>Latents, bilinearly; needs a strength of about 0.5 and more (A1111's default).</summary>
    Latent,

    /// <summary>The picture, by Lanczos' kernel: decoded, resampled, and encoded again. Holds at small strengths, too.</summary>
    Lanczos,
}

/// <summary>
/// A second pass at a larger size (A1111's "Hires. fix"): the first pass's result is enlarged, brought back to the noise of its
/// strength, and denoised again. Every picture has its seed's own noise, from the start of its
/// stream, as in an image-to-image run of the same seed.
/// </summary>
public sealed record HighResolutionPass
{
    // Whole latent pixels of Stable Diffusion's VAE.
    private const int Multiple = 8;

    /// <summary>
    /// How many times as wide and high; does not count where <see cref="Width"/> or <see cref="Height"/> is given.
    /// </summary>
    public double Scale { get; init; } = 2;

    /// <summary>The final width in pixels; 0 follows from the height, or from the scale.</summary>
    public int Width { get; init; }

    /// <summary>
    /// The final height in pixels; 0 follows from the width, or from the scale. Where both are given and of another shape than
    /// the first pass, what is too much is cut off.
    /// </summary>
    public int Height { get; init; }

    /// <summary>
    /// Steps that are run, whatever the strength (A1111's counting, not diffusers'); 0 is as many as the first pass's.
    /// </summary>
    public int Steps { get; init; }

    /// <summary>How much is changed, 0 to 1.</summary>
    public double Strength { get; init; } = 0.7;

    /// <summary>What is enlarged.</summary>
    public HighResolutionUpscaler Upscaler { get; init; }

    /// <summary>The final size after a first pass of some size, rounded down to multiples of 8 where it is not given.</summary>
    public (int Width, int Height) Size(int width, int height)
    {
        if (Width == 0 && Height == 0)
            return (Round(width * Scale), Round(height * Scale));
        return (
            Width > 0 ? Width : Round((double)Height * width / height),
            Height > 0 ? Height : Round((double)Width * height / width)
        );

        static int Round(double pixels) => Math.Max(Multiple, (int)(pixels / Multiple) * Multiple);
    }

    /// <summary>The second pass as a run of its own, without what it starts from.</summary>
    /// <exception cref="AfaException">The settings make no sense.</exception>
    internal GenerationOptions Second(GenerationOptions options, int trained)
    {
        if (options.InitImage is not null)
            throw new AfaException(
                "A high-resolution pass does not go with a picture to start from: that is a second pass already."
            );
        if (!(Scale is >= 1 and <= 16))
            throw new AfaException(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"A high-resolution pass makes a picture 1 to 16 times as large, not {Scale}."
                )
            );
        if (Width < 0 || Height < 0)
            throw new AfaException($"The final size {Width}x{Height} cannot be negative.");
        if (!(Strength is >= 0 and <= 1))
            throw new AfaException(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"The high-resolution pass's strength is a share from 0 to 1, not {Strength}."
                )
            );
        if (Steps < 0)
            throw new AfaException($"The high-resolution pass takes 0 steps (as many as the first) or more, not {Steps}.");
        int run = Steps > 0 ? Steps : options.Steps,
            all = Strength > 0 ? (int)Math.Min(int.MaxValue, run / Math.Min(Strength, 0.999)) : run;
        if (all > trained)
            throw new AfaException(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{run} steps at a strength of {Strength} are the last of {all}, the model was trained with "
                        + $"{trained}: fewer steps in the high-resolution pass are enough."
                )
            );
        (int width, int height) = Size(options.Width, options.Height);
        // Half a step more: the product with all steps must not round down to one fewer.
        return options with
        {
            HighResolution = null,
            InitialLatents = null,
            Width = width,
            Height = height,
            Steps = all,
            Strength = Strength > 0 ? Math.Min(1, (run + 0.5) / all) : 0,
        };
    }

    /// <summary>Latents [count, C, h, w] of the first pass at the second's size.</summary>
    internal float[] Enlarge(
        float[] latents,
        int count,
        (int Height, int Width) from,
        (int Height, int Width) to,
        int factor,
        Func<float[], IReadOnlyList<float[]>> decode,
        Func<float[], float[]> encode
    ) =>
        Upscaler switch
        {
            HighResolutionUpscaler.Lanczos =>
            [
                .. decode(latents).SelectMany(p => encode(Resampling.Lanczos(p, from.Height, from.Width, to.Height, to.Width))),
            ],
            _ =>
            [
                .. latents
                    .Chunk(latents.Length / count)
                    .SelectMany(l =>
                        Resampling.Bilinear(l, from.Height / factor, from.Width / factor, to.Height / factor, to.Width / factor)
                    ),
            ],
        };
}
