using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Gpu;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>Everything a portable multiply needs to know; a linear layer is a 1x1 convolution over maps of one row.</summary>
internal struct MultiplyArguments
{
    public int Experts,
        Rows,
        K,
        Columns,
        PackedColumns;
    public int Inputs,
        Batch,
        Height,
        Width,
        OutHeight,
        OutWidth,
        Stride,
        PadTop,
        PadLeft,
        KernelWidth;
    public int ExpertStride,
        Geglu,
        Activation;
    public int HasBias,
        HasRowBias,
        RowsPerGroup,
        Groups,
        HasResidual,
        ResidualStride;

    /// <summary>
    /// Distances in packed weights from one expert, input (of a tap) and column to the next; for the gradient alone.
    /// </summary>
    public int WeightExpert,
        WeightK,
        WeightColumn;

    /// <summary>The sizes of a convolution; the epilogue is still to be said.</summary>
    public static MultiplyArguments For(in ConvolutionShape shape, WeightShape weights) =>
        new()
        {
            Experts = shape.Experts,
            Rows = shape.Batch * shape.OutHeight * shape.OutWidth,
            K = weights.K,
            Columns = weights.Geglu ? weights.Out / 2 : weights.Out,
            PackedColumns = weights.Out,
            Inputs = weights.In,
            Batch = shape.Batch,
            Height = shape.Height,
            Width = shape.Width,
            OutHeight = shape.OutHeight,
            OutWidth = shape.OutWidth,
            Stride = shape.Stride,
            PadTop = shape.PadTop,
            PadLeft = shape.PadLeft,
            KernelWidth = weights.KernelWidth,
            ExpertStride = shape.SharedInput ? 0 : shape.Batch * shape.Height * shape.Width * weights.In,
            Geglu = weights.Geglu ? 1 : 0,
        };
}

/// <summary>
/// Matrix multiply and implicit-GEMM convolution on any ILGPU device. Weights [E][K][columns]; columns 2j and 2j + 1 of a GEGLU
/// projection are value j
/// and its gate.
/// </summary>
internal static class MatrixMultiplyIlgpu<T, TStorage, W, WStorage>
    where T : unmanaged
    where TStorage : struct, IStorage<T>
    where W : unmanaged
    where WStorage : struct, IStorage<W>
{
    /// <summary>Tile of a group: 64 rows and 64 columns by 16 x 16 threads of 4 x 4 sums each.</summary>
    public const int Tile = 64;

    private const int Block = 16;

    /// <summary>
    /// One thread per output (pair, for GEGLU): no barrier, for devices where barriers are dear and for tiny shapes.
    /// </summary>
    public static void Direct(
        Index1D index,
        MultiplyArguments s,
        ArrayView<T> x,
        ArrayView<W> w,
        ArrayView<T> bias,
        ArrayView<T> rowBias,
        ArrayView<T> residual,
        ArrayView<T> y
    )
    {
        int width = s.Geglu != 0 ? 2 : 1,
            n = index % s.Columns,
            row = index / s.Columns % s.Rows,
            e = index / s.Columns / s.Rows;
        float first = 0,
            second = 0;
        for (int k = 0; k < s.K; k++)
        {
            float a = Input(s, x, e, row, k);
            int at = (e * s.K + k) * s.PackedColumns + n * width;
            first += a * Weight(w, at);
            if (width == 2)
                second += a * Weight(w, at + 1);
        }

        Store(s, e, row, n, first, second, bias, rowBias, residual, y);
    }

    /// <summary>Tiles in shared memory: grid (column tiles, row tiles, experts), groups of 16 x 16 threads.</summary>
    public static void Tiled(
        MultiplyArguments s,
        ArrayView<T> x,
        ArrayView<W> w,
        ArrayView<T> bias,
        ArrayView<T> rowBias,
        ArrayView<T> residual,
        ArrayView<T> y
    )
    {
        ArrayView<float> sharedA = SharedMemory.Allocate1D<float>(Block * Tile),
            sharedB = SharedMemory.Allocate1D<float>(Block * Tile);
        int thread = Group.IdxY * 16 + Group.IdxX,
            e = Grid.IdxZ,
            row0 = Grid.IdxY * Tile,
            column0 = Grid.IdxX * Tile;
        Sums c = default;
        for (int k0 = 0; k0 < s.K; k0 += Block)
        {
            for (int i = 0; i < 4; i++)
            {
                int at = thread + i * 256,
                    ar = at / Block,
                    ak = k0 + at % Block,
                    bk = k0 + at / Tile,
                    bn = column0 + at % Tile;
                sharedA[at % Block * Tile + ar] = row0 + ar < s.Rows && ak < s.K ? Input(s, x, e, row0 + ar, ak) : 0;
                sharedB[at] = bk < s.K && bn < s.PackedColumns ? Weight(w, (e * s.K + bk) * s.PackedColumns + bn) : 0;
            }

            Group.Barrier();
            Accumulate(ref c, sharedA, sharedB);
            Group.Barrier();
        }

        StoreTile(s, c, sharedA, e, row0, column0, bias, rowBias, residual, y);
    }

    private struct Sums
    {
        public float C00,
            C01,
            C02,
            C03,
            C10,
            C11,
            C12,
            C13,
            C20,
            C21,
            C22,
            C23,
            C30,
            C31,
            C32,
            C33;
    }

    private static void Accumulate(ref Sums c, ArrayView<float> a, ArrayView<float> b)
    {
        int row = Group.IdxY * 4,
            column = Group.IdxX * 4;
        for (int k = 0; k < Block; k++)
        {
            int at = k * Tile;
            float a0 = a[at + row],
                a1 = a[at + row + 1],
                a2 = a[at + row + 2],
                a3 = a[at + row + 3];
            float b0 = b[at + column],
                b1 = b[at + column + 1],
                b2 = b[at + column + 2],
                b3 = b[at + column + 3];
            c.C00 += a0 * b0;
            c.C01 += a0 * b1;
            c.C02 += a0 * b2;
            c.C03 += a0 * b3;
            c.C10 += a1 * b0;
            c.C11 += a1 * b1;
            c.C12 += a1 * b2;
            c.C13 += a1 * b3;
            c.C20 += a2 * b0;
            c.C21 += a2 * b1;
            c.C22 += a2 * b2;
            c.C23 += a2 * b3;
            c.C30 += a3 * b0;
            c.C31 += a3 * b1;
            c.C32 += a3 * b2;
            c.C33 += a3 * b3;
        }
    }

    // Row by row of the threads' blocks through shared memory: neighbouring threads store neighbouring columns, and the epilogue
    // exists once in the code.
    private static void StoreTile(
        MultiplyArguments s,
        Sums c,
        ArrayView<float> shared,
        int e,
        int row0,
        int column0,
        ArrayView<T> bias,
        ArrayView<T> rowBias,
        ArrayView<T> residual,
        ArrayView<T> y
    )
    {
        int thread = Group.IdxY * 16 + Group.IdxX,
            width = s.Geglu != 0 ? 2 : 1;
        for (int r = 0; r < 4; r++)
        {
            int to = thread * 4;
            if (r == 0)
                Put(shared, to, c.C00, c.C01, c.C02, c.C03);
            if (r == 1)
                Put(shared, to, c.C10, c.C11, c.C12, c.C13);
            if (r == 2)
                Put(shared, to, c.C20, c.C21, c.C22, c.C23);
            if (r == 3)
                Put(shared, to, c.C30, c.C31, c.C32, c.C33);
            Group.Barrier();
            for (int i = thread * width; i < 16 * Tile; i += 256 * width)
            {
                int row = row0 + i / Tile * 4 + r,
                    column = (column0 + i % Tile) / width;
                if (row < s.Rows && column < s.Columns)
                    Store(s, e, row, column, shared[i], shared[i + width - 1], bias, rowBias, residual, y);
            }

            Group.Barrier();
        }
    }

    private static void Put(ArrayView<float> shared, int at, float v0, float v1, float v2, float v3)
    {
        shared[at] = v0;
        shared[at + 1] = v1;
        shared[at + 2] = v2;
        shared[at + 3] = v3;
    }

    private static float Input(MultiplyArguments s, ArrayView<T> x, int e, int row, int k)
    {
        int tap = k / s.Inputs,
            i = k - tap * s.Inputs;
        int pixels = s.OutHeight * s.OutWidth,
            b = row / pixels,
            pixel = row - b * pixels,
            oy = pixel / s.OutWidth,
            ox = pixel - oy * s.OutWidth;
        int ky = tap / s.KernelWidth,
            iy = oy * s.Stride - s.PadTop + ky,
            ix = ox * s.Stride - s.PadLeft + tap - ky * s.KernelWidth;
        if (iy < 0 || iy >= s.Height || ix < 0 || ix >= s.Width)
            return 0;
        return Load(x, e * s.ExpertStride + ((b * s.Height + iy) * s.Width + ix) * s.Inputs + i);
    }

    private static void Store(
        MultiplyArguments s,
        int e,
        int row,
        int n,
        float value,
        float gate,
        ArrayView<T> bias,
        ArrayView<T> rowBias,
        ArrayView<T> residual,
        ArrayView<T> y
    )
    {
        if (s.Geglu != 0)
        {
            if (s.HasBias == 1)
            {
                value += Load(bias, e * 2 * s.Columns + n);
                gate += Load(bias, e * 2 * s.Columns + s.Columns + n);
            }

            if (s.Geglu == 2)
            {
                int raw = (e * s.Rows + row) * 2 * s.Columns + n;
                default(TStorage).Store(y, raw, value);
                default(TStorage).Store(y, raw + s.Columns, gate);
                return;
            }

            value *= PortableMath.Activate(2, gate);
        }
        else if (s.HasBias == 1)
        {
            value += Load(bias, e * s.Columns + n);
        }

        if (s.HasRowBias == 1)
            value += Load(rowBias, (e * s.Groups + row / s.RowsPerGroup) * s.Columns + n);
        value = PortableMath.Activate(s.Activation, value);
        int at = (e * s.Rows + row) * s.Columns + n;
        if (s.HasResidual == 1)
            value += Load(residual, e * s.ResidualStride + row * s.Columns + n);
        default(TStorage).Store(y, at, value);
    }

    private static float Load(ArrayView<T> view, int index) => default(TStorage).Load(view, index);

    private static float Weight(ArrayView<W> view, int index) => default(WStorage).Load(view, index);
}
