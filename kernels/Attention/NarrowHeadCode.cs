using AfaNative.Kernels.MachineCode;
using AfaNative.Kernels.MatrixMultiply;
using static AfaNative.Kernels.MachineCode.Register;

namespace AfaNative.Kernels.Attention;

/// <summary>
/// The inner loop of <see cref="NarrowHead"/>, generated: it keeps 31 vector registers busy, more than the JIT manages without
/// spilling. In one pass over the keys,
/// two at a time, three stages run side by side, each on other keys: scores of the next but one, weights of the next, products
/// with the values of these. Multiplications
/// (27 a key and 16 queries) and additions (26) then fill their units almost completely on processors where they have units of
/// their own.
/// </summary>
internal static unsafe class NarrowHeadCode
{
    private const int KeyBytes = NarrowHead.KeyFloats * sizeof(float),
        ValueBytes = NarrowHead.FirstValue * sizeof(float),
        Vector = 64;

    // Output sums are in 0..15; every other value has its register, too.
    private const int Weight0 = 16,
        Weight1 = 17,
        Score0 = 18,
        Score1 = 19,
        Next0 = 20,
        Next1 = 21,
        Even = 22,
        Odd = 23,
        Left = 24,
        Right = 25,
        Whole = 26,
        Part = 27,
        Y = 28,
        Z = 29,
        Sum = 30,
        Ends = 31;

    private static readonly nint[]? s_code =
        PairedProduct.IsSupported && GeneratedKernels.Possible ? CodeMemory.Publish([Generate()]) : null;

    /// <summary><see cref="Run"/> can be called.</summary>
    public static bool IsSupported => s_code is not null;

    /// <summary>
    /// Adds to output [16 channels][16 queries] and to sum [16] the weights 2^score of <paramref name="pairs"/> (at least 3)
    /// pairs of keys, times their values and alone.
    /// <paramref name="query"/> is [16][16] queries, a row of their ends, then the constants of
    /// <see cref="AttentionSimd.Power"/>; keys as <see cref="NarrowHead"/> packs them.
    /// Output is added to after every <see cref="NarrowHead.Block"/> keys, in their order.
    /// </summary>
    public static void Run(float* query, float* keys, long pairs, float* output, float* sum)
    {
        // The last two pairs leave the pipeline after the loop.
        const int Most = NarrowHead.Block / 2;
        long loops = pairs - 2,
            further = (loops - 1) / Most;
        ((delegate* unmanaged<float*, float*, long, float*, float*, long, void>)s_code![0])(
            query,
            keys,
            loops - further * Most,
            output,
            sum,
            further
        );
    }

    // rdi = query, rsi = keys, rdx = iterations of the first block, rcx = output, r8 = sum, r9 = further blocks.
    private static byte[] Generate()
    {
        var code = new Assembler();
        int block = code.NewLabel(),
            loop = code.NewLabel(),
            last = code.NewLabel();
        code.Load(Sum, new(R8));
        code.Load(Ends, new(Rdi, NarrowHead.Width * Vector));
        ClearOutputs();
        Interleaving.InTurn(Scores(0));
        Shift(Score0, Score1, Next0, Next1);
        Interleaving.InTurn(Weights());
        Shift(Weight0, Weight1, Score0, Score1);
        Interleaving.InTurn(Scores(1));
        Shift(Score0, Score1, Next0, Next1);
        code.Place(block);
        code.Place(loop);
        Interleaving.InTurn(Products(0), Scores(2), Weights());
        Shift(Weight0, Weight1, Score0, Score1);
        Shift(Score0, Score1, Next0, Next1);
        code.Add(Rsi, 2 * KeyBytes);
        code.Subtract(Rdx, 1);
        code.JumpIfNotZero(loop);
        code.Subtract(R9, 1);
        code.JumpIfLess(last);
        AddOutputs();
        ClearOutputs();
        code.Add(Rdx, NarrowHead.Block / 2);
        code.JumpIfNotZero(block);
        code.Place(last);
        Interleaving.InTurn(Products(0), Weights());
        Shift(Weight0, Weight1, Score0, Score1);
        Interleaving.InTurn(Products(1));
        AddOutputs();
        code.Store(new(R8), Sum);
        code.Return();
        return code.ToArray();

        Address Key(int pair, int key, int element) => new(Rsi, (2 * pair + key) * KeyBytes + element * sizeof(float));

        Address Constant(int i) => new(Rdi, (NarrowHead.Width + 1) * Vector + i * sizeof(float));

        // Next = the ends of key and query + sum over pairs of channels of (q0 + k1)(q1 + k0).
        List<Action> Scores(int pair)
        {
            List<Action> steps =
            [
                () => code.AddOne(Next0, Ends, Key(pair, 0, NarrowHead.Width)),
                () => code.AddOne(Next1, Ends, Key(pair, 1, NarrowHead.Width)),
            ];
            for (int i = 0; i < NarrowHead.Width; i += 2)
            {
                int c = i;
                steps.AddRange([
                    () => code.Load(Even, new(Rdi, c * Vector)),
                    () => code.Load(Odd, new(Rdi, (c + 1) * Vector)),
                    () => code.AddOne(Left, Even, Key(pair, 0, c + 1)),
                    () => code.AddOne(Right, Odd, Key(pair, 0, c)),
                    () => code.MultiplyAdd(Next0, Left, Right),
                    () => code.AddOne(Even, Even, Key(pair, 1, c + 1)),
                    () => code.AddOne(Odd, Odd, Key(pair, 1, c)),
                    () => code.MultiplyAdd(Next1, Even, Odd),
                ]);
            }

            return steps;
        }

        // Score = 2^score, added to the sum; AttentionSimd.Power's bits.
        List<Action> Weights()
        {
            List<Action> steps = [];
            for (int s = Score0; s <= Score1; s++)
            {
                int score = s;
                steps.AddRange([
                    () => code.Round(Whole, score),
                    () => code.Subtract(Part, score, Whole),
                    () => code.AddOne(Y, Part, Constant(0)),
                    () => code.Multiply(Y, Part),
                    () => code.AddOne(Part, Part, Constant(2)),
                    () => code.AddOne(Z, Y, Constant(1)),
                    () => code.MultiplyThenAddOne(Z, Part, Constant(3)),
                    () => code.AddOne(Y, Y, Constant(4)),
                    () => code.Multiply(Z, Y),
                    () => code.ScaleByPower(score, Z, Whole),
                    () => code.Add(Sum, Sum, score),
                ]);
            }

            return steps;
        }

        // Outputs += weights times values.
        List<Action> Products(int pair)
        {
            List<Action> steps = [];
            for (int i = 0; i < 2 * NarrowHead.Width; i++)
            {
                int c = i / 2,
                    key = i % 2;
                steps.Add(() =>
                    code.MultiplyAddOne(c, Weight0 + key, new(Rsi, (2 * pair + key) * KeyBytes + ValueBytes + c * sizeof(float)))
                );
            }

            return steps;
        }

        void Shift(int to0, int to1, int from0, int from1)
        {
            code.Copy(to0, from0);
            code.Copy(to1, from1);
        }

        void ClearOutputs()
        {
            for (int c = 0; c < NarrowHead.Width; c++)
                code.Clear(c);
        }

        void AddOutputs()
        {
            for (int c = 0; c < NarrowHead.Width; c++)
            {
                code.Add(c, new(Rcx, c * Vector));
                code.Store(new(Rcx, c * Vector), c);
            }
        }
    }
}
