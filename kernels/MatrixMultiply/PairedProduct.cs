using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>
/// Float32 products, two terms at a time: a0 b0 + a1 b1 = (a0 + b1)(a1 + b0) - a0 a1 - b0 b1 (Winograd, A new algorithm for inner product, 1968). What is
/// subtracted belongs to a row or to a column alone, so one multiplication and two additions take the place of two multiplications. Processors whose additions have
/// units of their own gain where both kinds of units are kept busy: with two of three pairs done so, half as much again as their peak of multiplications.
/// <para>Rounding grows with how far rows and columns differ in size. So each is first brought to a root mean square of 1 to 2, by a power of two: the error then
/// is that of plain float32 (within a factor of two), even where few elements hold most of a row.</para>
/// <para>A packed row ends in its sums of a0 a1, for either half of a panel, and the exponent that the product is to be changed by; a packed panel in a row of
/// minus its sums of b0 b1 and a row of such factors.</para>
/// </summary>
internal readonly unsafe struct PairedProduct : IProduct
{
    /// <summary>Terms of a block of K.</summary>
    public const int Terms = 256;

    private const int Exponents = 60;

    private static readonly delegate*<float*, nint, float*, nint, float*, bool, void>[] s_tiles = RegisterTile.Paired;

    public int Block => Terms;

    public int Rows => RegisterTile.MaxRows;

    public int Packed(int terms) => terms + 3;

    public int PanelRows(int terms) => terms + 2;

    public void PackRows(float* from, long fromStride, int rows, int terms, float* to, int stride) => PairedRows.Pack(from, (nint)fromStride, rows, terms, to, stride);

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public float* PackPanel(float* panel, int terms, float* to)
    {
        Vector512<float> s0 = Vector512<float>.Zero, s1 = s0;
        for (float* p = panel, end = panel + terms * 32; p < end; p += 32)
        {
            Vector512<float> x0 = Vector512.Load(p), x1 = Vector512.Load(p + 16);
            s0 = Vector512.FusedMultiplyAdd(x0, x0, s0);
            s1 = Vector512.FusedMultiplyAdd(x1, x1, s1);
        }

        Vector512<int> e0 = Halved(s0, panel, terms), e1 = Halved(s1, panel + 16, terms), one = Vector512.Create(127);
        Vector512<float> scale0 = (one - e0 << 23).AsSingle(), scale1 = (one - e1 << 23).AsSingle(), c0 = Vector512<float>.Zero, c1 = c0;
        float* result = to;
        int third = 0;
        for (int k = 0; k + 1 < terms; k += 2, panel += 64, to += 64)
        {
            Vector512<float> x0 = Vector512.Load(panel) * scale0, x1 = Vector512.Load(panel + 16) * scale1, y0 = Vector512.Load(panel + 32) * scale0, y1 = Vector512.Load(panel + 48) * scale1;
            x0.Store(to);
            x1.Store(to + 16);
            y0.Store(to + 32);
            y1.Store(to + 48);
            if (third != 2) c0 = Vector512.FusedMultiplyAdd(-x0, y0, c0);
            if (third != 0) c1 = Vector512.FusedMultiplyAdd(-x1, y1, c1);
            third = third == 2 ? 0 : third + 1;
        }

        if ((terms & 1) != 0)
        {
            (Vector512.Load(panel) * scale0).Store(to);
            (Vector512.Load(panel + 16) * scale1).Store(to + 16);
            to += 32;
        }

        c0.Store(to);
        c1.Store(to + 16);
        (one + e0 << 23).Store((int*)to + 32);
        (one + e1 << 23).Store((int*)to + 48);
        return result;
    }

    public float* Panel<TPanels>(TPanels weights, int expert, int panel, int k0, int count, float* buffer) where TPanels : struct, IPanelSource
    {
        float* packed = weights.Paired(expert, panel, k0, count, buffer);
        return packed != null ? packed : PackPanel(weights.Panel(expert, panel, k0, count, buffer), count, buffer);
    }

    public void Multiply(float* a, int stride, int rows, float* b, int terms, float* c, bool accumulate) => RegisterTile.Multiply(s_tiles, a, stride, rows, b, terms, c, accumulate);

    // Half the exponent of a mean square, for 16 columns.
    private static Vector512<int> Halved(Vector512<float> squares, float* panel, int terms)
    {
        if (Vector512.LessThanAll(squares, Vector512.Create(1e30f)) && Vector512.GreaterThanAll(squares, Vector512.Create(1e-30f)))
        {
            return (squares * Vector512.Create(1f / terms)).AsInt32() - Vector512.Create(127 << 23) >> 24;
        }

        int* exponents = stackalloc int[16];
        for (int i = 0; i < 16; i++) exponents[i] = Halved(squares[i], panel + i, 32, terms);
        return Vector512.Load(exponents);
    }

    /// <summary>The same for one row or column. Where squares overflow or vanish, the exponent of its largest element instead; for zeros one that leaves nothing of what others round.</summary>
    public static int Halved(float squares, float* first, nint step, int terms)
    {
        if (squares is < 1e30f and > 1e-30f) return BitConverter.SingleToInt32Bits(squares * (1f / terms)) - (127 << 23) >> 24;
        float largest = 0;
        for (int i = 0; i < terms; i++) largest = Math.Max(largest, Math.Abs(first[i * step]));
        return largest > 0 ? Math.Clamp(float.IsFinite(largest) ? Math.ILogB(largest) : 0, -Exponents, Exponents) : float.IsNaN(largest) ? 0 : -Exponents;
    }
}
