using System.Buffers.Binary;
using System.Runtime.Intrinsics;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>float16 and bfloat16 to float32.</summary>
public static unsafe class Widening
{
    /// <summary>Widens <paramref name="count"/> elements; exact, subnormals, infinities and NaN included.</summary>
    public static void ToFloat32(ushort* source, ElementType type, float* destination, long count)
    {
        bool generated = type == ElementType.Float16 && GeneratedKernels.WidensHalves;
        long whole = generated ? count & ~63L : count & ~31L;
        if (generated)
            GeneratedKernels.WidenHalves(source, destination, whole);
        else
            Blocks(source, type, destination, whole);
        for (long i = whole; i < count; i++)
            destination[i] = Element(new WeightSource(source, type), i);
    }

    /// <summary>Rows of 32 float16 to float32, either half of a row times its own scales.</summary>
    internal static void ToScaled(ushort* source, int rows, Vector512<float> scale0, Vector512<float> scale1, float* to)
    {
        int whole = GeneratedKernels.WidensHalves ? rows & ~1 : 0;
        if (whole > 0)
        {
            float* scales = stackalloc float[32];
            scale0.Store(scales);
            scale1.Store(scales + 16);
            GeneratedKernels.WidenHalves(source, to, whole * 32L, scales);
        }

        ToFloat32(source + whole * 32L, ElementType.Float16, to + whole * 32L, (rows - whole) * 32L);
        Scale(to + whole * 32L, rows - whole, scale0, scale1, to + whole * 32L);
    }

    /// <summary>Rows of 32, either half of a row times its own scales.</summary>
    internal static void Scale(float* from, int rows, Vector512<float> scale0, Vector512<float> scale1, float* to)
    {
        for (float* end = from + rows * 32L; from < end; from += 32, to += 32)
        {
            (Vector512.Load(from) * scale0).Store(to);
            (Vector512.Load(from + 16) * scale1).Store(to + 16);
        }
    }

    /// <summary>Terms [k0, k0 + count) of a panel of bfloat16 pairs [K / 2][32][2] as rows of 32 float32.</summary>
    internal static void Pairs(uint* panel, int k0, int count, float* to)
    {
        for (int k = k0; k < k0 + count; k++, to += 32)
        {
            uint* from = panel + (k >> 1) * 32L;
            Vector512<uint> first = Vector512.Load(from),
                second = Vector512.Load(from + 16);
            bool high = (k & 1) != 0;
            (high ? first & Vector512.Create(0xFFFF0000) : first << 16).AsSingle().Store(to);
            (high ? second & Vector512.Create(0xFFFF0000) : second << 16).AsSingle().Store(to + 16);
        }
    }

    private static void Blocks(ushort* source, ElementType type, float* destination, long count)
    {
        if (type == ElementType.BFloat16)
        {
            for (long i = 0; i < count; i += 32)
            {
                (Vector512<uint> low, Vector512<uint> high) = Vector512.Widen(Vector512.Load(source + i));
                (low << 16).AsSingle().Store(destination + i);
                (high << 16).AsSingle().Store(destination + i + 16);
            }

            return;
        }

        for (long i = 0; i < count; i += 32)
        {
            (Vector512<int> low, Vector512<int> high) = Vector512.Widen(Vector512.Load((short*)source + i));
            FromHalf(low).Store(destination + i);
            FromHalf(high).Store(destination + i + 16);
        }
    }

    /// <summary>float32 values as the little-endian bytes of a weight's storage type, rounded to nearest, ties to even.</summary>
    public static byte[] ToBytes(ReadOnlySpan<float> values, ElementType type)
    {
        var bytes = new byte[values.Length * (type == ElementType.Float32 ? 4 : 2)];
        for (int i = 0; i < values.Length; i++)
        {
            if (type == ElementType.Float32)
                BinaryPrimitives.WriteSingleLittleEndian(bytes.AsSpan(4 * i), values[i]);
            else if (type == ElementType.Float16)
                BinaryPrimitives.WriteHalfLittleEndian(bytes.AsSpan(2 * i), (Half)values[i]);
            else
                BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(2 * i), ToBFloat16(values[i]));
        }

        return bytes;
    }

    /// <summary>The bits of the nearest bfloat16, ties to even.</summary>
    internal static ushort ToBFloat16(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        // A NaN whose payload is in the low half would become infinite.
        return float.IsNaN(value) ? (ushort)(bits >> 16 | 0x40) : (ushort)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
    }

    /// <summary>One element of a weight source.</summary>
    internal static float Element(in WeightSource source, long index) =>
        source.Type switch
        {
            ElementType.Float32 => ((float*)source.Pointer)[index],
            ElementType.Float16 => (float)((Half*)source.Pointer)[index],
            _ => BitConverter.UInt32BitsToSingle((uint)((ushort*)source.Pointer)[index] << 16),
        };

    private static Vector512<float> FromHalf(Vector512<int> h)
    {
        // Exponent and mantissa moved into place are too small by 2^112: one multiplication repairs normals and subnormals alike.
        // The sign was extended to all bits above.
        Vector512<int> bits = (h << 13) & Vector512.Create(unchecked((int)0x8FFFFFFF));
        Vector512<float> value = bits.AsSingle() * Vector512.Create(BitConverter.UInt32BitsToSingle(0x77800000));
        // Infinity and NaN came out as 65536 and beyond.
        Vector512<int> special =
            Vector512.GreaterThanOrEqual(Vector512.Abs(value), Vector512.Create(65536f)).AsInt32() & Vector512.Create(0x7F800000);
        return (value.AsInt32() | special).AsSingle();
    }
}
