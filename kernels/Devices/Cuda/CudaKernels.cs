using AfaNative.Kernels.Attention;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Ilgpu;
using AfaNative.Kernels.Elementwise;
using AfaNative.Kernels.Gpu;
using AfaNative.Kernels.MatrixMultiply;
using AfaNative.Kernels.Normalization;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Devices.Cuda;

/// <summary>
/// The ops on CUDA with 16-bit storage: tensor cores and 16-byte accesses wherever channels come in eights, the portable kernels
/// elsewhere.
/// </summary>
internal sealed partial class CudaKernels<TStorage, TMath> : IlgpuKernels<ushort, TStorage>
    where TStorage : struct, IStorage<ushort>
    where TMath : struct, IHalfMath
{
    private readonly IlgpuScratch _partial,
        _statistics;
    private readonly Launcher<TensorCoreArguments> _multiply128x128,
        _multiply128x64,
        _multiply64x64,
        _multiplyUnaligned;
    private readonly Launcher<TensorCoreAttentionArguments> _attention16,
        _attention48,
        _attention64,
        _attention80,
        _attention160;
    private readonly Launcher<NormCudaArguments> _groupStatistics,
        _groupJoin,
        _groupApply,
        _layerNorm;
    private readonly Launcher<ElementwiseCudaArguments> _activate,
        _add,
        _concat,
        _expertsToChannels,
        _mean,
        _upsample,
        _fuse;

    public CudaKernels(Accelerator accelerator)
        : base(accelerator)
    {
        _partial = new IlgpuScratch(accelerator, Stream);
        _statistics = new IlgpuScratch(accelerator, Stream);
        _multiply128x128 = new(accelerator, TensorCoreMultiply<TMath, Tile128x128>.Run);
        _multiply128x64 = new(accelerator, TensorCoreMultiply<TMath, Tile128x64>.Run);
        _multiply64x64 = new(accelerator, TensorCoreMultiply<TMath, Tile64x64>.Run);
        _multiplyUnaligned = new(accelerator, TensorCoreMultiply<TMath, Tile64x64Unaligned>.Run);
        _attention16 = new(accelerator, TensorCoreAttention<TMath, Head16>.Run);
        _attention48 = new(accelerator, TensorCoreAttention<TMath, Head48>.Run);
        _attention64 = new(accelerator, TensorCoreAttention<TMath, Head64>.Run);
        _attention80 = new(accelerator, TensorCoreAttention<TMath, Head80>.Run);
        _attention160 = new(accelerator, TensorCoreAttention<TMath, Head160>.Run);
        _groupStatistics = new(accelerator, NormCuda<TMath>.GroupStatistics);
        _groupJoin = new(accelerator, NormCuda<TMath>.GroupJoin);
        _groupApply = new(accelerator, NormCuda<TMath>.GroupApply);
        _layerNorm = new(accelerator, NormCuda<TMath>.Layer);
        _activate = new(accelerator, ElementwiseCuda<TMath>.Activate);
        _add = new(accelerator, ElementwiseCuda<TMath>.Add);
        _concat = new(accelerator, ElementwiseCuda<TMath>.Concat);
        _expertsToChannels = new(accelerator, ElementwiseCuda<TMath>.ExpertsToChannels);
        _mean = new(accelerator, ElementwiseCuda<TMath>.MeanOverExperts);
        _upsample = new(accelerator, ElementwiseCuda<TMath>.UpsampleNearest);
        _fuse = new(accelerator, ElementwiseCuda<TMath>.FuseExperts);
    }

    /// <inheritdoc/>
    protected override int MemoryGeneration => base.MemoryGeneration + _partial.Generation + _statistics.Generation;

    /// <summary>Every CUDA-only kernel of this storage type, for tools that compile or check them without a device.</summary>
    public static IReadOnlyList<System.Reflection.MethodInfo> CudaOnly =>
        [
            ((Action<TensorCoreArguments>)TensorCoreMultiply<TMath, Tile128x128>.Run).Method,
            ((Action<TensorCoreArguments>)TensorCoreMultiply<TMath, Tile128x64>.Run).Method,
            ((Action<TensorCoreArguments>)TensorCoreMultiply<TMath, Tile64x64>.Run).Method,
            ((Action<TensorCoreArguments>)TensorCoreMultiply<TMath, Tile64x64Unaligned>.Run).Method,
            ((Action<TensorCoreAttentionArguments>)TensorCoreAttention<TMath, Head16>.Run).Method,
            ((Action<TensorCoreAttentionArguments>)TensorCoreAttention<TMath, Head48>.Run).Method,
            ((Action<TensorCoreAttentionArguments>)TensorCoreAttention<TMath, Head64>.Run).Method,
            ((Action<TensorCoreAttentionArguments>)TensorCoreAttention<TMath, Head80>.Run).Method,
            ((Action<TensorCoreAttentionArguments>)TensorCoreAttention<TMath, Head160>.Run).Method,
            ((Action<NormCudaArguments>)NormCuda<TMath>.GroupStatistics).Method,
            ((Action<NormCudaArguments>)NormCuda<TMath>.GroupJoin).Method,
            ((Action<NormCudaArguments>)NormCuda<TMath>.GroupApply).Method,
            ((Action<NormCudaArguments>)NormCuda<TMath>.Layer).Method,
            ((Action<ElementwiseCudaArguments>)ElementwiseCuda<TMath>.Activate).Method,
            ((Action<ElementwiseCudaArguments>)ElementwiseCuda<TMath>.Add).Method,
            ((Action<ElementwiseCudaArguments>)ElementwiseCuda<TMath>.Concat).Method,
            ((Action<ElementwiseCudaArguments>)ElementwiseCuda<TMath>.ExpertsToChannels).Method,
            ((Action<ElementwiseCudaArguments>)ElementwiseCuda<TMath>.MeanOverExperts).Method,
            ((Action<ElementwiseCudaArguments>)ElementwiseCuda<TMath>.UpsampleNearest).Method,
            ((Action<ElementwiseCudaArguments>)ElementwiseCuda<TMath>.FuseExperts).Method,
        ];

    protected override IlgpuGradients<ushort, TStorage> CreateGradients() =>
        new CudaGradients<TStorage, TMath>(this, Accelerator, Stream);

    public override PackedWeights Pack(WeightShape shape, ReadOnlySpan<WeightSource> experts) =>
        shape.In % 8 == 0
            ? new TensorCoreWeights(Weights, shape, experts, typeof(TMath) == typeof(BFloat16Math))
            : base.Pack(shape, experts);

    public override void Repack(PackedWeights weights, ReadOnlySpan<WeightSource> experts)
    {
        if (weights is TensorCoreWeights packed)
            packed.Fill(experts);
        else
            base.Repack(weights, experts);
    }

    public override long PackedBytes(WeightShape shape, ReadOnlySpan<ElementType> types) =>
        shape.In % 8 == 0 ? TensorCoreWeights.Bytes(shape, types.Length) : base.PackedBytes(shape, types);

    public override IRecordedWork? Record(Action work)
    {
        CudaGraph? graph = null;
        Weights.Recording = true;
        Buffers.BeginRecording();
        try
        {
            graph = CudaGraph.Record((ILGPU.Runtime.Cuda.CudaStream)Stream, work, () => MemoryGeneration);
        }
        finally
        {
            Weights.Recording = false;
            Buffers.EndRecording();
            if (graph is null)
                Buffers.ForgetRecording();
        }

        return graph is null ? null : new Recording(this, graph);
    }

    private sealed class Recording(CudaKernels<TStorage, TMath> owner, CudaGraph graph) : IRecordedWork
    {
        private bool _disposed;

        public bool TryReplay()
        {
            owner.Weights.ForgetStaged();
            return graph.TryReplay();
        }

        public void Dispose()
        {
            if (_disposed)
                return;
            _disposed = true;
            graph.Dispose();
            owner.Buffers.ForgetRecording();
        }
    }

    public override void Dispose()
    {
        _partial.Dispose();
        _statistics.Dispose();
        base.Dispose();
    }

    private static ulong At(DeviceBuffer? buffer) => buffer is null ? 0 : IlgpuBuffer<ushort>.AddressOf(buffer);

    private static int Blocks(long threads) => Count((threads + 255) / 256);

    private void Launch(Launcher<ElementwiseCudaArguments> launcher, long elements, ElementwiseCudaArguments s)
    {
        s.Chunks = Count(elements / 8);
        launcher.Launch(Stream, new Index3D(Blocks(s.Chunks), 1, 1), 256, s);
    }

    // Compiled when first used: a run needs a few of them.
    private sealed class Launcher<TArguments>(Accelerator accelerator, Action<TArguments> kernel)
        where TArguments : struct
    {
        private Action<AcceleratorStream, KernelConfig, TArguments>? _launch;

        public void Launch(AcceleratorStream stream, Index3D grid, int threads, TArguments arguments)
        {
            _launch ??= accelerator.LoadKernel(kernel);
            _launch(stream, new KernelConfig(grid, new Index3D(threads, 1, 1)), arguments);
        }
    }
}
