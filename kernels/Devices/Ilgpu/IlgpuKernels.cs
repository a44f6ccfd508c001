using AfaNative.Kernels.Attention;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Elementwise;
using AfaNative.Kernels.Embedding;
using AfaNative.Kernels.Gpu;
using AfaNative.Kernels.MatrixMultiply;
using AfaNative.Kernels.Normalization;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Devices.Ilgpu;

/// <summary>The portable kernels, launched on the accelerator's stream in order. Kernels are compiled when first used.</summary>
internal class IlgpuKernels<T, TStorage> : IlgpuBackend, IKernels
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

    public virtual void Linear(
        in LinearShape shape,
        DeviceBuffer x,
        PackedWeights weights,
        in Epilogue epilogue,
        DeviceBuffer y
    ) => Multiply(shape.AsConvolution(), x, weights, epilogue, y);

    public virtual void Convolution(
        in ConvolutionShape shape,
        DeviceBuffer x,
        PackedWeights weights,
        in Epilogue epilogue,
        DeviceBuffer y
    ) => Multiply(shape, x, weights, epilogue, y);

    public virtual void Attention(in AttentionShape shape, DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer y)
    {
        var arguments = new AttentionArguments
        {
            Heads = shape.Heads,
            HeadWidth = shape.HeadWidth,
            Queries = shape.Queries,
            Keys = shape.Keys,
            Causal = shape.Causal ? 1 : 0,
            Scale = shape.Scale,
            Chunks = (shape.HeadWidth + AttentionIlgpu<T, TStorage>.Chunk - 1) / AttentionIlgpu<T, TStorage>.Chunk,
        };
        _attention.Value(
            Stream,
            Count((long)shape.Experts * shape.Batch * shape.Heads * shape.Queries * arguments.Chunks),
            arguments,
            Of(q),
            Of(k),
            Of(v),
            Of(y)
        );
    }

    public virtual void GroupNorm(in GroupNormShape shape, DeviceBuffer x, DeviceBuffer weight, DeviceBuffer bias, DeviceBuffer y)
    {
        int maps = (shape.SharedInput ? 1 : shape.Experts) * shape.Batch;
        NormArguments s = NormArguments.For(shape);
        int groups = maps * shape.Groups;
        ArrayView<float> partial = _partial.View((long)groups * s.Slices * 3),
            statistics = _statistics.View((long)groups * 2);
        _groupStatistics.Value(Stream, groups * s.Slices, s, Of(x), partial);
        _groupJoin.Value(Stream, groups, s, partial, statistics);
        _groupApply.Value(
            Stream,
            Count((long)shape.Experts * shape.Batch * shape.Pixels * shape.Channels),
            s,
            Of(x),
            statistics,
            Of(weight),
            Of(bias),
            Of(y)
        );
    }

    public virtual void LayerNorm(in LayerNormShape shape, DeviceBuffer x, DeviceBuffer weight, DeviceBuffer bias, DeviceBuffer y)
    {
        var s = new NormArguments
        {
            Rows = shape.Rows,
            Channels = shape.Channels,
            SharedInput = shape.SharedInput ? 1 : 0,
            Epsilon = shape.Epsilon,
        };
        _layerNorm.Value(Stream, shape.Experts * shape.Rows, s, Of(x), Of(weight), Of(bias), Of(y));
    }

    public virtual void Activate(ActivationKind kind, long count, DeviceBuffer x, DeviceBuffer y) =>
        _activate.Value(Stream, Count(count), (int)kind, Of(x), Of(y));

    public virtual void Geglu(long rows, int width, DeviceBuffer x, DeviceBuffer y) =>
        _geglu.Value(Stream, Count(rows * width), width, Of(x), Of(y));

    public virtual void Softmax(long rows, int width, DeviceBuffer x, DeviceBuffer y) =>
        _softmax.Value(Stream, Count(rows), width, Of(x), Of(y));

    public virtual void UpsampleNearest(in UpsampleShape shape, DeviceBuffer x, DeviceBuffer y) =>
        _upsample.Value(Stream, Count((long)shape.Maps * shape.OutHeight * shape.OutWidth * shape.Channels), shape, Of(x), Of(y));

    public virtual void Concat(in ConcatShape shape, DeviceBuffer a, DeviceBuffer b, DeviceBuffer y)
    {
        var s = new ConcatArguments
        {
            Rows = Count(shape.Rows),
            ChannelsA = shape.ChannelsA,
            ChannelsB = shape.ChannelsB,
            SharedA = shape.SharedA ? 1 : 0,
            SharedB = shape.SharedB ? 1 : 0,
        };
        _concat.Value(Stream, Count(shape.Experts * shape.Rows * (shape.ChannelsA + shape.ChannelsB)), s, Of(a), Of(b), Of(y));
    }

    public virtual void Add(in AddShape shape, DeviceBuffer a, DeviceBuffer b, DeviceBuffer y) =>
        _add.Value(
            Stream,
            Count(shape.Experts * shape.Count),
            Count(shape.Count),
            shape.SharedA ? 1 : 0,
            shape.SharedB ? 1 : 0,
            Of(a),
            Of(b),
            Of(y)
        );

    public virtual void MeanOverExperts(int experts, long count, DeviceBuffer x, DeviceBuffer y) =>
        _mean.Value(Stream, Count(count), experts, Count(count), Of(x), Of(y));

    public virtual void ExpertsToChannels(int experts, long rows, int channels, DeviceBuffer x, DeviceBuffer y) =>
        _expertsToChannels.Value(Stream, Count(experts * rows * channels), experts, Count(rows), channels, Of(x), Of(y));

    // Sines and cosines of a few numbers: the host's are exact, and one small copy is cheaper than a kernel.
    public unsafe void TimestepEmbedding(ReadOnlySpan<float> timesteps, int dim, DeviceBuffer y)
    {
        var host = new float[timesteps.Length * dim];
        fixed (float* pointer = host)
            Embeddings.Timesteps(timesteps, dim, pointer);
        Upload(host, y);
    }

    public void TokenEmbedding(
        int experts,
        int vocabulary,
        int positionRows,
        int length,
        int dim,
        ReadOnlySpan<int> ids,
        DeviceBuffer tokens,
        DeviceBuffer positions,
        DeviceBuffer y
    )
    {
        using MemoryBuffer1D<int, Stride1D.Dense> device = _accelerator.Allocate1D(ids.ToArray());
        _tokens.Value(
            Stream,
            Count((long)experts * ids.Length * dim),
            vocabulary,
            positionRows,
            length,
            dim,
            device.View.AsContiguous(),
            Of(tokens),
            Of(positions),
            Of(y)
        );
        Stream.Synchronize();
    }

    public virtual void FuseExperts(
        in FusionShape shape,
        DeviceBuffer features,
        DeviceBuffer logits,
        DeviceBuffer y,
        DeviceBuffer? maps
    ) =>
        _fuse.Value(
            Stream,
            Count((long)shape.Batch * shape.Pixels * shape.Channels),
            shape,
            maps is null ? 0 : 1,
            Of(features),
            Of(logits),
            Of(y),
            maps is null ? _none.View.AsContiguous() : Of(maps)
        );

    private void Multiply(in ConvolutionShape shape, DeviceBuffer x, PackedWeights weights, in Epilogue epilogue, DeviceBuffer y)
    {
        var packed = (IlgpuPackedWeights)weights;
        WeightShape w = weights.Shape;
        MultiplyArguments s = MultiplyArguments.For(shape, w);
        // 2: leave the gate to a later op.
        if (w.Geglu && epilogue.KeepGates)
            s.Geglu = 2;
        s.Activation = (int)epilogue.Activation;
        s.HasBias = epilogue.Bias is null ? 0 : 1;
        s.HasRowBias = epilogue.RowBias is null ? 0 : 1;
        s.RowsPerGroup = Math.Max(1, epilogue.RowsPerGroup);
        s.Groups = epilogue.RowsPerGroup > 0 ? (s.Rows + epilogue.RowsPerGroup - 1) / epilogue.RowsPerGroup : 1;
        s.HasResidual = epilogue.Residual is null ? 0 : 1;
        s.ResidualStride = epilogue.SharedResidual ? 0 : s.Rows * s.Columns;
        ArrayView<T> bias = Or(epilogue.Bias),
            rowBias = Or(epilogue.RowBias),
            residual = Or(epilogue.Residual);
        // ILGPU's CPU accelerator pays milliseconds for a barrier.
        bool direct = _accelerator.AcceleratorType == AcceleratorType.CPU || s.Rows < 8;
        switch (packed.Type)
        {
            case ElementType.Float32:
                _multiply32.Launch(Stream, direct, s, w.Out, Of(x), packed.Memory.View<float>(), bias, rowBias, residual, Of(y));
                break;
            case ElementType.Float16:
                _multiply16.Launch(Stream, direct, s, w.Out, Of(x), packed.Memory.View<ushort>(), bias, rowBias, residual, Of(y));
                break;
            default:
                _multiplyBFloat16.Launch(
                    Stream,
                    direct,
                    s,
                    w.Out,
                    Of(x),
                    packed.Memory.View<ushort>(),
                    bias,
                    rowBias,
                    residual,
                    Of(y)
                );
                break;
        }
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

    private sealed class MultiplyLauncher<W, WStorage>(Accelerator accelerator)
        where W : unmanaged
        where WStorage : struct, IStorage<W>
    {
        private const int Tile = 64;

        private readonly Lazy<
            Action<
                AcceleratorStream,
                Index1D,
                MultiplyArguments,
                ArrayView<T>,
                ArrayView<W>,
                ArrayView<T>,
                ArrayView<T>,
                ArrayView<T>,
                ArrayView<T>
            >
        > _direct = new(() =>
            accelerator.LoadAutoGroupedKernel<
                Index1D,
                MultiplyArguments,
                ArrayView<T>,
                ArrayView<W>,
                ArrayView<T>,
                ArrayView<T>,
                ArrayView<T>,
                ArrayView<T>
            >(MatrixMultiplyIlgpu<T, TStorage, W, WStorage>.Direct)
        );

        private readonly Lazy<
            Action<
                AcceleratorStream,
                KernelConfig,
                MultiplyArguments,
                ArrayView<T>,
                ArrayView<W>,
                ArrayView<T>,
                ArrayView<T>,
                ArrayView<T>,
                ArrayView<T>
            >
        > _tiled = new(() =>
            accelerator.LoadKernel<
                MultiplyArguments,
                ArrayView<T>,
                ArrayView<W>,
                ArrayView<T>,
                ArrayView<T>,
                ArrayView<T>,
                ArrayView<T>
            >(MatrixMultiplyIlgpu<T, TStorage, W, WStorage>.Tiled)
        );

        public void Launch(
            AcceleratorStream stream,
            bool direct,
            MultiplyArguments s,
            int packedColumns,
            ArrayView<T> x,
            ArrayView<W> w,
            ArrayView<T> bias,
            ArrayView<T> rowBias,
            ArrayView<T> residual,
            ArrayView<T> y
        )
        {
            if (direct)
            {
                _direct.Value(stream, Count((long)s.Experts * s.Rows * s.Columns), s, x, w, bias, rowBias, residual, y);
                return;
            }

            var grid = new KernelConfig(
                new Index3D((packedColumns + Tile - 1) / Tile, (s.Rows + Tile - 1) / Tile, s.Experts),
                new Index3D(16, 16, 1)
            );
            _tiled.Value(stream, grid, s, x, w, bias, rowBias, residual, y);
        }
    }
}
