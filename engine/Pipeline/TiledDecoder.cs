using AfaNative.Engine.Core;
using AfaNative.Engine.Models;

namespace AfaNative.Engine.Pipeline;

/// <summary>
/// Decodes large latents tile by tile: memory depends on the tile alone. Neighbours overlap and fade into each other; every tile
/// has the decoder's group norms to itself, so colours may differ
/// a little from decoding at once (as in diffusers and A1111).
/// </summary>
public static class TiledDecoder
{
    /// <summary>Edge of a tile in latent pixels.</summary>
    public const int Tile = 96;

    /// <summary>Latent pixels that neighbours share.</summary>
    public const int Overlap = 24;

    /// <summary>
    /// Latents from this many pixels on are decoded in tiles when nothing is said: pictures beyond 1024 x 1024.
    /// </summary>
    public const int AutomaticFrom = 128 * 128;

    /// <summary>Unscaled latents [C, height, width] to a picture [height * f, width * f, 3] around -1 to 1.</summary>
    public static float[] Decode(
        Ops ops,
        VaeModel vae,
        ReadOnlySpan<float> latent,
        int height,
        int width,
        int tile = Tile,
        int overlap = Overlap
    )
    {
        if (tile < 2 || overlap < 0 || overlap > tile / 3)
            throw new ArgumentException($"tiles of {tile} cannot overlap by {overlap}");
        int factor = vae.Config.Downscale,
            channels = latent.Length / (height * width),
            outWidth = width * factor;
        var picture = new float[height * factor * outWidth * 3];
        foreach ((int top, int rows) in Places(height, tile, overlap))
        {
            foreach ((int left, int columns) in Places(width, tile, overlap))
            {
                var part = new float[channels * rows * columns];
                for (int c = 0; c < channels; c++)
                {
                    for (int y = 0; y < rows; y++)
                        latent
                            .Slice((c * height + top + y) * width + left, columns)
                            .CopyTo(part.AsSpan((c * rows + y) * columns));
                }

                using TensorScope scope = ops.Scope();
                float[] decoded = ops.Download(vae.Decode(ops, ops.UploadNchw(part, new Shape(1, 1, rows, columns, channels))));
                float[] down = Fade(top, rows, height, overlap, factor),
                    across = Fade(left, columns, width, overlap, factor);
                for (int y = 0; y < rows * factor; y++)
                {
                    for (int x = 0; x < columns * factor; x++)
                    {
                        float weight = down[y] * across[x];
                        int to = ((top * factor + y) * outWidth + left * factor + x) * 3,
                            from = (y * columns * factor + x) * 3;
                        for (int c = 0; c < 3; c++)
                            picture[to + c] += weight * decoded[from + c];
                    }
                }
            }
        }

        return picture;
    }

    /// <summary>
    /// Where tiles start and how long they are; neighbours share exactly <paramref name="overlap"/>, and all but a lone one are
    /// of nearly the same length.
    /// </summary>
    internal static IEnumerable<(int Start, int Length)> Places(int size, int tile, int overlap)
    {
        if (size <= tile)
        {
            yield return (0, size);
            yield break;
        }

        int count = (size - overlap + tile - overlap - 1) / (tile - overlap),
            fresh = size - overlap;
        for (int i = 0; i < count; i++)
        {
            int start = (int)((long)fresh * i / count),
                end = (int)((long)fresh * (i + 1) / count) + overlap;
            yield return (start, end - start);
        }
    }

    // A tile's share of every pixel along one axis: it rises where it overlaps the one before and falls where it overlaps the
    // next; shares of all tiles add up to 1.
    internal static float[] Fade(int start, int length, int size, int overlap, int factor)
    {
        var share = new float[length * factor];
        Array.Fill(share, 1);
        int ramp = overlap * factor;
        for (int i = 0; i < ramp; i++)
        {
            float rise = (i + 0.5f) / ramp;
            if (start > 0)
                share[i] *= rise;
            if (start + length < size)
                share[^(i + 1)] *= rise;
        }

        return share;
    }
}
