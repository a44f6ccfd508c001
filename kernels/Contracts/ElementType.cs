namespace AfaNative.Kernels.Contracts;

/// <summary>How one element of a tensor is stored, in memory or in a file.</summary>
public enum ElementType
{
    /// <summary>IEEE 754 binary64.</summary>
    Float64,

    /// <summary>IEEE 754 binary32: what every activation and every sum is.</summary>
    Float32,

    /// <summary>IEEE 754 binary16.</summary>
    Float16,

    /// <summary>The upper half of a binary32.</summary>
    BFloat16,

    /// <summary>Signed 64-bit integer.</summary>
    Int64,

    /// <summary>Signed 32-bit integer.</summary>
    Int32,

    /// <summary>Unsigned 8-bit integer.</summary>
    UInt8,

    /// <summary>One byte, 0 or 1.</summary>
    Boolean,

    /// <summary>Float8 with 4 bits of exponent, 3 of mantissa, no infinities, NaN 0x7F and 0xFF (E4M3FN).</summary>
    Float8E4M3,

    /// <summary>The upper half of a binary16 (E5M2).</summary>
    Float8E5M2,

    /// <summary>Bytes whose type a file names and nothing here computes with.</summary>
    Opaque,
}

/// <summary>Facts about <see cref="ElementType"/>.</summary>
public static class ElementTypes
{
    /// <summary>Bytes of one element.</summary>
    public static int Size(this ElementType type) =>
        type switch
        {
            ElementType.Float64 or ElementType.Int64 => 8,
            ElementType.Float32 or ElementType.Int32 => 4,
            ElementType.Float16 or ElementType.BFloat16 => 2,
            ElementType.UInt8 or ElementType.Boolean or ElementType.Float8E4M3 or ElementType.Float8E5M2 or ElementType.Opaque =>
                1,
            _ => throw new ArgumentOutOfRangeException(nameof(type), type, "unknown element type"),
        };

    /// <summary>Whether a file's weights may have this type.</summary>
    public static bool IsReadable(this ElementType type) =>
        type.IsWeight() || type is ElementType.Float64 or ElementType.Float8E4M3 or ElementType.Float8E5M2;

    /// <summary>
    /// What weights of a file's type are held and written as: float8 widens to float16 without loss, float64 is narrowed to
    /// float32.
    /// </summary>
    public static ElementType Held(this ElementType type) =>
        type switch
        {
            ElementType.Float8E4M3 or ElementType.Float8E5M2 => ElementType.Float16,
            ElementType.Float64 => ElementType.Float32,
            _ => type,
        };

    /// <summary>Whether weights may be stored so: the types a kernel widens to float32 while packing.</summary>
    public static bool IsWeight(this ElementType type) =>
        type is ElementType.Float32 or ElementType.Float16 or ElementType.BFloat16;
}
