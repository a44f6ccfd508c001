using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Host;
using AfaNative.Kernels.MachineCode;
using AfaNative.Kernels.MatrixMultiply;
using AfaNative.Kernels.Vectors;

namespace AfaNative.Kernels.Attention;

/// <summary>
/// Attention of heads of sixteen channels (an aggregator's), whose scores, weights and sums are too small a work to be separate
/// loops: one pass over keys and values
/// for sixteen queries at a time (<see cref="NarrowHeadCode"/>), scores by <see cref="PairedProduct"/>'s identity.
/// <para>Two things are decided for a head as a whole, whatever its cut into tasks. Queries and keys are brought to like sizes by
/// one power of two and its inverse, so that scores
/// need no scaling back: errors are relative to the head's largest scores, which softmax asks for. And where no score can exceed
/// <see cref="Largest"/> octaves (Cauchy-Schwarz),
/// no maximum is needed: exponents fit as they are. Other heads are left to <see cref="AttentionSimd"/>.</para>
/// </summary>
internal static unsafe class NarrowHead
{
    /// <summary>Channels of a head.</summary>
    public const int Width = 16;

    /// <summary>
    /// Floats of a packed key: its channels, minus its sum of products of pairs, three of padding, its value's channels.
    /// </summary>
    public const int KeyFloats = FirstValue + Width;

    /// <summary>Where a packed key has its value's channels.</summary>
    public const int FirstValue = 20;

    /// <summary>Keys whose products are summed by themselves.</summary>
    public const int Block = 128;

    // Scores are at most Largest, and those that could be above Most are lowered: weights lie in 2^-120..2^40, and a sum of any
    // number of them has its digits.
    private const float Largest = 80,
        Most = 40,
        Nothing = -1e30f;
    private const int BlockRows = Block + 8; // the last one has two pairs more, and rows come in groups
    private const int Lanes = 16,
        LeastKeys = 6,
        Worthwhile = 128,
        Ahead = 48;

    /// <summary>
    /// Whether this is for a shape, on this processor. With fewer keys, those of a text, getting ready takes what the loop saves.
    /// </summary>
    public static bool Suits(in AttentionShape shape) =>
        shape is { HeadWidth: Width, Keys: >= Worthwhile, Causal: false } && NarrowHeadCode.IsSupported;

    /// <summary>
    /// Queries [first, last) of a head whose tokens are <see cref="AttentionShape.Channels"/> apart; false: nothing was done,
    /// scores may be too large.
    /// </summary>
    public static bool TryRun(
        in AttentionShape s,
        Scratch scratch,
        float* q,
        float* k,
        float* v,
        float* y,
        int first,
        int last
    ) => TryRun(s, scratch, q, k, v, y, first, last, Processor.IsZen5);

    /// <summary>The same in one loop or, which gives the same bits, in two over <paramref name="blocks"/> of keys.</summary>
    internal static bool TryRun(
        in AttentionShape s,
        Scratch scratch,
        float* q,
        float* k,
        float* v,
        float* y,
        int first,
        int last,
        bool blocks
    )
    {
        int channels = s.Channels,
            keys = Math.Max(LeastKeys, s.Keys + 1 & ~1),
            width = blocks ? NarrowBlockCode.Lanes : Lanes,
            tile = Width * width;
        float* memory = scratch.Floats(
            (long)(keys + NarrowBlockCode.Group) * KeyFloats
                + (2 * Width + 2) * width
                + 2 * Lanes
                + (blocks ? BlockRows * width : 0)
        );
        float* query = (float*)(((nint)memory + 63) & ~63),
            output = query + tile + width + Lanes,
            sum = output + tile,
            rows = sum + width,
            packed = rows + (blocks ? BlockRows * width : 0);
        float scale = s.Scale * 1.44269504f;
        (float largestQuery, float longestQuery) = Measure(q, channels, s.Queries, query);
        (float largestKey, float longestKey) = Measure(k, channels, s.Keys, query);
        // Square roots, each of a number that does not overflow where the product would; NaN fails too.
        if (!(MathF.Sqrt(longestQuery) * MathF.Sqrt(longestKey) * MathF.Abs(scale) <= Largest))
            return false;
        int shift = (Exponent(largestQuery * MathF.Abs(scale)) - Exponent(largestKey)) >> 1;
        if (Math.Abs(shift) > PairedProduct.Most)
            return false;
        float keyScale = MathF.ScaleB(1, shift),
            queryScale = MathF.ScaleB(scale, -shift),
            longest = MathF.Sqrt(longestKey) * keyScale;
        Pack(k, v, channels, s.Keys, keyScale, packed, output);
        // Keys beyond the last count for nothing; the loops over blocks take them in whole groups.
        for (int j = s.Keys; j < keys + NarrowBlockCode.Group; j++)
        {
            new Span<float>(packed + (long)j * KeyFloats, KeyFloats).Clear();
            packed[(long)j * KeyFloats + Width] = Nothing;
        }

        ReadOnlySpan<float> constants = AttentionSimd.PowerConstants;
        constants.CopyTo(new Span<float>(query + tile + width, Lanes));
        for (int i0 = first; i0 < last; i0 += width)
        {
            int lanes = Math.Min(width, last - i0);
            if (lanes < width)
                new Span<float>(query, tile).Clear();
            Transpose.Run(q + (long)i0 * channels, channels, lanes, Width, query, width);
            for (int half = 0; half < width; half += Lanes)
                ScaleQueries(query + half, width, queryScale, longest, query + tile + half);
            new Span<float>(output, tile + width).Clear();
            if (blocks)
                RunBlocks(query, packed, keys, rows, output, sum);
            else
                NarrowHeadCode.Run(query, packed, keys / 2, output, sum);
            for (int half = 0; half < width; half += Lanes)
            {
                Vector512<float> inverse = Vector512<float>.One / Vector512.Load(sum + half);
                for (float* p = output + half; p < output + tile; p += width)
                    (Vector512.Load(p) * inverse).Store(p);
            }

            Transpose.Run(output, width, Width, lanes, y + (long)i0 * channels, channels);
        }

        return true;
    }

    // Products are summed over the same blocks of keys as in one loop.
    private static void RunBlocks(float* query, float* packed, int keys, float* rows, float* output, float* sum)
    {
        const int Row = NarrowBlockCode.Lanes,
            Group = NarrowBlockCode.Group;
        float* constants = query + (Width + 1) * Row,
            before = packed;
        int loops = keys - 4,
            count = loops - (loops - 1) / Block * Block,
            groups = 0;
        for (int done = 0; done < keys; done += count, count = Block)
        {
            if (keys - done - count <= 4)
                count = keys - done;
            float* block = packed + (long)done * KeyFloats;
            int now = (count + Group - 1) / Group;
            if (groups > 0)
                NarrowBlockCode.ScoresAndProducts(query, block, groups, before, rows, output);
            if (now > groups)
                NarrowBlockCode.Scores(
                    query,
                    block + (long)groups * Group * KeyFloats,
                    now - groups,
                    rows + groups * Group * Row
                );
            // The last group's other keys are the next block's.
            if (count < now * Group)
                new Span<float>(rows + count * Row, (now * Group - count) * Row).Fill(Nothing);
            NarrowBlockCode.Weights(constants, block, now, rows, output, sum);
            before = block;
            groups = now;
        }

        NarrowBlockCode.Products(groups, before, rows, output);
    }

    // Queries of 16 lanes times the scale, and what their scores begin with: minus the sum of products of pairs, lowered where
    // scores could be too large.
    private static void ScaleQueries(float* query, int stride, float scale, float longest, float* end)
    {
        Vector512<float> ends = Vector512<float>.Zero,
            squares = ends,
            factor = Vector512.Create(scale);
        for (float* last = query + Width * stride; query < last; query += 2 * stride)
        {
            Vector512<float> even = Vector512.Load(query) * factor,
                odd = Vector512.Load(query + stride) * factor;
            ends -= even * odd;
            squares += even * even + odd * odd;
            even.Store(query);
            odd.Store(query + stride);
        }

        Vector512<float> above = Vector512.Sqrt(squares) * Vector512.Create(longest) - Vector512.Create(Most);
        (ends - Vector512.Max(above, Vector512<float>.Zero)).Store(end);
    }

    // The largest magnitude of an element and the largest sum of a row's squares; tile [16][16] is overwritten.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static (float Largest, float Longest) Measure(float* rows, int stride, int count, float* tile)
    {
        Vector512<float> largest = Vector512<float>.Zero,
            longest = largest;
        for (int i = 0; i < count; i += Lanes)
        {
            int lanes = Math.Min(Lanes, count - i);
            if (lanes < Lanes)
                new Span<float>(tile, Width * Lanes).Clear();
            Ask(rows, stride, i + Ahead, count);
            Transpose.Run(rows + (long)i * stride, stride, lanes, Width, tile, Lanes);
            Vector512<float> squares = Vector512<float>.Zero;
            for (float* p = tile; p < tile + Width * Lanes; p += Lanes)
            {
                Vector512<float> x = Vector512.Load(p);
                largest = Vector512.Max(largest, Vector512.Abs(x));
                squares += x * x;
            }

            longest = Vector512.Max(longest, squares);
        }

        float most = 0,
            length = 0;
        for (int i = 0; i < Lanes; i++)
        {
            most = MathF.Max(most, largest[i]);
            length = MathF.Max(length, longest[i]);
        }

        return (most, length);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Pack(float* k, float* v, int stride, int count, float scale, float* to, float* tile)
    {
        float* ends = stackalloc float[Lanes];
        for (int j0 = 0; j0 < count; j0 += Lanes)
        {
            int lanes = Math.Min(Lanes, count - j0);
            Ask(v, stride, j0 + Ahead, count);
            Transpose.Run(k + (long)j0 * stride, stride, lanes, Width, tile, Lanes);
            Vector512<float> sums = Vector512<float>.Zero,
                factor = Vector512.Create(scale);
            for (float* p = tile; p < tile + Width * Lanes; p += 2 * Lanes)
                sums -= Vector512.Load(p) * factor * (Vector512.Load(p + Lanes) * factor);
            sums.Store(ends);
            for (int j = 0; j < lanes; j++, to += KeyFloats)
            {
                (Vector512.Load(k + (long)(j0 + j) * stride) * factor).Store(to);
                to[Width] = ends[j];
                Vector512.Load(v + (long)(j0 + j) * stride).Store(to + FirstValue);
            }
        }
    }

    // A head's part of a token is one cache line, tokens are too far apart for the processor to foresee the next.
    private static void Ask(float* rows, int stride, int first, int count)
    {
        for (int i = first; i < Math.Min(count, first + Lanes); i++)
            Prefetch.Row(rows + (long)i * stride, Width);
    }

    // Of zero: far below all others.
    private static int Exponent(float x) => (BitConverter.SingleToInt32Bits(x) >> 23) - 127;
}
