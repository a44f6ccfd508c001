namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>
/// What a tensor-core multiply needs to know: addresses (0 where absent) and sizes. A linear layer is a 1x1 convolution over maps
/// of one row.
/// </summary>
internal struct TensorCoreArguments
{
    public ulong X,
        W,
        Bias,
        RowBias,
        Residual,
        Y;
    public long ExpertStride,
        ResidualStride;
    public int Rows,
        Columns,
        PackedColumns,
        PackedK;
    public int Inputs,
        Height,
        Width,
        OutHeight,
        OutWidth,
        Stride,
        PadTop,
        PadLeft,
        KernelHeight,
        KernelWidth;
    public int ColumnTiles,
        Geglu,
        Activation,
        RowsPerGroup,
        Groups;
}

/// <summary>Warps of a thread block, each with 64 rows and 32 columns of output; constants in the compiled kernel.</summary>
internal interface IMultiplyTile
{
    /// <summary>Warps one below the other.</summary>
    int WarpRows { get; }

    /// <summary>Warps side by side.</summary>
    int WarpColumns { get; }

    /// <summary>Rows of the output start on 16 bytes, so that eight (of GEGLU, four) columns are stored at once.</summary>
    bool Aligned { get; }
}

internal readonly struct Tile128x128 : IMultiplyTile
{
    public int WarpRows => 2;

    public int WarpColumns => 4;

    public bool Aligned => true;
}

internal readonly struct Tile128x64 : IMultiplyTile
{
    public int WarpRows => 2;

    public int WarpColumns => 2;

    public bool Aligned => true;
}

internal readonly struct Tile64x64 : IMultiplyTile
{
    public int WarpRows => 1;

    public int WarpColumns => 2;

    public bool Aligned => true;
}

internal readonly struct Tile64x64Unaligned : IMultiplyTile
{
    public int WarpRows => 1;

    public int WarpColumns => 2;

    public bool Aligned => false;
}
