using AfaNative.Kernels.Activation;
using AfaNative.Kernels.Attention;
using AfaNative.Kernels.Convolution;
using AfaNative.Kernels.Elementwise;
using AfaNative.Kernels.FeatureFusion;
using AfaNative.Kernels.MatrixMultiply;
using AfaNative.Kernels.Normalization;
using AfaNative.Kernels.Resampling;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Devices.Ilgpu;

/// <summary>Every gradient on any ILGPU device with float32 storage: portable kernels of one thread per result, right rather than fast.</summary>
internal sealed class IlgpuGradients(Accelerator accelerator, AcceleratorStream stream) : IGradients, IDisposable
{
    private readonly Dictionary<string, Delegate> _kernels = [];
    private readonly IlgpuScratch _partial = new(accelerator, stream), _statistics = new(accelerator, stream), _sums = new(accelerator, stream), _spare = new(accelerator, stream), _spare2 = new(accelerator, stream);

    /// <summary>The kernels, for tools that compile them without a device.</summary>
    public static IReadOnlyList<System.Reflection.MethodInfo> All =>
    [
        .. new[]
        {
            typeof(MatrixGradientIlgpu<float, Float32Storage>), typeof(MatrixGradientIlgpu<ushort, Float16Storage>), typeof(MatrixGradientIlgpu<ushort, BFloat16Storage>), typeof(WeightGradientIlgpu),
            typeof(AttentionGradientIlgpu), typeof(NormGradientIlgpu), typeof(ElementwiseGradientIlgpu),
        }.SelectMany(t => t.GetMethods(System.Reflection.BindingFlags.Public | System.Reflection.BindingFlags.Static | System.Reflection.BindingFlags.DeclaredOnly).Where(m => m.ReturnType == typeof(void))),
    ];

    public void LinearInput(in LinearShape shape, DeviceBuffer dy, PackedWeights weights, DeviceBuffer dx) => ConvolutionInput(shape.AsConvolution(), dy, weights, dx);

    public void ConvolutionInput(in ConvolutionShape shape, DeviceBuffer dy, PackedWeights weights, DeviceBuffer dx)
    {
        var packed = (IlgpuPackedWeights)weights;
        MultiplyArguments s = MultiplyArguments.For(shape, weights.Shape);
        int count = Count((long)shape.Experts * shape.Batch * shape.Height * shape.Width * weights.Shape.In);
        if (packed.Type == ElementType.Float32)
        {
            Get("input32", () => accelerator.LoadAutoGroupedKernel<Index1D, MultiplyArguments, ArrayView<float>, ArrayView<float>, ArrayView<float>>(MatrixGradientIlgpu<float, Float32Storage>.Input))(stream, count, s, Of(dy), packed.Memory.View<float>(), Of(dx));
        }
        else if (packed.Type == ElementType.Float16)
        {
            Get("input16", () => accelerator.LoadAutoGroupedKernel<Index1D, MultiplyArguments, ArrayView<float>, ArrayView<ushort>, ArrayView<float>>(MatrixGradientIlgpu<ushort, Float16Storage>.Input))(stream, count, s, Of(dy), packed.Memory.View<ushort>(), Of(dx));
        }
        else
        {
            Get("inputB16", () => accelerator.LoadAutoGroupedKernel<Index1D, MultiplyArguments, ArrayView<float>, ArrayView<ushort>, ArrayView<float>>(MatrixGradientIlgpu<ushort, BFloat16Storage>.Input))(stream, count, s, Of(dy), packed.Memory.View<ushort>(), Of(dx));
        }
    }

    public void LinearWeights(in LinearShape shape, WeightShape weights, DeviceBuffer x, DeviceBuffer dy, DeviceBuffer dw) => ConvolutionWeights(shape.AsConvolution(), weights, x, dy, dw);

    public void ConvolutionWeights(in ConvolutionShape shape, WeightShape weights, DeviceBuffer x, DeviceBuffer dy, DeviceBuffer dw) =>
        Get("weights", () => accelerator.LoadAutoGroupedKernel<Index1D, MultiplyArguments, ArrayView<float>, ArrayView<float>, ArrayView<float>>(WeightGradientIlgpu.Weights))(
            stream, Count((long)shape.Experts * weights.Out * weights.K), MultiplyArguments.For(shape, weights), Of(x), Of(dy), Of(dw));

    public void SumRows(int experts, long rows, long rowsPerGroup, int columns, DeviceBuffer x, DeviceBuffer y) =>
        Get("sumRows", () => accelerator.LoadAutoGroupedKernel<Index1D, int, int, int, ArrayView<float>, ArrayView<float>>(WeightGradientIlgpu.SumRows))(
            stream, Count(experts * ((rows + rowsPerGroup - 1) / rowsPerGroup) * columns), Count(rows), Count(rowsPerGroup), columns, Of(x), Of(y));

    public void Attention(in AttentionShape shape, DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer y, DeviceBuffer dy, DeviceBuffer dq, DeviceBuffer dk, DeviceBuffer dv)
    {
        var s = new AttentionArguments { Heads = shape.Heads, HeadWidth = shape.HeadWidth, Queries = shape.Queries, Keys = shape.Keys, Causal = shape.Causal ? 1 : 0, Scale = shape.Scale };
        int heads = shape.Experts * shape.Batch * shape.Heads, queries = Count((long)heads * shape.Queries);
        ArrayView<float> statistics = _statistics.View(queries * 3L);
        Get("attention", () => accelerator.LoadAutoGroupedKernel<Index1D, AttentionArguments, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>>(AttentionGradientIlgpu.Statistics))(
            stream, queries, s, Of(q), Of(k), Of(y), Of(dy), statistics);
        Get("attentionQ", () => accelerator.LoadAutoGroupedKernel<Index1D, AttentionArguments, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>>(AttentionGradientIlgpu.Queries))(
            stream, queries, s, Of(q), Of(k), Of(v), Of(dy), statistics, Of(dq));
        Get("attentionK", () => accelerator.LoadAutoGroupedKernel<Index1D, AttentionArguments, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>>(AttentionGradientIlgpu.Keys))(
            stream, Count((long)heads * shape.Keys), s, Of(q), Of(k), Of(v), Of(dy), statistics, Of(dk), Of(dv));
    }

    public void GroupNorm(in GroupNormShape shape, DeviceBuffer x, DeviceBuffer weight, DeviceBuffer bias, DeviceBuffer dy, DeviceBuffer dx, DeviceBuffer? dweight, DeviceBuffer? dbias)
    {
        int maps = (shape.SharedInput ? 1 : shape.Experts) * shape.Batch, groups = maps * shape.Groups, images = shape.Experts * shape.Batch;
        NormArguments s = NormArguments.For(shape);
        ArrayView<float> partial = _partial.View((long)groups * s.Slices * 3), statistics = _statistics.View(groups * 2L), sums = _sums.View((long)images * shape.Channels * 2);
        Get("groupStatistics", () => accelerator.LoadAutoGroupedKernel<Index1D, NormArguments, ArrayView<float>, ArrayView<float>>(NormIlgpu<float, Float32Storage>.GroupStatistics))(stream, groups * s.Slices, s, Of(x), partial);
        Get("groupJoin", () => accelerator.LoadAutoGroupedKernel<Index1D, NormArguments, ArrayView<float>, ArrayView<float>>(NormIlgpu<float, Float32Storage>.GroupJoin))(stream, groups, s, partial, statistics);
        Get("groupSums", () => accelerator.LoadAutoGroupedKernel<Index1D, NormArguments, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>>(NormGradientIlgpu.GroupSums))(
            stream, images * shape.Channels, s, Of(x), statistics, Of(weight), Of(bias), Of(dy), sums);
        Get("groupInput", () => accelerator.LoadAutoGroupedKernel<Index1D, NormArguments, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>>(NormGradientIlgpu.GroupInput))(
            stream, Count((long)images * shape.Pixels * shape.Channels), s, Of(x), statistics, Of(weight), Of(bias), Of(dy), sums, Of(dx));
        if (dweight is null && dbias is null) return;
        int count = shape.Experts * shape.Channels;
        Get("groupParameters", () => accelerator.LoadAutoGroupedKernel<Index1D, NormArguments, ArrayView<float>, ArrayView<float>, ArrayView<float>>(NormGradientIlgpu.GroupParameters))(
            stream, count, s, sums, Or(dweight, _spare, count), Or(dbias, _spare2, count));
    }

    public void LayerNorm(in LayerNormShape shape, DeviceBuffer x, DeviceBuffer weight, DeviceBuffer dy, DeviceBuffer dx, DeviceBuffer? dweight, DeviceBuffer? dbias)
    {
        var s = new NormArguments { Rows = shape.Rows, Channels = shape.Channels, SharedInput = shape.SharedInput ? 1 : 0, Epsilon = shape.Epsilon };
        int rows = shape.Experts * shape.Rows, count = shape.Experts * shape.Channels;
        ArrayView<float> statistics = _statistics.View(rows * 2L);
        Get("layerInput", () => accelerator.LoadAutoGroupedKernel<Index1D, NormArguments, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>>(NormGradientIlgpu.LayerInput))(
            stream, rows, s, Of(x), Of(weight), Of(dy), Of(dx), statistics);
        if (dweight is null && dbias is null) return;
        Get("layerParameters", () => accelerator.LoadAutoGroupedKernel<Index1D, NormArguments, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>>(NormGradientIlgpu.LayerParameters))(
            stream, count, s, Of(x), Of(dy), statistics, Or(dweight, _spare, count), Or(dbias, _spare2, count));
    }

    public void Activate(ActivationKind kind, long count, DeviceBuffer x, DeviceBuffer dy, DeviceBuffer dx) =>
        Get("activate", () => accelerator.LoadAutoGroupedKernel<Index1D, int, ArrayView<float>, ArrayView<float>, ArrayView<float>>(ElementwiseGradientIlgpu.Activate))(stream, Count(count), (int)kind, Of(x), Of(dy), Of(dx));

    public void Geglu(long rows, int width, DeviceBuffer x, DeviceBuffer dy, DeviceBuffer dx) =>
        Get("geglu", () => accelerator.LoadAutoGroupedKernel<Index1D, int, ArrayView<float>, ArrayView<float>, ArrayView<float>>(ElementwiseGradientIlgpu.Geglu))(stream, Count(rows * width), width, Of(x), Of(dy), Of(dx));

    public void Softmax(long rows, int width, DeviceBuffer y, DeviceBuffer dy, DeviceBuffer dx) =>
        Get("softmax", () => accelerator.LoadAutoGroupedKernel<Index1D, int, ArrayView<float>, ArrayView<float>, ArrayView<float>>(NormGradientIlgpu.Softmax))(stream, Count(rows), width, Of(y), Of(dy), Of(dx));

    public void UpsampleNearest(in UpsampleShape shape, DeviceBuffer dy, DeviceBuffer dx) =>
        Get("upsample", () => accelerator.LoadAutoGroupedKernel<Index1D, UpsampleShape, ArrayView<float>, ArrayView<float>>(ElementwiseGradientIlgpu.UpsampleNearest))(
            stream, Count((long)shape.Maps * shape.Height * shape.Width * shape.Channels), shape, Of(dy), Of(dx));

    public void Split(in ConcatShape shape, DeviceBuffer dy, DeviceBuffer da, DeviceBuffer db)
    {
        var s = new ConcatArguments { Rows = Count(shape.Rows), ChannelsA = shape.ChannelsA, ChannelsB = shape.ChannelsB };
        Get("split", () => accelerator.LoadAutoGroupedKernel<Index1D, ConcatArguments, ArrayView<float>, ArrayView<float>, ArrayView<float>>(ElementwiseGradientIlgpu.Split))(
            stream, Count(shape.Experts * shape.Rows * (shape.ChannelsA + shape.ChannelsB)), s, Of(dy), Of(da), Of(db));
    }

    public void SumOverExperts(int experts, long count, DeviceBuffer x, DeviceBuffer y) =>
        Get("sumExperts", () => accelerator.LoadAutoGroupedKernel<Index1D, int, int, ArrayView<float>, ArrayView<float>>(ElementwiseGradientIlgpu.SumOverExperts))(stream, Count(count), experts, Count(count), Of(x), Of(y));

    public void RepeatForExperts(int experts, long count, float scale, DeviceBuffer x, DeviceBuffer y) =>
        Get("repeat", () => accelerator.LoadAutoGroupedKernel<Index1D, int, float, ArrayView<float>, ArrayView<float>>(ElementwiseGradientIlgpu.RepeatForExperts))(stream, Count(experts * count), Count(count), scale, Of(x), Of(y));

    public void ChannelsToExperts(int experts, long rows, int channels, DeviceBuffer x, DeviceBuffer y) =>
        Get("channels", () => accelerator.LoadAutoGroupedKernel<Index1D, int, int, int, ArrayView<float>, ArrayView<float>>(ElementwiseGradientIlgpu.ChannelsToExperts))(
            stream, Count(experts * rows * channels), experts, Count(rows), channels, Of(x), Of(y));

    public void FuseExperts(in FusionShape shape, DeviceBuffer features, DeviceBuffer logits, DeviceBuffer dy, DeviceBuffer? dmaps, DeviceBuffer dfeatures, DeviceBuffer dlogits) =>
        Get("fuse", () => accelerator.LoadAutoGroupedKernel<Index1D, FusionShape, int, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>>(ElementwiseGradientIlgpu.FuseExperts))(
            stream, shape.Batch * shape.Pixels, shape, dmaps is null ? 0 : 1, Of(features), Of(logits), Of(dy), dmaps is null ? _spare.View(1) : Of(dmaps), Of(dfeatures), Of(dlogits));

    public void Dispose()
    {
        foreach (IlgpuScratch scratch in (IlgpuScratch[])[_partial, _statistics, _sums, _spare, _spare2]) scratch.Dispose();
    }

    // Compiled when first used, as every kernel here.
    private TKernel Get<TKernel>(string name, Func<TKernel> load) where TKernel : Delegate
    {
        if (!_kernels.TryGetValue(name, out Delegate? kernel)) _kernels[name] = kernel = load();
        return (TKernel)kernel;
    }

    private static ArrayView<float> Of(DeviceBuffer buffer) => IlgpuBuffer<float>.ViewOf(buffer);

    private static ArrayView<float> Or(DeviceBuffer? buffer, IlgpuScratch spare, int count) => buffer is null ? spare.View(count) : Of(buffer);

    private static int Count(long count) => IlgpuMemory.Index(count);
}
