using AfaNative.Kernels.MachineCode;
using static AfaNative.Kernels.MachineCode.Register;

namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>
/// <see cref="PairedTile512"/> generated: the same steps in the same order, so the same bits, without the copies between
/// registers that the JIT adds. Three pairs of terms at a time,
/// and several tiles a call.
/// </summary>
internal static unsafe class PairedTileCode
{
    private const int Pairs = 3,
        Row = RegisterTile.Columns * sizeof(float),
        Vector = 64;

    private static readonly nint[]? s_code =
        PairedProduct.IsSupported && GeneratedKernels.Possible
            ? CodeMemory.Publish([
                .. Enumerable
                    .Range(0, 2 * RegisterTile.MaxRows)
                    .Select(i => Generate(i % RegisterTile.MaxRows + 1, i >= RegisterTile.MaxRows)),
            ])
            : null;

    /// <summary><see cref="Multiply"/> can be called.</summary>
    public static bool IsSupported => s_code is not null;

    /// <summary>
    /// c[r, 0..31] (+)= sum_k a[r, k] b[k, 0..31] for any number of rows, <paramref name="stride"/> floats apart, and operands
    /// packed by <see cref="PairedProduct"/>.
    /// </summary>
    public static void Multiply(float* a, nint stride, int rows, float* b, int terms, float* c, bool accumulate)
    {
        // Rows split evenly over the fewest tiles, as RegisterTile does it.
        int count = (rows + RegisterTile.MaxRows - 1) / RegisterTile.MaxRows,
            size = rows / count,
            larger = rows - size * count;
        if (larger > 0)
            Run(size + 1, larger);
        Run(size, count - larger);

        void Run(int height, int tiles)
        {
            var counts = new Counts(
                terms / (2 * Pairs),
                terms % (2 * Pairs),
                terms * (nint)sizeof(float),
                terms * (nint)Row,
                height * stride * sizeof(float)
            );
            // Tiles take less than a microsecond each: not worth telling the garbage collector about.
            (
                (delegate* unmanaged[SuppressGCTransition]<float*, nint, float*, Counts*, float*, nint, void>)
                    s_code![height - 1 + (accumulate ? RegisterTile.MaxRows : 0)]
            )(a, stride * sizeof(float), b, &counts, c, tiles);
            a += height * tiles * stride;
            c += height * tiles * RegisterTile.Columns;
        }
    }

    // Whole threes of pairs, terms left then, bytes of a row's and of a panel's terms, bytes from a tile's rows to the next
    // one's.
    private readonly record struct Counts(nint Threes, nint Left, nint RowBytes, nint PanelBytes, nint TileBytes);

    // rdi = a, rsi = stride, rdx = b, rcx = counts, r8 = c, r9 = tiles. Sums are zmm0..2 * rows - 1, two terms of b the next
    // four.
    private static byte[] Generate(int rows, bool accumulate)
    {
        var code = new Assembler();
        int d = 2 * rows,
            e = d + 2,
            spare = d + 4,
            spares = 32 - spare,
            turn = 0;
        int tile = code.NewLabel(),
            loop = code.NewLabel(),
            rest = code.NewLabel(),
            ends = code.NewLabel(),
            done = code.NewLabel();
        // Below the stack pointer, in the 128 bytes a leaf function owns.
        Address counts = new(Rsp, -8),
            a = new(Rsp, -16),
            b = new(Rsp, -24);
        code.Move(counts, Rcx);
        code.Move(b, Rdx);
        TileRows.Begin(code);
        code.Place(tile);
        code.Move(a, Rdi);
        // Sums begin with the panel's end less the row's.
        code.Add(Rdi, new Address(Rcx, 16));
        TileRows.Place(code, rows);
        code.Add(Rdx, new Address(Rcx, 24));
        code.Load(d, new(Rdx));
        code.Load(d + 1, new(Rdx, Vector));
        for (int r = 0; r < rows; r++)
        {
            code.SubtractOne(2 * r, d, TileRows.At(r, 0));
            code.SubtractOne(2 * r + 1, d + 1, TileRows.At(r, 4));
        }

        code.Move(Rdi, a);
        TileRows.Place(code, rows);
        code.Move(Rdx, b);
        code.Move(Rcx, new Address(Rcx));
        code.Subtract(Rcx, 1);
        code.JumpIfLess(rest);
        code.Place(loop);
        for (int pair = 0; pair < Pairs; pair++)
            Pair(pair, pair);
        Advance(2 * Pairs);
        code.Subtract(Rcx, 1);
        code.JumpIfNotLess(loop);
        code.Place(rest);
        code.Move(Rcx, counts);
        code.Move(Rcx, new Address(Rcx, 8));
        for (int pair = 0; pair < Pairs - 1; pair++)
        {
            code.Subtract(Rcx, 2);
            code.JumpIfLess(ends);
            Pair(pair, 0);
            Advance(2);
        }

        code.Subtract(Rcx, 2);
        code.Place(ends);
        code.Add(Rcx, 2);
        code.JumpIfZero(done);
        code.Load(d, new(Rdx));
        code.Load(d + 1, new(Rdx, Vector));
        for (int r = 0; r < rows; r++)
        {
            int t = Spare();
            code.BroadcastInteger(t, TileRows.At(r, 0));
            code.MultiplyAdd(2 * r, t, d);
            code.MultiplyAdd(2 * r + 1, t, d + 1);
        }

        Advance(1);
        code.Place(done);
        // Powers of two are multiplied by adding exponents.
        code.Load(d, new(Rdx, Row));
        code.Load(d + 1, new(Rdx, Row + Vector));
        for (int r = 0; r < rows; r++)
        {
            for (int half = 0; half < 2; half++)
            {
                int t = Spare(),
                    sum = 2 * r + half;
                Address to = new(R8, r * Row + half * Vector);
                code.AddIntegerOne(t, d + half, TileRows.At(r, 8));
                if (accumulate)
                    code.MultiplyThenAdd(sum, t, to);
                else
                    code.Multiply(sum, t);
                code.Store(to, sum);
            }
        }

        code.Add(R8, rows * Row);
        code.Move(Rcx, counts);
        code.Move(Rdi, a);
        code.Add(Rdi, new Address(Rcx, 32));
        code.Move(Rdx, b);
        code.Subtract(R9, 1);
        code.JumpIfNotZero(tile);
        code.Return();
        return code.ToArray();

        // Terms 2 pair and 2 pair + 1 of every row: of three pairs either half of the panel takes two as (a0 + b1)(a1 + b0), and
        // one as it is.
        void Pair(int which, int pair)
        {
            for (int i = 0; i < 4; i++)
                code.Load(d + i, new(Rdx, 2 * pair * Row + i * Vector));
            for (int r = 0; r < rows; r++)
            {
                int t = Spare(),
                    u = Spare();
                code.BroadcastInteger(t, TileRows.At(r, 8 * pair));
                code.BroadcastInteger(u, TileRows.At(r, 8 * pair + 4));
                for (int half = 0; half < 2; half++)
                {
                    int sum = 2 * r + half;
                    if (which == (half == 0 ? 2 : 0))
                    {
                        code.MultiplyAdd(sum, t, d + half);
                        code.MultiplyAdd(sum, u, e + half);
                        continue;
                    }

                    // The second half's may take the place of the row's terms.
                    int x = half == 0 ? Spare() : t,
                        y = half == 0 ? Spare() : u;
                    code.Add(x, t, e + half);
                    code.Add(y, u, d + half);
                    code.MultiplyAdd(sum, x, y);
                }
            }
        }

        int Spare() => spare + turn++ % spares;

        void Advance(int terms)
        {
            code.Add(Rdx, terms * Row);
            TileRows.Advance(code, rows, terms * sizeof(float));
        }
    }
}
