using AfaNative.Kernels.Attention;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Elementwise;
using AfaNative.Kernels.MatrixMultiply;
using AfaNative.Kernels.Normalization;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Devices.Cuda;

// The ops.
internal sealed partial class CudaKernels<TStorage, TMath>
{
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
}
