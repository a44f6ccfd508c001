using System.Globalization;
using System.Numerics;
using System.Runtime.Intrinsics;
using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Checkpoints;

/// <summary>
/// Finds values that are no finite numbers in weights as they are stored, before they are used: in every format these have all
/// bits of the exponent set (in E4M3FN
/// all seven), so that a mask and a comparison find them at the speed of memory.
/// </summary>
internal static unsafe class FiniteWeights
{
    private const long Piece = 1 << 22;

    /// <summary>Refuses a tensor that holds a NaN or an infinity; types that have neither pass.</summary>
    /// <exception cref="CheckpointException">It does: the message names file, tensor, how many and the first.</exception>
    public static void Check(SafetensorsFile file, SafetensorsTensor tensor)
    {
        if (!tensor.Type.IsReadable())
            return;
        byte* start = (byte*)file.Pointer(tensor);
        if (!Any(start, tensor.ByteLength, tensor.Type))
            return;
        long bad = 0,
            first = -1;
        for (long i = 0; i < tensor.ElementCount; i++)
        {
            if (!IsBad(start, i, tensor.Type))
                continue;
            bad++;
            if (first < 0)
                first = i;
        }

        throw new CheckpointException(
            $"{file.Path}: the tensor '{tensor.Name}' holds {bad} values that are no finite numbers (NaN or infinity) of "
                + $"{tensor.ElementCount}, the first at {first}; "
                + "the file is damaged, or was saved by a training that had diverged or a merge that overflowed."
        );
    }

    /// <summary>Refuses results that are not finite, or would not be once stored as <paramref name="type"/>.</summary>
    /// <param name="values">What was computed.</param>
    /// <param name="type">What it will be rounded to.</param>
    /// <param name="what">What was computed, at the beginning of the sentence.</param>
    /// <exception cref="CheckpointException">Some values are too large.</exception>
    public static void CheckResult(ReadOnlySpan<float> values, ElementType type, Func<string> what)
    {
        // Half way to the next value there would be.
        float limit = type switch
        {
            ElementType.Float16 => 65520f,
            ElementType.BFloat16 => 3.3961775e38f,
            _ => float.PositiveInfinity,
        };
        int bad = 0;
        float largest = 0;
        foreach (float value in values)
        {
            if (MathF.Abs(value) < limit)
                continue;
            bad++;
            largest = MathF.Max(largest, MathF.Abs(value));
        }

        if (bad > 0)
            throw new CheckpointException(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{what()} would hold {bad} values up to {largest:G4} where {SafetensorsHeader.TypeName(type)} ends "
                        + $"at {(type == ElementType.Float16 ? "65504" : "3.4e38")}; nothing of it was used."
                )
            );
    }

    private static bool Any(byte* start, long length, ElementType type)
    {
        if (length <= Piece)
            return In(start, length, type);
        int pieces = (int)((length + Piece - 1) / Piece);
        bool found = false;
        Parallel.For(
            0,
            pieces,
            (i, state) =>
            {
                if (!In(start + i * Piece, Math.Min(Piece, length - i * Piece), type))
                    return;
                found = true;
                state.Stop();
            }
        );
        return found;
    }

    private static bool In(byte* start, long length, ElementType type) =>
        type switch
        {
            ElementType.Float64 => In((ulong*)start, length / 8, 0x7FF0000000000000UL),
            ElementType.Float32 => In((uint*)start, length / 4, 0x7F800000U),
            ElementType.Float16 => In((ushort*)start, length / 2, (ushort)0x7C00),
            ElementType.BFloat16 => In((ushort*)start, length / 2, (ushort)0x7F80),
            ElementType.Float8E4M3 => In(start, length, (byte)0x7F),
            _ => In(start, length, (byte)0x7C),
        };

    private static bool In<T>(T* from, long count, T mask)
        where T : unmanaged, IBinaryInteger<T>
    {
        Vector512<T> wanted = Vector512.Create(mask),
            found = Vector512<T>.Zero;
        long i = 0;
        for (; i + Vector512<T>.Count <= count; i += Vector512<T>.Count)
            found |= Vector512.Equals(Vector512.Load(from + i) & wanted, wanted);
        if (found != Vector512<T>.Zero)
            return true;
        for (; i < count; i++)
        {
            if ((from[i] & mask) == mask)
                return true;
        }

        return false;
    }

    private static bool IsBad(byte* start, long index, ElementType type)
    {
        int size = type.Size();
        return In(start + index * size, size, type);
    }
}
