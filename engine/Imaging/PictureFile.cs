using System.Globalization;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;

namespace AfaNative.Engine.Imaging;

/// <summary>What is done with a picture whose shape is another than the one it is brought to.</summary>
public enum PictureFit
{
    /// <summary>
    /// Scaled until it fills the new shape; what is too much is cut off evenly on both sides (A1111's "crop and resize").
    /// </summary>
    Crop,

    /// <summary>
    /// Scaled until all of it is in the new shape; its outermost pixels go on in what is left over (A1111's "resize and fill").
    /// </summary>
    Fill,

    /// <summary>Stretched (A1111's "just resize").</summary>
    Stretch,
}

/// <summary>A picture that was read.</summary>
/// <param name="Pixels">[height, width, 3] for a picture, [height, width] for a mask; 0 to 1.</param>
/// <param name="Width">Width of the file's picture as it is seen.</param>
/// <param name="Height">Height of the file's picture as it is seen.</param>
/// <param name="Transparent">Some of it was, and the background is seen there.</param>
/// <param name="Hash">Short hash of the file.</param>
public sealed record LoadedPicture(float[] Pixels, int Width, int Height, bool Transparent, string Hash);

/// <summary>
/// Reads pictures of any common format (PNG, JPEG, WebP, GIF, BMP): turned as their EXIF orientation says, in sRGB, the first
/// frame of animated ones; transparent ones on a background. Sizes are checked before pixels are read.
/// </summary>
public static class PictureFile
{
    // Whole latent pixels of Stable Diffusion's VAE.
    private const int Multiple = 8;

    /// <summary>Width and height as they are seen; the file's head alone is read.</summary>
    /// <exception cref="AfaException">The file is missing, no picture, or too large a one.</exception>
    public static (int Width, int Height) Size(string path)
    {
        using FileStream file = RegularFile.Open(path, "a picture");
        return Named(path, () => DecodedPicture.SizeOf(file));
    }

    /// <summary>
    /// The size a picture is drawn at that starts from one of some size: its own where nothing is given, in proportion where one
    /// edge is; both are multiples of 8.
    /// </summary>
    /// <exception cref="AfaException">In proportion it would be too large.</exception>
    public static (int Width, int Height) SizeFor(int width, int height, int? wantedWidth, int? wantedHeight)
    {
        if (wantedWidth is { } both && wantedHeight is { } given)
            return (both, given);
        // Rounded down as diffusers does it.
        if (wantedWidth is null && wantedHeight is null)
            return (Math.Max(Multiple, width / Multiple * Multiple), Math.Max(Multiple, height / Multiple * Multiple));
        return wantedWidth is { } w
            ? (w, InProportion((double)w * height / width))
            : (InProportion((double)wantedHeight!.Value * width / height), wantedHeight.Value);

        int InProportion(double edge) =>
            edge <= 1 << 20
                ? Math.Max(Multiple, (int)Math.Round(edge / Multiple) * Multiple)
                : throw new AfaException(
                    string.Create(
                        CultureInfo.InvariantCulture,
                        $"In the proportion of the picture to start from ({width}x{height}) the other edge would "
                            + $"have {edge:F0} pixels; give `width` and `height`."
                    )
                );
    }

    /// <summary>Whether two sizes have the same proportion, to the pixel.</summary>
    public static bool SameShape(int width, int height, int otherWidth, int otherHeight) =>
        Math.Abs((double)otherWidth * height / width - otherHeight) < 1
        || Math.Abs((double)otherHeight * width / height - otherWidth) < 1;

    /// <summary>A picture brought to a size.</summary>
    /// <param name="path">The file.</param>
    /// <param name="width">The new width.</param>
    /// <param name="height">The new height.</param>
    /// <param name="fit">What is done where the shape is another; a difference of less than a pixel is rounding, and always
    /// stretched.</param>
    /// <param name="background">What is seen through transparent parts; white when null.</param>
    /// <exception cref="AfaException">The file is missing or no picture.</exception>
    public static LoadedPicture Read(
        string path,
        int width,
        int height,
        PictureFit fit = PictureFit.Crop,
        (byte R, byte G, byte B)? background = null
    ) => Load(path, width, height, fit, background ?? PictureColor.White, mask: false);

    /// <summary>A mask brought to a size: luminance (Rec. 601) times alpha.</summary>
    /// <inheritdoc cref="Read"/>
    public static LoadedPicture ReadMask(string path, int width, int height, PictureFit fit = PictureFit.Crop) =>
        Load(path, width, height, fit, PictureColor.White, mask: true);

    private static LoadedPicture Load(
        string path,
        int width,
        int height,
        PictureFit fit,
        (byte R, byte G, byte B) background,
        bool mask
    )
    {
        // The head first: a file of gigabytes whose picture is too large is never read whole.
        _ = Size(path);
        byte[] bytes = RegularFile.ReadAllBytes(path, "a picture");
        return Named(
            path,
            () =>
            {
                using DecodedPicture picture = DecodedPicture.Of(bytes, background, mask);
                byte[] rgba = Fit(picture, width, height, fit);
                int channels = mask ? 1 : 3;
                var values = new float[width * height * channels];
                for (int i = 0; i < width * height; i++)
                {
                    for (int c = 0; c < channels; c++)
                        values[i * channels + c] = rgba[i * 4 + c] / 255f;
                }

                return new LoadedPicture(
                    values,
                    picture.Width,
                    picture.Height,
                    picture.Transparent,
                    Convert.ToHexStringLower(Sha256.HashData(bytes))[..10]
                );
            }
        );
    }

    private static byte[] Fit(DecodedPicture picture, int width, int height, PictureFit fit)
    {
        if (fit == PictureFit.Stretch || SameShape(picture.Width, picture.Height, width, height))
            return picture.Resized(width, height);
        bool wider = (double)picture.Width / picture.Height > (double)width / height;
        // The edge that is met exactly: of the crop the smaller scale's, of the fill the larger's.
        (int w, int h) =
            wider == (fit == PictureFit.Crop)
                ? ((int)Math.Min(int.MaxValue, Math.Max(1, (long)picture.Width * height / picture.Height)), height)
                : (width, (int)Math.Min(int.MaxValue, Math.Max(1, (long)picture.Height * width / picture.Width)));
        byte[] scaled = picture.Resized(w, h),
            result = new byte[width * height * 4];
        int left = width / 2 - w / 2,
            top = height / 2 - h / 2;
        for (int y = 0; y < height; y++)
        {
            int row = Math.Clamp(y - top, 0, h - 1);
            for (int x = 0; x < width; x++)
            {
                int column = Math.Clamp(x - left, 0, w - 1);
                scaled.AsSpan((row * w + column) * 4, 4).CopyTo(result.AsSpan((y * width + x) * 4));
            }
        }

        return result;
    }

    private static T Named<T>(string path, Func<T> read)
    {
        try
        {
            return read();
        }
        catch (InvalidDataException e)
        {
            throw new AfaException($"{path}: {e.Message}.", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new AfaException($"{path}: the picture could not be read: {e.Message}", e);
        }
    }
}
