namespace AfaNative.Engine.Imaging;

/// <summary>An 8-bit RGB picture, [height, width, 3] without padding.</summary>
public sealed class RgbImage
{
    /// <summary>Wraps pixels without copying them.</summary>
    public RgbImage(int width, int height, byte[] pixels)
    {
        ArgumentNullException.ThrowIfNull(pixels);
        if (width < 1 || height < 1 || pixels.LongLength != 3L * width * height)
            throw new ArgumentException(
                $"Expected {width}x{height}x3 bytes of a non-empty picture, but {pixels.LongLength} came."
            );
        Width = width;
        Height = height;
        Pixels = pixels;
    }

    /// <summary>Width in pixels.</summary>
    public int Width { get; }

    /// <summary>Height in pixels.</summary>
    public int Height { get; }

    /// <summary>The bytes, row by row, red first.</summary>
    public byte[] Pixels { get; }

    /// <summary>Rounds float32 colours in 0..1, clamped and half to even, to bytes; not-a-number becomes 0.</summary>
    public static RgbImage FromFloat(ReadOnlySpan<float> hwc01, int w, int h)
    {
        if (w < 1 || h < 1 || hwc01.Length != 3L * w * h)
            throw new ArgumentException($"Expected {w}x{h}x3 values, but {hwc01.Length} came.");
        byte[] pixels = new byte[hwc01.Length];
        for (int i = 0; i < pixels.Length; i++)
        {
            float value = hwc01[i];
            pixels[i] = value > 0f ? (byte)MathF.Round(255f * MathF.Min(value, 1f), MidpointRounding.ToEven) : (byte)0;
        }
        return new RgbImage(w, h, pixels);
    }

    /// <summary>A picture of one colour.</summary>
    internal static RgbImage Filled(int width, int height, (byte R, byte G, byte B) color)
    {
        var image = new RgbImage(width, height, new byte[3L * width * height]);
        image.FillRectangle(0, 0, width, height, color);
        return image;
    }

    /// <summary>Fills what of a rectangle lies inside the picture.</summary>
    internal void FillRectangle(int x, int y, int width, int height, (byte R, byte G, byte B) color)
    {
        for (int row = Math.Max(0, y); row < Math.Min(Height, y + height); row++)
        {
            for (int column = Math.Max(0, x); column < Math.Min(Width, x + width); column++)
                Set(column, row, color);
        }
    }

    /// <summary>Sets a pixel inside the picture.</summary>
    internal void Set(int x, int y, (byte R, byte G, byte B) color)
    {
        int at = 3 * (y * Width + x);
        (Pixels[at], Pixels[at + 1], Pixels[at + 2]) = color;
    }

    /// <summary>The colour of a pixel inside the picture.</summary>
    internal (byte R, byte G, byte B) Get(int x, int y)
    {
        int at = 3 * (y * Width + x);
        return (Pixels[at], Pixels[at + 1], Pixels[at + 2]);
    }
}
