using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Host;
using AfaNative.Kernels.MatrixMultiply;
using AfaNative.Kernels.Vectors;

namespace AfaNative.Kernels.Attention;

/// <summary>
/// Flash-style attention with a query in every SIMD lane. For 32 queries at a time, scores S^T = K Q^T of 128 keys, a vertical
/// running maximum and
/// exponential, and O^T += V^T P, all through the same <see cref="IProduct"/> as the matrix multiply. The running maximum is a
/// whole number of octaves, so
/// rescaling multiplies by exact powers of two. Memory per worker is linear in tokens.
/// </summary>
internal static unsafe class AttentionSimd
{
    private const int Lanes = RegisterTile.Columns,
        KeyBlock = 128,
        QueryChunk = 512;
    private const float Minimum = -1e30f,
        Power0 = 4.77263689f,
        Power1 = 29.2076836f,
        Power2 = -2.31943417f,
        Power3 = 132.107727f,
        Power4 = 11.6026897f;

    /// <summary>See <see cref="AttentionShape"/>.</summary>
    public static void Run<TProduct>(
        WorkerPool pool,
        TProduct product,
        in AttentionShape shape,
        float* q,
        float* k,
        float* v,
        float* y
    )
        where TProduct : struct, IProduct => Run(pool, product, product, shape, q, k, v, y);

    /// <summary>
    /// The same with one product for the scores, of queries and keys, and another for the weighted sums of values.
    /// </summary>
    public static void Run<TScores, TSums>(
        WorkerPool pool,
        TScores toScores,
        TSums toSums,
        in AttentionShape shape,
        float* q,
        float* k,
        float* v,
        float* y
    )
        where TScores : struct, IProduct
        where TSums : struct, IProduct
    {
        AttentionShape s = shape;
        int chunks = (s.Queries + QueryChunk - 1) / QueryChunk,
            heads = s.Experts * s.Batch * s.Heads;
        // One task for a whole head shares its packed keys; a few heads on many threads are cut by queries, which changes no
        // result.
        if (heads >= 4 * pool.Threads)
            chunks = 1;
        bool narrow = toScores.Pairs && NarrowHead.Suits(s);
        int perChunk = ((s.Queries + chunks - 1) / chunks + Lanes - 1) / Lanes * Lanes;
        pool.Run(
            heads * chunks,
            (task, worker) =>
            {
                int head = task / chunks,
                    first = (task - head * chunks) * perChunk,
                    last = Math.Min(s.Queries, first + perChunk);
                int eb = head / s.Heads,
                    h = head - eb * s.Heads;
                if (first >= last)
                    return;
                long keys = (long)eb * s.Keys * s.Channels + h * s.HeadWidth,
                    queries = (long)eb * s.Queries * s.Channels + h * s.HeadWidth;
                float* output = y + queries;
                if (narrow && NarrowHead.TryRun(s, pool.Scratch(worker), q + queries, k + keys, v + keys, output, first, last))
                    return;
                Head(s, toScores, toSums, pool.Scratch(worker), q + queries, k + keys, v + keys, output, first, last);
            }
        );
    }

    private static void Head<TScores, TSums>(
        in AttentionShape s,
        TScores toScores,
        TSums toSums,
        Scratch scratch,
        float* q,
        float* k,
        float* v,
        float* y,
        int first,
        int last
    )
        where TScores : struct, IProduct
        where TSums : struct, IProduct
    {
        int d = s.HeadWidth,
            channels = s.Channels,
            blocks = (s.Keys + KeyBlock - 1) / KeyBlock;
        int kStride = toScores.Packed(d) + (toScores.Packed(d) % 16 == 0 ? 4 : 0),
            vStride = toSums.Packed(KeyBlock) + 4,
            queryFloats = toScores.PanelRows(d) * Lanes;
        // Channels whose products with one block of keys are summed by themselves, on any device; together: in the loop that
        // takes the exponentials.
        int own = d < ExponentialTile512.Channels ? 0 : ExponentialTile512.Channels;
        bool together = own > 0 && toSums.Plain512 && ExponentialTile512.IsSupported;
        // Keys [keys][d]; values transposed [key block][d][128], so that both are rows of the product; first values [keys][16].
        float* packedK = scratch.Floats(
            (long)s.Keys * (kStride + own)
                + (long)blocks * d * vStride
                + (d + KeyBlock + 4L + own) * Lanes
                + queryFloats
                + (long)d * (KeyBlock + 4)
                + 64
        );
        float* packedV = packedK + (long)s.Keys * kStride,
            firstV = packedV + (long)blocks * d * vStride;
        float* work = (float*)(((nint)(firstV + (long)s.Keys * own) + 63) & ~63);
        float* query = work,
            output = query + queryFloats,
            scores = output + d * Lanes,
            max = scores + KeyBlock * Lanes,
            sum = max + Lanes,
            factors = sum + Lanes,
            sums = factors + Lanes,
            turned = sums + own * Lanes;
        int visibleKeys = s.Causal ? Math.Min(s.Keys, last) : s.Keys;
        toScores.PackRows(k, channels, visibleKeys, d, packedK, kStride);
        // Those channels are read from firstV alone.
        int apart = together ? own : 0;
        for (int block = 0; d > apart && block * KeyBlock < visibleKeys; block++)
        {
            int count = Math.Min(KeyBlock, s.Keys - block * KeyBlock);
            Transpose.Run(v + (long)block * KeyBlock * channels + apart, channels, count, d - apart, turned, KeyBlock + 4);
            toSums.PackRows(turned, KeyBlock + 4, d - apart, count, packedV + ((long)block * d + apart) * vStride, vStride);
        }

        for (int j = 0; together && j < visibleKeys; j++)
            Vector512.Load(v + (long)j * channels).Store(firstV + (long)j * own);

        float scale = s.Scale * 1.44269504f;
        for (int i0 = first; i0 < last; i0 += Lanes)
        {
            int lanes = Math.Min(Lanes, last - i0);
            // Lanes without a query compute nothing that is kept.
            if (lanes < Lanes)
                new Span<float>(query, d * Lanes).Clear();
            Transpose.Run(q + (long)i0 * channels, channels, lanes, d, query, Lanes);
            for (int i = 0; i < d * Lanes; i += 16)
                (Vector512.Load(query + i) * Vector512.Create(scale)).Store(query + i);
            toScores.PackPanel(query, d, query);
            new Span<float>(output, d * Lanes).Clear();
            new Span<float>(max, Lanes).Fill(Minimum);
            new Span<float>(sum, Lanes).Clear();
            int end = s.Causal ? Math.Min(s.Keys, i0 + lanes) : s.Keys;
            for (int j0 = 0; j0 < end; j0 += KeyBlock)
            {
                int count = Math.Min(KeyBlock, end - j0);
                toScores.Multiply(packedK + (long)j0 * kStride, kStride, count, query, d, scores, false);
                if (s.Causal)
                    Mask(scores, j0, count, i0);
                float* values = packedV + (long)(j0 / KeyBlock) * d * vStride,
                    first16 = together ? firstV + (long)j0 * own : null;
                Scaling scaling = Exponentials(scores, count, max, sum, j0 == 0, factors, first16, sums, d > own);
                if (scaling == Scaling.Again)
                {
                    toScores.Multiply(packedK + (long)j0 * kStride, kStride, count, query, d, scores, false);
                    if (s.Causal)
                        Mask(scores, j0, count, i0);
                    scaling = Exponentials(scores, count, max, sum, true, factors, first16, sums, d > own);
                }

                if (scaling == Scaling.Outputs && j0 > 0)
                    Scale(output, d, factors);
                // Keys of a block beyond those seen have values in the packed rows, but no weights.
                if (d > own || !together)
                    toSums.PackPanel(scores, count, scores);
                if (own > 0)
                {
                    if (!together)
                        toSums.Multiply(values, vStride, own, scores, count, sums, false);
                    for (int i = 0; i < own * Lanes; i += 16)
                        (Vector512.Load(sums + i) + Vector512.Load(output + i)).Store(output + i);
                }

                if (d > own)
                    toSums.Multiply(values + (long)own * vStride, vStride, d - own, scores, count, output + own * Lanes, true);
            }

            Vector512<float> inverse0 = Vector512<float>.One / Vector512.Load(sum),
                inverse1 = Vector512<float>.One / Vector512.Load(sum + 16);
            for (int i = 0; i < d; i++)
            {
                (Vector512.Load(output + i * Lanes) * inverse0).Store(output + i * Lanes);
                (Vector512.Load(output + i * Lanes + 16) * inverse1).Store(output + i * Lanes + 16);
            }

            Transpose.Run(output, Lanes, d, lanes, y + (long)i0 * channels, channels);
        }
    }

    private static void Mask(float* scores, int j0, int count, int i0)
    {
        for (int j = Math.Max(0, i0 + 1 - j0); j < count; j++)
        {
            int hidden = Math.Min(Lanes, j0 + j - i0);
            for (int lane = 0; lane < hidden; lane++)
                scores[j * Lanes + lane] = Minimum;
        }
    }

    /// <summary>What became of a block's scores.</summary>
    private enum Scaling
    {
        /// <summary>They are exponentials under the running maximum.</summary>
        None,

        /// <summary>The maximum moved: sums were scaled, outputs still have to be.</summary>
        Outputs,

        /// <summary>They were far above the maximum and are lost: compute them again, then ask for the maximum first.</summary>
        Again,
    }

    /// <summary>
    /// Turns scores into 2^(score - max) and adds them to the sums. The maximum may be behind by eight octaves, so one pass does
    /// both, and
    /// moving it is rare; with <paramref name="lookFirst"/> (a first block) it is found before. Unless <paramref name="values"/>
    /// [count][16] is null, <paramref name="products"/> [16][32]
    /// becomes the sums of its channels with this block's exponentials, which are then kept only if asked to.
    /// </summary>
    private static Scaling Exponentials(
        float* scores,
        int count,
        float* max,
        float* sum,
        bool lookFirst,
        float* factors,
        float* values,
        float* products,
        bool keep
    )
    {
        Vector512<float> m0 = Vector512.Load(max),
            m1 = Vector512.Load(max + 16),
            s0 = Vector512.Load(sum),
            s1 = Vector512.Load(sum + 16);
        if (lookFirst)
        {
            for (int j = 0; j < count; j++)
            {
                m0 = Vector512.MaxNative(m0, Vector512.Load(scores + j * Lanes));
                m1 = Vector512.MaxNative(m1, Vector512.Load(scores + j * Lanes + 16));
            }

            Move(max, m0, factors);
            Move(max + 16, m1, factors + 16);
            m0 = Vector512.Load(max);
            m1 = Vector512.Load(max + 16);
            s0 *= Vector512.Load(factors);
            s1 *= Vector512.Load(factors + 16);
        }

        Vector512<float> top0 = m0,
            top1 = m1,
            before0 = s0,
            before1 = s1;
        if (values != null)
        {
            float* top = stackalloc float[Lanes];
            s0.Store(sum);
            s1.Store(sum + 16);
            ExponentialTile512.Run(scores, count, values, products, max, sum, top, keep);
            ExponentialTile512.Run(scores + 16, count, values, products + 16, max + 16, sum + 16, top + 16, keep);
            top0 = Vector512.Load(top);
            top1 = Vector512.Load(top + 16);
            s0 = Vector512.Load(sum);
            s1 = Vector512.Load(sum + 16);
        }
        else
        {
            for (int j = 0; j < count; j++)
            {
                Vector512<float> v0 = Vector512.Load(scores + j * Lanes),
                    v1 = Vector512.Load(scores + j * Lanes + 16);
                top0 = Vector512.MaxNative(top0, v0);
                top1 = Vector512.MaxNative(top1, v1);
                Vector512<float> p0 = Weight(v0 - m0),
                    p1 = Weight(v1 - m1);
                p0.Store(scores + j * Lanes);
                p1.Store(scores + j * Lanes + 16);
                s0 += p0;
                s1 += p1;
            }
        }

        // Beyond these octaves large values times the exponentials could overflow before both are scaled.
        Vector512<float> slack = Vector512.Create(8f),
            most = Vector512.Create(50f);
        if (!lookFirst && (Vector512.GreaterThanAny(top0 - m0, slack) || Vector512.GreaterThanAny(top1 - m1, slack)))
        {
            if (Vector512.GreaterThanAny(top0 - m0, most) || Vector512.GreaterThanAny(top1 - m1, most))
            {
                before0.Store(sum);
                before1.Store(sum + 16);
                return Scaling.Again;
            }

            Move(max, Vector512.ConditionalSelect(Vector512.GreaterThan(top0 - m0, slack), top0, m0), factors);
            Move(max + 16, Vector512.ConditionalSelect(Vector512.GreaterThan(top1 - m1, slack), top1, m1), factors + 16);
            Scale(scores, count, factors);
            if (values != null)
                Scale(products, ExponentialTile512.Channels, factors);
            (s0 * Vector512.Load(factors)).Store(sum);
            (s1 * Vector512.Load(factors + 16)).Store(sum + 16);
            return Scaling.Outputs;
        }

        s0.Store(sum);
        s1.Store(sum + 16);
        return lookFirst ? Scaling.Outputs : Scaling.None;
    }

    private static void Scale(float* rows, int count, float* factors)
    {
        Vector512<float> f0 = Vector512.Load(factors),
            f1 = Vector512.Load(factors + 16);
        for (float* end = rows + count * Lanes; rows < end; rows += Lanes)
        {
            (Vector512.Load(rows) * f0).Store(rows);
            (Vector512.Load(rows + 16) * f1).Store(rows + 16);
        }
    }

    // Only lanes that grew move, and to a whole number of octaves above: factors are exact powers of two.
    private static void Move(float* max, Vector512<float> top, float* factor)
    {
        Vector512<float> old = Vector512.Load(max),
            next = Vector512.ConditionalSelect(Vector512.GreaterThan(top, old), Vector512.Ceiling(top), old);
        next.Store(max);
        (Vector512.ConvertToInt32(Vector512.Max(old - next, Vector512.Create(-127f))) + Vector512.Create(127) << 23)
            .AsSingle()
            .Store(factor);
    }

    /// <summary>
    /// 2^x times a constant that the normalization takes out again, relative error at most 3e-7, for x at most 60; below 2^-126
    /// it comes out near 0.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Weight(Vector512<float> x)
    {
        // In this order a NaN stays one.
        x = Vector512.MaxNative(Vector512.Create(-126f), x);
        Vector512<float> magic = Vector512.Create(12582912f),
            t = x + magic;
        return (Power(x - (t - magic)).AsInt32() + (t.AsInt32() << 23)).AsSingle();
    }

    /// <summary>The numbers in <see cref="Power"/>, in its order.</summary>
    internal static ReadOnlySpan<float> PowerConstants => [Power0, Power1, Power2, Power3, Power4];

    /// <summary>
    /// 746.8 * 2^f for f in -0.5..0.5. The minimax polynomial of degree five over its leading coefficient, as a product of a
    /// quadratic and a cubic that share
    /// f^2 + a f: three multiplications instead of six, and additions, which have units of their own. (Which pair of roots makes
    /// the quadratic decides the rounding; this one loses nothing.)
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector512<float> Power(Vector512<float> f)
    {
        Vector512<float> y = (f + Vector512.Create(Power0)) * f;
        Vector512<float> z = Vector512.FusedMultiplyAdd(
            y + Vector512.Create(Power1),
            f + Vector512.Create(Power2),
            Vector512.Create(Power3)
        );
        return z * (y + Vector512.Create(Power4));
    }
}
