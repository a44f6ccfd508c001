namespace AfaNative.Kernels.Contracts;

/// <summary>
/// Every op, once. Activations are float32, channels last, expert axis first: [E, B, H, W, C]. Where a shape has a
/// <c>Shared…</c> flag, that input is one map read by all experts (expert stride 0). Outputs never alias inputs unless said.
/// </summary>
public interface IKernels
{
    /// <summary>y = epilogue(x W^T); see <see cref="LinearShape"/>.</summary>
    void Linear(in LinearShape shape, DeviceBuffer x, PackedWeights weights, in Epilogue epilogue, DeviceBuffer y);

    /// <summary>2-D cross-correlation; see <see cref="ConvolutionShape"/>.</summary>
    void Convolution(in ConvolutionShape shape, DeviceBuffer x, PackedWeights weights, in Epilogue epilogue, DeviceBuffer y);

    /// <summary>Scaled dot-product attention; see <see cref="AttentionShape"/>.</summary>
    void Attention(in AttentionShape shape, DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer y);

    /// <summary>Group normalization, optionally followed by SiLU; weight and bias [E, C].</summary>
    void GroupNorm(in GroupNormShape shape, DeviceBuffer x, DeviceBuffer weight, DeviceBuffer bias, DeviceBuffer y);

    /// <summary>Layer normalization over the last axis; weight and bias [E, C].</summary>
    void LayerNorm(in LayerNormShape shape, DeviceBuffer x, DeviceBuffer weight, DeviceBuffer bias, DeviceBuffer y);

    /// <summary>y[i] = f(x[i]) over <paramref name="count"/> elements; y may be x.</summary>
    void Activate(ActivationKind kind, long count, DeviceBuffer x, DeviceBuffer y);

    /// <summary>y[r, j] = x[r, j] * gelu(x[r, width + j]): x [rows, 2 width], y [rows, width].</summary>
    void Geglu(long rows, int width, DeviceBuffer x, DeviceBuffer y);

    /// <summary>Softmax over the last axis: x, y [rows, width].</summary>
    void Softmax(long rows, int width, DeviceBuffer x, DeviceBuffer y);

    /// <summary>Nearest-neighbour resize; see <see cref="UpsampleShape"/>.</summary>
    void UpsampleNearest(in UpsampleShape shape, DeviceBuffer x, DeviceBuffer y);

    /// <summary>Concatenates along channels; see <see cref="ConcatShape"/>.</summary>
    void Concat(in ConcatShape shape, DeviceBuffer a, DeviceBuffer b, DeviceBuffer y);

    /// <summary>y = a + b with expert broadcasting; see <see cref="AddShape"/>.</summary>
    void Add(in AddShape shape, DeviceBuffer a, DeviceBuffer b, DeviceBuffer y);

    /// <summary>y[i] = mean over e of x[e, i]: x [experts, count], y [count].</summary>
    void MeanOverExperts(int experts, long count, DeviceBuffer x, DeviceBuffer y);

    /// <summary>Lays the experts side by side along channels: x [E, rows, C] to y [rows, E * C].</summary>
    void ExpertsToChannels(int experts, long rows, int channels, DeviceBuffer x, DeviceBuffer y);

    /// <summary>
    /// Sinusoidal time-step embedding, cosines first: y [timesteps, dim] (numerics as in DDPM; frequency shift 0).
    /// </summary>
    void TimestepEmbedding(ReadOnlySpan<float> timesteps, int dim, DeviceBuffer y);

    /// <summary>
    /// Token plus position embedding: tables [E, vocabulary, dim] and [E, positionRows, dim]; ids [batch, length]; y [E, batch,
    /// length, dim].
    /// </summary>
    void TokenEmbedding(
        int experts,
        int vocabulary,
        int positionRows,
        int length,
        int dim,
        ReadOnlySpan<int> ids,
        DeviceBuffer tokens,
        DeviceBuffer positions,
        DeviceBuffer y
    );

    /// <summary>
    /// SABW fusion: softmax over experts and weighted sum; see <see cref="FusionShape"/>. <paramref name="maps"/> [B, HW, E] may
    /// be null.
    /// </summary>
    void FuseExperts(in FusionShape shape, DeviceBuffer features, DeviceBuffer logits, DeviceBuffer y, DeviceBuffer? maps);
}
