using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>Where the columns of B come from: panels of 32 columns, a row of 32 floats per term.</summary>
internal unsafe interface IPanelSource
{
    /// <summary>Terms of a sum.</summary>
    int Terms { get; }

    /// <summary>Panels of one expert.</summary>
    int Panels { get; }

    /// <summary>Terms [k0, k0 + count) of a panel, in place or in <paramref name="buffer"/>.</summary>
    float* Panel(int expert, int panel, int k0, int count, float* buffer);

    /// <summary>
    /// Asks early for part <paramref name="part"/> of <paramref name="parts"/> of what <see cref="Panel"/> or <see cref="Pairs"/>
    /// will read for these terms.
    /// </summary>
    void Prefetch(int expert, int panel, int k0, int count, int part, int parts) { }

    /// <summary>
    /// The same from an even term on as bfloat16 pairs [terms / 2][32][2], where they are stored so; else null.
    /// </summary>
    float* Pairs(int expert, int panel, int k0) => null;

    /// <summary>
    /// A block of terms as <see cref="PairedProduct"/> packs it, where that costs less than packing <see cref="Panel"/>; else
    /// null.
    /// </summary>
    float* Paired(int expert, int panel, int k0, int count, float* buffer) => null;
}

/// <summary>Weights as they are packed: columns are outputs.</summary>
internal readonly unsafe struct PackedPanels(CpuPackedWeights weights) : IPanelSource
{
    public int Terms => weights.Shape.K;

    public int Panels => weights.Panels;

    public float* Panel(int expert, int panel, int k0, int count, float* buffer) =>
        weights.Panel(expert, panel, k0, count, buffer);

    public float* Pairs(int expert, int panel, int k0) => weights.Pairs(expert, panel, k0);

    public float* Paired(int expert, int panel, int k0, int count, float* buffer) =>
        weights.Paired(expert, panel, k0, count, buffer);

    public void Prefetch(int expert, int panel, int k0, int count, int part, int parts)
    {
        byte* memory = weights.Bytes(expert, panel, k0, count, out long bytes);
        MatrixMultiply.Prefetch.Bytes(memory + bytes * part / parts, memory + bytes * (part + 1) / parts);
    }
}

/// <summary>
/// Packed weights read the other way round: columns are inputs, terms are (tap, output), for gradients of inputs.
/// </summary>
internal readonly unsafe struct TransposedPanels(CpuPackedWeights weights) : IPanelSource
{
    public int Terms => weights.Shape.KernelHeight * weights.Shape.KernelWidth * weights.Shape.Out;

    public int Panels => (weights.Shape.In + 31) / 32;

    public float* Panel(int expert, int panel, int k0, int count, float* buffer)
    {
        int outputs = weights.Shape.Out,
            inputs = weights.Shape.In,
            column = panel * 32,
            columns = Math.Min(32, inputs - column);
        float* widened = stackalloc float[32 * 32];
        for (int done = 0; done < count; )
        {
            int tap = (k0 + done) / outputs,
                n = k0 + done - tap * outputs;
            (int from, int lane, int run) = weights.Run(n);
            run = Math.Min(run, count - done);
            float* rows = weights.Panel(expert, from, tap * inputs + column, columns, widened);
            Transpose.Run(rows + lane, 32, columns, run, buffer + done * 32L, 32);
            for (int i = 0; columns < 32 && i < run; i++)
                new Span<float>(buffer + (done + i) * 32L + columns, 32 - columns).Clear();
            done += run;
        }

        return buffer;
    }
}

/// <summary>A matrix of activations (or patches of one) as B: terms are its rows, for gradients of weights.</summary>
internal readonly unsafe struct RowPanels<TRows>(TRows rows, int terms, int columns) : IPanelSource
    where TRows : struct, IRowSource
{
    public int Terms => terms;

    public int Panels => (columns + 31) / 32;

    public float* Panel(int expert, int panel, int k0, int count, float* buffer)
    {
        int present = Math.Min(32, columns - panel * 32);
        rows.Copy(expert, k0, count, panel * 32, present, buffer, 32);
        for (int i = 0; present < 32 && i < count; i++)
            new Span<float>(buffer + i * 32L + present, 32 - present).Clear();
        return buffer;
    }
}

/// <summary>Small transpositions.</summary>
internal static unsafe class Transpose
{
    /// <summary>to[j][i] = from[i][j] for i under <paramref name="rows"/>, j under <paramref name="columns"/>.</summary>
    public static void Run(float* from, nint fromStride, int rows, int columns, float* to, nint toStride)
    {
        int i = 0;
        for (; Avx.IsSupported && i + 8 <= rows; i += 8)
        {
            int j = 0;
            for (; j + 8 <= columns; j += 8)
                Eight(from + i * fromStride + j, fromStride, to + j * toStride + i, toStride);
            for (; j < columns; j++)
            {
                for (int r = 0; r < 8; r++)
                    to[j * toStride + i + r] = from[(i + r) * fromStride + j];
            }
        }

        for (; i < rows; i++)
        {
            for (int j = 0; j < columns; j++)
                to[j * toStride + i] = from[i * fromStride + j];
        }
    }

    private static void Eight(float* a, nint s, float* b, nint t)
    {
        Vector256<float> r0 = Vector256.Load(a),
            r1 = Vector256.Load(a + s),
            r2 = Vector256.Load(a + 2 * s),
            r3 = Vector256.Load(a + 3 * s);
        Vector256<float> r4 = Vector256.Load(a + 4 * s),
            r5 = Vector256.Load(a + 5 * s),
            r6 = Vector256.Load(a + 6 * s),
            r7 = Vector256.Load(a + 7 * s);
        Vector256<float> t0 = Avx.UnpackLow(r0, r1),
            t1 = Avx.UnpackHigh(r0, r1),
            t2 = Avx.UnpackLow(r2, r3),
            t3 = Avx.UnpackHigh(r2, r3);
        Vector256<float> t4 = Avx.UnpackLow(r4, r5),
            t5 = Avx.UnpackHigh(r4, r5),
            t6 = Avx.UnpackLow(r6, r7),
            t7 = Avx.UnpackHigh(r6, r7);
        Vector256<float> u0 = Avx.Shuffle(t0, t2, 0x44),
            u1 = Avx.Shuffle(t0, t2, 0xEE),
            u2 = Avx.Shuffle(t1, t3, 0x44),
            u3 = Avx.Shuffle(t1, t3, 0xEE);
        Vector256<float> u4 = Avx.Shuffle(t4, t6, 0x44),
            u5 = Avx.Shuffle(t4, t6, 0xEE),
            u6 = Avx.Shuffle(t5, t7, 0x44),
            u7 = Avx.Shuffle(t5, t7, 0xEE);
        Avx.Permute2x128(u0, u4, 0x20).Store(b);
        Avx.Permute2x128(u1, u5, 0x20).Store(b + t);
        Avx.Permute2x128(u2, u6, 0x20).Store(b + 2 * t);
        Avx.Permute2x128(u3, u7, 0x20).Store(b + 3 * t);
        Avx.Permute2x128(u0, u4, 0x31).Store(b + 4 * t);
        Avx.Permute2x128(u1, u5, 0x31).Store(b + 5 * t);
        Avx.Permute2x128(u2, u6, 0x31).Store(b + 6 * t);
        Avx.Permute2x128(u3, u7, 0x31).Store(b + 7 * t);
    }
}
