using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.MatrixMultiply;

namespace AfaNative.Kernels.Devices.Ilgpu;

/// <summary>Weights [E][K][columns] in their storage type; a GEGLU projection's values and gates alternate.</summary>
internal sealed unsafe class IlgpuPackedWeights : PackedWeights
{
    public IlgpuPackedWeights(WeightStore store, WeightShape shape, ReadOnlySpan<WeightSource> experts)
        : base(shape, experts.Length)
    {
        Span<ElementType> types = stackalloc ElementType[experts.Length];
        for (int e = 0; e < types.Length; e++)
            types[e] = experts[e].Type;
        Type = Common(types);
        long per = (long)shape.K * shape.Out;
        if (per * experts.Length > int.MaxValue)
            throw new ArgumentException($"a weight of {per * experts.Length} elements is beyond this device's 32-bit indices");
        Memory = store.Add(Bytes(shape, types));
        Fill(experts);
    }

    /// <summary>Writes the values of experts of the same storage type.</summary>
    public void Fill(ReadOnlySpan<WeightSource> experts)
    {
        long per = (long)Shape.K * Shape.Out;
        var wide = new float[Type == ElementType.Float32 ? per : 0];
        var narrow = new ushort[Type == ElementType.Float32 ? 0 : per];
        for (int e = 0; e < experts.Length; e++)
        {
            if (Type == ElementType.Float32)
            {
                for (long i = 0; i < per; i++)
                    wide[Position(i)] = Widening.Element(experts[e], i);
                Memory.Write<float>(e * per * sizeof(float), wide);
            }
            else
            {
                for (long i = 0; i < per; i++)
                    narrow[Position(i)] = ((ushort*)experts[e].Pointer)[i];
                Memory.Write<ushort>(e * per * sizeof(ushort), narrow);
            }
        }
    }

    /// <summary>Storage type of all experts.</summary>
    public ElementType Type { get; }

    /// <summary>The bytes.</summary>
    public WeightBlock Memory { get; }

    public override long ByteLength => Memory.Bytes;

    /// <summary>Bytes of packed weights of experts of these types.</summary>
    public static long Bytes(WeightShape shape, ReadOnlySpan<ElementType> types) =>
        (long)types.Length * shape.K * shape.Out * Common(types).Size();

    protected override void Dispose(bool disposing) => Memory.Dispose();

    // Experts of different types are widened.
    private static ElementType Common(ReadOnlySpan<ElementType> types)
    {
        foreach (ElementType type in types)
        {
            if (type != types[0])
                return ElementType.Float32;
        }

        return types[0];
    }

    // File order [Out][In][taps] to [taps][In][Out].
    private long Position(long index)
    {
        int taps = Shape.KernelHeight * Shape.KernelWidth;
        long n = index / Shape.K,
            rest = index - n * Shape.K,
            i = rest / taps,
            tap = rest - i * taps;
        int half = Shape.Out / 2;
        long column =
            !Shape.Geglu ? n
            : n < half ? 2 * n
            : 2 * (n - half) + 1;
        return (tap * Shape.In + i) * Shape.Out + column;
    }
}
