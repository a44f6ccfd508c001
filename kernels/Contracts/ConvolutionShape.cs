namespace AfaNative.Kernels.Contracts;

/// <summary>
/// 2-D cross-correlation over E experts: x [E or 1, B, Height, Width, In], y [E, B, OutHeight, OutWidth, Out]. Zero padding;
/// asymmetric padding is what the VAE encoder's down-sampler uses (bottom and right only).
/// </summary>
public readonly record struct ConvolutionShape(
    int Experts,
    int Batch,
    int Height,
    int Width,
    bool SharedInput,
    int Stride,
    int PadTop,
    int PadLeft,
    int PadBottom,
    int PadRight,
    int KernelHeight,
    int KernelWidth
)
{
    /// <summary>Rows of the output map.</summary>
    public int OutHeight => (Height + PadTop + PadBottom - KernelHeight) / Stride + 1;

    /// <summary>Columns of the output map.</summary>
    public int OutWidth => (Width + PadLeft + PadRight - KernelWidth) / Stride + 1;
}
