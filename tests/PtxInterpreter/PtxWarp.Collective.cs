using AfaNative.Engine.Training;

namespace AfaNative.Tests.PtxInterpreter;

/// <summary>Instructions that all 32 lanes execute together.</summary>
internal sealed unsafe partial class PtxWarp
{
    private readonly float[] _a = new float[16 * 16],
        _b = new float[16 * 8],
        _c = new float[16 * 8];

    private void Together(PtxInstruction i, int at)
    {
        switch (i.Op)
        {
            case PtxOp.WarpBarrier:
                _epoch++;
                break;
            case PtxOp.Shuffle:
                Shuffle(i, at);
                break;
            case PtxOp.LoadMatrix:
                LoadMatrix(i, at);
                break;
            default:
                Multiply(i);
                break;
        }
    }

    private void Shuffle(PtxInstruction i, int at)
    {
        Span<ulong> values = stackalloc ulong[Lanes];
        Registers(i.Sources[0]).CopyTo(values);
        Span<ulong> from = Registers(i.Sources[1]),
            clamp = Registers(i.Sources[2]),
            d = Registers(i.Destinations[0]);
        for (int lane = 0; lane < Lanes; lane++)
        {
            if (clamp[lane] != (i.Detail == 2 ? 0ul : 31))
                throw Fault(at, "a shuffle within parts of a warp", lane);
            int shift = (int)from[lane],
                source = i.Detail switch
                {
                    0 => lane ^ shift,
                    1 => lane + shift,
                    2 => lane - shift,
                    _ => shift,
                };
            d[lane] = values[source is >= 0 and < Lanes ? source : lane];
        }
    }

    // Lane 8 m + r names row r of matrix m; lane l receives elements 2 (l % 4) and the next of row l / 4, or of column l / 4 when
    // transposed.
    private void LoadMatrix(PtxInstruction i, int at)
    {
        Span<ulong> addresses = stackalloc ulong[Lanes];
        Registers(i.Sources[0]).CopyTo(addresses);
        Span<ushort> matrix = stackalloc ushort[64];
        for (int m = 0; m < i.Detail; m++)
        {
            for (int r = 0; r < 8; r++)
            {
                var row = (ushort*)Locate(i, at, m * 8 + r, addresses[m * 8 + r] + (ulong)i.Offset, 16, write: false);
                new ReadOnlySpan<ushort>(row, 8).CopyTo(matrix[(r * 8)..]);
            }

            Span<ulong> d = Registers(i.Destinations[m]);
            for (int lane = 0; lane < Lanes; lane++)
            {
                int first = lane / 4,
                    second = lane % 4 * 2;
                d[lane] = i.Flag
                    ? matrix[second * 8 + first] | ((ulong)matrix[(second + 1) * 8 + first] << 16)
                    : matrix[first * 8 + second] | ((ulong)matrix[first * 8 + second + 1] << 16);
            }
        }
    }

    // m16n8k16; fragment layouts as the PTX ISA draws them.
    private void Multiply(PtxInstruction i)
    {
        for (int lane = 0; lane < Lanes; lane++)
        {
            int group = lane / 4,
                pair = lane % 4 * 2;
            for (int r = 0; r < 4; r++)
            {
                ulong word = Registers(i.Sources[r])[lane];
                int row = group + r % 2 * 8,
                    column = pair + r / 2 * 8;
                _a[row * 16 + column] = Factor(word, i.Flag);
                _a[row * 16 + column + 1] = Factor(word >> 16, i.Flag);
            }

            for (int r = 0; r < 2; r++)
            {
                ulong word = Registers(i.Sources[4 + r])[lane];
                _b[(pair + r * 8) * 8 + group] = Factor(word, i.Flag);
                _b[(pair + r * 8 + 1) * 8 + group] = Factor(word >> 16, i.Flag);
            }

            for (int r = 0; r < 4; r++)
                _c[(group + r / 2 * 8) * 8 + pair + r % 2] = PtxArithmetic.F(Registers(i.Sources[6 + r])[lane]);
        }

        for (int row = 0; row < 16; row++)
        {
            for (int k = 0; k < 16; k++)
            {
                float a = _a[row * 16 + k];
                for (int column = 0; column < 8; column++)
                    _c[row * 8 + column] += a * _b[k * 8 + column];
            }
        }

        for (int lane = 0; lane < Lanes; lane++)
        {
            for (int r = 0; r < 4; r++)
                Registers(i.Destinations[r])[lane] = PtxArithmetic.F(_c[(lane / 4 + r / 2 * 8) * 8 + lane % 4 * 2 + r % 2]);
        }
    }

    private static float Factor(ulong bits, bool bfloat16) => bfloat16 ? PtxArithmetic.BFloat(bits) : PtxArithmetic.Half(bits);
}
