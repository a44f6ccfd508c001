using AfaNative.Kernels.MatrixMultiply;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Devices.Cuda;

/// <summary>
/// Weights for the tensor cores: [E][PackedColumns][PackedK], K contiguous and ordered (tap, input), zero padded to whole tiles, in the storage type of the
/// activations. A GEGLU projection's values and gates alternate.
/// </summary>
internal sealed class TensorCoreWeights : PackedWeights
{
    private readonly MemoryBuffer1D<ushort, Stride1D.Dense> _memory;

    public TensorCoreWeights(Accelerator accelerator, WeightShape shape, ReadOnlySpan<WeightSource> experts, bool bfloat16) : base(shape, experts.Length)
    {
        PackedColumns = (shape.Out + 63) / 64 * 64;
        PackedK = (shape.K + 31) / 32 * 32;
        _memory = accelerator.Allocate1D<ushort>((long)experts.Length * PackedColumns * PackedK);
        var host = new ushort[PackedColumns * PackedK];
        for (int e = 0; e < experts.Length; e++)
        {
            Fill(host, shape, experts[e], bfloat16);
            _memory.View.AsContiguous().SubView((long)e * host.Length, host.Length).CopyFromCPU(host);
        }
    }

    /// <summary>Out, padded to a multiple of 64.</summary>
    public int PackedColumns { get; }

    /// <summary>K, padded to a multiple of 32.</summary>
    public int PackedK { get; }

    /// <summary>The device's address of the first element.</summary>
    public ulong Address => (ulong)_memory.NativePtr;

    public override long ByteLength => _memory.LengthInBytes;

    protected override void Dispose(bool disposing) => _memory.Dispose();

    private unsafe void Fill(ushort[] host, WeightShape shape, WeightSource source, bool bfloat16)
    {
        int taps = shape.KernelHeight * shape.KernelWidth, half = shape.Out / 2;
        bool asIs = source.Type == (bfloat16 ? ElementType.BFloat16 : ElementType.Float16);
        for (int n = 0; n < shape.Out; n++)
        {
            int column = !shape.Geglu ? n : n < half ? 2 * n : 2 * (n - half) + 1;
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

    private static ushort Round(float value, bool bfloat16) => bfloat16 ? Ilgpu.PortableMath.NarrowBFloat(value) : BitConverter.HalfToUInt16Bits((System.Half)value);
}
