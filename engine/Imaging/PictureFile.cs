using SkiaSharp;

namespace AfaNative.Engine.Imaging;

/// <summary>Reads pictures of any common format (PNG, JPEG, WebP ...).</summary>
public static class PictureFile
{
    // 16384 x 16384: larger ones are taken for a mistake, or for an attack.
    private const long MostPixels = 1L << 28;

    /// <summary>A picture as RGBA bytes, or null if it is none that can be decoded.</summary>
    internal static SKBitmap? Decode(byte[] bytes)
    {
        using SKData data = SKData.CreateCopy(bytes);
        using SKCodec? codec = SKCodec.Create(data);
        if (codec is null || (long)codec.Info.Width * codec.Info.Height > MostPixels) return null;
        var bitmap = new SKBitmap(new SKImageInfo(codec.Info.Width, codec.Info.Height, SKColorType.Rgba8888, SKAlphaType.Unpremul));
        if (codec.GetPixels(bitmap.Info, bitmap.GetPixels()) == SKCodecResult.Success) return bitmap;
        bitmap.Dispose();
        return null;
    }

    /// <summary>Width and height.</summary>
    /// <exception cref="AfaException">The file is missing or no picture.</exception>
    public static (int Width, int Height) Size(string path)
    {
        using SKBitmap bitmap = Open(path);
        return (bitmap.Width, bitmap.Height);
    }

    /// <summary>A picture brought to a size: [height, width, 3], 0 to 1.</summary>
    /// <exception cref="AfaException">The file is missing or no picture.</exception>
    public static float[] Read(string path, int width, int height)
    {
        using SKBitmap bitmap = Open(path);
        using SKBitmap scaled = bitmap.Resize(new SKImageInfo(width, height, SKColorType.Rgba8888, SKAlphaType.Unpremul), new SKSamplingOptions(SKFilterMode.Linear, SKMipmapMode.Linear))
            ?? throw new AfaException($"{path}: it could not be brought to {width}x{height} pixels.");
        var values = new float[width * height * 3];
        ReadOnlySpan<byte> from = scaled.GetPixelSpan();
        for (int y = 0; y < height; y++)
        {
            for (int x = 0; x < width; x++)
            {
                for (int c = 0; c < 3; c++) values[(y * width + x) * 3 + c] = from[y * scaled.RowBytes + x * 4 + c] / 255f;
            }
        }

        return values;
    }

    private static SKBitmap Open(string path)
    {
        try
        {
            return Decode(File.ReadAllBytes(path)) ?? throw new AfaException($"{path}: it is no picture this program can decode.");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new AfaException($"{path}: the picture could not be read: {e.Message}", e);
        }
    }
}
