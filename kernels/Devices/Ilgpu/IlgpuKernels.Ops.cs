using AfaNative.Kernels.Attention;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Elementwise;
using AfaNative.Kernels.Embedding;
using AfaNative.Kernels.MatrixMultiply;
using AfaNative.Kernels.Normalization;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Devices.Ilgpu;

// The ops.
internal partial class IlgpuKernels<T, TStorage>
{
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
}
