using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Normalization;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Devices.Ilgpu;

// Gradients of norms.
internal partial class IlgpuGradients<T, TStorage>
{
    public void GroupNorm(
        in GroupNormShape shape,
        DeviceBuffer x,
        DeviceBuffer weight,
        DeviceBuffer bias,
        DeviceBuffer dy,
        DeviceBuffer dx,
        DeviceBuffer? dweight,
        DeviceBuffer? dbias
    )
    {
        int maps = (shape.SharedInput ? 1 : shape.Experts) * shape.Batch,
            groups = maps * shape.Groups,
            images = shape.Experts * shape.Batch;
        NormArguments s = NormArguments.For(shape);
        ArrayView<float> partial = _partial.View((long)groups * s.Slices * 3),
            statistics = _statistics.View(groups * 2L),
            sums = _sums.View((long)images * shape.Channels * 2);
        Get(
            "groupStatistics",
            () =>
                accelerator.LoadAutoGroupedKernel<Index1D, NormArguments, ArrayView<T>, ArrayView<float>>(
                    NormIlgpu<T, TStorage>.GroupStatistics
                )
        )(stream, groups * s.Slices, s, Of(x), partial);
        Get(
            "groupJoin",
            () =>
                accelerator.LoadAutoGroupedKernel<Index1D, NormArguments, ArrayView<float>, ArrayView<float>>(
                    NormIlgpu<T, TStorage>.GroupJoin
                )
        )(stream, groups, s, partial, statistics);
        Get(
            "groupSums",
            () =>
                accelerator.LoadAutoGroupedKernel<
                    Index1D,
                    NormArguments,
                    ArrayView<T>,
                    ArrayView<float>,
                    ArrayView<T>,
                    ArrayView<T>,
                    ArrayView<T>,
                    ArrayView<float>
                >(NormGradientIlgpu<T, TStorage>.GroupSums)
        )(stream, images * shape.Channels, s, Of(x), statistics, Of(weight), Of(bias), Of(dy), sums);
        Get(
            "groupInput",
            () =>
                accelerator.LoadAutoGroupedKernel<
                    Index1D,
                    NormArguments,
                    ArrayView<T>,
                    ArrayView<float>,
                    ArrayView<T>,
                    ArrayView<T>,
                    ArrayView<T>,
                    ArrayView<float>,
                    ArrayView<T>
                >(NormGradientIlgpu<T, TStorage>.GroupInput)
        )(
            stream,
            Count((long)images * shape.Pixels * shape.Channels),
            s,
            Of(x),
            statistics,
            Of(weight),
            Of(bias),
            Of(dy),
            sums,
            Of(dx)
        );
        if (dweight is null && dbias is null)
            return;
        int count = shape.Experts * shape.Channels;
        Get(
            "groupParameters",
            () =>
                accelerator.LoadAutoGroupedKernel<Index1D, NormArguments, ArrayView<float>, ArrayView<T>, ArrayView<T>>(
                    NormGradientIlgpu<T, TStorage>.GroupParameters
                )
        )(stream, count, s, sums, Or(dweight, _spare, count), Or(dbias, _spare2, count));
    }

    public void LayerNorm(
        in LayerNormShape shape,
        DeviceBuffer x,
        DeviceBuffer weight,
        DeviceBuffer dy,
        DeviceBuffer dx,
        DeviceBuffer? dweight,
        DeviceBuffer? dbias
    )
    {
        var s = new NormArguments
        {
            Rows = shape.Rows,
            Channels = shape.Channels,
            SharedInput = shape.SharedInput ? 1 : 0,
            Epsilon = shape.Epsilon,
        };
        int rows = shape.Experts * shape.Rows,
            count = shape.Experts * shape.Channels;
        ArrayView<float> statistics = _statistics.View(rows * 2L);
        Get(
            "layerInput",
            () =>
                accelerator.LoadAutoGroupedKernel<
                    Index1D,
                    NormArguments,
                    ArrayView<T>,
                    ArrayView<T>,
                    ArrayView<T>,
                    ArrayView<T>,
                    ArrayView<float>
                >(NormGradientIlgpu<T, TStorage>.LayerInput)
        )(stream, rows, s, Of(x), Of(weight), Of(dy), Of(dx), statistics);
        if (dweight is null && dbias is null)
            return;
        Get(
            "layerParameters",
            () =>
                accelerator.LoadAutoGroupedKernel<
                    Index1D,
                    NormArguments,
                    ArrayView<T>,
                    ArrayView<T>,
                    ArrayView<float>,
                    ArrayView<T>,
                    ArrayView<T>
                >(NormGradientIlgpu<T, TStorage>.LayerParameters)
        )(stream, count, s, Of(x), Of(dy), statistics, Or(dweight, _spare, count), Or(dbias, _spare2, count));
    }
}
