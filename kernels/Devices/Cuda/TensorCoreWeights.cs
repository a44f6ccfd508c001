using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Ilgpu;
using AfaNative.Kernels.Gpu;
using AfaNative.Kernels.MatrixMultiply;

namespace AfaNative.Kernels.Devices.Cuda;

/// <summary>
/// Weights for the tensor cores: [E][PackedColumns][PackedK], K contiguous and ordered (tap, input), zero padded to whole tiles,
/// in the storage type of the
/// activations. A GEGLU projection's values and gates alternate.
/// </summary>
internal sealed class TensorCoreWeights : PackedWeights
{
    private readonly bool _bfloat16;

    public TensorCoreWeights(WeightStore store, WeightShape shape, ReadOnlySpan<WeightSource> experts, bool bfloat16)
        : base(shape, experts.Length)
    {
        _bfloat16 = bfloat16;
        PackedColumns = Columns(shape);
        PackedK = Terms(shape);
        Memory = store.Add(Bytes(shape, experts.Length));
        Fill(experts);
    }

    /// <summary>Writes the experts' values, rounding what is stored otherwise.</summary>
    public void Fill(ReadOnlySpan<WeightSource> experts)
    {
        var host = new ushort[PackedColumns * PackedK];
        for (int e = 0; e < experts.Length; e++)
        {
            Fill(host, Shape, experts[e], _bfloat16);
            Memory.Write<ushort>((long)e * host.Length * sizeof(ushort), host);
        }
    }

    /// <summary>The bytes.</summary>
    public WeightBlock Memory { get; }

    /// <summary>Out, padded to a multiple of 64.</summary>
    public int PackedColumns { get; }

    /// <summary>K, padded to a multiple of 32.</summary>
    public int PackedK { get; }

    /// <summary>The device's address of the first element.</summary>
    public ulong Address => Memory.Address;

    public override long ByteLength => Memory.Bytes;

    /// <summary>Bytes of packed weights of so many experts.</summary>
    public static long Bytes(WeightShape shape, int experts) => (long)experts * Columns(shape) * Terms(shape) * sizeof(ushort);

    protected override void Dispose(bool disposing) => Memory.Dispose();

    private unsafe void Fill(ushort[] host, WeightShape shape, WeightSource source, bool bfloat16)
    {
        int taps = shape.KernelHeight * shape.KernelWidth,
            half = shape.Out / 2;
        bool asIs = source.Type == (bfloat16 ? ElementType.BFloat16 : ElementType.Float16);
        for (int n = 0; n < shape.Out; n++)
        {
            int column =
                !shape.Geglu ? n
                : n < half ? 2 * n
                : 2 * (n - half) + 1;
            Span<ushort> to = host.AsSpan(column * PackedK, shape.K);
            long from = (long)n * shape.K;
            for (int i = 0; i < shape.In; i++)
            {
                for (int tap = 0; tap < taps; tap++)
                {
                    long at = from + (long)i * taps + tap;
                    to[tap * shape.In + i] = asIs ? ((ushort*)source.Pointer)[at] : Round(Widening.Element(source, at), bfloat16);
                }
            }
        }
    }

    /// <summary>Columns with their padding.</summary>
    public static int Columns(WeightShape shape) => (shape.Out + 63) / 64 * 64;

    /// <summary>K with its padding.</summary>
    public static int Terms(WeightShape shape) => (shape.K + 31) / 32 * 32;

    private static ushort Round(float value, bool bfloat16) =>
        bfloat16 ? PortableMath.NarrowBFloat(value) : BitConverter.HalfToUInt16Bits((System.Half)value);
}
