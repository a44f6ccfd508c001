using AfaNative.Kernels.Gpu;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>
/// Gradients of linear layers and convolutions on any ILGPU device, a thread per result. Weights lie as the arguments' strides
/// say.
/// </summary>
internal static class MatrixGradientIlgpu<T, TStorage, W, WStorage>
    where T : unmanaged
    where TStorage : struct, IStorage<T>
    where W : unmanaged
    where WStorage : struct, IStorage<W>
{
    /// <summary>index = element of dx [E, B, H, W, In].</summary>
    public static void Input(Index1D index, MultiplyArguments s, ArrayView<T> dy, ArrayView<W> w, ArrayView<T> dx)
    {
        int i = index % s.Inputs,
            pixel = index / s.Inputs,
            ix = pixel % s.Width,
            iy = pixel / s.Width % s.Height,
            image = pixel / s.Width / s.Height,
            e = image / s.Batch;
        int taps = s.K / s.Inputs,
            half = s.PackedColumns / 2;
        float sum = 0;
        for (int tap = 0; tap < taps; tap++)
        {
            int ky = tap / s.KernelWidth,
                y = iy + s.PadTop - ky,
                x = ix + s.PadLeft - (tap - ky * s.KernelWidth),
                oy = y / s.Stride,
                ox = x / s.Stride;
            if (y >= 0 && x >= 0 && oy * s.Stride == y && ox * s.Stride == x && oy < s.OutHeight && ox < s.OutWidth)
            {
                int from = ((image * s.OutHeight + oy) * s.OutWidth + ox) * s.PackedColumns,
                    at = e * s.WeightExpert + (tap * s.Inputs + i) * s.WeightK;
                for (int n = 0; n < s.PackedColumns; n++)
                {
                    // A gated projection's values and gates alternate in the weights and follow each other in dy.
                    int column = s.Geglu == 0 ? n : (n & 1) * half + n / 2;
                    sum += default(TStorage).Load(dy, from + column) * default(WStorage).Load(w, at + n * s.WeightColumn);
                }
            }
        }

        default(TStorage).Store(dx, index, sum);
    }
}

/// <summary>Gradients of weights and biases, a thread per result.</summary>
internal static class WeightGradientIlgpu<T, TStorage>
    where T : unmanaged
    where TStorage : struct, IStorage<T>
{
    /// <summary>index = element of dw [E, Out, In, taps], the file's order.</summary>
    public static void Weights(Index1D index, MultiplyArguments s, ArrayView<T> x, ArrayView<T> dy, ArrayView<T> dw)
    {
        int taps = s.K / s.Inputs,
            tap = index % taps,
            i = index / taps % s.Inputs,
            n = index / taps / s.Inputs % s.PackedColumns,
            e = index / taps / s.Inputs / s.PackedColumns;
        int ky = tap / s.KernelWidth,
            kx = tap - ky * s.KernelWidth,
            pixels = s.OutHeight * s.OutWidth;
        float sum = 0;
        for (int row = 0; row < s.Rows; row++)
        {
            int b = row / pixels,
                pixel = row - b * pixels,
                oy = pixel / s.OutWidth,
                iy = oy * s.Stride - s.PadTop + ky,
                ix = (pixel - oy * s.OutWidth) * s.Stride - s.PadLeft + kx;
            if (iy >= 0 && iy < s.Height && ix >= 0 && ix < s.Width)
                sum +=
                    Load(dy, (e * s.Rows + row) * s.PackedColumns + n)
                    * Load(x, e * s.ExpertStride + ((b * s.Height + iy) * s.Width + ix) * s.Inputs + i);
        }

        Store(dw, index, sum);
    }

    /// <summary>index = element of y [E, groups, columns].</summary>
    public static void SumRows(Index1D index, int rows, int rowsPerGroup, int columns, ArrayView<T> x, ArrayView<T> y)
    {
        int groups = (rows + rowsPerGroup - 1) / rowsPerGroup,
            c = index % columns,
            g = index / columns % groups,
            e = index / columns / groups;
        int last = (g + 1) * rowsPerGroup < rows ? (g + 1) * rowsPerGroup : rows;
        float sum = 0;
        for (int r = g * rowsPerGroup; r < last; r++)
            sum += Load(x, (e * rows + r) * columns + c);
        Store(y, index, sum);
    }

    private static float Load(ArrayView<T> view, int index) => default(TStorage).Load(view, index);

    private static void Store(ArrayView<T> view, int index, float value) => default(TStorage).Store(view, index, value);
}
