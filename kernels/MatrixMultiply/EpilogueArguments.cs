using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Host;
using AfaNative.Kernels.Vectors;

namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>An <see cref="Epilogue"/> with its buffers resolved to host pointers; stores finished tiles.</summary>
internal readonly unsafe struct EpilogueArguments
{
    public required float* Output { get; init; }
    public float* Bias { get; init; }
    public float* RowBias { get; init; }
    public float* Residual { get; init; }
    public required int Rows { get; init; }
    public required int Columns { get; init; }
    public int RowsPerGroup { get; init; }
    public bool SharedResidual { get; init; }
    public bool Geglu { get; init; }
    public bool KeepGates { get; init; }
    public ActivationKind Activation { get; init; }

    /// <summary>Resolves an epilogue; the output has half the weights' columns when they are gated.</summary>
    public static EpilogueArguments From(in Epilogue epilogue, WeightShape weights, int rows, DeviceBuffer y) =>
        new()
        {
            Output = HostBuffer.PointerOf(y),
            Bias = epilogue.Bias is null ? null : HostBuffer.PointerOf(epilogue.Bias),
            RowBias = epilogue.RowBias is null ? null : HostBuffer.PointerOf(epilogue.RowBias),
            Residual = epilogue.Residual is null ? null : HostBuffer.PointerOf(epilogue.Residual),
            Rows = rows,
            Columns = weights.Geglu ? weights.Out / 2 : weights.Out,
            RowsPerGroup = epilogue.RowsPerGroup,
            SharedResidual = epilogue.SharedResidual,
            Geglu = weights.Geglu,
            KeepGates = epilogue.KeepGates,
            Activation = epilogue.Activation,
        };

    /// <summary>Nothing but the sums: y [E, rows, columns].</summary>
    public static EpilogueArguments Plain(float* y, int rows, int columns) =>
        new()
        {
            Output = y,
            Rows = rows,
            Columns = columns,
        };

    /// <summary>Asks early for what <see cref="Store"/> will touch.</summary>
    public void Prefetch(int rows, int expert, int row, int panel)
    {
        int column = panel * (Geglu ? 16 : 32),
            pitch = KeepGates ? 2 * Columns : Columns;
        Vectors.Prefetch.Rows(Output + ((long)expert * Rows + row) * pitch + column, rows, pitch);
        if (Residual != null)
            Vectors.Prefetch.Rows(
                Residual + ((SharedResidual ? 0 : (long)expert * Rows) + row) * Columns + column,
                rows,
                Columns
            );
    }

    /// <summary>Writes a tile [rows][32] of one panel, first row <paramref name="row"/>.</summary>
    public void Store(float* tile, int rows, int expert, int row, int panel)
    {
        int lanes = Geglu ? 16 : 32,
            column = panel * lanes,
            columns = Math.Min(lanes, Columns - column);
        if (columns == lanes && !KeepGates && RowBias == null && Activation == ActivationKind.None)
        {
            // What nearly all tiles are: short loops of their own.
            float* to = Output + ((long)expert * Rows + row) * Columns + column,
                with = Residual == null ? null : Residual + ((SharedResidual ? 0 : (long)expert * Rows) + row) * Columns + column;
            float* offsets = Bias == null ? null : Bias + (long)expert * (Geglu ? 2 * Columns : Columns) + column;
            if (Geglu)
                Gated(tile, rows, offsets, Columns, with, to);
            else
                Whole(tile, rows, offsets, Columns, with, to);
            return;
        }

        Any(tile, rows, expert, row, column, columns);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Whole(float* tile, int rows, float* bias, nint pitch, float* residual, float* y)
    {
        Vector512<float> bias0 = bias == null ? Vector512<float>.Zero : Vector512.Load(bias),
            bias1 = bias == null ? Vector512<float>.Zero : Vector512.Load(bias + 16);
        if (residual == null)
        {
            for (float* end = tile + rows * 32; tile < end; tile += 32, y += pitch)
            {
                (Vector512.Load(tile) + bias0).Store(y);
                (Vector512.Load(tile + 16) + bias1).Store(y + 16);
            }

            return;
        }

        for (float* end = tile + rows * 32; tile < end; tile += 32, y += pitch, residual += pitch)
        {
            (Vector512.Load(tile) + bias0 + Vector512.Load(residual)).Store(y);
            (Vector512.Load(tile + 16) + bias1 + Vector512.Load(residual + 16)).Store(y + 16);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Gated(float* tile, int rows, float* bias, nint pitch, float* residual, float* y)
    {
        Vector512<float> bias0 = bias == null ? Vector512<float>.Zero : Vector512.Load(bias),
            bias1 = bias == null ? Vector512<float>.Zero : Vector512.Load(bias + pitch);
        for (float* end = tile + rows * 32; tile < end; tile += 32, y += pitch)
        {
            Vector512<float> v = (Vector512.Load(tile) + bias0) * VectorMath.Gelu(Vector512.Load(tile + 16) + bias1);
            if (residual != null)
            {
                v += Vector512.Load(residual);
                residual += pitch;
            }

            v.Store(y);
        }
    }

    private void Any(float* tile, int rows, int expert, int row, int column, int columns)
    {
        float* temporary = stackalloc float[32];
        float* bias = stackalloc float[64];
        bool whole = !Geglu && columns == 32;
        if (!whole)
            new Span<float>(bias, 64).Clear();
        if (Bias != null && !whole)
        {
            if (Geglu)
            {
                for (int i = 0; i < columns; i++)
                {
                    bias[i] = Bias[(long)expert * 2 * Columns + column + i];
                    bias[16 + i] = Bias[(long)expert * 2 * Columns + Columns + column + i];
                }
            }
            else
            {
                for (int i = 0; i < columns; i++)
                    bias[i] = Bias[(long)expert * Columns + column + i];
            }
        }

        float* from =
            !whole ? bias
            : Bias != null ? Bias + (long)expert * Columns + column
            : null;
        Vector512<float> bias0 = from == null ? Vector512<float>.Zero : Vector512.Load(from),
            bias1 = from == null ? Vector512<float>.Zero : Vector512.Load(from + 16);
        float* y = Output + ((long)expert * Rows + row) * Columns + column;
        float* residual =
            Residual == null ? null : Residual + ((SharedResidual ? 0 : (long)expert * Rows) + row) * Columns + column;
        int pitch = KeepGates ? 2 * Columns : Columns;
        if (KeepGates)
            y = Output + ((long)expert * Rows + row) * pitch + column;
        for (int r = 0; r < rows; r++, tile += 32, y += pitch)
        {
            Vector512<float> v0 = Vector512.Load(tile) + bias0,
                v1 = Vector512.Load(tile + 16) + bias1;
            if (KeepGates)
            {
                VectorMath.Store(v0, y, columns);
                VectorMath.Store(v1, y + Columns, columns);
                continue;
            }

            if (Geglu)
            {
                v0 *= VectorMath.Gelu(v1);
                if (residual != null)
                {
                    v0 += VectorMath.Load(residual, columns);
                    residual += Columns;
                }

                VectorMath.Store(v0, y, columns);
                continue;
            }

            if (RowBias != null)
            {
                int groups = (Rows + RowsPerGroup - 1) / RowsPerGroup;
                float* rowBias = RowBias + ((long)expert * groups + (row + r) / RowsPerGroup) * Columns + column;
                if (columns < 32)
                {
                    for (int i = 0; i < columns; i++)
                        bias[32 + i] = rowBias[i];
                    rowBias = bias + 32;
                }

                v0 += Vector512.Load(rowBias);
                v1 += Vector512.Load(rowBias + 16);
            }

            if (Activation != ActivationKind.None)
            {
                v0 = VectorMath.Apply(Activation, v0);
                v1 = VectorMath.Apply(Activation, v1);
            }

            if (columns == 32)
            {
                if (residual != null)
                {
                    v0 += Vector512.Load(residual);
                    v1 += Vector512.Load(residual + 16);
                    residual += Columns;
                }

                v0.Store(y);
                v1.Store(y + 16);
            }
            else
            {
                v0.Store(temporary);
                v1.Store(temporary + 16);
                for (int i = 0; i < columns; i++)
                    y[i] = residual == null ? temporary[i] : temporary[i] + residual[i];
                if (residual != null)
                    residual += Columns;
            }
        }
    }
}
