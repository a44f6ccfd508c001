using AfaNative.Kernels.Activation;
using AfaNative.Kernels.Attention;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Convolution;
using AfaNative.Kernels.Elementwise;
using AfaNative.Kernels.Embedding;
using AfaNative.Kernels.FeatureFusion;
using AfaNative.Kernels.Host;
using AfaNative.Kernels.MatrixMultiply;
using AfaNative.Kernels.Normalization;
using AfaNative.Kernels.Resampling;
using static AfaNative.Kernels.Host.HostBuffer;

namespace AfaNative.Kernels.Devices.Cpu;

/// <summary>Every op on the host, vectorised and on all worker threads.</summary>
/// <param name="pool">The threads.</param>
/// <param name="simd">Vector width of float32 products.</param>
/// <param name="shared">Working memory of whole ops.</param>
/// <param name="bfloat16">Linear layers, attention and direct convolutions multiply operands rounded to bfloat16, unless a shape
/// says exact. Winograd convolutions stay in float32: they are faster than direct ones in bfloat16, and would multiply its
/// rounding by five.</param>
internal sealed unsafe class CpuKernels(WorkerPool pool, SimdWidth simd, Scratch shared, bool bfloat16) : IKernels
{
    // Pixels from which on direct convolutions pair products: their weights are brought to a common size each time.
    private const int PairedPixels = 64;

    public void Linear(in LinearShape shape, DeviceBuffer x, PackedWeights weights, in Epilogue epilogue, DeviceBuffer y)
    {
        EpilogueArguments arguments = EpilogueArguments.From(epilogue, weights.Shape, shape.Rows, y);
        int k = weights.Shape.In;
        Multiply(
            new MatrixRows(PointerOf(x), shape.SharedInput ? 0 : (long)shape.Rows * k, k),
            shape.Experts,
            shape.Rows,
            weights,
            arguments
        );
    }

    public void Convolution(
        in ConvolutionShape shape,
        DeviceBuffer x,
        PackedWeights weights,
        in Epilogue epilogue,
        DeviceBuffer y
    )
    {
        int rows = shape.Batch * shape.OutHeight * shape.OutWidth,
            inputs = weights.Shape.In;
        EpilogueArguments arguments = EpilogueArguments.From(epilogue, weights.Shape, rows, y);
        if (WinogradConvolution.Suits(shape, weights.Shape))
        {
            WinogradConvolution.Run(pool, simd, shared, PointerOf(x), shape, (CpuPackedWeights)weights, arguments);
            return;
        }

        bool paired = shape.OutHeight * shape.OutWidth >= PairedPixels;
        Multiply(
            new PatchRows(
                PointerOf(x),
                shape.SharedInput ? 0 : (long)shape.Batch * shape.Height * shape.Width * inputs,
                shape,
                inputs
            ),
            shape.Experts,
            rows,
            weights,
            arguments,
            paired
        );
    }

    private void Multiply<TRows>(
        TRows rows,
        int experts,
        int count,
        PackedWeights weights,
        in EpilogueArguments epilogue,
        bool paired = true
    )
        where TRows : struct, IRowSource
    {
        var panels = new PackedPanels((CpuPackedWeights)weights);
        if (bfloat16 && !weights.Shape.Exact)
            MatrixMultiplySimd.Run(pool, new BFloat16Product(), rows, experts, count, panels, epilogue);
        else if (paired && simd == SimdWidth.Paired512)
            MatrixMultiplySimd.Run(pool, new PairedProduct(), rows, experts, count, panels, epilogue);
        else
            MatrixMultiplySimd.Run(pool, new Float32Product(simd), rows, experts, count, panels, epilogue);
    }

    public void Attention(in AttentionShape shape, DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer y)
    {
        if (bfloat16 && !shape.Exact)
            AttentionSimd.Run(pool, new BFloat16Product(), shape, PointerOf(q), PointerOf(k), PointerOf(v), PointerOf(y));
        else if (simd == SimdWidth.Paired512)
            AttentionSimd.Run(
                pool,
                new PairedProduct(),
                new Float32Product(SimdWidth.Vector512),
                shape,
                PointerOf(q),
                PointerOf(k),
                PointerOf(v),
                PointerOf(y)
            );
        else
            AttentionSimd.Run(pool, new Float32Product(simd), shape, PointerOf(q), PointerOf(k), PointerOf(v), PointerOf(y));
    }

    public void GroupNorm(in GroupNormShape shape, DeviceBuffer x, DeviceBuffer weight, DeviceBuffer bias, DeviceBuffer y) =>
        GroupNormSimd.Run(pool, shape, PointerOf(x), PointerOf(weight), PointerOf(bias), PointerOf(y));

    public void LayerNorm(in LayerNormShape shape, DeviceBuffer x, DeviceBuffer weight, DeviceBuffer bias, DeviceBuffer y) =>
        LayerNormSimd.Run(pool, shape, PointerOf(x), PointerOf(weight), PointerOf(bias), PointerOf(y));

    public void Activate(ActivationKind kind, long count, DeviceBuffer x, DeviceBuffer y) =>
        ActivationSimd.Run(pool, kind, count, PointerOf(x), PointerOf(y));

    public void Geglu(long rows, int width, DeviceBuffer x, DeviceBuffer y) =>
        ActivationSimd.Geglu(pool, rows, width, PointerOf(x), PointerOf(y));

    public void Softmax(long rows, int width, DeviceBuffer x, DeviceBuffer y) =>
        LayerNormSimd.Softmax(pool, rows, width, PointerOf(x), PointerOf(y));

    public void UpsampleNearest(in UpsampleShape shape, DeviceBuffer x, DeviceBuffer y) =>
        NearestUpsampling.Simd(pool, shape, PointerOf(x), PointerOf(y));

    public void Concat(in ConcatShape shape, DeviceBuffer a, DeviceBuffer b, DeviceBuffer y) =>
        ElementwiseSimd.Concat(pool, shape, PointerOf(a), PointerOf(b), PointerOf(y));

    public void Add(in AddShape shape, DeviceBuffer a, DeviceBuffer b, DeviceBuffer y) =>
        ElementwiseSimd.Add(pool, shape, PointerOf(a), PointerOf(b), PointerOf(y));

    public void MeanOverExperts(int experts, long count, DeviceBuffer x, DeviceBuffer y) =>
        ElementwiseSimd.MeanOverExperts(pool, experts, count, PointerOf(x), PointerOf(y));

    public void ExpertsToChannels(int experts, long rows, int channels, DeviceBuffer x, DeviceBuffer y) =>
        ElementwiseSimd.ExpertsToChannels(pool, experts, rows, channels, PointerOf(x), PointerOf(y));

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
        ExpertFusion.Simd(
            pool,
            shape,
            PointerOf(features),
            PointerOf(logits),
            PointerOf(y),
            maps is null ? null : PointerOf(maps)
        );
}
