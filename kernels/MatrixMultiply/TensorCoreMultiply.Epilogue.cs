using System.Runtime.CompilerServices;
using AfaNative.Kernels.Gpu;
using AfaNative.Kernels.MachineCode;
using ILGPU;

namespace AfaNative.Kernels.MatrixMultiply;

// What happens to finished sums.
internal static partial class TensorCoreMultiply<TMath, TTile>
{
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
