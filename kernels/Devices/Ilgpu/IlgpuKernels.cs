using AfaNative.Kernels.Activation;
using AfaNative.Kernels.Attention;
using AfaNative.Kernels.Convolution;
using AfaNative.Kernels.Elementwise;
using AfaNative.Kernels.Embedding;
using AfaNative.Kernels.FeatureFusion;
using AfaNative.Kernels.MatrixMultiply;
using AfaNative.Kernels.Normalization;
using AfaNative.Kernels.Resampling;
using ILGPU;
using ILGPU.Runtime;
using View = ILGPU.ArrayView<float>;

namespace AfaNative.Kernels.Devices.Ilgpu;

/// <summary>The portable kernels, launched on the accelerator's stream in order. Kernels are compiled when first used.</summary>
internal sealed class IlgpuKernels : IKernels, IDisposable
{
    private readonly Accelerator _accelerator;
    private readonly MemoryBuffer1D<float, Stride1D.Dense> _none;
    private readonly Lazy<Action<Index1D, MultiplyArguments, View, View, View, View, View, View>> _direct32;
    private readonly Lazy<Action<Index1D, MultiplyArguments, View, ArrayView<ushort>, View, View, View, View>> _direct16;
    private readonly Lazy<Action<KernelConfig, MultiplyArguments, View, View, View, View, View, View>> _tiled32;
    private readonly Lazy<Action<KernelConfig, MultiplyArguments, View, ArrayView<ushort>, View, View, View, View>> _tiled16;
    private readonly Lazy<Action<Index1D, AttentionArguments, View, View, View, View>> _attention;
    private readonly Lazy<Action<Index1D, NormArguments, View, View>> _groupStatistics, _groupJoin;
    private readonly Lazy<Action<Index1D, NormArguments, View, View, View, View, View>> _groupApply;
    private readonly Lazy<Action<Index1D, NormArguments, View, View, View, View>> _layerNorm;
    private readonly Lazy<Action<Index1D, int, View, View>> _softmax, _activate, _geglu;
    private readonly Lazy<Action<Index1D, int, int, int, View, View, View>> _add;
    private readonly Lazy<Action<Index1D, ConcatArguments, View, View, View>> _concat;
    private readonly Lazy<Action<Index1D, int, int, View, View>> _mean;
    private readonly Lazy<Action<Index1D, int, int, int, View, View>> _expertsToChannels;
    private readonly Lazy<Action<Index1D, UpsampleShape, View, View>> _upsample;
    private readonly Lazy<Action<Index1D, int, int, int, int, ArrayView<int>, View, View, View>> _tokens;
    private readonly Lazy<Action<Index1D, FusionShape, int, View, View, View, View>> _fuse;

    public IlgpuKernels(Accelerator accelerator)
    {
        _accelerator = accelerator;
        _none = accelerator.Allocate1D<float>(64);
        _direct32 = new(() => accelerator.LoadAutoGroupedStreamKernel<Index1D, MultiplyArguments, View, View, View, View, View, View>(MatrixMultiplyIlgpu.Direct32));
        _direct16 = new(() => accelerator.LoadAutoGroupedStreamKernel<Index1D, MultiplyArguments, View, ArrayView<ushort>, View, View, View, View>(MatrixMultiplyIlgpu.Direct16));
        _tiled32 = new(() => accelerator.LoadStreamKernel<MultiplyArguments, View, View, View, View, View, View>(MatrixMultiplyIlgpu.Tiled32));
        _tiled16 = new(() => accelerator.LoadStreamKernel<MultiplyArguments, View, ArrayView<ushort>, View, View, View, View>(MatrixMultiplyIlgpu.Tiled16));
        _attention = new(() => accelerator.LoadAutoGroupedStreamKernel<Index1D, AttentionArguments, View, View, View, View>(AttentionIlgpu.Run));
        _groupStatistics = new(() => accelerator.LoadAutoGroupedStreamKernel<Index1D, NormArguments, View, View>(NormIlgpu.GroupStatistics));
        _groupJoin = new(() => accelerator.LoadAutoGroupedStreamKernel<Index1D, NormArguments, View, View>(NormIlgpu.GroupJoin));
        _groupApply = new(() => accelerator.LoadAutoGroupedStreamKernel<Index1D, NormArguments, View, View, View, View, View>(NormIlgpu.GroupApply));
        _layerNorm = new(() => accelerator.LoadAutoGroupedStreamKernel<Index1D, NormArguments, View, View, View, View>(NormIlgpu.Layer));
        _softmax = new(() => accelerator.LoadAutoGroupedStreamKernel<Index1D, int, View, View>(NormIlgpu.Softmax));
        _activate = new(() => accelerator.LoadAutoGroupedStreamKernel<Index1D, int, View, View>(ElementwiseIlgpu.Activate));
        _geglu = new(() => accelerator.LoadAutoGroupedStreamKernel<Index1D, int, View, View>(ElementwiseIlgpu.Geglu));
        _add = new(() => accelerator.LoadAutoGroupedStreamKernel<Index1D, int, int, int, View, View, View>(ElementwiseIlgpu.Add));
        _concat = new(() => accelerator.LoadAutoGroupedStreamKernel<Index1D, ConcatArguments, View, View, View>(ElementwiseIlgpu.Concat));
        _mean = new(() => accelerator.LoadAutoGroupedStreamKernel<Index1D, int, int, View, View>(ElementwiseIlgpu.MeanOverExperts));
        _expertsToChannels = new(() => accelerator.LoadAutoGroupedStreamKernel<Index1D, int, int, int, View, View>(ElementwiseIlgpu.ExpertsToChannels));
        _upsample = new(() => accelerator.LoadAutoGroupedStreamKernel<Index1D, UpsampleShape, View, View>(ElementwiseIlgpu.UpsampleNearest));
        _tokens = new(() => accelerator.LoadAutoGroupedStreamKernel<Index1D, int, int, int, int, ArrayView<int>, View, View, View>(ElementwiseIlgpu.TokenEmbedding));
        _fuse = new(() => accelerator.LoadAutoGroupedStreamKernel<Index1D, FusionShape, int, View, View, View, View>(ElementwiseIlgpu.FuseExperts));
    }

    public void Dispose()
    {
        _none.Dispose();
    }

    public void Linear(in LinearShape shape, DeviceBuffer x, PackedWeights weights, in Epilogue epilogue, DeviceBuffer y) =>
        Multiply(new ConvolutionShape(shape.Experts, 1, 1, shape.Rows, shape.SharedInput, 1, 0, 0, 0, 0, 1, 1), x, weights, epilogue, y);

    public void Convolution(in ConvolutionShape shape, DeviceBuffer x, PackedWeights weights, in Epilogue epilogue, DeviceBuffer y) => Multiply(shape, x, weights, epilogue, y);

    public void Attention(in AttentionShape shape, DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer y)
    {
        var arguments = new AttentionArguments { Heads = shape.Heads, HeadWidth = shape.HeadWidth, Queries = shape.Queries, Keys = shape.Keys, Causal = shape.Causal ? 1 : 0, Scale = shape.Scale };
        _attention.Value(Count((long)shape.Experts * shape.Batch * shape.Heads * shape.Queries), arguments, Of(q), Of(k), Of(v), Of(y));
    }

    public void GroupNorm(in GroupNormShape shape, DeviceBuffer x, DeviceBuffer weight, DeviceBuffer bias, DeviceBuffer y)
    {
        int maps = (shape.SharedInput ? 1 : shape.Experts) * shape.Batch;
        var s = new NormArguments
        {
            Batch = shape.Batch,
            Pixels = shape.Pixels,
            Channels = shape.Channels,
            Groups = shape.Groups,
            Slices = Math.Clamp(shape.Pixels / 64, 1, 64),
            SharedInput = shape.SharedInput ? 1 : 0,
            Silu = shape.Silu ? 1 : 0,
            Epsilon = shape.Epsilon,
        };
        int groups = maps * shape.Groups;
        using MemoryBuffer1D<float, Stride1D.Dense> partial = _accelerator.Allocate1D<float>((long)groups * s.Slices * 3), statistics = _accelerator.Allocate1D<float>((long)groups * 2);
        _groupStatistics.Value(groups * s.Slices, s, Of(x), partial.View.AsContiguous());
        _groupJoin.Value(groups, s, partial.View.AsContiguous(), statistics.View.AsContiguous());
        _groupApply.Value(Count((long)shape.Experts * shape.Batch * shape.Pixels * shape.Channels), s, Of(x), statistics.View.AsContiguous(), Of(weight), Of(bias), Of(y));
        _accelerator.Synchronize();
    }

    public void LayerNorm(in LayerNormShape shape, DeviceBuffer x, DeviceBuffer weight, DeviceBuffer bias, DeviceBuffer y)
    {
        var s = new NormArguments { Rows = shape.Rows, Channels = shape.Channels, SharedInput = shape.SharedInput ? 1 : 0, Epsilon = shape.Epsilon };
        _layerNorm.Value(shape.Experts * shape.Rows, s, Of(x), Of(weight), Of(bias), Of(y));
    }

    public void Activate(ActivationKind kind, long count, DeviceBuffer x, DeviceBuffer y) => _activate.Value(Count(count), (int)kind, Of(x), Of(y));

    public void Geglu(long rows, int width, DeviceBuffer x, DeviceBuffer y) => _geglu.Value(Count(rows * width), width, Of(x), Of(y));

    public void Softmax(long rows, int width, DeviceBuffer x, DeviceBuffer y) => _softmax.Value(Count(rows), width, Of(x), Of(y));

    public void UpsampleNearest(in UpsampleShape shape, DeviceBuffer x, DeviceBuffer y) =>
        _upsample.Value(Count((long)shape.Maps * shape.OutHeight * shape.OutWidth * shape.Channels), shape, Of(x), Of(y));

    public void Concat(in ConcatShape shape, DeviceBuffer a, DeviceBuffer b, DeviceBuffer y)
    {
        var s = new ConcatArguments { Rows = Count(shape.Rows), ChannelsA = shape.ChannelsA, ChannelsB = shape.ChannelsB, SharedA = shape.SharedA ? 1 : 0, SharedB = shape.SharedB ? 1 : 0 };
        _concat.Value(Count(shape.Experts * shape.Rows * (shape.ChannelsA + shape.ChannelsB)), s, Of(a), Of(b), Of(y));
    }

    public void Add(in AddShape shape, DeviceBuffer a, DeviceBuffer b, DeviceBuffer y) =>
        _add.Value(Count(shape.Experts * shape.Count), Count(shape.Count), shape.SharedA ? 1 : 0, shape.SharedB ? 1 : 0, Of(a), Of(b), Of(y));

    public void MeanOverExperts(int experts, long count, DeviceBuffer x, DeviceBuffer y) => _mean.Value(Count(count), experts, Count(count), Of(x), Of(y));

    public void ExpertsToChannels(int experts, long rows, int channels, DeviceBuffer x, DeviceBuffer y) =>
        _expertsToChannels.Value(Count(experts * rows * channels), experts, Count(rows), channels, Of(x), Of(y));

    // Sines and cosines of a few numbers: the host's are exact, and one small copy is cheaper than a kernel.
    public unsafe void TimestepEmbedding(ReadOnlySpan<float> timesteps, int dim, DeviceBuffer y)
    {
        var host = new float[timesteps.Length * dim];
        fixed (float* pointer = host) Embeddings.Timesteps(timesteps, dim, pointer);
        Of(y).SubView(0, host.Length).CopyFromCPU(_accelerator.DefaultStream, host);
        _accelerator.DefaultStream.Synchronize();
    }

    public void TokenEmbedding(int experts, int vocabulary, int positionRows, int length, int dim, ReadOnlySpan<int> ids, DeviceBuffer tokens, DeviceBuffer positions, DeviceBuffer y)
    {
        using MemoryBuffer1D<int, Stride1D.Dense> device = _accelerator.Allocate1D(ids.ToArray());
        _tokens.Value(Count((long)experts * ids.Length * dim), vocabulary, positionRows, length, dim, device.View.AsContiguous(), Of(tokens), Of(positions), Of(y));
        _accelerator.Synchronize();
    }

    public void FuseExperts(in FusionShape shape, DeviceBuffer features, DeviceBuffer logits, DeviceBuffer y, DeviceBuffer? maps) =>
        _fuse.Value(Count((long)shape.Batch * shape.Pixels * shape.Channels), shape, maps is null ? 0 : 1, Of(features), Of(logits), Of(y), maps is null ? _none.View.AsContiguous() : Of(maps));

    private void Multiply(in ConvolutionShape shape, DeviceBuffer x, PackedWeights weights, in Epilogue epilogue, DeviceBuffer y)
    {
        var packed = (IlgpuPackedWeights)weights;
        WeightShape w = weights.Shape;
        int rows = shape.Batch * shape.OutHeight * shape.OutWidth, columns = w.Geglu ? w.Out / 2 : w.Out;
        var s = new MultiplyArguments
        {
            Experts = shape.Experts,
            Rows = rows,
            K = w.K,
            Columns = columns,
            PackedColumns = w.Out,
            Inputs = w.In,
            Batch = shape.Batch,
            Height = shape.Height,
            Width = shape.Width,
            OutHeight = shape.OutHeight,
            OutWidth = shape.OutWidth,
            Stride = shape.Stride,
            PadTop = shape.PadTop,
            PadLeft = shape.PadLeft,
            KernelWidth = shape.KernelWidth,
            ExpertStride = shape.SharedInput ? 0 : shape.Batch * shape.Height * shape.Width * w.In,
            Bfloat = packed.Type == ElementType.BFloat16 ? 1 : 0,
            Geglu = w.Geglu ? 1 : 0,
            Activation = (int)epilogue.Activation,
            HasBias = epilogue.Bias is null ? 0 : 1,
            HasRowBias = epilogue.RowBias is null ? 0 : 1,
            RowsPerGroup = Math.Max(1, epilogue.RowsPerGroup),
            Groups = epilogue.RowsPerGroup > 0 ? (rows + epilogue.RowsPerGroup - 1) / epilogue.RowsPerGroup : 1,
            HasResidual = epilogue.Residual is null ? 0 : 1,
            ResidualStride = epilogue.SharedResidual ? 0 : rows * columns,
        };
        View bias = Or(epilogue.Bias), rowBias = Or(epilogue.RowBias), residual = Or(epilogue.Residual);
        // ILGPU's CPU accelerator pays milliseconds for a barrier.
        bool direct = _accelerator.AcceleratorType == AcceleratorType.CPU || rows < 8;
        var grid = new KernelConfig(new Index3D((w.Out + MatrixMultiplyIlgpu.Tile - 1) / MatrixMultiplyIlgpu.Tile, (rows + MatrixMultiplyIlgpu.Tile - 1) / MatrixMultiplyIlgpu.Tile, shape.Experts), new Index3D(16, 16, 1));
        int outputs = Count((long)shape.Experts * rows * columns);
        if (packed.Wide is { } wide)
        {
            View view = wide.View.AsContiguous();
            if (direct) _direct32.Value(outputs, s, Of(x), view, bias, rowBias, residual, Of(y));
            else _tiled32.Value(grid, s, Of(x), view, bias, rowBias, residual, Of(y));
        }
        else
        {
            ArrayView<ushort> view = packed.Narrow!.View.AsContiguous();
            if (direct) _direct16.Value(outputs, s, Of(x), view, bias, rowBias, residual, Of(y));
            else _tiled16.Value(grid, s, Of(x), view, bias, rowBias, residual, Of(y));
        }
    }

    private View Or(DeviceBuffer? buffer) => buffer is null ? _none.View.AsContiguous() : Of(buffer);

    private static View Of(DeviceBuffer buffer) => IlgpuBuffer.ViewOf(buffer);

    private static int Count(long count) => count <= int.MaxValue ? (int)count : throw new ArgumentException($"a tensor of {count} elements is beyond this device's 32-bit indices; draw smaller pictures or smaller batches");
}
