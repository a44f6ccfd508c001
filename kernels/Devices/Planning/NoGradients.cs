using AfaNative.Kernels.Contracts;

namespace AfaNative.Kernels.Devices.Planning;

/// <summary>Gradients that compute nothing, for <see cref="PlanningDevice"/>.</summary>
internal sealed class NoGradients : IGradients
{
    public void LinearInput(in LinearShape shape, DeviceBuffer dy, PackedWeights weights, DeviceBuffer dx) { }

    public void ConvolutionInput(in ConvolutionShape shape, DeviceBuffer dy, PackedWeights weights, DeviceBuffer dx) { }

    public void LinearWeights(in LinearShape shape, WeightShape weights, DeviceBuffer x, DeviceBuffer dy, DeviceBuffer dw) { }

    public void ConvolutionWeights(
        in ConvolutionShape shape,
        WeightShape weights,
        DeviceBuffer x,
        DeviceBuffer dy,
        DeviceBuffer dw
    ) { }

    public void SumRows(int experts, long rows, long rowsPerGroup, int columns, DeviceBuffer x, DeviceBuffer y) { }

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
    ) { }

    public void GroupNorm(
        in GroupNormShape shape,
        DeviceBuffer x,
        DeviceBuffer weight,
        DeviceBuffer bias,
        DeviceBuffer dy,
        DeviceBuffer dx,
        DeviceBuffer? dweight,
        DeviceBuffer? dbias
    ) { }

    public void LayerNorm(
        in LayerNormShape shape,
        DeviceBuffer x,
        DeviceBuffer weight,
        DeviceBuffer dy,
        DeviceBuffer dx,
        DeviceBuffer? dweight,
        DeviceBuffer? dbias
    ) { }

    public void Activate(ActivationKind kind, long count, DeviceBuffer x, DeviceBuffer dy, DeviceBuffer dx) { }

    public void Geglu(long rows, int width, DeviceBuffer x, DeviceBuffer dy, DeviceBuffer dx) { }

    public void Softmax(long rows, int width, DeviceBuffer y, DeviceBuffer dy, DeviceBuffer dx) { }

    public void UpsampleNearest(in UpsampleShape shape, DeviceBuffer dy, DeviceBuffer dx) { }

    public void Split(in ConcatShape shape, DeviceBuffer dy, DeviceBuffer da, DeviceBuffer db) { }

    public void SumOverExperts(int experts, long count, DeviceBuffer x, DeviceBuffer y) { }

    public void RepeatForExperts(int experts, long count, float scale, DeviceBuffer x, DeviceBuffer y) { }

    public void ChannelsToExperts(int experts, long rows, int channels, DeviceBuffer x, DeviceBuffer y) { }

    public void FuseExperts(
        in FusionShape shape,
        DeviceBuffer features,
        DeviceBuffer logits,
        DeviceBuffer dy,
        DeviceBuffer? dmaps,
        DeviceBuffer dfeatures,
        DeviceBuffer dlogits
    ) { }
}
