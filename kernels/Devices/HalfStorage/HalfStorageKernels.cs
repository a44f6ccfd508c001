using AfaNative.Kernels.Contracts;

namespace AfaNative.Kernels.Devices.HalfStorage;

/// <summary>Ops whose results are rounded to what 16-bit memory would hold.</summary>
internal sealed class HalfStorageKernels(HalfStorageDevice device, IKernels inner) : IKernels
{
    public void Linear(in LinearShape shape, DeviceBuffer x, PackedWeights weights, in Epilogue epilogue, DeviceBuffer y)
    {
        inner.Linear(in shape, x, weights, in epilogue, y);
        device.Round(y);
    }

    public void Convolution(
        in ConvolutionShape shape,
        DeviceBuffer x,
        PackedWeights weights,
        in Epilogue epilogue,
        DeviceBuffer y
    )
    {
        inner.Convolution(in shape, x, weights, in epilogue, y);
        device.Round(y);
    }

    public void Attention(in AttentionShape shape, DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer y)
    {
        inner.Attention(in shape, q, k, v, y);
        device.Round(y);
    }

    public void GroupNorm(in GroupNormShape shape, DeviceBuffer x, DeviceBuffer weight, DeviceBuffer bias, DeviceBuffer y)
    {
        inner.GroupNorm(in shape, x, weight, bias, y);
        device.Round(y);
    }

    public void LayerNorm(in LayerNormShape shape, DeviceBuffer x, DeviceBuffer weight, DeviceBuffer bias, DeviceBuffer y)
    {
        inner.LayerNorm(in shape, x, weight, bias, y);
        device.Round(y);
    }

    public void Activate(ActivationKind kind, long count, DeviceBuffer x, DeviceBuffer y)
    {
        inner.Activate(kind, count, x, y);
        device.Round(y);
    }

    public void Geglu(long rows, int width, DeviceBuffer x, DeviceBuffer y)
    {
        inner.Geglu(rows, width, x, y);
        device.Round(y);
    }

    public void Softmax(long rows, int width, DeviceBuffer x, DeviceBuffer y)
    {
        inner.Softmax(rows, width, x, y);
        device.Round(y);
    }

    public void UpsampleNearest(in UpsampleShape shape, DeviceBuffer x, DeviceBuffer y)
    {
        inner.UpsampleNearest(in shape, x, y);
        device.Round(y);
    }

    public void Concat(in ConcatShape shape, DeviceBuffer a, DeviceBuffer b, DeviceBuffer y)
    {
        inner.Concat(in shape, a, b, y);
        device.Round(y);
    }

    public void Add(in AddShape shape, DeviceBuffer a, DeviceBuffer b, DeviceBuffer y)
    {
        inner.Add(in shape, a, b, y);
        device.Round(y);
    }

    public void MeanOverExperts(int experts, long count, DeviceBuffer x, DeviceBuffer y)
    {
        inner.MeanOverExperts(experts, count, x, y);
        device.Round(y);
    }

    public void ExpertsToChannels(int experts, long rows, int channels, DeviceBuffer x, DeviceBuffer y)
    {
        inner.ExpertsToChannels(experts, rows, channels, x, y);
        device.Round(y);
    }

    public void TimestepEmbedding(ReadOnlySpan<float> timesteps, int dim, DeviceBuffer y)
    {
        inner.TimestepEmbedding(timesteps, dim, y);
        device.Round(y);
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
        inner.TokenEmbedding(experts, vocabulary, positionRows, length, dim, ids, tokens, positions, y);
        device.Round(y);
    }

    public void FuseExperts(in FusionShape shape, DeviceBuffer features, DeviceBuffer logits, DeviceBuffer y, DeviceBuffer? maps)
    {
        inner.FuseExperts(in shape, features, logits, y, maps);
        device.Round(y, maps);
    }
}
