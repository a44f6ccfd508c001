using System.Numerics;
using System.Runtime.CompilerServices;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Kernels.Host;

/// <summary>
/// Rounds float32 numbers to the nearest float16 or bfloat16, ties to even, in place: what is left after a trip through 16-bit
/// memory.
/// </summary>
public static class StorageRounding
{
    // Numbers below 2^-14 have float16's least step, 2^-24, which is also the step of float32 between 1/2 and 1.
    private const uint LeastNormal = 0x38800000,
        Infinity = 0x7F800000,
        SignBit = 0x80000000;

    // What rounds to 2^16 or more is infinite: float16 ends at 65504.
    private const uint Beyond = 0x477FF000;

    /// <summary>Rounds all values; infinities and NaN stay what they are, and what is too large becomes infinite.</summary>
    /// <param name="values">Changed in place.</param>
    /// <param name="type">Float16 or BFloat16; float32 leaves them as they are.</param>
    public static void Round(Span<float> values, ElementType type)
    {
        if (type == ElementType.Float32)
            return;
        bool half = type == ElementType.Float16;
        if (!half && type != ElementType.BFloat16)
            throw new ArgumentException($"numbers are not stored as {type}", nameof(type));
        int whole = values.Length - values.Length % Vector<float>.Count;
        for (int i = 0; i < whole; i += Vector<float>.Count)
        {
            var bits = Unsafe.As<float, Vector<uint>>(ref values[i]);
            Unsafe.As<float, Vector<uint>>(ref values[i]) = half ? Half(bits) : BFloat(bits);
        }

        for (int i = whole; i < values.Length; i++)
        {
            var one = new Vector<uint>(BitConverter.SingleToUInt32Bits(values[i]));
            values[i] = BitConverter.UInt32BitsToSingle((half ? Half(one) : BFloat(one))[0]);
        }
    }

    private static Vector<uint> Half(Vector<uint> bits)
    {
        Vector<uint> sign = bits & new Vector<uint>(SignBit),
            size = bits ^ sign;
        Vector<uint> normal = (size + new Vector<uint>(0x0FFF) + (size >> 13 & Vector<uint>.One)) & new Vector<uint>(~0x1FFFu);
        normal = Vector.ConditionalSelect(
            Vector.GreaterThanOrEqual(size, new Vector<uint>(Beyond)),
            new Vector<uint>(Infinity),
            normal
        );
        Vector<float> step = new(0.5f);
        Vector<uint> small = Vector.AsVectorUInt32(Vector.AsVectorSingle(size) + step - step);
        Vector<uint> rounded = Vector.ConditionalSelect(Vector.LessThan(size, new Vector<uint>(LeastNormal)), small, normal);
        return Vector.ConditionalSelect(Vector.GreaterThan(size, new Vector<uint>(Infinity)), bits, rounded | sign);
    }

    private static Vector<uint> BFloat(Vector<uint> bits)
    {
        Vector<uint> rounded = (bits + new Vector<uint>(0x7FFF) + (bits >> 16 & Vector<uint>.One)) & new Vector<uint>(0xFFFF0000);
        return Vector.ConditionalSelect(
            Vector.GreaterThan(bits & new Vector<uint>(~SignBit), new Vector<uint>(Infinity)),
            bits,
            rounded
        );
    }
}
