using AfaNative.Engine.Core;

namespace AfaNative.Engine.Imaging;

/// <summary>Puts several pictures into one.</summary>
public static class ImageGrid
{
    /// <summary>Pictures of one size, row by row, in a grid as near to square as they fill; free cells stay black.</summary>
    /// <exception cref="AfaException">There are none, their sizes differ, or the grid is too large for one picture.</exception>
    public static RgbImage Compose(IReadOnlyList<RgbImage> images)
    {
        ArgumentNullException.ThrowIfNull(images);
        if (images.Count == 0)
            throw new AfaException("Expected at least one picture for a grid, but none came.");
        var grid = new GridCanvas(images[0].Width, images[0].Height, images.Count);
        foreach (RgbImage image in images)
            grid.Add(image);
        return grid.Image;
    }
}
