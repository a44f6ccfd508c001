using AfaNative.Kernels.Contracts;

namespace AfaNative.Kernels.Devices.Ilgpu;

/// <summary>Gradients of several threads, one after another.</summary>
internal sealed class SerialGradients(IGradients inner, Lock turn) : IGradients
{
    public void LinearInput(in LinearShape shape, DeviceBuffer dy, PackedWeights weights, DeviceBuffer dx)
    {
        lock (turn)
            inner.LinearInput(in shape, dy, weights, dx);
    }

    public void ConvolutionInput(in ConvolutionShape shape, DeviceBuffer dy, PackedWeights weights, DeviceBuffer dx)
    {
        lock (turn)
            inner.ConvolutionInput(in shape, dy, weights, dx);
    }

    public void LinearWeights(in LinearShape shape, WeightShape weights, DeviceBuffer x, DeviceBuffer dy, DeviceBuffer dw)
    {
        lock (turn)
            inner.LinearWeights(in shape, weights, x, dy, dw);
    }

    public void ConvolutionWeights(
        in ConvolutionShape shape,
        WeightShape weights,
        DeviceBuffer x,
        DeviceBuffer dy,
        DeviceBuffer dw
    )
    {
        lock (turn)
            inner.ConvolutionWeights(in shape, weights, x, dy, dw);
    }

    public void SumRows(int experts, long rows, long rowsPerGroup, int columns, DeviceBuffer x, DeviceBuffer y)
    {
        lock (turn)
            inner.SumRows(experts, rows, rowsPerGroup, columns, x, y);
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
        lock (turn)
            inner.Attention(in shape, q, k, v, y, dy, dq, dk, dv);
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
        lock (turn)
            inner.GroupNorm(in shape, x, weight, bias, dy, dx, dweight, dbias);
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
        lock (turn)
            inner.LayerNorm(in shape, x, weight, dy, dx, dweight, dbias);
    }

    public void Activate(ActivationKind kind, long count, DeviceBuffer x, DeviceBuffer dy, DeviceBuffer dx)
    {
        lock (turn)
            inner.Activate(kind, count, x, dy, dx);
    }

    public void Geglu(long rows, int width, DeviceBuffer x, DeviceBuffer dy, DeviceBuffer dx)
    {
        lock (turn)
            inner.Geglu(rows, width, x, dy, dx);
    }

    public void Softmax(long rows, int width, DeviceBuffer y, DeviceBuffer dy, DeviceBuffer dx)
    {
        lock (turn)
            inner.Softmax(rows, width, y, dy, dx);
    }

    public void UpsampleNearest(in UpsampleShape shape, DeviceBuffer dy, DeviceBuffer dx)
    {
        lock (turn)
            inner.UpsampleNearest(in shape, dy, dx);
    }

    public void Split(in ConcatShape shape, DeviceBuffer dy, DeviceBuffer da, DeviceBuffer db)
    {
        lock (turn)
            inner.Split(in shape, dy, da, db);
    }

    public void SumOverExperts(int experts, long count, DeviceBuffer x, DeviceBuffer y)
    {
        lock (turn)
            inner.SumOverExperts(experts, count, x, y);
    }

    public void RepeatForExperts(int experts, long count, float scale, DeviceBuffer x, DeviceBuffer y)
    {
        lock (turn)
            inner.RepeatForExperts(experts, count, scale, x, y);
    }

    public void ChannelsToExperts(int experts, long rows, int channels, DeviceBuffer x, DeviceBuffer y)
    {
        lock (turn)
            inner.ChannelsToExperts(experts, rows, channels, x, y);
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
        lock (turn)
            inner.FuseExperts(in shape, features, logits, dy, dmaps, dfeatures, dlogits);
    }
}
