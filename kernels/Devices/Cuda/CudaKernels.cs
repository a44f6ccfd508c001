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
internal sealed class CudaKernels<TStorage, TMath> : IlgpuKernels<ushort, TStorage>
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

    public override void Linear(
        in LinearShape shape,
        DeviceBuffer x,
        PackedWeights weights,
        in Epilogue epilogue,
        DeviceBuffer y
    ) => Convolution(shape.AsConvolution(), x, weights, epilogue, y);

    public override void Convolution(
        in ConvolutionShape shape,
        DeviceBuffer x,
        PackedWeights weights,
        in Epilogue epilogue,
        DeviceBuffer y
    )
    {
        if (weights is not TensorCoreWeights packed)
        {
            base.Convolution(shape, x, weights, epilogue, y);
            return;
        }

        WeightShape w = weights.Shape;
        if (
            w.Geglu
            && (epilogue.RowBias is not null || epilogue.Residual is not null || epilogue.Activation != ActivationKind.None)
        )
        {
            throw new ArgumentException(
                "a GEGLU projection takes a bias, but no row bias, residual or second activation on this device"
            );
        }

        Multiply(shape, x, w, packed.Address, epilogue, y);
    }

    /// <summary>A convolution with weights as <see cref="TensorCoreWeights"/> lays them out.</summary>
    public void Multiply(
        in ConvolutionShape shape,
        DeviceBuffer x,
        WeightShape w,
        ulong weights,
        in Epilogue epilogue,
        DeviceBuffer y
    )
    {
        int packedColumns = TensorCoreWeights.Columns(w);
        int rows = Count((long)shape.Batch * shape.OutHeight * shape.OutWidth),
            columns = w.Geglu ? w.Out / 2 : w.Out;
        MultiplyTile tile = MultiplyTiles.Choose(
            rows,
            w.Out,
            shape.Experts,
            columns % (w.Geglu ? 4 : 8) == 0,
            Accelerator.NumMultiprocessors
        );
        int columnTiles = packedColumns / tile.Columns;
        var s = new TensorCoreArguments
        {
            X = At(x),
            W = weights,
            Bias = At(epilogue.Bias),
            RowBias = At(epilogue.RowBias),
            Residual = At(epilogue.Residual),
            Y = At(y),
            ExpertStride = shape.SharedInput ? 0 : (long)shape.Batch * shape.Height * shape.Width * w.In,
            ResidualStride = epilogue.SharedResidual ? 0 : (long)rows * columns,
            Rows = rows,
            Columns = columns,
            PackedColumns = packedColumns,
            PackedK = TensorCoreWeights.Terms(w),
            Inputs = w.In,
            Height = shape.Height,
            Width = shape.Width,
            OutHeight = shape.OutHeight,
            OutWidth = shape.OutWidth,
            Stride = shape.Stride,
            PadTop = shape.PadTop,
            PadLeft = shape.PadLeft,
            KernelHeight = shape.KernelHeight,
            KernelWidth = shape.KernelWidth,
            ColumnTiles = columnTiles,
            Geglu =
                !w.Geglu ? 0
                : epilogue.KeepGates ? 2
                : 1,
            Activation = (int)epilogue.Activation,
            RowsPerGroup = Math.Max(1, epilogue.RowsPerGroup),
            Groups = epilogue.RowsPerGroup > 0 ? (rows + epilogue.RowsPerGroup - 1) / epilogue.RowsPerGroup : 1,
        };
        Launcher<TensorCoreArguments> launcher = tile.Kind switch
        {
            MultiplyTileKind.Rows128Columns128 => _multiply128x128,
            MultiplyTileKind.Rows128Columns64 => _multiply128x64,
            MultiplyTileKind.Rows64Columns64 => _multiply64x64,
            _ => _multiplyUnaligned,
        };
        // Experts that read one input go side by side along X, so that blocks in flight together share its tiles in the L2 cache.
        bool shared = shape.SharedInput && shape.Experts > 1;
        launcher.Launch(
            Stream,
            new Index3D(
                columnTiles * (shared ? shape.Experts : 1),
                (rows + tile.Rows - 1) / tile.Rows,
                shared ? 1 : shape.Experts
            ),
            tile.Threads,
            s
        );
    }

    public override void Attention(in AttentionShape shape, DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer y)
    {
        if (shape.HeadWidth % 8 != 0 || shape.HeadWidth > 160)
        {
            base.Attention(shape, q, k, v, y);
            return;
        }

        var s = new TensorCoreAttentionArguments
        {
            Q = At(q),
            K = At(k),
            V = At(v),
            Y = At(y),
            Heads = shape.Heads,
            HeadWidth = shape.HeadWidth,
            Queries = shape.Queries,
            Keys = shape.Keys,
            Causal = shape.Causal ? 1 : 0,
            Scale = shape.Scale * 1.44269504f,
        };
        Launcher<TensorCoreAttentionArguments> launcher = shape.HeadWidth switch
        {
            <= 16 => _attention16,
            <= 48 => _attention48,
            <= 64 => _attention64,
            <= 80 => _attention80,
            _ => _attention160,
        };
        launcher.Launch(Stream, new Index3D((shape.Queries + 63) / 64, shape.Heads, shape.Experts * shape.Batch), 128, s);
    }

    public override void GroupNorm(
        in GroupNormShape shape,
        DeviceBuffer x,
        DeviceBuffer weight,
        DeviceBuffer bias,
        DeviceBuffer y
    )
    {
        if (shape.Channels % 8 != 0 || shape.Channels > NormCuda<TMath>.MaxChannels)
        {
            base.GroupNorm(shape, x, weight, bias, y);
            return;
        }

        int maps = (shape.SharedInput ? 1 : shape.Experts) * shape.Batch,
            groups = maps * shape.Groups,
            slices = Math.Clamp(shape.Pixels / 32, 1, 128);
        var s = new NormCudaArguments
        {
            X = At(x),
            Weight = At(weight),
            Bias = At(bias),
            Y = At(y),
            Partial = _partial.Address((long)groups * slices * 3),
            Statistics = _statistics.Address((long)groups * 2),
            Batch = shape.Batch,
            Pixels = shape.Pixels,
            Channels = shape.Channels,
            Groups = shape.Groups,
            Slices = slices,
            SharedInput = shape.SharedInput ? 1 : 0,
            Silu = shape.Silu ? 1 : 0,
            Rows = groups,
            Epsilon = shape.Epsilon,
        };
        _groupStatistics.Launch(Stream, new Index3D(slices, maps, 1), 256, s);
        _groupJoin.Launch(Stream, new Index3D(Blocks(groups), 1, 1), 256, s);
        _groupApply.Launch(
            Stream,
            new Index3D(Blocks((long)shape.Pixels * shape.Channels / 8), shape.Experts * shape.Batch, 1),
            256,
            s
        );
    }

    public override void LayerNorm(
        in LayerNormShape shape,
        DeviceBuffer x,
        DeviceBuffer weight,
        DeviceBuffer bias,
        DeviceBuffer y
    )
    {
        if (shape.Channels % 8 != 0)
        {
            base.LayerNorm(shape, x, weight, bias, y);
            return;
        }

        var s = new NormCudaArguments
        {
            X = At(x),
            Weight = At(weight),
            Bias = At(bias),
            Y = At(y),
            Rows = shape.Rows,
            Channels = shape.Channels,
            SharedInput = shape.SharedInput ? 1 : 0,
            Epsilon = shape.Epsilon,
        };
        _layerNorm.Launch(Stream, new Index3D((shape.Rows + 7) / 8, shape.Experts, 1), 256, s);
    }

    public override void Activate(ActivationKind kind, long count, DeviceBuffer x, DeviceBuffer y)
    {
        if (count % 8 != 0)
            base.Activate(kind, count, x, y);
        else
            Launch(
                _activate,
                count,
                new ElementwiseCudaArguments
                {
                    A = At(x),
                    Y = At(y),
                    Kind = (int)kind,
                }
            );
    }

    public override void Add(in AddShape shape, DeviceBuffer a, DeviceBuffer b, DeviceBuffer y)
    {
        if (shape.Count % 8 != 0)
            base.Add(shape, a, b, y);
        else
            Launch(
                _add,
                shape.Experts * shape.Count,
                new ElementwiseCudaArguments
                {
                    A = At(a),
                    B = At(b),
                    Y = At(y),
                    Rows = Count(shape.Count / 8),
                    SharedA = shape.SharedA ? 1 : 0,
                    SharedB = shape.SharedB ? 1 : 0,
                }
            );
    }

    public override void Concat(in ConcatShape shape, DeviceBuffer a, DeviceBuffer b, DeviceBuffer y)
    {
        if (shape.ChannelsA % 8 != 0 || shape.ChannelsB % 8 != 0)
        {
            base.Concat(shape, a, b, y);
            return;
        }

        Launch(
            _concat,
            shape.Experts * shape.Rows * (shape.ChannelsA + shape.ChannelsB),
            new ElementwiseCudaArguments
            {
                A = At(a),
                B = At(b),
                Y = At(y),
                Rows = Count(shape.Rows),
                Channels = shape.ChannelsA / 8,
                ChannelsB = shape.ChannelsB / 8,
                SharedA = shape.SharedA ? 1 : 0,
                SharedB = shape.SharedB ? 1 : 0,
            }
        );
    }

    public override void MeanOverExperts(int experts, long count, DeviceBuffer x, DeviceBuffer y)
    {
        if (count % 8 != 0)
            base.MeanOverExperts(experts, count, x, y);
        else
            Launch(
                _mean,
                count,
                new ElementwiseCudaArguments
                {
                    A = At(x),
                    Y = At(y),
                    Experts = experts,
                }
            );
    }

    public override void ExpertsToChannels(int experts, long rows, int channels, DeviceBuffer x, DeviceBuffer y)
    {
        if (channels % 8 != 0)
            base.ExpertsToChannels(experts, rows, channels, x, y);
        else
            Launch(
                _expertsToChannels,
                experts * rows * channels,
                new ElementwiseCudaArguments
                {
                    A = At(x),
                    Y = At(y),
                    Experts = experts,
                    Rows = Count(rows),
                    Channels = channels / 8,
                }
            );
    }

    public override void UpsampleNearest(in UpsampleShape shape, DeviceBuffer x, DeviceBuffer y)
    {
        if (shape.Channels % 8 != 0)
        {
            base.UpsampleNearest(shape, x, y);
            return;
        }

        Launch(
            _upsample,
            (long)shape.Maps * shape.OutHeight * shape.OutWidth * shape.Channels,
            new ElementwiseCudaArguments
            {
                A = At(x),
                Y = At(y),
                Channels = shape.Channels / 8,
                Height = shape.Height,
                Width = shape.Width,
                OutHeight = shape.OutHeight,
                OutWidth = shape.OutWidth,
            }
        );
    }

    public override void FuseExperts(
        in FusionShape shape,
        DeviceBuffer features,
        DeviceBuffer logits,
        DeviceBuffer y,
        DeviceBuffer? maps
    )
    {
        if (shape.Channels % 8 != 0)
        {
            base.FuseExperts(shape, features, logits, y, maps);
            return;
        }

        Launch(
            _fuse,
            (long)shape.Batch * shape.Pixels * shape.Channels,
            new ElementwiseCudaArguments
            {
                A = At(features),
                B = At(logits),
                Y = At(y),
                Maps = At(maps),
                Experts = shape.Experts,
                Rows = Count((long)shape.Batch * shape.Pixels),
                Channels = shape.Channels / 8,
            }
        );
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
