using System.Buffers.Binary;
using System.Runtime.Intrinsics;
using AfaNative.Kernels.Devices;

namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>float16 and bfloat16 to float32.</summary>
public static unsafe class Widening
{
    /// <summary>Widens <paramref name="count"/> elements; exact, subnormals, infinities and NaN included.</summary>
    public static void ToFloat32(ushort* source, ElementType type, float* destination, long count)
    {
        long whole = count & ~31L;
        Blocks(source, type, destination, whole);
        for (long i = whole; i < count; i++) destination[i] = Element(new WeightSource(source, type), i);
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
            if (type == ElementType.Float32) BinaryPrimitives.WriteSingleLittleEndian(bytes.AsSpan(4 * i), values[i]);
            else if (type == ElementType.Float16) BinaryPrimitives.WriteHalfLittleEndian(bytes.AsSpan(2 * i), (Half)values[i]);
            else BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(2 * i), Devices.Ilgpu.PortableMath.NarrowBFloat(values[i]));
        }

        return bytes;
    }

    /// <summary>One element of a weight source.</summary>
    internal static float Element(in WeightSource source, long index) => source.Type switch
    {
        ElementType.Float32 => ((float*)source.Pointer)[index],
        ElementType.Float16 => (float)((Half*)source.Pointer)[index],
        _ => BitConverter.UInt32BitsToSingle((uint)((ushort*)source.Pointer)[index] << 16),
    };

    private static Vector512<float> FromHalf(Vector512<int> h)
    {
        // Exponent and mantissa moved into place are too small by 2^112: one multiplication repairs normals and subnormals alike. The sign was extended to all bits above.
        Vector512<int> bits = (h << 13) & Vector512.Create(unchecked((int)0x8FFFFFFF));
        Vector512<float> value = bits.AsSingle() * Vector512.Create(BitConverter.UInt32BitsToSingle(0x77800000));
        // Infinity and NaN came out as 65536 and beyond.
        Vector512<int> special = Vector512.GreaterThanOrEqual(Vector512.Abs(value), Vector512.Create(65536f)).AsInt32() & Vector512.Create(0x7F800000);
        return (value.AsInt32() | special).AsSingle();
    }
}
