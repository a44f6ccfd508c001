using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using AfaNative.Kernels.Vectors;

namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>
/// How the blocked kernels multiply: rows of A times a panel of 32 columns of B, in float32 or in rounded operands with float32
/// sums. Pointers are to floats
/// because sums are; packed operands may be narrower.
/// </summary>
internal unsafe interface IProduct
{
    /// <summary>Terms of a block of K: its panel fills the first-level cache.</summary>
    int Block { get; }

    /// <summary>Rows worth one call.</summary>
    int Rows { get; }

    /// <summary>Operands are float32 as they are: rows can be multiplied where they lie.</summary>
    bool Plain => false;

    /// <summary>The same, and 512-bit vectors are to be used: other code may multiply them too.</summary>
    bool Plain512 => false;

    /// <summary>Additions take the place of multiplications (<see cref="PairedProduct"/>).</summary>
    bool Pairs => false;

    /// <summary>Floats that a packed row of so many terms takes.</summary>
    int Packed(int terms);

    /// <summary>Rows of 32 floats that a packed panel of so many terms takes at most.</summary>
    int PanelRows(int terms) => terms;

    /// <summary>Rows of float32 to packed rows, <paramref name="stride"/> floats apart.</summary>
    void PackRows(float* from, long fromStride, int rows, int terms, float* to, int stride);

    /// <summary>
    /// A panel [terms][32] of float32 to a packed one; returns where it is. <paramref name="to"/> may be
    /// <paramref name="panel"/>.
    /// </summary>
    float* PackPanel(float* panel, int terms, float* to);

    /// <summary>Terms [k0, k0 + count) of a weights' panel, packed: in place or in <paramref name="buffer"/>.</summary>
    float* Panel<TPanels>(TPanels weights, int expert, int panel, int k0, int count, float* buffer)
        where TPanels : struct, IPanelSource;

    /// <summary>c[r, 0..31] (+)= sum_k a[r, k] b[k, 0..31] for any number of rows.</summary>
    void Multiply(float* a, int stride, int rows, float* b, int terms, float* c, bool accumulate);
}

/// <summary>Float32 throughout.</summary>
internal readonly unsafe struct Float32Product(SimdWidth width) : IProduct
{
    private readonly delegate* <float*, nint, float*, nint, float*, bool, void>[] _tiles = RegisterTile.For(width);

    public bool Plain => true;

    public bool Plain512 => width is SimdWidth.Vector512 or SimdWidth.Paired512;

    public int Block => 256;

    public int Rows => RegisterTile.MaxRows;

    public int Packed(int terms) => terms;

    public void PackRows(float* from, long fromStride, int rows, int terms, float* to, int stride)
    {
        for (int r = 0; r < rows; r++, from += fromStride, to += stride)
            RowCopy.Copy(from, to, terms);
    }

    public float* PackPanel(float* panel, int terms, float* to) => panel;

    public float* Panel<TPanels>(TPanels weights, int expert, int panel, int k0, int count, float* buffer)
        where TPanels : struct, IPanelSource => weights.Panel(expert, panel, k0, count, buffer);

    public void Multiply(float* a, int stride, int rows, float* b, int terms, float* c, bool accumulate) =>
        RegisterTile.Multiply(_tiles, a, stride, rows, b, terms, c, accumulate);
}

/// <summary>Operands rounded to bfloat16, two terms in a float's place; products and sums in float32 (AVX512-BF16).</summary>
internal readonly unsafe struct BFloat16Product : IProduct
{
    public int Block => 512;

    public int Rows => 4 * RegisterTile.MaxRows;

    public int Packed(int terms) => (terms + 1) / 2;

    public void PackRows(float* from, long fromStride, int rows, int terms, float* to, int stride)
    {
        for (int r = 0; r < rows; r++, from += fromStride, to += stride)
            Narrow(from, (ushort*)to, terms);
    }

    public float* PackPanel(float* panel, int terms, float* to)
    {
        float* result = to;
        for (int k = 0; k < terms; k += 2, panel += 64, to += 32)
        {
            bool pair = k + 1 < terms;
            for (int half = 0; half < 32; half += 16)
            {
                Vector512<uint> low = Rounded(Vector512.Load(panel + half)) >>> 16,
                    high = pair
                        ? Rounded(Vector512.Load(panel + 32 + half)) & Vector512.Create(0xFFFF0000)
                        : Vector512<uint>.Zero;
                (low | high).AsSingle().Store(to + half);
            }
        }

        return result;
    }

    public float* Panel<TPanels>(TPanels weights, int expert, int panel, int k0, int count, float* buffer)
        where TPanels : struct, IPanelSource
    {
        float* pairs = weights.BFloat16Panel(expert, panel, k0);
        return pairs != null ? pairs : PackPanel(weights.Panel(expert, panel, k0, count, buffer), count, buffer);
    }

    public void Multiply(float* a, int stride, int rows, float* b, int terms, float* c, bool accumulate)
    {
        int count = (rows + RegisterTile.MaxRows - 1) / RegisterTile.MaxRows,
            size = rows / count,
            larger = rows - size * count;
        GeneratedKernels.MultiplyBFloat16(
            size + 1,
            larger,
            (ushort*)a,
            (nint)stride * sizeof(float),
            (uint*)b,
            Packed(terms),
            c,
            accumulate
        );
        int done = larger * (size + 1);
        GeneratedKernels.MultiplyBFloat16(
            size,
            count - larger,
            (ushort*)(a + (long)done * stride),
            (nint)stride * sizeof(float),
            (uint*)b,
            Packed(terms),
            c + done * RegisterTile.Columns,
            accumulate
        );
    }

    // An odd row ends in a zero.
    private static void Narrow(float* from, ushort* to, int count)
    {
        int i = 0;
        for (; i + 32 <= count; i += 32)
        {
            Vector512<uint> low = Rounded(Vector512.Load(from + i)) >>> 16,
                high = Rounded(Vector512.Load(from + i + 16)) >>> 16;
            Vector512.Narrow(low, high).Store(to + i);
        }

        for (; i < count; i++)
            to[i] = (ushort)((BitConverter.SingleToUInt32Bits(from[i]) + 0x8000) >> 16);
        if ((count & 1) != 0)
            to[count] = 0;
    }

    // To nearest, ties away from zero; infinities and the processor's own NaN stay what they are.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> Rounded(Vector512<float> x) => x.AsUInt32() + Vector512.Create(0x8000u);
}
