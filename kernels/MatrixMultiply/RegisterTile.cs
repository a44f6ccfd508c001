using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using AfaNative.Kernels.MachineCode;

namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>A row count known to the JIT, so that a tile's unused rows cost nothing.</summary>
internal interface IRowCount
{
    static abstract int Count { get; }
}

internal readonly struct Rows1 : IRowCount
{
    public static int Count => 1;
}

internal readonly struct Rows2 : IRowCount
{
    public static int Count => 2;
}

internal readonly struct Rows3 : IRowCount
{
    public static int Count => 3;
}

internal readonly struct Rows4 : IRowCount
{
    public static int Count => 4;
}

internal readonly struct Rows5 : IRowCount
{
    public static int Count => 5;
}

internal readonly struct Rows6 : IRowCount
{
    public static int Count => 6;
}

internal readonly struct Rows7 : IRowCount
{
    public static int Count => 7;
}

internal readonly struct Rows8 : IRowCount
{
    public static int Count => 8;
}

internal readonly struct Rows9 : IRowCount
{
    public static int Count => 9;
}

internal readonly struct Rows10 : IRowCount
{
    public static int Count => 10;
}

internal readonly struct Rows11 : IRowCount
{
    public static int Count => 11;
}

internal readonly struct Rows12 : IRowCount
{
    public static int Count => 12;
}

/// <summary>Which vector width the matrix kernels use.</summary>
public enum SimdWidth
{
    /// <summary>128-bit portable vectors.</summary>
    Portable,

    /// <summary>256-bit vectors with fused multiply-add.</summary>
    Vector256,

    /// <summary>512-bit vectors.</summary>
    Vector512,

    /// <summary>
    /// 512-bit vectors; linear layers, convolutions and attention scores put additions in the place of multiplications
    /// (<c>PairedProduct</c>).
    /// </summary>
    Paired512,
}

/// <summary>The innermost kernel of matrix multiply, convolution and attention, per vector width and row count.</summary>
public static unsafe class RegisterTile
{
    /// <summary>Columns of a packed panel.</summary>
    internal const int Columns = 32;

    /// <summary>Most rows of a tile.</summary>
    internal const int MaxRows = 12;

    private static readonly delegate* <float*, nint, float*, nint, float*, bool, void>[] s_wide =
    [
        &RegisterTile512.Run<Rows1>,
        &RegisterTile512.Run<Rows2>,
        &RegisterTile512.Run<Rows3>,
        &RegisterTile512.Run<Rows4>,
        &RegisterTile512.Run<Rows5>,
        &RegisterTile512.Run<Rows6>,
        &RegisterTile512.Run<Rows7>,
        &RegisterTile512.Run<Rows8>,
        &RegisterTile512.Run<Rows9>,
        &RegisterTile512.Run<Rows10>,
        &RegisterTile512.Run<Rows11>,
        &RegisterTile512.Run<Rows12>,
    ];
    private static readonly delegate* <float*, nint, float*, nint, float*, bool, void>[] s_paired =
    [
        &PairedTile512.Run<Rows1>,
        &PairedTile512.Run<Rows2>,
        &PairedTile512.Run<Rows3>,
        &PairedTile512.Run<Rows4>,
        &PairedTile512.Run<Rows5>,
        &PairedTile512.Run<Rows6>,
        &PairedTile512.Run<Rows7>,
        &PairedTile512.Run<Rows8>,
        &PairedTile512.Run<Rows9>,
        &PairedTile512.Run<Rows10>,
        &PairedTile512.Run<Rows11>,
        &PairedTile512.Run<Rows12>,
    ];
    private static readonly delegate* <float*, nint, float*, nint, float*, bool, void>[] s_narrow =
    [
        &RegisterTile256.Run<Rows1>,
        &RegisterTile256.Run<Rows2>,
        &RegisterTile256.Run<Rows3>,
        &RegisterTile256.Run<Rows4>,
        &RegisterTile256.Run<Rows5>,
        &RegisterTile256.Run<Rows6>,
        &RegisterTile256.Run<Rows7>,
        &RegisterTile256.Run<Rows8>,
        &RegisterTile256.Run<Rows9>,
        &RegisterTile256.Run<Rows10>,
        &RegisterTile256.Run<Rows11>,
        &RegisterTile256.Run<Rows12>,
    ];
    private static readonly delegate* <float*, nint, float*, nint, float*, bool, void>[] s_portable =
    [
        &RegisterTilePortable.Run<Rows1>,
        &RegisterTilePortable.Run<Rows2>,
        &RegisterTilePortable.Run<Rows3>,
        &RegisterTilePortable.Run<Rows4>,
        &RegisterTilePortable.Run<Rows5>,
        &RegisterTilePortable.Run<Rows6>,
        &RegisterTilePortable.Run<Rows7>,
        &RegisterTilePortable.Run<Rows8>,
        &RegisterTilePortable.Run<Rows9>,
        &RegisterTilePortable.Run<Rows10>,
        &RegisterTilePortable.Run<Rows11>,
        &RegisterTilePortable.Run<Rows12>,
    ];

    /// <summary>The fastest that runs in hardware here.</summary>
    public static SimdWidth Best { get; } =
        Vector512.IsHardwareAccelerated
            ? PairedProduct.IsSupported && Processor.IsAmd
                ? SimdWidth.Paired512
                : SimdWidth.Vector512
            : Vector256.IsHardwareAccelerated && Fma.IsSupported
                ? SimdWidth.Vector256
                : SimdWidth.Portable;

    /// <summary>
    /// The fastest here that multiplies operands as they are. All of these that have fused multiply-add, on any processor, give
    /// the same bits.
    /// </summary>
    public static SimdWidth BestPlain => Best == SimdWidth.Paired512 ? SimdWidth.Vector512 : Best;

    /// <summary>The same for operands packed by <see cref="PairedProduct"/>.</summary>
    internal static delegate* <float*, nint, float*, nint, float*, bool, void>[] Paired => s_paired;

    /// <summary>Kernels of plain products for 1..12 rows at index rows - 1.</summary>
    internal static delegate* <float*, nint, float*, nint, float*, bool, void>[] For(SimdWidth width) =>
        width switch
        {
            SimdWidth.Vector512 or SimdWidth.Paired512 => s_wide,
            SimdWidth.Vector256 => s_narrow,
            _ => s_portable,
        };

    /// <summary>c[r, 0..31] (+)= sum_k a[r, k] b[k, 0..31] for any number of rows.</summary>
    internal static void Multiply(
        delegate* <float*, nint, float*, nint, float*, bool, void>[] tiles,
        float* a,
        nint stride,
        int rows,
        float* b,
        int terms,
        float* c,
        bool accumulate
    )
    {
        // Rows split evenly over the fewest tiles: 16 rows are 8 + 8, not 12 + 4.
        int count = (rows + MaxRows - 1) / MaxRows,
            size = rows / count,
            larger = rows - size * count;
        for (int i = 0; i < count; i++)
        {
            int n = i < larger ? size + 1 : size;
            tiles[n - 1](a, stride, b, terms, c, accumulate);
            a += n * stride;
            c += n * Columns;
        }
    }
}

/// <summary>
/// The register tile on 128-bit vectors, one row at a time: correct everywhere, fast where eight accumulators suffice (Arm).
/// </summary>
internal static unsafe class RegisterTilePortable
{
    /// <summary>As <see cref="RegisterTile512.Run"/>.</summary>
    public static void Run<TRows>(float* a, nint lda, float* b, nint k, float* c, bool accumulate)
        where TRows : struct, IRowCount
    {
        for (int r = 0; r < TRows.Count; r++, a += lda, c += 32)
        {
            Vector128<float> c0 = Vector128<float>.Zero,
                c1 = c0,
                c2 = c0,
                c3 = c0,
                c4 = c0,
                c5 = c0,
                c6 = c0,
                c7 = c0;
            float* p = b;
            for (nint i = 0; i < k; i++, p += 32)
            {
                Vector128<float> t = Vector128.Create(a[i]);
                c0 = Vector128.MultiplyAddEstimate(t, Vector128.Load(p), c0);
                c1 = Vector128.MultiplyAddEstimate(t, Vector128.Load(p + 4), c1);
                c2 = Vector128.MultiplyAddEstimate(t, Vector128.Load(p + 8), c2);
                c3 = Vector128.MultiplyAddEstimate(t, Vector128.Load(p + 12), c3);
                c4 = Vector128.MultiplyAddEstimate(t, Vector128.Load(p + 16), c4);
                c5 = Vector128.MultiplyAddEstimate(t, Vector128.Load(p + 20), c5);
                c6 = Vector128.MultiplyAddEstimate(t, Vector128.Load(p + 24), c6);
                c7 = Vector128.MultiplyAddEstimate(t, Vector128.Load(p + 28), c7);
            }

            if (accumulate)
            {
                c0 += Vector128.Load(c);
                c1 += Vector128.Load(c + 4);
                c2 += Vector128.Load(c + 8);
                c3 += Vector128.Load(c + 12);
                c4 += Vector128.Load(c + 16);
                c5 += Vector128.Load(c + 20);
                c6 += Vector128.Load(c + 24);
                c7 += Vector128.Load(c + 28);
            }

            c0.Store(c);
            c1.Store(c + 4);
            c2.Store(c + 8);
            c3.Store(c + 12);
            c4.Store(c + 16);
            c5.Store(c + 20);
            c6.Store(c + 24);
            c7.Store(c + 28);
        }
    }
}
