namespace AfaNative.Engine.Imaging;

/// <summary>Puts several pictures into one.</summary>
public static class ImageGrid
{
    /// <summary>Pictures of one size, row by row, in a grid as near to square as they fill; free cells stay black.</summary>
    public static RgbImage Compose(IReadOnlyList<RgbImage> images)
    {
        ArgumentNullException.ThrowIfNull(images);
        if (images.Count == 0) throw new AfaException("Expected at least one picture for a grid, but none came.");
        int width = images[0].Width;
        int height = images[0].Height;
        foreach (RgbImage image in images)
            if (image.Width != width || image.Height != height)
                throw new AfaException($"Expected pictures of {width}x{height} for a grid, but one of {image.Width}x{image.Height} came.");
        int columns = (int)Math.Ceiling(Math.Sqrt(images.Count));
        int rows = (images.Count + columns - 1) / columns;
        byte[] pixels = new byte[checked(3 * columns * width * rows * height)];
        for (int k = 0; k < images.Count; k++)
            for (int y = 0; y < height; y++)
                images[k].Pixels.AsSpan(3 * y * width, 3 * width)
                    .CopyTo(pixels.AsSpan(3 * ((k / columns * height + y) * columns * width + k % columns * width)));
        return new RgbImage(columns * width, rows * height, pixels);
    }
}
