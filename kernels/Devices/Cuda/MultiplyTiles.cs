namespace AfaNative.Kernels.Devices.Cuda;

/// <summary>The compiled shapes of the tensor-core multiply.</summary>
internal enum MultiplyTileKind
{
    Rows128Columns128,
    Rows128Columns64,
    Rows64Columns64,
    Unaligned,
}

/// <summary>A block's share of the output, and how fast it works through it relative to the best.</summary>
/// <param name="Kind">The kernel.</param>
/// <param name="Rows">Rows of the output.</param>
/// <param name="Columns">Columns of the output.</param>
/// <param name="Threads">Threads of a block.</param>
/// <param name="Efficiency">Multiply-adds per second on a full device, relative to the first; from the bytes of shared memory
/// each reads per multiply-add, until measured.</param>
internal readonly record struct MultiplyTile(MultiplyTileKind Kind, int Rows, int Columns, int Threads, double Efficiency);

/// <summary>
/// Chooses the tile of a problem: the least work on the busiest multiprocessor. Never depends on anything but the shape and the
/// device.
/// </summary>
internal static class MultiplyTiles
{
    private static readonly MultiplyTile[] s_aligned =
    [
        new(MultiplyTileKind.Rows128Columns128, 128, 128, 256, 1.0),
        new(MultiplyTileKind.Rows128Columns64, 128, 64, 128, 0.9),
        new(MultiplyTileKind.Rows64Columns64, 64, 64, 64, 0.75),
    ];

    private static readonly MultiplyTile s_unaligned = new(MultiplyTileKind.Unaligned, 64, 64, 64, 0.75);

    /// <summary>
    /// The tile for E products of <paramref name="rows"/> by <paramref name="columns"/> (packed to multiples of 64).
    /// </summary>
    public static MultiplyTile Choose(int rows, int columns, int experts, bool aligned, int multiprocessors)
    {
        if (!aligned)
            return s_unaligned;
        int packed = (columns + 63) / 64 * 64;
        MultiplyTile best = s_aligned[^1];
        double least = double.PositiveInfinity;
        foreach (MultiplyTile tile in s_aligned)
        {
            if (packed % tile.Columns != 0)
                continue;
            long blocks = (long)((rows + tile.Rows - 1) / tile.Rows) * (packed / tile.Columns) * experts;
            double time =
                (blocks + multiprocessors - 1)
                / Math.Max(1, multiprocessors)
                * ((double)tile.Rows * tile.Columns)
                / tile.Efficiency;
            if (time < least)
                (best, least) = (tile, time);
        }

        return best;
    }
}
