using System.Runtime.CompilerServices;
using AfaNative.Kernels.Gpu;
using AfaNative.Kernels.MachineCode;
using ILGPU;

namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>
/// Matrix multiply and implicit-GEMM convolution on tensor cores (<c>mma.sync</c>, m16n8k16), for every expert in one launch.
/// Weights
/// [E][PackedColumns][PackedK], zero padded, K ordered (tap, input); inputs a multiple of 8. Three stages of <c>cp.async</c> feed
/// shared memory, whose
/// 16-byte chunks are swizzled against bank conflicts. Grid: (column tiles [times experts that share an input], row tiles,
/// [experts]).
/// </summary>
internal static partial class TensorCoreMultiply<TMath, TTile>
    where TMath : struct, IHalfMath
    where TTile : struct, IMultiplyTile
{
    /// <summary>Terms of the sum a stage holds.</summary>
    public const int Depth = 32;

    private const int Stages = 3,
        RowBytes = Depth * 2,
        WarpTileRows = 64,
        WarpTileColumns = 32;

    // The epilogue's staging: half a warp tile, float32, rows 160 bytes apart so that a warp's stores meet all banks.
    private const int StagingRow = 160,
        StagingBytes = 32 * StagingRow;

    private static int BlockRows => default(TTile).WarpRows * WarpTileRows;

    private static int BlockColumns => default(TTile).WarpColumns * WarpTileColumns;

    private static int StageBytes => (BlockRows + BlockColumns) * RowBytes;

    private static int Warps => default(TTile).WarpRows * default(TTile).WarpColumns;

    private static int RowsPerPass => Warps * 8;

    /// <summary>Static shared memory of a block, in bytes.</summary>
    public static int SharedBytes => Stages * StageBytes > Warps * StagingBytes ? Stages * StageBytes : Warps * StagingBytes;

    private struct Accumulators
    {
        public F4 C00,
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

    // Where a thread's chunk of an input row comes from: the address of the pixel under tap (0, 0), and where that pixel lies.
    private struct InputRow
    {
        public ulong Address;
        public int Y,
            X;
    }

    public static void Run(TensorCoreArguments s)
    {
        ArrayView<F4> memory = SharedMemory.Allocate1D<F4>(SharedBytes / 16);
        uint shared = Ptx.SharedOffset(ref memory[0]);
        int thread = Group.IdxX,
            lane = thread & 31,
            warp = thread >> 5,
            warpRow = warp / default(TTile).WarpColumns,
            warpColumn = warp - warpRow * default(TTile).WarpColumns;
        int expertInX = Grid.IdxX / s.ColumnTiles,
            e = Grid.IdxZ + expertInX;
        int row0 = Grid.IdxY * BlockRows,
            column0 = (Grid.IdxX - expertInX * s.ColumnTiles) * BlockColumns;

        // Global to shared: a thread copies chunk c of rows r, r + RowsPerPass, ... of both tiles.
        int r = thread >> 2,
            c = thread & 3;
        uint target = (uint)(r * RowBytes + ((c ^ ((r >> 1) & 3)) << 4));
        InputRow i0 = Locate(s, e, row0 + r),
            i1 = Locate(s, e, row0 + r + RowsPerPass),
            i2 = default,
            i3 = default;
        if (default(TTile).WarpColumns == 2)
        {
            i2 = Locate(s, e, row0 + r + 2 * RowsPerPass);
            i3 = Locate(s, e, row0 + r + 3 * RowsPerPass);
        }

        int channel = c * 8,
            ky = 0,
            kx = 0;
        while (channel >= s.Inputs)
            Advance(s, ref channel, ref ky, ref kx);
        ulong weights =
                s.W + (((ulong)e * (ulong)s.PackedColumns + (ulong)(column0 + r)) * (ulong)s.PackedK + (ulong)(c * 8)) * 2,
            passStep = (ulong)(RowsPerPass * s.PackedK) * 2;

        // Shared to registers: the rows a lane names to ldmatrix, for the first 16 terms; flipping one swizzle bit gives the
        // second 16.
        int ra = lane & 15,
            ca = lane >> 4,
            rb = (lane & 7) | ((lane >> 4) << 3),
            cb = (lane >> 3) & 1;
        uint a0 = (uint)((warpRow * WarpTileRows + ra) * RowBytes + ((ca ^ ((ra >> 1) & 3)) << 4));
        uint b0 = (uint)((BlockRows + warpColumn * WarpTileColumns + rb) * RowBytes + ((cb ^ ((rb >> 1) & 3)) << 4));

        int tiles = s.PackedK / Depth;
        uint read = shared,
            write = shared,
            end = shared + (uint)(Stages * StageBytes);
        for (int i = 0; i < Stages - 1; i++)
        {
            if (i < tiles)
            {
                Fetch(s, write + target, i0, i1, i2, i3, channel, ky, kx, weights, passStep);
                channel += Depth;
                while (channel >= s.Inputs)
                    Advance(s, ref channel, ref ky, ref kx);
                weights += RowBytes;
            }

            Ptx.CommitCopies();
            write += (uint)StageBytes;
        }

        Accumulators sums = default;
        for (int i = 0; i < tiles; i++)
        {
            Ptx.WaitForAllCopiesButOneGroup();
            Group.Barrier();
            if (i + Stages - 1 < tiles)
            {
                Fetch(s, write + target, i0, i1, i2, i3, channel, ky, kx, weights, passStep);
                channel += Depth;
                while (channel >= s.Inputs)
                    Advance(s, ref channel, ref ky, ref kx);
                weights += RowBytes;
            }

            Ptx.CommitCopies();
            sums = Step(sums, read + a0, read + b0);
            sums = Step(sums, read + (a0 ^ 32), read + (b0 ^ 32));
            read += (uint)StageBytes;
            if (read == end)
                read = shared;
            write += (uint)StageBytes;
            if (write == end)
                write = shared;
        }

        Ptx.WaitForAllCopies();
        Group.Barrier();
        Finish(
            s,
            sums,
            shared + (uint)(warp * StagingBytes),
            lane,
            e,
            row0 + warpRow * WarpTileRows,
            column0 + warpColumn * WarpTileColumns
        );
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static InputRow Locate(TensorCoreArguments s, int e, int row)
    {
        int pixels = s.OutHeight * s.OutWidth,
            image = row / pixels,
            pixel = row - image * pixels,
            y = pixel / s.OutWidth,
            x = pixel - y * s.OutWidth;
        // A row past the end lies outside the map wherever the taps are.
        int top = row < s.Rows ? y * s.Stride - s.PadTop : -(1 << 20),
            left = x * s.Stride - s.PadLeft;
        long pixelIndex = ((long)image * s.Height + top) * s.Width + left;
        return new InputRow
        {
            Address = s.X + (ulong)((e * s.ExpertStride + pixelIndex * s.Inputs) * 2),
            Y = top,
            X = left,
        };
    }

    private static void Advance(TensorCoreArguments s, ref int channel, ref int ky, ref int kx)
    {
        channel -= s.Inputs;
        kx++;
        if (kx == s.KernelWidth)
        {
            kx = 0;
            ky++;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Fetch(
        TensorCoreArguments s,
        uint target,
        InputRow i0,
        InputRow i1,
        InputRow i2,
        InputRow i3,
        int channel,
        int ky,
        int kx,
        ulong weights,
        ulong passStep
    )
    {
        ulong offset = (ulong)(((long)(ky * s.Width + kx) * s.Inputs + channel) * 2);
        uint pass = (uint)(RowsPerPass * RowBytes),
            b = target + (uint)(BlockRows * RowBytes);
        FetchRow(s, target, i0, offset, ky, kx);
        FetchRow(s, target + pass, i1, offset, ky, kx);
        if (default(TTile).WarpColumns == 2)
        {
            FetchRow(s, target + 2 * pass, i2, offset, ky, kx);
            FetchRow(s, target + 3 * pass, i3, offset, ky, kx);
        }

        Ptx.CopyAsync(b, weights);
        Ptx.CopyAsync(b + pass, weights + passStep);
        if (default(TTile).WarpRows == 1)
        {
            Ptx.CopyAsync(b + 2 * pass, weights + 2 * passStep);
            Ptx.CopyAsync(b + 3 * pass, weights + 3 * passStep);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void FetchRow(TensorCoreArguments s, uint target, InputRow row, ulong offset, int ky, int kx)
    {
        // One unsigned comparison a side; past the last tap (K padding) ky is out of range as well.
        bool inside = (uint)(row.Y + ky) < (uint)s.Height & (uint)(row.X + kx) < (uint)s.Width & ky < s.KernelHeight;
        Ptx.CopyAsync(target, inside ? row.Address + offset : s.X, inside ? 16 : 0);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Accumulators Step(Accumulators s, uint a, uint b)
    {
        TMath math = default;
        U4 b01 = Ptx.LoadMatrices(b),
            b23 = Ptx.LoadMatrices(b + 16 * RowBytes);
        U4 a0 = Ptx.LoadMatrices(a),
            a1 = Ptx.LoadMatrices(a + 16 * RowBytes),
            a2 = Ptx.LoadMatrices(a + 32 * RowBytes),
            a3 = Ptx.LoadMatrices(a + 48 * RowBytes);
        s.C00 = math.Mma(s.C00, a0, b01.X, b01.Y);
        s.C01 = math.Mma(s.C01, a0, b01.Z, b01.W);
        s.C02 = math.Mma(s.C02, a0, b23.X, b23.Y);
        s.C03 = math.Mma(s.C03, a0, b23.Z, b23.W);
        s.C10 = math.Mma(s.C10, a1, b01.X, b01.Y);
        s.C11 = math.Mma(s.C11, a1, b01.Z, b01.W);
        s.C12 = math.Mma(s.C12, a1, b23.X, b23.Y);
        s.C13 = math.Mma(s.C13, a1, b23.Z, b23.W);
        s.C20 = math.Mma(s.C20, a2, b01.X, b01.Y);
        s.C21 = math.Mma(s.C21, a2, b01.Z, b01.W);
        s.C22 = math.Mma(s.C22, a2, b23.X, b23.Y);
        s.C23 = math.Mma(s.C23, a2, b23.Z, b23.W);
        s.C30 = math.Mma(s.C30, a3, b01.X, b01.Y);
        s.C31 = math.Mma(s.C31, a3, b01.Z, b01.W);
        s.C32 = math.Mma(s.C32, a3, b23.X, b23.Y);
        s.C33 = math.Mma(s.C33, a3, b23.Z, b23.W);
        return s;
    }
}
