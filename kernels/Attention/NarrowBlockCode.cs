using AfaNative.Kernels.MachineCode;
using AfaNative.Kernels.MatrixMultiply;
using static AfaNative.Kernels.MachineCode.Register;

namespace AfaNative.Kernels.Attention;

/// <summary>
/// What <see cref="NarrowHeadCode"/> does in one loop, in two over a block of keys whose weights stay in the first-level cache:
/// for processors that multiply twice and add twice a
/// cycle, but load no more often than that. A key's channel is loaded once for 32 queries; scores, which are mostly additions, go
/// beside products of the block before with the first
/// <see cref="Early"/> channels of its values, weights beside products with the others. Sums are taken in the same order: the
/// bits are the same.
/// </summary>
internal static unsafe class NarrowBlockCode
{
    /// <summary>Queries of a call.</summary>
    public const int Lanes = 32;

    /// <summary>Keys that the loops take at a time.</summary>
    public const int Group = 4;

    /// <summary>Channels of the values that are multiplied beside the next block's scores.</summary>
    public const int Early = 6;

    private const int Late = NarrowHead.Width - Early,
        Halves = 2,
        Vector = 64,
        Row = Halves * Vector;
    private const int KeyBytes = NarrowHead.KeyFloats * sizeof(float),
        ValueBytes = NarrowHead.FirstValue * sizeof(float);

    private static readonly nint[]? s_code =
        PairedProduct.IsSupported && GeneratedKernels.Possible
            ? CodeMemory.Publish([Scores(true, false), Scores(true, true), Scores(false, true), Weights()])
            : null;

    /// <summary>The functions can be called.</summary>
    public static bool IsSupported => s_code is not null;

    /// <summary>
    /// Scores [4 groups][32] of keys, as <see cref="NarrowHead"/> packs them, and of the 32 queries at <paramref name="query"/>:
    /// [16 channels][32], then a row of their ends.
    /// </summary>
    public static void Scores(float* query, float* keys, nint groups, float* rows) =>
        Call(0, query, keys, groups, null, rows, null);

    /// <summary>
    /// The same, in the place of weights whose products with <see cref="Early"/> channels of the values of
    /// <paramref name="before"/> are added to output [16][32], as one sum for a channel and query.
    /// </summary>
    public static void ScoresAndProducts(float* query, float* keys, nint groups, float* before, float* rows, float* output) =>
        Call(1, query, keys, groups, before, rows, output);

    /// <summary>These products alone.</summary>
    public static void Products(nint groups, float* before, float* rows, float* output) =>
        Call(2, null, null, groups, before, rows, output);

    /// <summary>
    /// Scores [4 groups][32] become weights, 2^score times a constant (<see cref="AttentionSimd.Power"/>), which are added to sum
    /// [32]; their products with the channels of the values not among the first
    /// <see cref="Early"/> are added to output [16][32]. <paramref name="constants"/> are
    /// <see cref="AttentionSimd.PowerConstants"/>.
    /// </summary>
    public static void Weights(float* constants, float* keys, nint groups, float* rows, float* output, float* sum)
    {
        var run = (delegate* unmanaged<float*, float*, long, float*, float*, float*, void>)s_code![3];
        for (int half = 0; half < Halves; half++)
            run(constants, keys, groups, rows + half * 16, output + Early * Lanes + half * 16, sum + half * 16);
    }

    private static void Call(int function, float* query, float* keys, nint groups, float* before, float* rows, float* output) =>
        ((delegate* unmanaged<float*, float*, long, float*, float*, float*, void>)s_code![function])(
            query,
            keys,
            groups,
            before,
            rows,
            output
        );

    // rdi = query, rsi = keys, rdx = groups, rcx = before, r8 = rows, r9 = output.
    private static byte[] Scores(bool scores, bool products)
    {
        // Output sums, then scores, from 0 on.
        const int Score = Early * Halves,
            Even0 = Score + Group * Halves,
            Odd0 = Even0 + 1,
            Even1 = Even0 + 2,
            Odd1 = Even0 + 3,
            Left = Even0 + 4,
            Right = Left + 1,
            A = Left + 2,
            B = Left + 3,
            Weight = Left + 4,
            Value = Weight + Halves;
        var code = new Assembler();
        int loop = code.NewLabel();
        for (int i = 0; products && i < Early * Halves; i++)
            code.Clear(i);
        code.Place(loop);
        Interleaving.InTurn(scores ? ScoreSteps() : [], products ? ProductSteps() : []);
        for (int i = 0; scores && i < Group * Halves; i++)
            code.Store(new(R8, i * Vector), Score + i);
        if (scores)
            code.Add(Rsi, Group * KeyBytes);
        if (products)
            code.Add(Rcx, Group * KeyBytes);
        code.Add(R8, Group * Row);
        code.Subtract(Rdx, 1);
        code.JumpIfNotZero(loop);
        for (int i = 0; products && i < Early * Halves; i++)
        {
            code.Add(i, new(R9, i * Vector));
            code.Store(new(R9, i * Vector), i);
        }

        code.Return();
        return code.ToArray();

        // The ends of key and query + sum over pairs of channels of (q0 + k1)(q1 + k0).
        List<Action> ScoreSteps()
        {
            List<Action> steps =
            [
                () => code.Load(Even0, new(Rdi, NarrowHead.Width * Row)),
                () => code.Load(Even1, new(Rdi, NarrowHead.Width * Row + Vector)),
            ];
            for (int i = 0; i < Group; i++)
            {
                int key = i;
                steps.AddRange([
                    () => code.BroadcastInteger(A, Key(key, NarrowHead.Width)),
                    () => code.Add(Score + Halves * key, Even0, A),
                    () => code.Add(Score + Halves * key + 1, Even1, A),
                ]);
            }

            for (int i = 0; i < NarrowHead.Width; i += 2)
            {
                int c = i;
                steps.AddRange([
                    () => code.Load(Even0, new(Rdi, c * Row)),
                    () => code.Load(Odd0, new(Rdi, (c + 1) * Row)),
                    () => code.Load(Even1, new(Rdi, c * Row + Vector)),
                    () => code.Load(Odd1, new(Rdi, (c + 1) * Row + Vector)),
                ]);
                for (int j = 0; j < Group; j++)
                {
                    int key = j;
                    steps.AddRange([
                        () => code.BroadcastInteger(A, Key(key, c + 1)),
                        () => code.BroadcastInteger(B, Key(key, c)),
                        () => code.Add(Left, Even0, A),
                        () => code.Add(Right, Odd0, B),
                        () => code.MultiplyAdd(Score + Halves * key, Left, Right),
                        () => code.Add(A, Even1, A),
                        () => code.Add(B, Odd1, B),
                        () => code.MultiplyAdd(Score + Halves * key + 1, A, B),
                    ]);
                }
            }

            return steps;
        }

        List<Action> ProductSteps()
        {
            List<Action> steps = [];
            for (int i = 0; i < Group; i++)
            {
                int key = i;
                for (int h = 0; h < Halves; h++)
                {
                    int half = h;
                    steps.Add(() => code.Load(Weight + half, new(R8, key * Row + half * Vector)));
                }

                for (int j = 0; j < Early; j++)
                {
                    int c = j;
                    steps.Add(() => code.BroadcastInteger(Value, new(Rcx, key * KeyBytes + ValueBytes + c * sizeof(float))));
                    for (int h = 0; h < Halves; h++)
                    {
                        int half = h;
                        steps.Add(() => code.MultiplyAdd(Halves * c + half, Value, Weight + half));
                    }
                }
            }

            return steps;
        }

        Address Key(int key, int element) => new(Rsi, key * KeyBytes + element * sizeof(float));
    }

    // rdi = constants, rsi = keys, rdx = groups, rcx = rows, r8 = output, r9 = sum: for 16 queries.
    private static byte[] Weights()
    {
        // Two groups' weights take turns, so the loop is written twice; two sets of four temporaries do.
        const int Sum = Late,
            Weight = Sum + 1,
            Temporary = Weight + 2 * Group,
            Sets = 2,
            Constant = Temporary + 4 * Sets;
        var code = new Assembler();
        int loop = code.NewLabel(),
            odd = code.NewLabel(),
            even = code.NewLabel();
        for (int i = 0; i < Late; i++)
            code.Clear(i);
        for (int i = 0; i < AttentionSimd.PowerConstants.Length; i++)
            code.BroadcastInteger(Constant + i, new(Rdi, i * sizeof(float)));
        code.Load(Sum, new(R9));
        Interleaving.InTurn(WeightSteps(0, 0));
        code.Subtract(Rdx, 1);
        code.JumpIfZero(odd);
        code.Place(loop);
        Interleaving.InTurn(WeightSteps(1, 1), ProductSteps(0));
        Advance();
        code.JumpIfZero(even);
        Interleaving.InTurn(WeightSteps(1, 0), ProductSteps(1));
        Advance();
        code.JumpIfNotZero(loop);
        code.Place(odd);
        Interleaving.InTurn(ProductSteps(0));
        Finish();
        code.Place(even);
        Interleaving.InTurn(ProductSteps(1));
        Finish();
        return code.ToArray();

        void Advance()
        {
            code.Add(Rsi, Group * KeyBytes);
            code.Add(Rcx, Group * Row);
            code.Subtract(Rdx, 1);
        }

        void Finish()
        {
            for (int c = 0; c < Late; c++)
            {
                code.Add(c, new(R8, c * Row));
                code.Store(new(R8, c * Row), c);
            }

            code.Store(new(R9), Sum);
            code.Return();
        }

        // Keys in pairs, whose steps are side by side.
        List<Action> WeightSteps(int group, int turn)
        {
            List<Action> all = [];
            for (int pair = 0; pair < Group; pair += Sets)
            {
                List<Action> first = One(group, turn, pair, 0),
                    second = One(group, turn, pair + 1, 1);
                for (int i = 0; i < first.Count; i++)
                    all.AddRange([first[i], second[i]]);
            }

            return all;
        }

        List<Action> One(int group, int turn, int key, int set)
        {
            int weight = Weight + turn * Group + key,
                whole = Temporary + 4 * set,
                part = whole + 1,
                y = whole + 2,
                z = whole + 3;
            Address at = new(Rcx, (group * Group + key) * Row);
            return
            [
                () => code.Load(weight, at),
                () => code.Round(whole, weight),
                () => code.Subtract(part, weight, whole),
                () => code.Add(y, part, Constant),
                () => code.Multiply(y, part),
                () => code.Add(part, part, Constant + 2),
                () => code.Add(z, y, Constant + 1),
                () => code.MultiplyThenAdd(z, part, Constant + 3),
                () => code.Add(y, y, Constant + 4),
                () => code.Multiply(z, y),
                () => code.ScaleByPower(weight, z, whole),
                () => code.Add(Sum, Sum, weight),
                () => code.Store(at, weight),
            ];
        }

        List<Action> ProductSteps(int turn)
        {
            List<Action> steps = [];
            for (int i = 0; i < Late * Group; i++)
            {
                int c = i / Group,
                    key = i % Group;
                steps.Add(() =>
                    code.MultiplyAddOne(
                        c,
                        Weight + turn * Group + key,
                        new(Rsi, key * KeyBytes + ValueBytes + (Early + c) * sizeof(float))
                    )
                );
            }

            return steps;
        }
    }
}
