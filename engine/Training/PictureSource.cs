using AfaNative.Engine.Core;
using AfaNative.Kernels.Random;

namespace AfaNative.Engine.Training;

/// <summary>Captioned square pictures for training, by number.</summary>
public interface IPictureSource
{
    /// <summary>Edge in pixels.</summary>
    int Size { get; }

    /// <summary>
    /// Picture <paramref name="index"/>: [Size, Size, 3], -1 to 1, and its caption. Any index is good; the same one gives the
    /// same picture.
    /// </summary>
    (float[] Pixels, string Caption) Get(long index);
}

/// <summary>Pictures from files, in a new order every time all were seen.</summary>
public sealed class FilePictures(IReadOnlyList<TrainingRecord> records, int size, ulong seed) : IPictureSource
{
    private long _epoch = -1;
    private int[] _order = [];

    /// <inheritdoc/>
    public int Size => size;

    /// <summary>Pictures, until they come again in another order.</summary>
    public int Count => records.Count;

    /// <inheritdoc/>
    public (float[] Pixels, string Caption) Get(long index)
    {
        long epoch = index / records.Count;
        if (epoch != _epoch)
            (_epoch, _order) = (epoch, Shuffle.Order(seed, (ulong)epoch, records.Count));
        TrainingRecord record = records[_order[index % records.Count]];
        try
        {
            return (TrainingPicture.Read(record.Image, size, seed), record.Caption);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidDataException)
        {
            throw new AfaException($"{record.Image}: {e.Message}", e);
        }
    }
}

/// <summary>Orders that depend on seed, epoch and count alone.</summary>
internal static class Shuffle
{
    /// <summary>A permutation of 0..count-1 (Fisher and Yates, from the generator of noise).</summary>
    public static int[] Order(ulong seed, ulong epoch, int count)
    {
        int[] order = [.. Enumerable.Range(0, count)];
        for (int i = count - 1; i > 0; i--)
        {
            (uint word, _, _, _) = Philox.Block(seed, epoch, (1ul << 42) + (ulong)i);
            int j = (int)((ulong)word * (ulong)(i + 1) >> 32);
            (order[i], order[j]) = (order[j], order[i]);
        }

        return order;
    }
}
