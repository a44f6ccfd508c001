using AfaNative.Kernels.Attention;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Elementwise;
using AfaNative.Kernels.Gpu;
using AfaNative.Kernels.MatrixMultiply;
using AfaNative.Kernels.Normalization;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Devices.Ilgpu;

/// <summary>
/// Every gradient on any ILGPU device: portable kernels of one thread per result, right rather than fast. Sums are float32,
/// results are rounded to storage once.
/// </summary>
internal partial class IlgpuGradients<T, TStorage>(Accelerator accelerator, AcceleratorStream stream) : IGradients, IDisposable
    where T : unmanaged
    where TStorage : struct, IStorage<T>
{
    private readonly Dictionary<string, Delegate> _kernels = [];
    private readonly IlgpuScratch _partial = new(accelerator, stream),
        _statistics = new(accelerator, stream),
        _sums = new(accelerator, stream),
        _spare = new(accelerator, stream),
        _spare2 = new(accelerator, stream),
        _wide = new(accelerator, stream),
        _wideK = new(accelerator, stream),
        _wideV = new(accelerator, stream);

    /// <summary>The kernels, for tools that compile them without a device.</summary>
    public static IReadOnlyList<System.Reflection.MethodInfo> All =>
        [
            .. new[]
            {
                typeof(MatrixGradientIlgpu<T, TStorage, float, Float32Storage>),
                typeof(MatrixGradientIlgpu<T, TStorage, ushort, Float16Storage>),
                typeof(MatrixGradientIlgpu<T, TStorage, ushort, BFloat16Storage>),
                typeof(WeightGradientIlgpu<T, TStorage>),
                typeof(AttentionGradientIlgpu<T, TStorage>),
                typeof(NormGradientIlgpu<T, TStorage>),
                typeof(ElementwiseGradientIlgpu<T, TStorage>),
            }.SelectMany(t =>
                t.GetMethods(
                        System.Reflection.BindingFlags.Public
                            | System.Reflection.BindingFlags.Static
                            | System.Reflection.BindingFlags.DeclaredOnly
                    )
                    .Where(m => m.ReturnType == typeof(void))
            ),
        ];

    public void LinearInput(in LinearShape shape, DeviceBuffer dy, PackedWeights weights, DeviceBuffer dx) =>
        ConvolutionInput(shape.AsConvolution(), dy, weights, dx);

    public virtual void ConvolutionInput(in ConvolutionShape shape, DeviceBuffer dy, PackedWeights weights, DeviceBuffer dx)
    {
        var packed = (IlgpuPackedWeights)weights;
        MultiplyArguments s = MultiplyArguments.For(shape, weights.Shape);
        (s.WeightExpert, s.WeightK, s.WeightColumn) = (weights.Shape.K * weights.Shape.Out, weights.Shape.Out, 1);
        if (packed.Type == ElementType.Float32)
            Input<float, Float32Storage>(s, shape, dy, packed.Memory, dx);
        else if (packed.Type == ElementType.Float16)
            Input<ushort, Float16Storage>(s, shape, dy, packed.Memory, dx);
        else
            Input<ushort, BFloat16Storage>(s, shape, dy, packed.Memory, dx);
    }

    public void LinearWeights(in LinearShape shape, WeightShape weights, DeviceBuffer x, DeviceBuffer dy, DeviceBuffer dw) =>
        ConvolutionWeights(shape.AsConvolution(), weights, x, dy, dw);

    public void ConvolutionWeights(
        in ConvolutionShape shape,
        WeightShape weights,
        DeviceBuffer x,
        DeviceBuffer dy,
        DeviceBuffer dw
    ) =>
        Get(
            "weights",
            () =>
                accelerator.LoadAutoGroupedKernel<Index1D, MultiplyArguments, ArrayView<T>, ArrayView<T>, ArrayView<T>>(
                    WeightGradientIlgpu<T, TStorage>.Weights
                )
        )(
            stream,
            Count((long)shape.Experts * weights.Out * weights.K),
            MultiplyArguments.For(shape, weights),
            Of(x),
            Of(dy),
            Of(dw)
        );

    public void SumRows(int experts, long rows, long rowsPerGroup, int columns, DeviceBuffer x, DeviceBuffer y) =>
        Get(
            "sumRows",
            () =>
                accelerator.LoadAutoGroupedKernel<Index1D, int, int, int, ArrayView<T>, ArrayView<T>>(
                    WeightGradientIlgpu<T, TStorage>.SumRows
                )
        )(
            stream,
            Count(experts * ((rows + rowsPerGroup - 1) / rowsPerGroup) * columns),
            Count(rows),
            Count(rowsPerGroup),
            columns,
            Of(x),
            Of(y)
        );

    public void Attention(
        in AttentionShape shape,
        DeviceBuffer q,
        DeviceBuffer k,
        DeviceBuffer v,
        DeviceBuffer y,
        DeviceBuffer dy,
        DeviceBuffer dq,
        DeviceBuffer dk,
        DeviceBuffer dv
    )
    {
        var s = new AttentionArguments
        {
            Heads = shape.Heads,
            HeadWidth = shape.HeadWidth,
            Queries = shape.Queries,
            Keys = shape.Keys,
            Causal = shape.Causal ? 1 : 0,
            Scale = shape.Scale,
        };
        int heads = shape.Experts * shape.Batch * shape.Heads,
            queries = Count((long)heads * shape.Queries),
            keys = Count((long)heads * shape.Keys),
            width = shape.HeadWidth;
        ArrayView<float> statistics = _statistics.View(queries * 3L),
            wideQ = Wide(dq, _wide),
            wideK = Wide(dk, _wideK),
            wideV = Wide(dv, _wideV);
        Get(
            "attention",
            () =>
                accelerator.LoadAutoGroupedKernel<
                    Index1D,
                    AttentionArguments,
                    ArrayView<T>,
                    ArrayView<T>,
                    ArrayView<T>,
                    ArrayView<T>,
                    ArrayView<float>
                >(AttentionGradientIlgpu<T, TStorage>.Statistics)
        )(stream, queries, s, Of(q), Of(k), Of(y), Of(dy), statistics);
        Get(
            "attentionQ",
            () =>
                accelerator.LoadAutoGroupedKernel<
                    Index1D,
                    AttentionArguments,
                    ArrayView<T>,
                    ArrayView<T>,
                    ArrayView<T>,
                    ArrayView<T>,
                    ArrayView<float>,
                    ArrayView<float>
                >(AttentionGradientIlgpu<T, TStorage>.Queries)
        )(stream, queries, s, Of(q), Of(k), Of(v), Of(dy), statistics, wideQ);
        Get(
            "attentionK",
            () =>
                accelerator.LoadAutoGroupedKernel<
                    Index1D,
                    AttentionArguments,
                    ArrayView<T>,
                    ArrayView<T>,
                    ArrayView<T>,
                    ArrayView<T>,
                    ArrayView<float>,
                    ArrayView<float>,
                    ArrayView<float>
                >(AttentionGradientIlgpu<T, TStorage>.Keys)
        )(stream, keys, s, Of(q), Of(k), Of(v), Of(dy), statistics, wideK, wideV);
        Narrow(wideQ, dq, queries * width);
        Narrow(wideK, dk, keys * width);
        Narrow(wideV, dv, keys * width);
    }

    public void Activate(ActivationKind kind, long count, DeviceBuffer x, DeviceBuffer dy, DeviceBuffer dx) =>
        Get(
            "activate",
            () =>
                accelerator.LoadAutoGroupedKernel<Index1D, int, ArrayView<T>, ArrayView<T>, ArrayView<T>>(
                    ElementwiseGradientIlgpu<T, TStorage>.Activate
                )
        )(stream, Count(count), (int)kind, Of(x), Of(dy), Of(dx));

    public void Geglu(long rows, int width, DeviceBuffer x, DeviceBuffer dy, DeviceBuffer dx) =>
        Get(
            "geglu",
            () =>
                accelerator.LoadAutoGroupedKernel<Index1D, int, ArrayView<T>, ArrayView<T>, ArrayView<T>>(
                    ElementwiseGradientIlgpu<T, TStorage>.Geglu
                )
        )(stream, Count(rows * width), width, Of(x), Of(dy), Of(dx));

    public void Softmax(long rows, int width, DeviceBuffer y, DeviceBuffer dy, DeviceBuffer dx) =>
        Get(
            "softmax",
            () =>
                accelerator.LoadAutoGroupedKernel<Index1D, int, ArrayView<T>, ArrayView<T>, ArrayView<T>>(
                    NormGradientIlgpu<T, TStorage>.Softmax
                )
        )(stream, Count(rows), width, Of(y), Of(dy), Of(dx));

    public void UpsampleNearest(in UpsampleShape shape, DeviceBuffer dy, DeviceBuffer dx) =>
        Get(
            "upsample",
            () =>
                accelerator.LoadAutoGroupedKernel<Index1D, UpsampleShape, ArrayView<T>, ArrayView<T>>(
                    ElementwiseGradientIlgpu<T, TStorage>.UpsampleNearest
                )
        )(stream, Count((long)shape.Maps * shape.Height * shape.Width * shape.Channels), shape, Of(dy), Of(dx));

    public void Split(in ConcatShape shape, DeviceBuffer dy, DeviceBuffer da, DeviceBuffer db)
    {
        var s = new ConcatArguments
        {
            Rows = Count(shape.Rows),
            ChannelsA = shape.ChannelsA,
            ChannelsB = shape.ChannelsB,
        };
        Get(
            "split",
            () =>
                accelerator.LoadAutoGroupedKernel<Index1D, ConcatArguments, ArrayView<T>, ArrayView<T>, ArrayView<T>>(
                    ElementwiseGradientIlgpu<T, TStorage>.Split
                )
        )(stream, Count(shape.Experts * shape.Rows * (shape.ChannelsA + shape.ChannelsB)), s, Of(dy), Of(da), Of(db));
    }

    public void SumOverExperts(int experts, long count, DeviceBuffer x, DeviceBuffer y) =>
        Get(
            "sumExperts",
            () =>
                accelerator.LoadAutoGroupedKernel<Index1D, int, int, ArrayView<T>, ArrayView<T>>(
                    ElementwiseGradientIlgpu<T, TStorage>.SumOverExperts
                )
        )(stream, Count(count), experts, Count(count), Of(x), Of(y));

    public void RepeatForExperts(int experts, long count, float scale, DeviceBuffer x, DeviceBuffer y) =>
        Get(
            "repeat",
            () =>
                accelerator.LoadAutoGroupedKernel<Index1D, int, float, ArrayView<T>, ArrayView<T>>(
                    ElementwiseGradientIlgpu<T, TStorage>.RepeatForExperts
                )
        )(stream, Count(experts * count), Count(count), scale, Of(x), Of(y));

    public void ChannelsToExperts(int experts, long rows, int channels, DeviceBuffer x, DeviceBuffer y) =>
        Get(
            "channels",
            () =>
                accelerator.LoadAutoGroupedKernel<Index1D, int, int, int, ArrayView<T>, ArrayView<T>>(
                    ElementwiseGradientIlgpu<T, TStorage>.ChannelsToExperts
                )
        )(stream, Count(experts * rows * channels), experts, Count(rows), channels, Of(x), Of(y));

    public void FuseExperts(
        in FusionShape shape,
        DeviceBuffer features,
        DeviceBuffer logits,
        DeviceBuffer dy,
        DeviceBuffer? dmaps,
        DeviceBuffer dfeatures,
        DeviceBuffer dlogits
    ) =>
        Get(
            "fuse",
            () =>
                accelerator.LoadAutoGroupedKernel<
                    Index1D,
                    FusionShape,
                    int,
                    ArrayView<T>,
                    ArrayView<T>,
                    ArrayView<T>,
                    ArrayView<T>,
                    ArrayView<T>,
                    ArrayView<T>
                >(ElementwiseGradientIlgpu<T, TStorage>.FuseExperts)
        )(
            stream,
            shape.Batch * shape.Pixels,
            shape,
            dmaps is null ? 0 : 1,
            Of(features),
            Of(logits),
            Of(dy),
            Or(dmaps, _spare, 1),
            Of(dfeatures),
            Of(dlogits)
        );

    public virtual void Dispose()
    {
        foreach (IlgpuScratch scratch in (IlgpuScratch[])[_partial, _statistics, _sums, _spare, _spare2, _wide, _wideK, _wideV])
            scratch.Dispose();
    }

    /// <summary>A buffer's elements.</summary>
    protected static ArrayView<T> Of(DeviceBuffer buffer) => IlgpuBuffer<T>.ViewOf(buffer);

    /// <summary>A count that 32-bit indices can reach.</summary>
    protected static int Count(long count) => IlgpuMemory.Index(count);

    /// <summary>The gradient of a multiply's input; the arguments say how the weights lie.</summary>
    protected void Input<W, WStorage>(
        MultiplyArguments s,
        in ConvolutionShape shape,
        DeviceBuffer dy,
        WeightBlock weights,
        DeviceBuffer dx
    )
        where W : unmanaged
        where WStorage : struct, IStorage<W> =>
        Get(
            "input" + typeof(WStorage).Name,
            () =>
                accelerator.LoadAutoGroupedKernel<Index1D, MultiplyArguments, ArrayView<T>, ArrayView<W>, ArrayView<T>>(
                    MatrixGradientIlgpu<T, TStorage, W, WStorage>.Input
                )
        )(
            stream,
            Count((long)shape.Experts * shape.Batch * shape.Height * shape.Width * s.Inputs),
            s,
            Of(dy),
            weights.View<W>(),
            Of(dx)
        );

    /// <summary>Compiled when first used, as every kernel here.</summary>
    protected TKernel Get<TKernel>(string name, Func<TKernel> load)
        where TKernel : Delegate
    {
        if (!_kernels.TryGetValue(name, out Delegate? kernel))
            _kernels[name] = kernel = load();
        return (TKernel)kernel;
    }

    // What is summed in memory is summed in float32: the result itself, or scratch of its size.
    private static ArrayView<float> Wide(DeviceBuffer result, IlgpuScratch scratch) =>
        typeof(T) == typeof(float) ? IlgpuBuffer<float>.ViewOf(result) : scratch.View(result.Length);

    private void Narrow(ArrayView<float> wide, DeviceBuffer result, int count)
    {
        if (typeof(T) == typeof(float))
            return;
        Get(
            "narrow",
            () =>
                accelerator.LoadAutoGroupedKernel<Index1D, ArrayView<float>, ArrayView<T>>(
                    ElementwiseGradientIlgpu<T, TStorage>.Narrow
                )
        )(stream, count, wide, Of(result));
    }

    private static ArrayView<T> Or(DeviceBuffer? buffer, IlgpuScratch spare, int count) =>
        buffer is null ? spare.View<T>(count) : Of(buffer);
}
