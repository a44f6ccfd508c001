using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using AfaNative.Kernels.Vectors;

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
    /// Asks early for part <paramref name="part"/> of <paramref name="parts"/> of what <see cref="Panel"/> or
    /// <see cref="BFloat16Panel"/> will read for these terms.
    /// </summary>
    void Prefetch(int expert, int panel, int k0, int count, int part, int parts) { }

    /// <summary>
    /// The same from an even term on as bfloat16 pairs [terms / 2][32][2], where they are stored so; else null.
    /// </summary>
    float* BFloat16Panel(int expert, int panel, int k0) => null;

    /// <summary>
    /// A block of terms as <see cref="PairedProduct"/> packs it, where that costs less than packing <see cref="Panel"/>; else
    /// null.
    /// </summary>
    float* PairedPanel(int expert, int panel, int k0, int count, float* buffer) => null;
}

/// <summary>Weights as they are packed: columns are outputs.</summary>
internal readonly unsafe struct PackedPanels(CpuPackedWeights weights) : IPanelSource
{
    public int Terms => weights.Shape.K;

    public int Panels => weights.Panels;

    public float* Panel(int expert, int panel, int k0, int count, float* buffer) =>
        weights.Panel(expert, panel, k0, count, buffer);

    public float* BFloat16Panel(int expert, int panel, int k0) => weights.BFloat16Panel(expert, panel, k0);

    public float* PairedPanel(int expert, int panel, int k0, int count, float* buffer) =>
        weights.PairedPanel(expert, panel, k0, count, buffer);

    public void Prefetch(int expert, int panel, int k0, int count, int part, int parts)
    {
        byte* memory = weights.Bytes(expert, panel, k0, count, out long bytes);
        Vectors.Prefetch.Bytes(memory + bytes * part / parts, memory + bytes * (part + 1) / parts);
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
            (int from, int lane, int run) = weights.LanesFrom(n);
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
