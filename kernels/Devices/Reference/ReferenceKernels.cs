using AfaNative.Kernels.Activation;
using AfaNative.Kernels.Attention;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Elementwise;
using AfaNative.Kernels.Embedding;
using AfaNative.Kernels.FeatureFusion;
using AfaNative.Kernels.MatrixMultiply;
using AfaNative.Kernels.Normalization;
using AfaNative.Kernels.Resampling;
using static AfaNative.Kernels.Host.HostBuffer;

namespace AfaNative.Kernels.Devices.Reference;

/// <summary>Every op as its contract reads: plain loops on one thread. Slow; what all others are compared with.</summary>
internal sealed unsafe class ReferenceKernels() : IKernels
{
    public void Linear(in LinearShape shape, DeviceBuffer x, PackedWeights weights, in Epilogue epilogue, DeviceBuffer y)
    {
        EpilogueArguments arguments = EpilogueArguments.From(epilogue, weights.Shape, shape.Rows, y);
        MatrixMultiplyReference.Linear(shape, PointerOf(x), (CpuPackedWeights)weights, arguments);
    }

    public void Convolution(
        in ConvolutionShape shape,
        DeviceBuffer x,
        PackedWeights weights,
        in Epilogue epilogue,
        DeviceBuffer y
    )
    {
        int rows = shape.Batch * shape.OutHeight * shape.OutWidth;
        EpilogueArguments arguments = EpilogueArguments.From(epilogue, weights.Shape, rows, y);
        MatrixMultiplyReference.Convolution(shape, PointerOf(x), (CpuPackedWeights)weights, arguments);
    }

    public void Attention(in AttentionShape shape, DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer y) =>
        AttentionReference.Run(shape, PointerOf(q), PointerOf(k), PointerOf(v), PointerOf(y));

    public void GroupNorm(in GroupNormShape shape, DeviceBuffer x, DeviceBuffer weight, DeviceBuffer bias, DeviceBuffer y) =>
        NormReference.GroupNorm(shape, PointerOf(x), PointerOf(weight), PointerOf(bias), PointerOf(y));

    public void LayerNorm(in LayerNormShape shape, DeviceBuffer x, DeviceBuffer weight, DeviceBuffer bias, DeviceBuffer y) =>
        NormReference.LayerNorm(shape, PointerOf(x), PointerOf(weight), PointerOf(bias), PointerOf(y));

    public void Activate(ActivationKind kind, long count, DeviceBuffer x, DeviceBuffer y) =>
        ActivationReference.Run(kind, count, PointerOf(x), PointerOf(y));

    public void Geglu(long rows, int width, DeviceBuffer x, DeviceBuffer y) =>
        ActivationReference.Geglu(rows, width, PointerOf(x), PointerOf(y));

    public void Softmax(long rows, int width, DeviceBuffer x, DeviceBuffer y) =>
        NormReference.Softmax(rows, width, PointerOf(x), PointerOf(y));

    public void UpsampleNearest(in UpsampleShape shape, DeviceBuffer x, DeviceBuffer y) =>
        NearestUpsampling.Reference(shape, PointerOf(x), PointerOf(y));

    public void Concat(in ConcatShape shape, DeviceBuffer a, DeviceBuffer b, DeviceBuffer y) =>
        ElementwiseReference.Concat(shape, PointerOf(a), PointerOf(b), PointerOf(y));

    public void Add(in AddShape shape, DeviceBuffer a, DeviceBuffer b, DeviceBuffer y) =>
        ElementwiseReference.Add(shape, PointerOf(a), PointerOf(b), PointerOf(y));

    public void MeanOverExperts(int experts, long count, DeviceBuffer x, DeviceBuffer y) =>
        ElementwiseReference.MeanOverExperts(experts, count, PointerOf(x), PointerOf(y));

    public void ExpertsToChannels(int experts, long rows, int channels, DeviceBuffer x, DeviceBuffer y) =>
        ElementwiseReference.ExpertsToChannels(experts, rows, channels, PointerOf(x), PointerOf(y));

    public void TimestepEmbedding(ReadOnlySpan<float> timesteps, int dim, DeviceBuffer y) =>
        Embeddings.Timesteps(timesteps, dim, PointerOf(y));

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
    ) =>
        Embeddings.Tokens(
            experts,
            vocabulary,
            length,
            dim,
            ids,
            PointerOf(tokens),
            PointerOf(positions),
            positionRows,
            PointerOf(y)
        );

    public void FuseExperts(
        in FusionShape shape,
        DeviceBuffer features,
        DeviceBuffer logits,
        DeviceBuffer y,
        DeviceBuffer? maps
    ) =>
        ExpertFusion.Reference(
            shape,
            PointerOf(features),
            PointerOf(logits),
            PointerOf(y),
            maps is null ? null : PointerOf(maps)
        );
}
