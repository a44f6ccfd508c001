using AfaNative.Kernels.Attention;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Elementwise;
using AfaNative.Kernels.Gpu;
using AfaNative.Kernels.MatrixMultiply;
using AfaNative.Kernels.Normalization;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Devices.Ilgpu;

/// <summary>The portable kernels, launched on the accelerator's stream in order. Kernels are compiled when first used.</summary>
internal partial class IlgpuKernels<T, TStorage> : IlgpuBackend, IKernels
    where T : unmanaged
    where TStorage : struct, IStorage<T>
{
    private readonly Accelerator _accelerator;
    private readonly IlgpuPool<T> _pool;
    private readonly IlgpuScratch _partial,
        _statistics;
    private readonly Lazy<IlgpuGradients<T, TStorage>> _gradients;
    private readonly MemoryBuffer1D<T, Stride1D.Dense> _none;
    private readonly MultiplyLauncher<float, Float32Storage> _multiply32;
    private readonly MultiplyLauncher<ushort, Float16Storage> _multiply16;
    private readonly MultiplyLauncher<ushort, BFloat16Storage> _multiplyBFloat16;
    private readonly Lazy<
        Action<AcceleratorStream, Index1D, AttentionArguments, ArrayView<T>, ArrayView<T>, ArrayView<T>, ArrayView<T>>
    > _attention;
    private readonly Lazy<Action<AcceleratorStream, Index1D, NormArguments, ArrayView<T>, ArrayView<float>>> _groupStatistics;
    private readonly Lazy<Action<AcceleratorStream, Index1D, NormArguments, ArrayView<float>, ArrayView<float>>> _groupJoin;
    private readonly Lazy<
        Action<
            AcceleratorStream,
            Index1D,
            NormArguments,
            ArrayView<T>,
            ArrayView<float>,
            ArrayView<T>,
            ArrayView<T>,
            ArrayView<T>
        >
    > _groupApply;
    private readonly Lazy<
        Action<AcceleratorStream, Index1D, NormArguments, ArrayView<T>, ArrayView<T>, ArrayView<T>, ArrayView<T>>
    > _layerNorm;
    private readonly Lazy<Action<AcceleratorStream, Index1D, int, ArrayView<T>, ArrayView<T>>> _softmax,
        _activate,
        _geglu;
    private readonly Lazy<Action<AcceleratorStream, Index1D, int, int, int, ArrayView<T>, ArrayView<T>, ArrayView<T>>> _add;
    private readonly Lazy<Action<AcceleratorStream, Index1D, ConcatArguments, ArrayView<T>, ArrayView<T>, ArrayView<T>>> _concat;
    private readonly Lazy<Action<AcceleratorStream, Index1D, int, int, ArrayView<T>, ArrayView<T>>> _mean;
    private readonly Lazy<Action<AcceleratorStream, Index1D, int, int, int, ArrayView<T>, ArrayView<T>>> _expertsToChannels;
    private readonly Lazy<Action<AcceleratorStream, Index1D, UpsampleShape, ArrayView<T>, ArrayView<T>>> _upsample;
    private readonly Lazy<
        Action<AcceleratorStream, Index1D, int, int, int, int, ArrayView<int>, ArrayView<T>, ArrayView<T>, ArrayView<T>>
    > _tokens;
    private readonly Lazy<
        Action<AcceleratorStream, Index1D, FusionShape, int, ArrayView<T>, ArrayView<T>, ArrayView<T>, ArrayView<T>>
    > _fuse;

    public IlgpuKernels(Accelerator accelerator)
    {
        _accelerator = accelerator;
        // CUDA's null stream cannot be recorded.
        Stream = accelerator.AcceleratorType == AcceleratorType.Cuda ? accelerator.CreateStream() : accelerator.DefaultStream;
        _pool = new IlgpuPool<T>(accelerator);
        _partial = new IlgpuScratch(accelerator, Stream);
        _statistics = new IlgpuScratch(accelerator, Stream);
        Weights = new WeightStore(accelerator, Stream);
        _gradients = new(CreateGradients);
        _none = accelerator.Allocate1D<T>(64);
        _multiply32 = new(accelerator);
        _multiply16 = new(accelerator);
        _multiplyBFloat16 = new(accelerator);
        _attention = new(() =>
            accelerator.LoadAutoGroupedKernel<
                Index1D,
                AttentionArguments,
                ArrayView<T>,
                ArrayView<T>,
                ArrayView<T>,
                ArrayView<T>
            >(AttentionIlgpu<T, TStorage>.Run)
        );
        _groupStatistics = new(() =>
            accelerator.LoadAutoGroupedKernel<Index1D, NormArguments, ArrayView<T>, ArrayView<float>>(
                NormIlgpu<T, TStorage>.GroupStatistics
            )
        );
        _groupJoin = new(() =>
            accelerator.LoadAutoGroupedKernel<Index1D, NormArguments, ArrayView<float>, ArrayView<float>>(
                NormIlgpu<T, TStorage>.GroupJoin
            )
        );
        _groupApply = new(() =>
            accelerator.LoadAutoGroupedKernel<
                Index1D,
                NormArguments,
                ArrayView<T>,
                ArrayView<float>,
                ArrayView<T>,
                ArrayView<T>,
                ArrayView<T>
            >(NormIlgpu<T, TStorage>.GroupApply)
        );
        _layerNorm = new(() =>
            accelerator.LoadAutoGroupedKernel<Index1D, NormArguments, ArrayView<T>, ArrayView<T>, ArrayView<T>, ArrayView<T>>(
                NormIlgpu<T, TStorage>.Layer
            )
        );
        _softmax = new(() =>
            accelerator.LoadAutoGroupedKernel<Index1D, int, ArrayView<T>, ArrayView<T>>(NormIlgpu<T, TStorage>.Softmax)
        );
        _activate = new(() =>
            accelerator.LoadAutoGroupedKernel<Index1D, int, ArrayView<T>, ArrayView<T>>(ElementwiseIlgpu<T, TStorage>.Activate)
        );
        _geglu = new(() =>
            accelerator.LoadAutoGroupedKernel<Index1D, int, ArrayView<T>, ArrayView<T>>(ElementwiseIlgpu<T, TStorage>.Geglu)
        );
        _add = new(() =>
            accelerator.LoadAutoGroupedKernel<Index1D, int, int, int, ArrayView<T>, ArrayView<T>, ArrayView<T>>(
                ElementwiseIlgpu<T, TStorage>.Add
            )
        );
        _concat = new(() =>
            accelerator.LoadAutoGroupedKernel<Index1D, ConcatArguments, ArrayView<T>, ArrayView<T>, ArrayView<T>>(
                ElementwiseIlgpu<T, TStorage>.Concat
            )
        );
        _mean = new(() =>
            accelerator.LoadAutoGroupedKernel<Index1D, int, int, ArrayView<T>, ArrayView<T>>(
                ElementwiseIlgpu<T, TStorage>.MeanOverExperts
            )
        );
        _expertsToChannels = new(() =>
            accelerator.LoadAutoGroupedKernel<Index1D, int, int, int, ArrayView<T>, ArrayView<T>>(
                ElementwiseIlgpu<T, TStorage>.ExpertsToChannels
            )
        );
        _upsample = new(() =>
            accelerator.LoadAutoGroupedKernel<Index1D, UpsampleShape, ArrayView<T>, ArrayView<T>>(
                ElementwiseIlgpu<T, TStorage>.UpsampleNearest
            )
        );
        _tokens = new(() =>
            accelerator.LoadAutoGroupedKernel<
                Index1D,
                int,
                int,
                int,
                int,
                ArrayView<int>,
                ArrayView<T>,
                ArrayView<T>,
                ArrayView<T>
            >(ElementwiseIlgpu<T, TStorage>.TokenEmbedding)
        );
        _fuse = new(() =>
            accelerator.LoadAutoGroupedKernel<Index1D, FusionShape, int, ArrayView<T>, ArrayView<T>, ArrayView<T>, ArrayView<T>>(
                ElementwiseIlgpu<T, TStorage>.FuseExperts
            )
        );
    }

    public override IKernels Ops => this;

    public override WeightStore Weights { get; }

    public override AcceleratorStream Queue => Stream;

    public override IGradients Gradients => _gradients.Value;

    /// <summary>Called when gradients are first wanted.</summary>
    protected virtual IlgpuGradients<T, TStorage> CreateGradients() => new(_accelerator, Stream);

    /// <summary>Everything runs on this stream, in order.</summary>
    protected AcceleratorStream Stream { get; }

    /// <summary>The device.</summary>
    protected Accelerator Accelerator => _accelerator;

    /// <summary>Changes whenever memory that recorded work may use went back to the driver.</summary>
    protected virtual int MemoryGeneration =>
        _pool.Generation + _partial.Generation + _statistics.Generation + Weights.Generation;

    /// <summary>Where buffers come from.</summary>
    protected IlgpuPool<T> Buffers => _pool;

    /// <summary>
    /// Every portable kernel of this storage type, for tools that compile or check them without a device: those of one thread per
    /// index, and those of groups.
    /// </summary>
    public static (
        IReadOnlyList<System.Reflection.MethodInfo> Implicit,
        IReadOnlyList<System.Reflection.MethodInfo> Grouped
    ) All =>
        (
            [
                .. Methods(typeof(MatrixMultiplyIlgpu<T, TStorage, float, Float32Storage>), "Direct"),
                .. Methods(typeof(MatrixMultiplyIlgpu<T, TStorage, ushort, Float16Storage>), "Direct"),
                .. Methods(typeof(MatrixMultiplyIlgpu<T, TStorage, ushort, BFloat16Storage>), "Direct"),
                .. Methods(typeof(AttentionIlgpu<T, TStorage>)),
                .. Methods(typeof(NormIlgpu<T, TStorage>)),
                .. Methods(typeof(ElementwiseIlgpu<T, TStorage>)),
            ],
            [
                .. Methods(typeof(MatrixMultiplyIlgpu<T, TStorage, float, Float32Storage>), "Tiled"),
                .. Methods(typeof(MatrixMultiplyIlgpu<T, TStorage, ushort, Float16Storage>), "Tiled"),
                .. Methods(typeof(MatrixMultiplyIlgpu<T, TStorage, ushort, BFloat16Storage>), "Tiled"),
            ]
        );

    public override long LiveBytes => _pool.LiveBytes;

    public override PackedWeights Pack(WeightShape shape, ReadOnlySpan<WeightSource> experts) =>
        new IlgpuPackedWeights(Weights, shape, experts);

    public override void Repack(PackedWeights weights, ReadOnlySpan<WeightSource> experts) =>
        ((IlgpuPackedWeights)weights).Fill(experts);

    public override long PackedBytes(WeightShape shape, ReadOnlySpan<ElementType> types) =>
        IlgpuPackedWeights.Bytes(shape, types);

    public override long BufferBytes(long length) =>
        IlgpuPool<T>.Capacity(length) * System.Runtime.CompilerServices.Unsafe.SizeOf<T>();

    public override DeviceBuffer Allocate(long length) => _pool.Rent(length);

    public override void Upload(ReadOnlySpan<float> source, DeviceBuffer destination, long offset = 0)
    {
        if (source.Length == 0)
            return;
        var stored = new T[source.Length];
        if (stored is float[] wide)
            source.CopyTo(wide);
        else if (typeof(TStorage) == typeof(Float16Storage))
            Narrow(source, (ushort[])(object)stored, v => BitConverter.HalfToUInt16Bits((System.Half)v));
        else
            Narrow(source, (ushort[])(object)stored, PortableMath.NarrowBFloat);
        // Waits until the copy is done, as Download does.
        Of(destination).SubView(offset, stored.Length).CopyFromCPU(Stream, stored);
    }

    public override void Download(DeviceBuffer source, Span<float> destination)
    {
        if (destination.Length == 0)
            return;
        var stored = new T[destination.Length];
        Of(source).SubView(0, stored.Length).CopyToCPU(Stream, stored);
        if (stored is float[] wide)
            wide.CopyTo(destination);
        else if (typeof(TStorage) == typeof(Float16Storage))
            Widen((ushort[])(object)stored, destination, v => (float)BitConverter.UInt16BitsToHalf(v));
        else
            Widen((ushort[])(object)stored, destination, v => BitConverter.UInt32BitsToSingle((uint)v << 16));
    }

    public override void Dispose()
    {
        _none.Dispose();
        _partial.Dispose();
        _statistics.Dispose();
        if (_gradients.IsValueCreated)
            _gradients.Value.Dispose();
        Weights.Dispose();
        _pool.Dispose();
        if (_accelerator.AcceleratorType == AcceleratorType.Cuda)
            Stream.Dispose();
    }

    private static void Narrow(ReadOnlySpan<float> from, ushort[] to, Func<float, ushort> convert)
    {
        for (int i = 0; i < to.Length; i++)
            to[i] = convert(from[i]);
    }

    private static void Widen(ushort[] from, Span<float> to, Func<ushort, float> convert)
    {
        for (int i = 0; i < from.Length; i++)
            to[i] = convert(from[i]);
    }

    private ArrayView<T> Or(DeviceBuffer? buffer) => buffer is null ? _none.View.AsContiguous() : Of(buffer);

    private static ArrayView<T> Of(DeviceBuffer buffer) => IlgpuBuffer<T>.ViewOf(buffer);

    /// <summary>Checked: kernels index with 32 bits.</summary>
    protected static int Count(long count) => IlgpuMemory.Index(count);

    private static IEnumerable<System.Reflection.MethodInfo> Methods(Type type, string? name = null) =>
        type.GetMethods(
                System.Reflection.BindingFlags.Public
                    | System.Reflection.BindingFlags.Static
                    | System.Reflection.BindingFlags.DeclaredOnly
            )
            .Where(m => name is null || m.Name == name);
}
