using AfaNative.Kernels.Activation;
using AfaNative.Kernels.Attention;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Convolution;
using AfaNative.Kernels.Elementwise;
using AfaNative.Kernels.Host;
using AfaNative.Kernels.MatrixMultiply;
using AfaNative.Kernels.Normalization;
using static AfaNative.Kernels.Host.HostBuffer;

namespace AfaNative.Kernels.Devices.Cpu;

/// <summary>Every gradient on the host, vectorised and on all worker threads.</summary>
internal sealed unsafe class CpuGradients(WorkerPool pool, SimdWidth simd, Scratch shared) : IGradients
{
    public void LinearInput(in LinearShape shape, DeviceBuffer dy, PackedWeights weights, DeviceBuffer dx) =>
        MatrixGradientSimd.LinearInput(pool, simd, shape, PointerOf(dy), (CpuPackedWeights)weights, PointerOf(dx));

    public void ConvolutionInput(in ConvolutionShape shape, DeviceBuffer dy, PackedWeights weights, DeviceBuffer dx) =>
        ConvolutionGradientSimd.Input(pool, simd, shared, shape, PointerOf(dy), (CpuPackedWeights)weights, PointerOf(dx));

    public void LinearWeights(in LinearShape shape, WeightShape weights, DeviceBuffer x, DeviceBuffer dy, DeviceBuffer dw) =>
        MatrixGradientSimd.LinearWeights(pool, simd, shape, weights, PointerOf(x), PointerOf(dy), PointerOf(dw));

    public void ConvolutionWeights(
        in ConvolutionShape shape,
        WeightShape weights,
        DeviceBuffer x,
        DeviceBuffer dy,
        DeviceBuffer dw
    )
    {
        var work = new float[(long)shape.Experts * weights.Out * weights.K];
        fixed (float* p = work)
            ConvolutionGradientSimd.Weights(pool, simd, shape, weights, PointerOf(x), PointerOf(dy), PointerOf(dw), p);
    }

    public void SumRows(int experts, long rows, long rowsPerGroup, int columns, DeviceBuffer x, DeviceBuffer y) =>
        ElementwiseGradientSimd.SumRows(pool, experts, rows, rowsPerGroup, columns, PointerOf(x), PointerOf(y));

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
    ) =>
        AttentionGradientSimd.Run(
            pool,
            simd,
            shape,
            PointerOf(q),
            PointerOf(k),
            PointerOf(v),
            PointerOf(y),
            PointerOf(dy),
            PointerOf(dq),
            PointerOf(dk),
            PointerOf(dv)
        );

    public void GroupNorm(
        in GroupNormShape shape,
        DeviceBuffer x,
        DeviceBuffer weight,
        DeviceBuffer bias,
        DeviceBuffer dy,
        DeviceBuffer dx,
        DeviceBuffer? dweight,
        DeviceBuffer? dbias
    ) =>
        NormGradientSimd.GroupNorm(
            pool,
            shape,
            PointerOf(x),
            PointerOf(weight),
            PointerOf(bias),
            PointerOf(dy),
            PointerOf(dx),
            Or(dweight),
            Or(dbias)
        );

    public void LayerNorm(
        in LayerNormShape shape,
        DeviceBuffer x,
        DeviceBuffer weight,
        DeviceBuffer dy,
        DeviceBuffer dx,
        DeviceBuffer? dweight,
        DeviceBuffer? dbias
    ) =>
        NormGradientSimd.LayerNorm(
            pool,
            shape,
            PointerOf(x),
            PointerOf(weight),
            PointerOf(dy),
            PointerOf(dx),
            Or(dweight),
            Or(dbias)
        );

    public void Activate(ActivationKind kind, long count, DeviceBuffer x, DeviceBuffer dy, DeviceBuffer dx) =>
        ActivationGradientSimd.Run(pool, kind, count, PointerOf(x), PointerOf(dy), PointerOf(dx));

    public void Geglu(long rows, int width, DeviceBuffer x, DeviceBuffer dy, DeviceBuffer dx) =>
        ActivationGradientSimd.Geglu(pool, rows, width, PointerOf(x), PointerOf(dy), PointerOf(dx));

    public void Softmax(long rows, int width, DeviceBuffer y, DeviceBuffer dy, DeviceBuffer dx) =>
        NormGradientSimd.Softmax(pool, rows, width, PointerOf(y), PointerOf(dy), PointerOf(dx));

    public void UpsampleNearest(in UpsampleShape shape, DeviceBuffer dy, DeviceBuffer dx) =>
        ElementwiseGradientSimd.UpsampleNearest(pool, shape, PointerOf(dy), PointerOf(dx));

    public void Split(in ConcatShape shape, DeviceBuffer dy, DeviceBuffer da, DeviceBuffer db) =>
        ElementwiseGradientSimd.Split(pool, shape, PointerOf(dy), PointerOf(da), PointerOf(db));

    public void SumOverExperts(int experts, long count, DeviceBuffer x, DeviceBuffer y) =>
        ElementwiseGradientSimd.SumOverExperts(pool, experts, count, PointerOf(x), PointerOf(y));

    public void RepeatForExperts(int experts, long count, float scale, DeviceBuffer x, DeviceBuffer y) =>
        ElementwiseGradientSimd.RepeatForExperts(pool, experts, count, scale, PointerOf(x), PointerOf(y));

    public void ChannelsToExperts(int experts, long rows, int channels, DeviceBuffer x, DeviceBuffer y) =>
        ElementwiseGradientSimd.ChannelsToExperts(pool, experts, rows, channels, PointerOf(x), PointerOf(y));

    public void FuseExperts(
        in FusionShape shape,
        DeviceBuffer features,
        DeviceBuffer logits,
        DeviceBuffer dy,
        DeviceBuffer? dmaps,
        DeviceBuffer dfeatures,
        DeviceBuffer dlogits
    ) =>
        ElementwiseGradientSimd.FuseExperts(
            pool,
            shape,
            PointerOf(features),
            PointerOf(logits),
            PointerOf(dy),
            Or(dmaps),
            PointerOf(dfeatures),
            PointerOf(dlogits)
        );

    private static float* Or(DeviceBuffer? buffer) => buffer is null ? null : PointerOf(buffer);
}
