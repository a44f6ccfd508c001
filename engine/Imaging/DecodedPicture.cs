using AfaNative.Engine.Core;
using SkiaSharp;

namespace AfaNative.Engine.Imaging;

/// <summary>
/// A picture as people see it: turned as its EXIF orientation says, in sRGB where it carries another colour profile, on a colour
/// where it is transparent. Of an animated one the first frame. The turn is done after a resize, so
/// that no more than one copy of all pixels is in memory.
/// </summary>
internal sealed class DecodedPicture : IDisposable
{
    /// <summary>
    /// Pixels that are decoded: 7168 x 7168, which with the levels a resize makes of them stay below 300 MB. Larger JPEG and
    /// WebP pictures are decoded at a smaller size, others refused.
    /// </summary>
    public const long MostPixels = 49L << 20;

    /// <summary>Pixels of a file that is decoded at a smaller size.</summary>
    public const long MostPixelsInFile = 1L << 28;

    private readonly SKBitmap _bitmap;
    private readonly SKEncodedOrigin _origin;

    private DecodedPicture(SKBitmap bitmap, SKEncodedOrigin origin, bool transparent)
    {
        (_bitmap, _origin, Transparent) = (bitmap, origin, transparent);
        (Width, Height) = Seen(bitmap.Width, bitmap.Height, origin);
    }

    /// <summary>Width as it is seen.</summary>
    public int Width { get; }

    /// <summary>Height as it is seen.</summary>
    public int Height { get; }

    /// <summary>Whether any pixel was not opaque.</summary>
    public bool Transparent { get; }

    /// <summary>Width and height as they are seen, from the file's head alone.</summary>
    /// <exception cref="InvalidDataException">It is no picture, or too large; the message says why, as a part of a
    /// sentence.</exception>
    public static (int Width, int Height) SizeOf(Stream file)
    {
        using SKCodec codec = SKCodec.Create(file) ?? throw NoPicture();
        _ = DecodedSize(codec);
        return Seen(codec.Info.Width, codec.Info.Height, codec.EncodedOrigin);
    }

    /// <summary>Decodes a picture.</summary>
    /// <param name="bytes">The whole file.</param>
    /// <param name="background">What is seen through it.</param>
    /// <param name="mask">Gray instead: luminance (Rec. 601, as Pillow's "L") times alpha.</param>
    /// <exception cref="InvalidDataException">It cannot be decoded; the message says why, as a part of a sentence.</exception>
    public static DecodedPicture Of(byte[] bytes, (byte R, byte G, byte B) background, bool mask = false)
    {
        using SKData data = SKData.CreateCopy(bytes);
        using SKCodec codec = SKCodec.Create(data) ?? throw NoPicture();
        SKSizeI size = DecodedSize(codec);
        // A PNG's gamma alone is left unheeded, as everywhere in this field; a colour profile is not.
        using SKColorSpace? space =
            codec.EncodedFormat == SKEncodedImageFormat.Png && !PngChunks.Has(bytes, "iCCP"u8) ? null : SKColorSpace.CreateSrgb();
        var bitmap = new SKBitmap();
        try
        {
            SKCodecResult result = Decode(codec, bitmap, size, space);
            if (result == SKCodecResult.InvalidConversion && space is not null)
                result = Decode(codec, bitmap, size, null);
            if (result == SKCodecResult.IncompleteInput)
                throw new InvalidDataException("the picture is cut short");
            if (result != SKCodecResult.Success)
                throw new InvalidDataException($"its pixels cannot be decoded ({result})");
            bool transparent = Flatten(bitmap, background, mask, codec.Info.AlphaType == SKAlphaType.Opaque);
            return new DecodedPicture(bitmap, codec.EncodedOrigin, transparent);
        }
        catch
        {
            bitmap.Dispose();
            throw;
        }
    }

    /// <summary>
    /// The whole picture at another size, stretched where its shape is another: RGBA bytes [height, width, 4], opaque.
    /// </summary>
    /// <exception cref="InvalidDataException">It would be too large.</exception>
    public byte[] Resized(int width, int height)
    {
        if (width < 1 || height < 1 || (long)width * height > MostPixels)
        {
            throw new InvalidDataException(
                $"a picture of {Width}x{Height} pixels would have to be brought to {width}x{height}, which is too large"
            );
        }

        (int across, int down) = Seen(width, height, _origin);
        using SKBitmap scaled =
            _bitmap.Resize(
                new SKImageInfo(across, down, SKColorType.Rgba8888, SKAlphaType.Unpremul),
                new SKSamplingOptions(SKFilterMode.Linear, SKMipmapMode.Linear)
            ) ?? throw new InvalidDataException($"it could not be brought to {width}x{height} pixels");
        var turned = new byte[width * height * 4];
        ReadOnlySpan<byte> from = scaled.GetPixelSpan();
        for (int y = 0; y < height; y++)
        {
            for (int x = 0; x < width; x++)
            {
                (int column, int row) = Place(x, y, across, down, _origin);
                from.Slice(row * scaled.RowBytes + column * 4, 4).CopyTo(turned.AsSpan((y * width + x) * 4));
            }
        }

        return turned;
    }

    /// <inheritdoc/>
    public void Dispose() => _bitmap.Dispose();

    // Where a pixel of the seen picture lies in the file's, of some width and height (EXIF's orientations 1 to 8).
    private static (int X, int Y) Place(int x, int y, int width, int height, SKEncodedOrigin origin) =>
        origin switch
        {
            SKEncodedOrigin.TopRight => (width - 1 - x, y),
            SKEncodedOrigin.BottomRight => (width - 1 - x, height - 1 - y),
            SKEncodedOrigin.BottomLeft => (x, height - 1 - y),
            SKEncodedOrigin.LeftTop => (y, x),
            SKEncodedOrigin.RightTop => (y, height - 1 - x),
            SKEncodedOrigin.RightBottom => (width - 1 - y, height - 1 - x),
            SKEncodedOrigin.LeftBottom => (width - 1 - y, x),
            _ => (x, y),
        };

    private static (int Width, int Height) Seen(int width, int height, SKEncodedOrigin origin) =>
        origin >= SKEncodedOrigin.LeftTop ? (height, width) : (width, height);

    // Refused before anything is allocated.
    private static SKSizeI DecodedSize(SKCodec codec)
    {
        int width = codec.Info.Width,
            height = codec.Info.Height;
        long pixels = (long)width * height;
        if (width < 1 || height < 1)
            throw NoPicture();
        if (pixels <= MostPixels)
            return new SKSizeI(width, height);
        if (pixels <= MostPixelsInFile)
        {
            SKSizeI scaled = codec.GetScaledDimensions((float)Math.Sqrt((double)MostPixels / pixels) * 0.999f);
            if (scaled.Width > 0 && scaled.Height > 0 && (long)scaled.Width * scaled.Height <= MostPixels)
                return scaled;
        }

        throw new InvalidDataException(
            $"it has {width}x{height} pixels; {MostPixels >> 20} million are the most "
                + $"({MostPixelsInFile >> 20} million in a JPEG or WebP)"
        );
    }

    private static SKCodecResult Decode(SKCodec codec, SKBitmap bitmap, SKSizeI size, SKColorSpace? space)
    {
        var info = new SKImageInfo(size.Width, size.Height, SKColorType.Rgba8888, SKAlphaType.Unpremul, space);
        if (!bitmap.TryAllocPixels(info))
            throw new InvalidDataException($"there is no memory for its {size.Width}x{size.Height} pixels");
        return codec.GetPixels(info, bitmap.GetPixels());
    }

    // Colours of straight alpha onto a background; what is wholly transparent leaves nothing of its colour.
    private static bool Flatten(SKBitmap bitmap, (byte R, byte G, byte B) background, bool mask, bool opaque)
    {
        bool transparent = false;
        for (int y = 0; y < bitmap.Height && (mask || !opaque); y++)
        {
            Span<byte> row = bitmap.GetPixelSpan().Slice(y * bitmap.RowBytes, bitmap.Width * 4);
            for (int i = 0; i < row.Length; i += 4)
            {
                int alpha = row[i + 3];
                transparent |= alpha < 255;
                if (mask)
                {
                    double luminance = 0.299 * row[i] + 0.587 * row[i + 1] + 0.114 * row[i + 2];
                    row[i] = row[i + 1] = row[i + 2] = (byte)Math.Round(luminance * alpha / 255);
                }
                else if (alpha < 255)
                {
                    row[i] = Blend(row[i], background.R, alpha);
                    row[i + 1] = Blend(row[i + 1], background.G, alpha);
                    row[i + 2] = Blend(row[i + 2], background.B, alpha);
                }

                row[i + 3] = 255;
            }
        }

        return transparent;

        static byte Blend(byte above, byte below, int alpha) => (byte)((above * alpha + below * (255 - alpha) + 127) / 255);
    }

    private static InvalidDataException NoPicture() => new("it is no picture this program can decode");
}
