using AfaNative.Kernels.Activation;
using AfaNative.Kernels.Attention;
using AfaNative.Kernels.Convolution;
using AfaNative.Kernels.Elementwise;
using AfaNative.Kernels.FeatureFusion;
using AfaNative.Kernels.MatrixMultiply;
using AfaNative.Kernels.Normalization;
using AfaNative.Kernels.Resampling;

namespace AfaNative.Kernels.Devices;

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

/// <summary>Their gradients, rounded likewise.</summary>
internal sealed class HalfStorageGradients(HalfStorageDevice device, IGradients inner) : IGradients
{
    public void LinearInput(in LinearShape shape, DeviceBuffer dy, PackedWeights weights, DeviceBuffer dx)
    {
        inner.LinearInput(in shape, dy, weights, dx);
        device.Round(dx);
    }

    public void ConvolutionInput(in ConvolutionShape shape, DeviceBuffer dy, PackedWeights weights, DeviceBuffer dx)
    {
        inner.ConvolutionInput(in shape, dy, weights, dx);
        device.Round(dx);
    }

    public void LinearWeights(in LinearShape shape, WeightShape weights, DeviceBuffer x, DeviceBuffer dy, DeviceBuffer dw)
    {
        inner.LinearWeights(in shape, weights, x, dy, dw);
        device.Round(dw);
    }

    public void ConvolutionWeights(
        in ConvolutionShape shape,
        WeightShape weights,
        DeviceBuffer x,
        DeviceBuffer dy,
        DeviceBuffer dw
    )
    {
        inner.ConvolutionWeights(in shape, weights, x, dy, dw);
        device.Round(dw);
    }

    public void SumRows(int experts, long rows, long rowsPerGroup, int columns, DeviceBuffer x, DeviceBuffer y)
    {
        inner.SumRows(experts, rows, rowsPerGroup, columns, x, y);
        device.Round(y);
    }

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
        inner.Attention(in shape, q, k, v, y, dy, dq, dk, dv);
        device.Round(dq, dk, dv);
    }

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
        inner.GroupNorm(in shape, x, weight, bias, dy, dx, dweight, dbias);
        device.Round(dx, dweight, dbias);
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
        inner.LayerNorm(in shape, x, weight, dy, dx, dweight, dbias);
        device.Round(dx, dweight, dbias);
    }

    public void Activate(ActivationKind kind, long count, DeviceBuffer x, DeviceBuffer dy, DeviceBuffer dx)
    {
        inner.Activate(kind, count, x, dy, dx);
        device.Round(dx);
    }

    public void Geglu(long rows, int width, DeviceBuffer x, DeviceBuffer dy, DeviceBuffer dx)
    {
        inner.Geglu(rows, width, x, dy, dx);
        device.Round(dx);
    }

    public void Softmax(long rows, int width, DeviceBuffer y, DeviceBuffer dy, DeviceBuffer dx)
    {
        inner.Softmax(rows, width, y, dy, dx);
        device.Round(dx);
    }

    public void UpsampleNearest(in UpsampleShape shape, DeviceBuffer dy, DeviceBuffer dx)
    {
        inner.UpsampleNearest(in shape, dy, dx);
        device.Round(dx);
    }

    public void Split(in ConcatShape shape, DeviceBuffer dy, DeviceBuffer da, DeviceBuffer db)
    {
        inner.Split(in shape, dy, da, db);
        device.Round(da, db);
    }

    public void SumOverExperts(int experts, long count, DeviceBuffer x, DeviceBuffer y)
    {
        inner.SumOverExperts(experts, count, x, y);
        device.Round(y);
    }

    public void RepeatForExperts(int experts, long count, float scale, DeviceBuffer x, DeviceBuffer y)
    {
        inner.RepeatForExperts(experts, count, scale, x, y);
        device.Round(y);
    }

    public void ChannelsToExperts(int experts, long rows, int channels, DeviceBuffer x, DeviceBuffer y)
    {
        inner.ChannelsToExperts(experts, rows, channels, x, y);
        device.Round(y);
    }

    public void FuseExperts(
        in FusionShape shape,
        DeviceBuffer features,
        DeviceBuffer logits,
        DeviceBuffer dy,
        DeviceBuffer? dmaps,
        DeviceBuffer dfeatures,
        DeviceBuffer dlogits
    )
    {
        inner.FuseExperts(in shape, features, logits, dy, dmaps, dfeatures, dlogits);
        device.Round(dfeatures, dlogits);
    }
}
