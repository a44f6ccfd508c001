using System.Runtime.CompilerServices;
using AfaNative.Kernels.Gpu;
using AfaNative.Kernels.MachineCode;
using ILGPU;

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

/// <summary>
/// Matrix multiply and implicit-GEMM convolution on tensor cores (<c>mma.sync</c>, m16n8k16), for every expert in one launch.
/// Weights
/// [E][PackedColumns][PackedK], zero padded, K ordered (tap, input); inputs a multiple of 8. Three stages of <c>cp.async</c> feed
/// shared memory, whose
/// 16-byte chunks are swizzled against bank conflicts. Grid: (column tiles [times experts that share an input], row tiles,
/// [experts]).
/// </summary>
internal static class TensorCoreMultiply<TMath, TTile>
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

    // A fragment's columns are spread over four lanes; through shared memory a lane gets eight neighbours of one row, and the
    // code below exists once.
    private static void Finish(TensorCoreArguments s, Accumulators c, uint staging, int lane, int e, int row0, int column0)
    {
        uint at = staging + (uint)((lane >> 2) * StagingRow + (lane & 3) * 8),
            from = staging + (uint)((lane >> 2) * StagingRow + (lane & 3) * 32);
        for (int half = 0; half < 2; half++)
        {
            Ptx.SyncWarp();
            if (half == 0)
            {
                Stage(at, c.C00, c.C01, c.C02, c.C03);
                Stage(at + 16 * StagingRow, c.C10, c.C11, c.C12, c.C13);
            }
            else
            {
                Stage(at, c.C20, c.C21, c.C22, c.C23);
                Stage(at + 16 * StagingRow, c.C30, c.C31, c.C32, c.C33);
            }

            Ptx.SyncWarp();
            for (int i = 0; i < 4; i++)
            {
                uint place = from + (uint)(i * 8 * StagingRow);
                F4 low = Ptx.LoadShared16(place),
                    high = Ptx.LoadShared16(place + 16);
                var v = new F8
                {
                    A = low.X,
                    B = low.Y,
                    C = low.Z,
                    D = low.W,
                    E = high.X,
                    F = high.Y,
                    G = high.Z,
                    H = high.W,
                };
                int row = row0 + half * 32 + i * 8 + (lane >> 2),
                    column = column0 + (lane & 3) * 8;
                if (row < s.Rows)
                    Store(s, e, row, column, v);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Stage(uint at, F4 c0, F4 c1, F4 c2, F4 c3)
    {
        StageTile(at, c0);
        StageTile(at + 32, c1);
        StageTile(at + 64, c2);
        StageTile(at + 96, c3);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StageTile(uint at, F4 c)
    {
        Ptx.StoreShared8(at, c.X, c.Y);
        Ptx.StoreShared8(at + 8 * StagingRow, c.Z, c.W);
    }

    private static void Store(TensorCoreArguments s, int e, int row, int column, F8 v)
    {
        if (s.Geglu != 0)
        {
            StoreGated(s, e, row, column / 2, v);
            return;
        }

        if (column >= s.Columns)
            return;
        ulong rowBias = (ulong)(((long)e * s.Groups + row / s.RowsPerGroup) * s.Columns),
            at = (ulong)(((long)e * s.Rows + row) * s.Columns),
            residual = (ulong)(e * s.ResidualStride + (long)row * s.Columns);
        if (default(TTile).Aligned)
        {
            if (s.Bias != 0)
                v = Eight<TMath>.Add(v, Eight<TMath>.Load(s.Bias + (ulong)((long)e * s.Columns + column) * 2));
            if (s.RowBias != 0)
                v = Eight<TMath>.Add(v, Eight<TMath>.Load(s.RowBias + (rowBias + (ulong)column) * 2));
            v = Activate(s.Activation, v);
            if (s.Residual != 0)
                v = Eight<TMath>.Add(v, Eight<TMath>.Load(s.Residual + (residual + (ulong)column) * 2));
            Eight<TMath>.Store(s.Y + (at + (ulong)column) * 2, v);
            return;
        }

        // One element a time, the eight values rotating through the first.
        for (int i = 0; i < 8 && column + i < s.Columns; i++)
        {
            float value = v.A;
            if (s.Bias != 0)
                value += Eight<TMath>.LoadOne(s.Bias + (ulong)((long)e * s.Columns + column + i) * 2);
            if (s.RowBias != 0)
                value += Eight<TMath>.LoadOne(s.RowBias + (rowBias + (ulong)(column + i)) * 2);
            value = PortableMath.Activate(s.Activation, value);
            if (s.Residual != 0)
                value += Eight<TMath>.LoadOne(s.Residual + (residual + (ulong)(column + i)) * 2);
            Eight<TMath>.StoreOne(s.Y + (at + (ulong)(column + i)) * 2, value);
            v = new F8
            {
                A = v.B,
                B = v.C,
                C = v.D,
                D = v.E,
                E = v.F,
                F = v.G,
                G = v.H,
            };
        }
    }

    // Columns 2j and 2j + 1 are value j and its gate; neither row bias nor residual goes with a gate. With Geglu 2 both are kept
    // apart, as training wants them.
    private static void StoreGated(TensorCoreArguments s, int e, int row, int column, F8 v)
    {
        ulong at = s.Y + (ulong)(((long)e * s.Rows + row) * s.Columns + column) * 2,
            bias = s.Bias + (ulong)((long)e * 2 * s.Columns + column) * 2,
            gates = bias + (ulong)s.Columns * 2;
        var values = new F4();
        for (int i = 0; i < 4; i++)
        {
            float value = v.A,
                gate = v.B;
            if (column + i < s.Columns)
            {
                if (s.Bias != 0)
                {
                    value += Eight<TMath>.LoadOne(bias + (ulong)(i * 2));
                    gate += Eight<TMath>.LoadOne(gates + (ulong)(i * 2));
                }

                if (s.Geglu == 2)
                {
                    ulong raw = s.Y + (ulong)(((long)e * s.Rows + row) * 2 * s.Columns + column + i) * 2;
                    Eight<TMath>.StoreOne(raw, value);
                    Eight<TMath>.StoreOne(raw + (ulong)s.Columns * 2, gate);
                }
                else
                {
                    value *= PortableMath.Activate(2, gate);
                    if (!default(TTile).Aligned)
                        Eight<TMath>.StoreOne(at + (ulong)(i * 2), value);
                }
            }

            v = new F8
            {
                A = v.C,
                B = v.D,
                C = v.E,
                D = v.F,
                E = v.G,
                F = v.H,
            };
            values = new F4
            {
                X = values.Y,
                Y = values.Z,
                Z = values.W,
                W = value,
            };
        }

        if (default(TTile).Aligned && s.Geglu == 1 && column < s.Columns)
            Ptx.StoreGlobal8(at, default(TMath).Pack(values.X, values.Y), default(TMath).Pack(values.Z, values.W));
    }

    private static F8 Activate(int kind, F8 v)
    {
        if (kind == 0)
            return v;
        for (int i = 0; i < 8; i++)
            v = new F8
            {
                A = v.B,
                B = v.C,
                C = v.D,
                D = v.E,
                E = v.F,
                F = v.G,
                G = v.H,
                H = PortableMath.Activate(kind, v.A),
            };
        return v;
    }
}
