using AfaNative.Kernels.Activation;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>Linear layers and convolutions as their contracts read: plain loops, sums in float64.</summary>
internal static unsafe class MatrixMultiplyReference
{
    /// <summary>See <see cref="LinearShape"/>.</summary>
    public static void Linear(in LinearShape shape, float* x, CpuPackedWeights weights, in EpilogueArguments epilogue)
    {
        int inputs = weights.Shape.In,
            outputs = weights.Shape.Out;
        var row = new double[outputs];
        for (int e = 0; e < shape.Experts; e++)
        {
            for (int r = 0; r < shape.Rows; r++)
            {
                float* from = x + ((shape.SharedInput ? 0L : (long)e * shape.Rows) + r) * inputs;
                for (int n = 0; n < outputs; n++)
                {
                    double sum = 0;
                    for (int k = 0; k < inputs; k++)
                        sum += (double)from[k] * weights.At(e, n, k);
                    row[n] = sum;
                }

                Finish(row, epilogue, e, r);
            }
        }
    }

    /// <summary>See <see cref="ConvolutionShape"/>.</summary>
    public static void Convolution(in ConvolutionShape shape, float* x, CpuPackedWeights weights, in EpilogueArguments epilogue)
    {
        int inputs = weights.Shape.In,
            outputs = weights.Shape.Out;
        var row = new double[outputs];
        for (int e = 0; e < shape.Experts; e++)
        {
            for (int b = 0; b < shape.Batch; b++)
            {
                float* map = x + ((shape.SharedInput ? 0L : (long)e * shape.Batch) + b) * shape.Height * shape.Width * inputs;
                for (int oy = 0; oy < shape.OutHeight; oy++)
                {
                    for (int ox = 0; ox < shape.OutWidth; ox++)
                    {
                        Array.Clear(row);
                        for (int ky = 0; ky < shape.KernelHeight; ky++)
                        {
                            for (int kx = 0; kx < shape.KernelWidth; kx++)
                            {
                                int iy = oy * shape.Stride - shape.PadTop + ky,
                                    ix = ox * shape.Stride - shape.PadLeft + kx;
                                if (iy < 0 || iy >= shape.Height || ix < 0 || ix >= shape.Width)
                                    continue;
                                float* pixel = map + ((long)iy * shape.Width + ix) * inputs;
                                int k0 = (ky * shape.KernelWidth + kx) * inputs;
                                for (int n = 0; n < outputs; n++)
                                {
                                    for (int i = 0; i < inputs; i++)
                                        row[n] += (double)pixel[i] * weights.At(e, n, k0 + i);
                                }
                            }
                        }

                        Finish(row, epilogue, e, (b * shape.OutHeight + oy) * shape.OutWidth + ox);
                    }
                }
            }
        }
    }

    private static void Finish(double[] sums, in EpilogueArguments epilogue, int expert, int row)
    {
        int columns = epilogue.Columns,
            bias = epilogue.Geglu ? 2 * columns : columns;
        for (int n = 0; n < columns; n++)
        {
            double value = sums[n] + (epilogue.Bias == null ? 0 : epilogue.Bias[(long)expert * bias + n]);
            if (epilogue.Geglu)
            {
                double gate = sums[columns + n] + (epilogue.Bias == null ? 0 : epilogue.Bias[(long)expert * bias + columns + n]);
                if (epilogue.KeepGates)
                {
                    float* raw = epilogue.Output + ((long)expert * epilogue.Rows + row) * 2 * columns + n;
                    raw[0] = (float)value;
                    raw[columns] = (float)gate;
                    continue;
                }

                value *= ActivationReference.Apply(ActivationKind.Gelu, (float)gate);
            }

            if (epilogue.RowBias != null)
            {
                int groups = (epilogue.Rows + epilogue.RowsPerGroup - 1) / epilogue.RowsPerGroup;
                value += epilogue.RowBias[((long)expert * groups + row / epilogue.RowsPerGroup) * columns + n];
            }

            value = ActivationReference.Apply(epilogue.Activation, (float)value);
            if (epilogue.Residual != null)
                value += epilogue.Residual[((epilogue.SharedResidual ? 0L : (long)expert * epilogue.Rows) + row) * columns + n];
            epilogue.Output[((long)expert * epilogue.Rows + row) * columns + n] = (float)value;
        }
    }
}
