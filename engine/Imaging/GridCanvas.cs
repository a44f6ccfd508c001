using AfaNative.Engine.Core;

namespace AfaNative.Engine.Imaging;

/// <summary>A grid of pictures that are drawn one after the other: it holds only what it shows.</summary>
/// <param name="width">Every picture's width in pixels.</param>
/// <param name="height">Every picture's height in pixels.</param>
/// <param name="count">Pictures there will be, at least one.</param>
public sealed class GridCanvas(int width, int height, int count)
{
    private readonly int _columns = (int)Math.Ceiling(Math.Sqrt(count));
    private byte[]? _pixels;

    /// <summary>Pictures that were added.</summary>
    public int Added { get; private set; }

    private int Rows => (count + _columns - 1) / _columns;

    /// <summary>Puts a picture into the next free cell.</summary>
    /// <exception cref="AfaException">It has another size, there is no free cell, or the grid is too large for one
    /// picture.</exception>
    public void Add(RgbImage image)
    {
        ArgumentNullException.ThrowIfNull(image);
        if (image.Width != width || image.Height != height)
            throw new AfaException(
                $"Expected pictures of {width}x{height} for a grid, but one of {image.Width}x{image.Height} came."
            );
        if (Added == count)
            throw new AfaException($"The grid has room for {count} pictures, and one more came.");
        long bytes = 3L * _columns * width * Rows * height;
        if (bytes > Array.MaxLength)
            throw new AfaException($"A grid of {count} pictures of {width}x{height} is too large for one picture.");
        _pixels ??= new byte[bytes];
        for (int y = 0; y < height; y++)
        {
            image
                .Pixels.AsSpan(3 * y * width, 3 * width)
                .CopyTo(_pixels.AsSpan(3 * ((Added / _columns * height + y) * _columns * width + Added % _columns * width)));
        }

        Added++;
    }

    /// <summary>The grid, row by row, as near to square as its pictures fill; free cells are black.</summary>
    public RgbImage Image => new(_columns * width, Rows * height, _pixels ?? new byte[3 * _columns * width * Rows * height]);
}
