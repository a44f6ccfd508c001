using AfaNative.Kernels.Contracts;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Devices.Ilgpu;

/// <summary>Ops of several threads, one after another.</summary>
internal sealed class SerialKernels(IKernels inner, Lock turn) : IKernels
{
    public void Linear(in LinearShape shape, DeviceBuffer x, PackedWeights weights, in Epilogue epilogue, DeviceBuffer y)
    {
        lock (turn)
            inner.Linear(in shape, x, weights, in epilogue, y);
    }

    public void Convolution(
        in ConvolutionShape shape,
        DeviceBuffer x,
        PackedWeights weights,
        in Epilogue epilogue,
        DeviceBuffer y
    )
    {
        lock (turn)
            inner.Convolution(in shape, x, weights, in epilogue, y);
    }

    public void Attention(in AttentionShape shape, DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer y)
    {
        lock (turn)
            inner.Attention(in shape, q, k, v, y);
    }

    public void GroupNorm(in GroupNormShape shape, DeviceBuffer x, DeviceBuffer weight, DeviceBuffer bias, DeviceBuffer y)
    {
        lock (turn)
            inner.GroupNorm(in shape, x, weight, bias, y);
    }

    public void LayerNorm(in LayerNormShape shape, DeviceBuffer x, DeviceBuffer weight, DeviceBuffer bias, DeviceBuffer y)
    {
        lock (turn)
            inner.LayerNorm(in shape, x, weight, bias, y);
    }

    public void Activate(ActivationKind kind, long count, DeviceBuffer x, DeviceBuffer y)
    {
        lock (turn)
            inner.Activate(kind, count, x, y);
    }

    public void Geglu(long rows, int width, DeviceBuffer x, DeviceBuffer y)
    {
        lock (turn)
            inner.Geglu(rows, width, x, y);
    }

    public void Softmax(long rows, int width, DeviceBuffer x, DeviceBuffer y)
    {
        lock (turn)
            inner.Softmax(rows, width, x, y);
    }

    public void UpsampleNearest(in UpsampleShape shape, DeviceBuffer x, DeviceBuffer y)
    {
        lock (turn)
            inner.UpsampleNearest(in shape, x, y);
    }

    public void Concat(in ConcatShape shape, DeviceBuffer a, DeviceBuffer b, DeviceBuffer y)
    {
        lock (turn)
            inner.Concat(in shape, a, b, y);
    }

    public void Add(in AddShape shape, DeviceBuffer a, DeviceBuffer b, DeviceBuffer y)
    {
        lock (turn)
            inner.Add(in shape, a, b, y);
    }

    public void MeanOverExperts(int experts, long count, DeviceBuffer x, DeviceBuffer y)
    {
        lock (turn)
            inner.MeanOverExperts(experts, count, x, y);
    }

    public void ExpertsToChannels(int experts, long rows, int channels, DeviceBuffer x, DeviceBuffer y)
    {
        lock (turn)
            inner.ExpertsToChannels(experts, rows, channels, x, y);
    }

    public void TimestepEmbedding(ReadOnlySpan<float> timesteps, int dim, DeviceBuffer y)
    {
        lock (turn)
            inner.TimestepEmbedding(timesteps, dim, y);
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
        lock (turn)
            inner.TokenEmbedding(experts, vocabulary, positionRows, length, dim, ids, tokens, positions, y);
    }

    public void FuseExperts(in FusionShape shape, DeviceBuffer features, DeviceBuffer logits, DeviceBuffer y, DeviceBuffer? maps)
    {
        lock (turn)
            inner.FuseExperts(in shape, features, logits, y, maps);
    }
}

/// <summary>Recorded work that waits for other threads' ops.</summary>
internal sealed class SerialRecording(IRecordedWork inner, Accelerator accelerator, Lock turn) : IRecordedWork
{
    public bool TryReplay()
    {
        lock (turn)
        {
            accelerator.Bind();
            return inner.TryReplay();
        }
    }

    public void Dispose()
    {
        lock (turn)
            inner.Dispose();
    }
}
