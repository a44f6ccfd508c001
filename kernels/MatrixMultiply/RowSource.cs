using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Vectors;

namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>Where the rows of A come from: a matrix, or the patches of a map (implicit GEMM).</summary>
internal unsafe interface IRowSource
{
    /// <summary>
    /// Copies terms [k0, k0 + count) of rows [row, row + rows) of an expert to <paramref name="to"/>, <paramref name="stride"/>
    /// floats apart.
    /// </summary>
    void Copy(int expert, int row, int rows, int k0, int count, float* to, int stride);

    /// <summary>
    /// The same without a copy where rows can be multiplied as they lie, <paramref name="stride"/> floats apart; else null.
    /// </summary>
    float* InPlace(int expert, int row, int k0, out int stride)
    {
        stride = 0;
        return null;
    }
}

/// <summary>Rows of a matrix [E or 1, Rows, K].</summary>
internal readonly unsafe struct MatrixRows(float* x, long expertStride, int k) : IRowSource
{
    public void Copy(int expert, int row, int rows, int k0, int count, float* to, int stride)
    {
        float* from = x + expert * expertStride + (long)row * k + k0;
        for (int r = 0; r < rows; r++, from += k, to += stride)
            RowCopy.Copy(from, to, count);
    }

    public float* InPlace(int expert, int row, int k0, out int stride)
    {
        stride = k;
        // Rows a multiple of 4 KiB apart would share a few lines of the first-level cache.
        return k % 1024 == 0 ? null : x + expert * expertStride + (long)row * k + k0;
    }
}

/// <summary>
/// Patches of maps [E or 1, B, H, W, In]: row = (b, oy, ox), term = (ky, kx, in); outside the map everything is zero.
/// </summary>
internal readonly unsafe struct PatchRows(float* x, long expertStride, ConvolutionShape shape, int inputs) : IRowSource
{
    public void Copy(int expert, int row, int rows, int k0, int count, float* to, int stride)
    {
        int outWidth = shape.OutWidth,
            outPixels = shape.OutHeight * outWidth;
        float* maps = x + expert * expertStride;
        for (int r = 0; r < rows; r++, to += stride)
        {
            int b = (row + r) / outPixels,
                pixel = (row + r) - b * outPixels;
            int oy = pixel / outWidth,
                ox = pixel - oy * outWidth;
            int y0 = oy * shape.Stride - shape.PadTop,
                x0 = ox * shape.Stride - shape.PadLeft;
            float* map = maps + (long)b * shape.Height * shape.Width * inputs;
            int tap = k0 / inputs,
                offset = k0 - tap * inputs;
            for (int done = 0; done < count; tap++, offset = 0)
            {
                int length = Math.Min(inputs - offset, count - done);
                int ky = tap / shape.KernelWidth,
                    iy = y0 + ky,
                    ix = x0 + tap - ky * shape.KernelWidth;
                if ((uint)iy < (uint)shape.Height && (uint)ix < (uint)shape.Width)
                {
                    RowCopy.Copy(map + ((long)iy * shape.Width + ix) * inputs + offset, to + done, length);
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
