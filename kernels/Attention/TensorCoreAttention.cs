using System.Runtime.CompilerServices;
using AfaNative.Kernels.Gpu;
using ILGPU;

namespace AfaNative.Kernels.Attention;

/// <summary>
/// Flash attention (Dao 2023, arXiv 2307.08691) on tensor cores: a block of four warps takes 64 queries of one head, keys and
/// values pass through shared
/// memory in steps, softmax runs online in registers and base 2, probabilities go from accumulators to operands without leaving
/// registers.
/// While a step's softmax runs, the next keys are on their way; while its scores are computed, the values are. Grid: (query
/// tiles, heads, experts x images).
/// </summary>
internal static class TensorCoreAttention<TMath, THead>
    where TMath : struct, IHalfMath
    where THead : struct, IHeadWidth
{
    /// <summary>Queries of a block.</summary>
    public const int Queries = 64;

    /// <summary>Threads of a block.</summary>
    public const int Threads = 128;

    private const float Masked = -1e30f;

    // An odd number of 16-byte chunks a row: eight rows of ldmatrix meet eight different bank groups.
    private static int Row => default(THead).Padded * 2 + 16;

    private static int Chunks => default(THead).Padded / 8;

    private static int KeyTile => default(THead).Keys;

    /// <summary>Static shared memory of a block, in bytes.</summary>
    public static int SharedBytes => (Queries + 2 * KeyTile) * Row;

    // Scores of 16 queries and 32 keys: four fragments of 16 x 8.
    private struct Scores
    {
        public F4 A,
            B,
            C,
            D;
    }

    // Output of 16 queries and 16 channels.
    private struct Output
    {
        public F4 A,
            B;
    }

    private struct Outputs
    {
        public Output O0,
            O1,
            O2,
            O3,
            O4,
            O5,
            O6,
            O7,
            O8,
            O9;
    }

    public static void Run(TensorCoreAttentionArguments s)
    {
        ArrayView<F4> memory = SharedMemory.Allocate1D<F4>(SharedBytes / 16);
        uint queries = Ptx.SharedOffset(ref memory[0]),
            keys = queries + (uint)(Queries * Row),
            values = keys + (uint)(KeyTile * Row);
        int thread = Group.IdxX,
            lane = thread & 31,
            warp = thread >> 5,
            query0 = Grid.IdxX * Queries;
        int channels = s.Heads * s.HeadWidth;
        ulong head = (ulong)(Grid.IdxY * s.HeadWidth) * 2,
            pitch = (ulong)channels * 2;
        ulong q = s.Q + (ulong)(Grid.IdxZ * (long)s.Queries + query0) * pitch + head;
        ulong k = s.K + (ulong)(Grid.IdxZ * (long)s.Keys) * pitch + head,
            v = s.V + (ulong)(Grid.IdxZ * (long)s.Keys) * pitch + head;
        int end = s.Causal == 1 && query0 + Queries < s.Keys ? query0 + Queries : s.Keys;

        Fetch(queries, q, pitch, Queries, s.Queries - query0, s.HeadWidth, thread, s.Q);
        Fetch(keys, k, pitch, KeyTile, end, s.HeadWidth, thread, s.Q);
        Ptx.CommitCopies();
        Fetch(values, v, pitch, KeyTile, end, s.HeadWidth, thread, s.Q);
        Ptx.CommitCopies();

        uint qAt = queries + (uint)((warp * 16 + (lane & 15)) * Row + ((lane >> 4) << 4));
        uint kAt = keys + (uint)(((lane & 7) | ((lane >> 4) << 3)) * Row + (((lane >> 3) & 1) << 4));
        uint vAt = values + (uint)(((lane & 7) | (((lane >> 3) & 1) << 3)) * Row + ((lane >> 4) << 4));
        int rowLow = query0 + warp * 16 + (lane >> 2),
            column = (lane & 3) * 2;
        float maxLow = Masked,
            maxHigh = Masked,
            sumLow = 0,
            sumHigh = 0;
        Outputs o = default;
        for (int key0 = 0; key0 < end; key0 += KeyTile)
        {
            Ptx.WaitForAllCopiesButOneGroup();
            Group.Barrier();
            Scores s0 = default,
                s1 = default;
            for (uint step = 0; step < (uint)(default(THead).Padded * 2); step += 32)
            {
                U4 a = Ptx.LoadMatrices(qAt + step);
                s0 = Score(s0, a, kAt + step);
                if (KeyTile == 64)
                    s1 = Score(s1, a, kAt + step + (uint)(32 * Row));
            }

            Group.Barrier();
            bool more = key0 + KeyTile < end;
            k += (ulong)KeyTile * pitch;
            if (more)
                Fetch(keys, k, pitch, KeyTile, end - key0 - KeyTile, s.HeadWidth, thread, s.Q);
            Ptx.CommitCopies();

            // Keys past the end, or (causal) after the query, do not count.
            int limitLow = s.Causal == 1 && rowLow + 1 < end ? rowLow + 1 : end,
                limitHigh = s.Causal == 1 && rowLow + 9 < end ? rowLow + 9 : end;
            bool edge = key0 + KeyTile > limitLow | key0 + KeyTile > limitHigh;
            s0 = Scaled(s0, s.Scale);
            if (edge)
                s0 = Mask(s0, key0 + column, limitLow, limitHigh);
            float topLow = TopLow(s0),
                topHigh = TopHigh(s0);
            if (KeyTile == 64)
            {
                s1 = Scaled(s1, s.Scale);
                if (edge)
                    s1 = Mask(s1, key0 + 32 + column, limitLow, limitHigh);
                topLow = Ptx.Max(topLow, TopLow(s1));
                topHigh = Ptx.Max(topHigh, TopHigh(s1));
            }

            topLow = Ptx.Max(topLow, Ptx.ShuffleXor(topLow, 1));
            topLow = Ptx.Max(maxLow, Ptx.Max(topLow, Ptx.ShuffleXor(topLow, 2)));
            topHigh = Ptx.Max(topHigh, Ptx.ShuffleXor(topHigh, 1));
            topHigh = Ptx.Max(maxHigh, Ptx.Max(topHigh, Ptx.ShuffleXor(topHigh, 2)));
            float fadeLow = Ptx.Exp2(maxLow - topLow),
                fadeHigh = Ptx.Exp2(maxHigh - topHigh);
            maxLow = topLow;
            maxHigh = topHigh;
            s0 = Power(s0, topLow, topHigh);
            sumLow = sumLow * fadeLow + SumLow(s0);
            sumHigh = sumHigh * fadeHigh + SumHigh(s0);
            U4 p0 = Pack(s0.A, s0.B),
                p1 = Pack(s0.C, s0.D),
                p2 = default,
                p3 = default;
            if (KeyTile == 64)
            {
                s1 = Power(s1, topLow, topHigh);
                sumLow += SumLow(s1);
                sumHigh += SumHigh(s1);
                p2 = Pack(s1.A, s1.B);
                p3 = Pack(s1.C, s1.D);
            }

            Ptx.WaitForAllCopiesButOneGroup();
            Group.Barrier();
            o.O0 = Weigh(Fade(o.O0, fadeLow, fadeHigh), p0, p1, p2, p3, vAt);
            if (Chunks > 2)
                o.O1 = Weigh(Fade(o.O1, fadeLow, fadeHigh), p0, p1, p2, p3, vAt + 32);
            if (Chunks > 4)
                o.O2 = Weigh(Fade(o.O2, fadeLow, fadeHigh), p0, p1, p2, p3, vAt + 64);
            if (Chunks > 6)
                o.O3 = Weigh(Fade(o.O3, fadeLow, fadeHigh), p0, p1, p2, p3, vAt + 96);
            if (Chunks > 8)
                o.O4 = Weigh(Fade(o.O4, fadeLow, fadeHigh), p0, p1, p2, p3, vAt + 128);
            if (Chunks > 10)
                o.O5 = Weigh(Fade(o.O5, fadeLow, fadeHigh), p0, p1, p2, p3, vAt + 160);
            if (Chunks > 12)
                o.O6 = Weigh(Fade(o.O6, fadeLow, fadeHigh), p0, p1, p2, p3, vAt + 192);
            if (Chunks > 14)
                o.O7 = Weigh(Fade(o.O7, fadeLow, fadeHigh), p0, p1, p2, p3, vAt + 224);
            if (Chunks > 16)
                o.O8 = Weigh(Fade(o.O8, fadeLow, fadeHigh), p0, p1, p2, p3, vAt + 256);
            if (Chunks > 18)
                o.O9 = Weigh(Fade(o.O9, fadeLow, fadeHigh), p0, p1, p2, p3, vAt + 288);
            Group.Barrier();
            v += (ulong)KeyTile * pitch;
            if (more)
                Fetch(values, v, pitch, KeyTile, end - key0 - KeyTile, s.HeadWidth, thread, s.Q);
            Ptx.CommitCopies();
        }

        Ptx.WaitForAllCopies();
        sumLow += Ptx.ShuffleXor(sumLow, 1);
        sumLow += Ptx.ShuffleXor(sumLow, 2);
        sumHigh += Ptx.ShuffleXor(sumHigh, 1);
        sumHigh += Ptx.ShuffleXor(sumHigh, 2);
        float low = Ptx.Reciprocal(sumLow),
            high = Ptx.Reciprocal(sumHigh);

        // Through the warp's own query rows, which no one reads any more, to whole 16-byte chunks.
        uint mine = queries + (uint)(warp * 16 * Row),
            at = mine + (uint)((lane >> 2) * Row + column * 2);
        Ptx.SyncWarp();
        Stage(at, Fade(o.O0, low, high));
        if (Chunks > 2)
            Stage(at + 32, Fade(o.O1, low, high));
        if (Chunks > 4)
            Stage(at + 64, Fade(o.O2, low, high));
        if (Chunks > 6)
            Stage(at + 96, Fade(o.O3, low, high));
        if (Chunks > 8)
            Stage(at + 128, Fade(o.O4, low, high));
        if (Chunks > 10)
            Stage(at + 160, Fade(o.O5, low, high));
        if (Chunks > 12)
            Stage(at + 192, Fade(o.O6, low, high));
        if (Chunks > 14)
            Stage(at + 224, Fade(o.O7, low, high));
        if (Chunks > 16)
            Stage(at + 256, Fade(o.O8, low, high));
        if (Chunks > 18)
            Stage(at + 288, Fade(o.O9, low, high));
        Ptx.SyncWarp();
        ulong y = s.Y + (ulong)(Grid.IdxZ * (long)s.Queries + query0 + warp * 16) * pitch + head;
        int rows = s.Queries - query0 - warp * 16;
        for (int i = lane; i < 16 * Chunks; i += 32)
        {
            int row = i / Chunks,
                chunk = i - row * Chunks;
            if (row < rows && chunk * 8 < s.HeadWidth)
                Ptx.StoreGlobal16(
                    y + (ulong)row * pitch + (ulong)(chunk * 16),
                    Ptx.LoadSharedWords(mine + (uint)(row * Row + chunk * 16))
                );
        }
    }

    // Rows past the end and channels past the head are zero: they must not hold NaN.
    private static void Fetch(uint target, ulong source, ulong pitch, int rows, int valid, int width, int thread, ulong anywhere)
    {
        for (int i = thread; i < rows * Chunks; i += Threads)
        {
            int row = i / Chunks,
                chunk = i - row * Chunks;
            bool inside = row < valid & chunk * 8 < width;
            Ptx.CopyAsync(
                target + (uint)(row * Row + chunk * 16),
                inside ? source + (ulong)row * pitch + (ulong)(chunk * 16) : anywhere,
                inside ? 16 : 0
            );
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Scores Score(Scores s, U4 q, uint k)
    {
        TMath math = default;
        U4 k01 = Ptx.LoadMatrices(k),
            k23 = Ptx.LoadMatrices(k + (uint)(16 * Row));
        s.A = math.Mma(s.A, q, k01.X, k01.Y);
        s.B = math.Mma(s.B, q, k01.Z, k01.W);
        s.C = math.Mma(s.C, q, k23.X, k23.Y);
        s.D = math.Mma(s.D, q, k23.Z, k23.W);
        return s;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Output Weigh(Output o, U4 p0, U4 p1, U4 p2, U4 p3, uint v)
    {
        TMath math = default;
        U4 b0 = Ptx.LoadMatricesTransposed(v),
            b1 = Ptx.LoadMatricesTransposed(v + (uint)(16 * Row));
        o.A = math.Mma(math.Mma(o.A, p0, b0.X, b0.Y), p1, b1.X, b1.Y);
        o.B = math.Mma(math.Mma(o.B, p0, b0.Z, b0.W), p1, b1.Z, b1.W);
        if (KeyTile == 64)
        {
            U4 b2 = Ptx.LoadMatricesTransposed(v + (uint)(32 * Row)),
                b3 = Ptx.LoadMatricesTransposed(v + (uint)(48 * Row));
            o.A = math.Mma(math.Mma(o.A, p2, b2.X, b2.Y), p3, b3.X, b3.Y);
            o.B = math.Mma(math.Mma(o.B, p2, b2.Z, b2.W), p3, b3.Z, b3.W);
        }

        return o;
    }

    private static U4 Pack(F4 a, F4 b) =>
        new()
        {
            X = default(TMath).Pack(a.X, a.Y),
            Y = default(TMath).Pack(a.Z, a.W),
            Z = default(TMath).Pack(b.X, b.Y),
            W = default(TMath).Pack(b.Z, b.W),
        };

    private static Output Fade(Output o, float low, float high) => new() { A = Fade(o.A, low, high), B = Fade(o.B, low, high) };

    private static F4 Fade(F4 c, float low, float high) =>
        new()
        {
            X = c.X * low,
            Y = c.Y * low,
            Z = c.Z * high,
            W = c.W * high,
        };

    private static Scores Scaled(Scores s, float scale) =>
        new()
        {
            A = Fade(s.A, scale, scale),
            B = Fade(s.B, scale, scale),
            C = Fade(s.C, scale, scale),
            D = Fade(s.D, scale, scale),
        };

    private static Scores Mask(Scores s, int key, int low, int high) =>
        new()
        {
            A = Mask(s.A, key, low, high),
            B = Mask(s.B, key + 8, low, high),
            C = Mask(s.C, key + 16, low, high),
            D = Mask(s.D, key + 24, low, high),
        };

    private static F4 Mask(F4 c, int key, int low, int high) =>
        new()
        {
            X = key < low ? c.X : Masked,
            Y = key + 1 < low ? c.Y : Masked,
            Z = key < high ? c.Z : Masked,
            W = key + 1 < high ? c.W : Masked,
        };

    private static Scores Power(Scores s, float low, float high) =>
        new()
        {
            A = Power(s.A, low, high),
            B = Power(s.B, low, high),
            C = Power(s.C, low, high),
            D = Power(s.D, low, high),
        };

    private static F4 Power(F4 c, float low, float high) =>
        new()
        {
            X = Ptx.Exp2(c.X - low),
            Y = Ptx.Exp2(c.Y - low),
            Z = Ptx.Exp2(c.Z - high),
            W = Ptx.Exp2(c.W - high),
        };

    private static float TopLow(Scores s) =>
        Ptx.Max(Ptx.Max(Ptx.Max(s.A.X, s.A.Y), Ptx.Max(s.B.X, s.B.Y)), Ptx.Max(Ptx.Max(s.C.X, s.C.Y), Ptx.Max(s.D.X, s.D.Y)));

    private static float TopHigh(Scores s) =>
        Ptx.Max(Ptx.Max(Ptx.Max(s.A.Z, s.A.W), Ptx.Max(s.B.Z, s.B.W)), Ptx.Max(Ptx.Max(s.C.Z, s.C.W), Ptx.Max(s.D.Z, s.D.W)));

    private static float SumLow(Scores s) => s.A.X + s.A.Y + (s.B.X + s.B.Y) + (s.C.X + s.C.Y + (s.D.X + s.D.Y));

    private static float SumHigh(Scores s) => s.A.Z + s.A.W + (s.B.Z + s.B.W) + (s.C.Z + s.C.W + (s.D.Z + s.D.W));

    private static void Stage(uint at, Output o)
    {
        Ptx.StoreShared4(at, default(TMath).Pack(o.A.X, o.A.Y));
        Ptx.StoreShared4(at + (uint)(8 * Row), default(TMath).Pack(o.A.Z, o.A.W));
        Ptx.StoreShared4(at + 16, default(TMath).Pack(o.B.X, o.B.Y));
        Ptx.StoreShared4(at + (uint)(8 * Row) + 16, default(TMath).Pack(o.B.Z, o.B.W));
    }
}
