using System.Runtime.Intrinsics;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Host;
using AfaNative.Kernels.MatrixMultiply;
using AfaNative.Kernels.Vectors;

namespace AfaNative.Kernels.Attention;

/// <summary>
/// Gradients of attention, a head a task: for 32 queries at a time the scores S^T = K Q^T and dP^T = V dY^T of all keys (tokens
/// times 32 numbers, never the
/// whole matrix), from them P and dS, and through the same register tile dQ^T = K^T dS^T, dK += dS^T Q, dV += P^T dY.
/// </summary>
internal static unsafe class AttentionGradientSimd
{
    private const int Lanes = RegisterTile.Columns;

    /// <summary>See <see cref="IGradients.Attention"/>.</summary>
    public static void Run(
        WorkerPool pool,
        SimdWidth simd,
        in AttentionShape shape,
        float* q,
        float* k,
        float* v,
        float* y,
        float* dy,
        float* dq,
        float* dk,
        float* dv
    )
    {
        AttentionShape s = shape;
        var tiles = RegisterTile.For(simd);
        pool.Run(
            s.Experts * s.Batch * s.Heads,
            (head, worker) =>
            {
                int image = head / s.Heads,
                    h = head - image * s.Heads;
                long keys = (long)image * s.Keys * s.Channels + h * s.HeadWidth,
                    queries = (long)image * s.Queries * s.Channels + h * s.HeadWidth;
                Head(
                    s,
                    tiles,
                    pool.Scratch(worker),
                    q + queries,
                    k + keys,
                    v + keys,
                    y + queries,
                    dy + queries,
                    dq + queries,
                    dk + keys,
                    dv + keys
                );
            }
        );
    }

    private static void Head(
        in AttentionShape s,
        delegate* <float*, nint, float*, nint, float*, bool, void>[] tiles,
        Scratch scratch,
        float* q,
        float* k,
        float* v,
        float* y,
        float* dy,
        float* dq,
        float* dk,
        float* dv
    )
    {
        int d = s.HeadWidth,
            channels = s.Channels,
            keys = s.Keys,
            panels = (d + Lanes - 1) / Lanes,
            keyStride = keys + 4;
        long scores = (long)keys * Lanes,
            columns = (long)d * Lanes,
            wide = (long)Lanes * panels * Lanes;
        float* packedK = scratch.Floats(
            2L * keys * d + (long)d * keyStride + 2 * scores + 3 * columns + 2 * wide + 2 * panels * scores + 3 * Lanes + 64
        );
        float* packedV = packedK + (long)keys * d,
            transposedK = packedV + (long)keys * d,
            p = transposedK + (long)d * keyStride,
            ds = p + scores;
        float* query = ds + scores,
            upstream = query + columns,
            gradient = upstream + columns,
            queryRows = gradient + columns,
            upstreamRows = queryRows + wide;
        float* sumK = upstreamRows + wide,
            sumV = sumK + panels * scores,
            inner = sumV + panels * scores,
            max = inner + Lanes,
            total = max + Lanes;
        for (int j = 0; j < keys; j++)
        {
            RowCopy.Copy(k + (long)j * channels, packedK + (long)j * d, d);
            RowCopy.Copy(v + (long)j * channels, packedV + (long)j * d, d);
        }

        Transpose.Run(packedK, d, keys, d, transposedK, keyStride);
        new Span<float>(sumK, checked((int)(panels * scores))).Clear();
        new Span<float>(sumV, checked((int)(panels * scores))).Clear();
        for (int i0 = 0; i0 < s.Queries; i0 += Lanes)
        {
            int lanes = Math.Min(Lanes, s.Queries - i0),
                end = s.Causal ? Math.Min(keys, i0 + lanes) : keys;
            // Absent queries are zero: their dY is, and so is what they add.
            new Span<float>(queryRows, checked((int)(2 * wide))).Clear();
            new Span<float>(query, 2 * (int)columns).Clear();
            for (int lane = 0; lane < Lanes; lane++)
            {
                inner[lane] = 0;
                if (lane >= lanes)
                    continue;
                float* qi = q + (long)(i0 + lane) * channels,
                    gi = dy + (long)(i0 + lane) * channels,
                    yi = y + (long)(i0 + lane) * channels;
                double dot = 0;
                for (int i = 0; i < d; i++)
                {
                    query[i * Lanes + lane] = qi[i] * s.Scale;
                    upstream[i * Lanes + lane] = gi[i];
                    // As rows, in panels of 32 channels: [panel][query][32].
                    long at = ((long)(i / Lanes) * Lanes + lane) * Lanes + i % Lanes;
                    queryRows[at] = qi[i] * s.Scale;
                    upstreamRows[at] = gi[i];
                    dot += (double)gi[i] * yi[i];
                }

                inner[lane] = (float)dot;
            }

            Tile(tiles, packedK, d, end, query, d, p, false);
            Tile(tiles, packedV, d, end, upstream, d, ds, false);
            Probabilities(s, p, ds, inner, max, total, i0, end);
            Tile(tiles, transposedK, keyStride, d, ds, end, gradient, false);
            for (int lane = 0; lane < lanes; lane++)
            {
                float* to = dq + (long)(i0 + lane) * channels;
                for (int i = 0; i < d; i++)
                    to[i] = gradient[i * Lanes + lane] * s.Scale;
            }

            for (int panel = 0; panel < panels; panel++)
            {
                Tile(tiles, ds, Lanes, end, queryRows + (long)panel * Lanes * Lanes, Lanes, sumK + panel * scores, true);
                Tile(tiles, p, Lanes, end, upstreamRows + (long)panel * Lanes * Lanes, Lanes, sumV + panel * scores, true);
            }
        }

        for (int j = 0; j < keys; j++)
        {
            for (int i = 0; i < d; i++)
            {
                long at = i / Lanes * scores + (long)j * Lanes + i % Lanes;
                dk[(long)j * channels + i] = sumK[at];
                dv[(long)j * channels + i] = sumV[at];
            }
        }
    }

    // Scores to probabilities, dP to dS = P (dP - dY . Y); queries are lanes.
    private static void Probabilities(
        in AttentionShape s,
        float* p,
        float* ds,
        float* inner,
        float* max,
        float* total,
        int i0,
        int end
    )
    {
        for (int half = 0; half < Lanes; half += 16)
        {
            Vector512<int> query = Vector512<int>.Indices + Vector512.Create(i0 + half);
            Vector512<float> m = Vector512.Create(-1e30f),
                sum = Vector512<float>.Zero,
                dot = Vector512.Load(inner + half);
            for (int j = 0; j < end; j++)
            {
                Vector512<float> score = Vector512.Load(p + (long)j * Lanes + half);
                if (s.Causal)
                    score = Vector512.ConditionalSelect(
                        Vector512.GreaterThan(Vector512.Create(j), query).AsSingle(),
                        Vector512.Create(-1e30f),
                        score
                    );
                m = Vector512.MaxNative(m, score);
            }

            for (int j = 0; j < end; j++)
            {
                float* at = p + (long)j * Lanes + half;
                Vector512<float> e = VectorMath.Exp(Vector512.Load(at) - m);
                if (s.Causal)
                    e = Vector512.ConditionalSelect(
                        Vector512.GreaterThan(Vector512.Create(j), query).AsSingle(),
                        Vector512<float>.Zero,
                        e
                    );
                sum += e;
                e.Store(at);
            }

            Vector512<float> inverse = Vector512<float>.One / sum;
            for (int j = 0; j < end; j++)
            {
                float* at = p + (long)j * Lanes + half,
                    g = ds + (long)j * Lanes + half;
                Vector512<float> probability = Vector512.Load(at) * inverse;
                probability.Store(at);
                (probability * (Vector512.Load(g) - dot)).Store(g);
            }
        }
    }

    private static void Tile(
        delegate* <float*, nint, float*, nint, float*, bool, void>[] tiles,
        float* a,
        int stride,
        int rows,
        float* b,
        int terms,
        float* c,
        bool accumulate
    )
    {
        for (int r = 0; r < rows; r += RegisterTile.MaxRows)
        {
            int n = Math.Min(RegisterTile.MaxRows, rows - r);
            tiles[n - 1](a + (long)r * stride, stride, b, terms, c + (long)r * Lanes, accumulate);
        }
    }
}
