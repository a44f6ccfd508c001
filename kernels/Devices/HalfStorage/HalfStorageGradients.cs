using AfaNative.Kernels.Contracts;

namespace AfaNative.Kernels.Devices.HalfStorage;

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
