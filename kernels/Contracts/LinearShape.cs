namespace AfaNative.Kernels.Contracts;

/// <summary>
/// A linear layer over E experts: x [E or 1, Rows, In], weights [E][Out, In], y [E, Rows, Out] (Out/2 with a GEGLU epilogue).
/// y[e, r, n] = act(sum_k x[e, r, k] W[e][n, k] + bias[e, n] + rowBias[e, r / RowsPerGroup, n]) + residual[e, r, n].
/// </summary>
/// <param name="Experts">E, the experts of the weights.</param>
/// <param name="Rows">Rows of one expert: batch times tokens.</param>
/// <param name="SharedInput">x is one matrix read by all experts.</param>
public readonly record struct LinearShape(int Experts, int Rows, bool SharedInput)
{
    /// <summary>The same product as a 1x1 convolution over a map of one row.</summary>
    internal ConvolutionShape AsConvolution() => new(Experts, 1, 1, Rows, SharedInput, 1, 0, 0, 0, 0, 1, 1);
}

/// <summary>
/// What a matrix multiply or convolution does to a finished sum before storing it, in this order: bias, row bias, activation,
/// residual.
/// </summary>
public readonly record struct Epilogue
{
    /// <summary>[E, Out], or null.</summary>
    public DeviceBuffer? Bias { get; init; }

    /// <summary>[E, groups, Out] added to all rows of a group (the time embedding of one image), or null.</summary>
    public DeviceBuffer? RowBias { get; init; }

    /// <summary>Rows that share one row of <see cref="RowBias"/>.</summary>
    public int RowsPerGroup { get; init; }

    /// <summary>Applied before the residual.</summary>
    public ActivationKind Activation { get; init; }

    /// <summary>[E or 1, Rows, Out], or null; may be the output itself.</summary>
    public DeviceBuffer? Residual { get; init; }

    /// <summary>Weights packed for GEGLU only: leave the gate to a later op and write all columns, values before gates.</summary>
    public bool KeepGates { get; init; }

    /// <summary>The residual is one map read by all experts.</summary>
    public bool SharedResidual { get; init; }
}
