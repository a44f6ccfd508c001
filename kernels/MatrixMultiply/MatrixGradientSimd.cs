using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Host;
using AfaNative.Kernels.Vectors;

namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>A column of gradients as a row of A: row = output n, term = row r of dy [E, Rows, Out].</summary>
internal readonly unsafe struct TransposedRows(float* dy, long expertStride, int outputs) : IRowSource
{
    public void Copy(int expert, int row, int rows, int k0, int count, float* to, int stride) =>
        Transpose.Run(dy + expert * expertStride + (long)k0 * outputs + row, outputs, count, rows, to, stride);
}

/// <summary>
/// What an input pixel sent its value to: row = (b, iy, ix), term = (ky, kx, out) of dy [E, B, OutHeight, OutWidth, Out]; zero
/// where a tap fell between or outside.
/// </summary>
internal readonly unsafe struct GradientPatchRows(float* dy, long expertStride, ConvolutionShape shape, int outputs) : IRowSource
{
    public void Copy(int expert, int row, int rows, int k0, int count, float* to, int stride)
    {
        int pixels = shape.Height * shape.Width,
            outWidth = shape.OutWidth,
            outHeight = shape.OutHeight;
        float* maps = dy + expert * expertStride;
        for (int r = 0; r < rows; r++, to += stride)
        {
            int b = (row + r) / pixels,
                pixel = (row + r) - b * pixels,
                iy = pixel / shape.Width,
                ix = pixel - iy * shape.Width;
            float* map = maps + (long)b * outHeight * outWidth * outputs;
            int tap = k0 / outputs,
                offset = k0 - tap * outputs;
            for (int done = 0; done < count; tap++, offset = 0)
            {
                int length = Math.Min(outputs - offset, count - done),
                    ky = tap / shape.KernelWidth,
                    kx = tap - ky * shape.KernelWidth;
                int y = iy + shape.PadTop - ky,
                    x = ix + shape.PadLeft - kx,
                    oy = y / shape.Stride,
                    ox = x / shape.Stride;
                if (y >= 0 && x >= 0 && oy * shape.Stride == y && ox * shape.Stride == x && oy < outHeight && ox < outWidth)
                {
                    RowCopy.Copy(map + ((long)oy * outWidth + ox) * outputs + offset, to + done, length);
                }
                else
                {
                    new Span<float>(to + done, length).Clear();
                }

                done += length;
            }
        }
    }
}

/// <summary>Gradients of linear layers and convolutions through the same blocked multiply as the layers themselves.</summary>
internal static unsafe class MatrixGradientSimd
{
    /// <summary>See <see cref="IGradients.LinearInput"/>.</summary>
    public static void LinearInput(
        WorkerPool pool,
        SimdWidth simd,
        in LinearShape shape,
        float* dy,
        CpuPackedWeights weights,
        float* dx
    )
    {
        int outputs = weights.Shape.Out;
        MatrixMultiplySimd.Run(
            pool,
            new Float32Product(simd),
            new MatrixRows(dy, (long)shape.Rows * outputs, outputs),
            shape.Experts,
            shape.Rows,
            new TransposedPanels(weights),
            EpilogueArguments.Plain(dx, shape.Rows, weights.Shape.In)
        );
    }

    /// <summary>See <see cref="IGradients.LinearWeights"/>.</summary>
    public static void LinearWeights(
        WorkerPool pool,
        SimdWidth simd,
        in LinearShape shape,
        WeightShape weights,
        float* x,
        float* dy,
        float* dw
    )
    {
        var rows = new MatrixRows(x, shape.SharedInput ? 0 : (long)shape.Rows * weights.In, weights.In);
        MatrixMultiplySimd.Run(
            pool,
            new Float32Product(simd),
            new TransposedRows(dy, (long)shape.Rows * weights.Out, weights.Out),
            shape.Experts,
            weights.Out,
            new RowPanels<MatrixRows>(rows, shape.Rows, weights.In),
            EpilogueArguments.Plain(dw, weights.Out, weights.In)
        );
    }
}
