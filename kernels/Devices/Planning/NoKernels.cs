using AfaNative.Kernels.Contracts;

namespace AfaNative.Kernels.Devices.Planning;

/// <summary>Ops that compute nothing, for <see cref="PlanningDevice"/>.</summary>
internal sealed class NoKernels : IKernels
{
    public void Linear(in LinearShape shape, DeviceBuffer x, PackedWeights weights, in Epilogue epilogue, DeviceBuffer y) { }

    public void Convolution(
        in ConvolutionShape shape,
        DeviceBuffer x,
        PackedWeights weights,
        in Epilogue epilogue,
        DeviceBuffer y
    ) { }

    public void Attention(in AttentionShape shape, DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer y) { }

    public void GroupNorm(in GroupNormShape shape, DeviceBuffer x, DeviceBuffer weight, DeviceBuffer bias, DeviceBuffer y) { }

    public void LayerNorm(in LayerNormShape shape, DeviceBuffer x, DeviceBuffer weight, DeviceBuffer bias, DeviceBuffer y) { }

    public void Activate(ActivationKind kind, long count, DeviceBuffer x, DeviceBuffer y) { }

    public void Geglu(long rows, int width, DeviceBuffer x, DeviceBuffer y) { }

    public void Softmax(long rows, int width, DeviceBuffer x, DeviceBuffer y) { }

    public void UpsampleNearest(in UpsampleShape shape, DeviceBuffer x, DeviceBuffer y) { }

    public void Concat(in ConcatShape shape, DeviceBuffer a, DeviceBuffer b, DeviceBuffer y) { }

    public void Add(in AddShape shape, DeviceBuffer a, DeviceBuffer b, DeviceBuffer y) { }

    public void MeanOverExperts(int experts, long count, DeviceBuffer x, DeviceBuffer y) { }

    public void ExpertsToChannels(int experts, long rows, int channels, DeviceBuffer x, DeviceBuffer y) { }

    public void TimestepEmbedding(ReadOnlySpan<float> timesteps, int dim, DeviceBuffer y) { }

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
    ) { }

    public void FuseExperts(
        in FusionShape shape,
        DeviceBuffer features,
        DeviceBuffer logits,
        DeviceBuffer y,
        DeviceBuffer? maps
    ) { }
}
