using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>
/// Float32 products, two terms at a time: a0 b0 + a1 b1 = (a0 + b1)(a1 + b0) - a0 a1 - b0 b1 (Winograd, A new algorithm for inner
/// product, 1968). What is
/// subtracted belongs to a row or to a column alone, so one multiplication and two additions take the place of two
/// multiplications. Processors whose additions have
/// units of their own gain where both kinds of units are kept busy: with two of three pairs done so, half as much again as their
/// peak of multiplications.
/// <para>Rounding grows with how far rows and columns differ in size. So each is first brought to a root mean square of 1 to 2,
/// by a power of two: the error then
/// is at most about three times that of plain float32 (a large mean), even where few elements hold most of a row.</para>
/// <para>A packed row ends in its sums of a0 a1, for either half of a panel, and the exponent that the product is to be changed
/// by; a packed panel in a row of
/// minus its sums of b0 b1 and a row of such factors.</para>
/// </summary>
internal readonly unsafe struct PairedProduct : IProduct
{
    /// <summary>Terms of a block of K.</summary>
    public const int Terms = 256;

    /// <summary>
    /// Rows and columns without a size, those of zeros above all, count as this many octaves below or above one: what others
    /// round leaves nothing there.
    /// </summary>
    public const int Most = 60;

    /// <summary>Whether this processor has the instructions, however little it may gain.</summary>
    public static bool IsSupported => Vector512.IsHardwareAccelerated && Avx512DQ.IsSupported;

    public int Block => Terms;

    public int Rows => RegisterTile.MaxRows;

    public bool Pairs => true;

    public int Packed(int terms) => terms + 3;

    public int PanelRows(int terms) => terms + 2;

    public void PackRows(float* from, long fromStride, int rows, int terms, float* to, int stride) =>
        PairedRows.Pack(from, (nint)fromStride, rows, terms, to, stride);

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public float* PackPanel(float* panel, int terms, float* to)
    {
        Vector512<float> s0 = Vector512<float>.Zero,
            s1 = s0;
        AddSquares(panel, terms, ref s0, ref s1);
        Vector512<float> largest0 = Vector512<float>.Zero,
            largest1 = largest0;
        if (!AllUsual(s0, s1))
            AddLargest(panel, terms, ref largest0, ref largest1);
        Vector512<int> e0 = Exponents(s0, largest0, terms),
            e1 = Exponents(s1, largest1, terms);
        Widening.Scale(panel, terms, Scale(e0), Scale(e1), to);
        End(to, terms, e0, e1);
        return to;
    }

    /// <summary>Adds the squares of the 32 columns of a panel.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void AddSquares(float* panel, int terms, ref Vector512<float> squares0, ref Vector512<float> squares1)
    {
        for (float* end = panel + terms * 32; panel < end; panel += 32)
        {
            Vector512<float> x0 = Vector512.Load(panel),
                x1 = Vector512.Load(panel + 16);
            squares0 = Vector512.FusedMultiplyAdd(x0, x0, squares0);
            squares1 = Vector512.FusedMultiplyAdd(x1, x1, squares1);
        }
    }

    /// <summary>What columns are multiplied by, and the product is divided by.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Scale(Vector512<int> exponents) => (Vector512.Create(127) - exponents << 23).AsSingle();

    /// <summary>Writes the two rows behind a panel whose columns were divided by these powers of two.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void End(float* panel, int terms, Vector512<int> exponents0, Vector512<int> exponents1)
    {
        Vector512<float> c0 = Vector512<float>.Zero,
            c1 = c0,
            d0 = c0,
            d1 = c0;
        float* p = panel,
            last = panel + (terms & ~1) * 32;
        for (; p + 192 <= last; p += 192)
        {
            c0 = Vector512.FusedMultiplyAdd(Vector512.Load(p), Vector512.Load(p + 32), c0);
            d0 = Vector512.FusedMultiplyAdd(Vector512.Load(p + 64), Vector512.Load(p + 96), d0);
            c1 = Vector512.FusedMultiplyAdd(Vector512.Load(p + 80), Vector512.Load(p + 112), c1);
            d1 = Vector512.FusedMultiplyAdd(Vector512.Load(p + 144), Vector512.Load(p + 176), d1);
        }

        if (p < last)
            c0 = Vector512.FusedMultiplyAdd(Vector512.Load(p), Vector512.Load(p + 32), c0);
        if (p + 64 < last)
        {
            d0 = Vector512.FusedMultiplyAdd(Vector512.Load(p + 64), Vector512.Load(p + 96), d0);
            c1 = Vector512.FusedMultiplyAdd(Vector512.Load(p + 80), Vector512.Load(p + 112), c1);
        }

        float* to = panel + terms * 32;
        (-c0 - d0).Store(to);
        (-c1 - d1).Store(to + 16);
        (Vector512.Create(127) + exponents0 << 23).Store((int*)to + 32);
        (Vector512.Create(127) + exponents1 << 23).Store((int*)to + 48);
    }

    public float* Panel<TPanels>(TPanels weights, int expert, int panel, int k0, int count, float* buffer)
        where TPanels : struct, IPanelSource
    {
        float* packed = weights.PairedPanel(expert, panel, k0, count, buffer);
        return packed != null ? packed : PackPanel(weights.Panel(expert, panel, k0, count, buffer), count, buffer);
    }

    public void Multiply(float* a, int stride, int rows, float* b, int terms, float* c, bool accumulate) =>
        MultiplyTiles(a, stride, rows, b, terms, c, accumulate);

    /// <summary>See <see cref="IProduct.Multiply"/>.</summary>
    public static void MultiplyTiles(float* a, nint stride, int rows, float* b, int terms, float* c, bool accumulate)
    {
        if (PairedTileCode.IsSupported)
            PairedTileCode.Multiply(a, stride, rows, b, terms, c, accumulate);
        else
            RegisterTile.Multiply(RegisterTile.Paired, a, stride, rows, b, terms, c, accumulate);
    }

    /// <summary>
    /// Exponents that columns are divided by, from the sums of their squares; where these overflow or vanish, from their largest
    /// elements.
    /// </summary>
    public static Vector512<int> Exponents(Vector512<float> squares, Vector512<float> largest, int terms)
    {
        Vector512<int> half = (squares * Vector512.Create(1f / terms)).AsInt32() - Vector512.Create(127 << 23) >> 24;
        return Vector512.ConditionalSelect(
            Usual(squares).AsInt32(),
            half,
            Vector512.Clamp((largest.AsInt32() >> 23) - Vector512.Create(127), Vector512.Create(-Most), Vector512.Create(Most))
        );
    }

    /// <summary>Whether the sums of squares tell every column's size.</summary>
    public static bool AllUsual(Vector512<float> squares0, Vector512<float> squares1) =>
        Vector512.EqualsAll((Usual(squares0) & Usual(squares1)).AsInt32(), Vector512.Create(-1));

    private static Vector512<float> Usual(Vector512<float> squares) =>
        Vector512.LessThan(squares, Vector512.Create(1e30f)) & Vector512.GreaterThan(squares, Vector512.Create(1e-30f));

    /// <summary>The largest magnitude of the 32 columns of a panel, or what was there.</summary>
    public static void AddLargest(float* panel, int terms, ref Vector512<float> largest0, ref Vector512<float> largest1)
    {
        for (float* end = panel + terms * 32; panel < end; panel += 32)
        {
            largest0 = Vector512.Max(largest0, Vector512.Abs(Vector512.Load(panel)));
            largest1 = Vector512.Max(largest1, Vector512.Abs(Vector512.Load(panel + 16)));
        }
    }
}
