namespace AfaNative.Kernels.Contracts;

/// <summary>
/// The ops' vector-Jacobian products. dy is the gradient of a loss with respect to an op's output, dx, dw, ... with respect to
/// its inputs. Results are
/// written, not added. Inputs shared by experts get a gradient per expert here ([E, ...]); whoever shares them sums. Parameters'
/// gradients may be null.
/// </summary>
public interface IGradients
{
    /// <summary>
    /// dx [E, Rows, In] = dy [E, Rows, Out] W. The weights may be packed for GEGLU: dy is then in file order, values before
    /// gates.
    /// </summary>
    void LinearInput(in LinearShape shape, DeviceBuffer dy, PackedWeights weights, DeviceBuffer dx);

    /// <summary>dx [E, B, H, W, In] from dy [E, B, OutHeight, OutWidth, Out].</summary>
    void ConvolutionInput(in ConvolutionShape shape, DeviceBuffer dy, PackedWeights weights, DeviceBuffer dx);

    /// <summary>dw [E][Out, In] = dy^T x.</summary>
    void LinearWeights(in LinearShape shape, WeightShape weights, DeviceBuffer x, DeviceBuffer dy, DeviceBuffer dw);

    /// <summary>dw [E][Out, In, KernelHeight, KernelWidth].</summary>
    void ConvolutionWeights(in ConvolutionShape shape, WeightShape weights, DeviceBuffer x, DeviceBuffer dy, DeviceBuffer dw);

    /// <summary>
    /// y [E, groups, columns]: sums of x [E, rows, columns] over each <paramref name="rowsPerGroup"/> rows: what a bias is due.
    /// </summary>
    void SumRows(int experts, long rows, long rowsPerGroup, int columns, DeviceBuffer x, DeviceBuffer y);

    /// <summary>Gradients of attention with output <paramref name="y"/>, without the full score matrix.</summary>
    void Attention(
        in AttentionShape shape,
        DeviceBuffer q,
        DeviceBuffer k,
        DeviceBuffer v,
        DeviceBuffer y,
        DeviceBuffer dy,
        DeviceBuffer dq,
        DeviceBuffer dk,
        DeviceBuffer dv
    );

    /// <summary>
    /// dx [E, B, Pixels, Channels]; dweight, dbias [E, Channels]. SiLU is undone first where the shape says so.
    /// </summary>
    void GroupNorm(
        in GroupNormShape shape,
        DeviceBuffer x,
        DeviceBuffer weight,
        DeviceBuffer bias,
        DeviceBuffer dy,
        DeviceBuffer dx,
        DeviceBuffer? dweight,
        DeviceBuffer? dbias
    );

    /// <summary>dx [E, Rows, Channels]; dweight, dbias [E, Channels].</summary>
    void LayerNorm(
        in LayerNormShape shape,
        DeviceBuffer x,
        DeviceBuffer weight,
        DeviceBuffer dy,
        DeviceBuffer dx,
        DeviceBuffer? dweight,
        DeviceBuffer? dbias
    );

    /// <summary>dx[i] = f'(x[i]) dy[i].</summary>
    void Activate(ActivationKind kind, long count, DeviceBuffer x, DeviceBuffer dy, DeviceBuffer dx);

    /// <summary>dx [rows, 2 width] from x [rows, 2 width], dy [rows, width].</summary>
    void Geglu(long rows, int width, DeviceBuffer x, DeviceBuffer dy, DeviceBuffer dx);

    /// <summary>dx = y (dy - sum over the row of y dy), y being the softmax.</summary>
    void Softmax(long rows, int width, DeviceBuffer y, DeviceBuffer dy, DeviceBuffer dx);

    /// <summary>Sums each source pixel's copies.</summary>
    void UpsampleNearest(in UpsampleShape shape, DeviceBuffer dy, DeviceBuffer dx);

    /// <summary>Takes a concatenation apart: da [E, Rows, ChannelsA], db [E, Rows, ChannelsB].</summary>
    void Split(in ConcatShape shape, DeviceBuffer dy, DeviceBuffer da, DeviceBuffer db);

    /// <summary>y[i] = sum over e of x[e, i].</summary>
    void SumOverExperts(int experts, long count, DeviceBuffer x, DeviceBuffer y);

    /// <summary>y[e, i] = scale x[i].</summary>
    void RepeatForExperts(int experts, long count, float scale, DeviceBuffer x, DeviceBuffer y);

    /// <summary>x [rows, E * C] to y [E, rows, C].</summary>
    void ChannelsToExperts(int experts, long rows, int channels, DeviceBuffer x, DeviceBuffer y);

    /// <summary>
    /// dfeatures [E, B, Pixels, C], dlogits [B, Pixels, E]; <paramref name="dmaps"/> [B, Pixels, E] may be null.
    /// </summary>
    void FuseExperts(
        in FusionShape shape,
        DeviceBuffer features,
        DeviceBuffer logits,
        DeviceBuffer dy,
        DeviceBuffer? dmaps,
        DeviceBuffer dfeatures,
        DeviceBuffer dlogits
    );
}
