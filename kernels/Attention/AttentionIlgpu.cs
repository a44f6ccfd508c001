using AfaNative.Kernels.Gpu;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Attention;

/// <summary>Sizes for the portable attention kernel.</summary>
internal struct AttentionArguments
{
    public int Heads,
        HeadWidth,
        Queries,
        Keys,
        Causal,
        Chunks;
    public float Scale;
}

/// <summary>
/// Attention on any ILGPU device: a thread per query, head and eight output channels, online softmax over the keys with the eight
/// sums in registers.
/// Scores are computed once per chunk of channels: no shared memory, no barrier, memory linear in tokens.
/// </summary>
internal static class AttentionIlgpu<T, TStorage>
    where T : unmanaged
    where TStorage : struct, IStorage<T>
{
    /// <summary>Output channels of a thread.</summary>
    public const int Chunk = 8;

    /// <summary>index = (expert and image, head, query, chunk of channels).</summary>
    public static void Run(Index1D index, AttentionArguments s, ArrayView<T> q, ArrayView<T> k, ArrayView<T> v, ArrayView<T> y)
    {
        int chunk = index % s.Chunks,
            query = index / s.Chunks % s.Queries,
            head = index / s.Chunks / s.Queries % s.Heads,
            image = index / s.Chunks / s.Queries / s.Heads;
        int channels = s.Heads * s.HeadWidth,
            qAt = (image * s.Queries + query) * channels + head * s.HeadWidth,
            kAt = image * s.Keys * channels + head * s.HeadWidth;
        int end = s.Causal == 1 && query + 1 < s.Keys ? query + 1 : s.Keys,
            d0 = chunk * Chunk,
            width = s.HeadWidth - d0;
        float max = -1e30f,
            sum = 0,
            o0 = 0,
            o1 = 0,
            o2 = 0,
            o3 = 0,
            o4 = 0,
            o5 = 0,
            o6 = 0,
            o7 = 0;
        for (int j = 0; j < end; j++)
        {
            int at = kAt + j * channels;
            float score = 0;
            for (int d = 0; d < s.HeadWidth; d++)
                score += Load(q, qAt + d) * Load(k, at + d);
            score *= s.Scale;
            at += d0;
            if (score > max)
            {
                float factor = PortableMath.Exp(max - score);
                sum *= factor;
                o0 *= factor;
                o1 *= factor;
                o2 *= factor;
                o3 *= factor;
                o4 *= factor;
                o5 *= factor;
                o6 *= factor;
                o7 *= factor;
                max = score;
            }

            float p = PortableMath.Exp(score - max);
            sum += p;
            o0 += p * Load(v, at);
            if (width > 1)
                o1 += p * Load(v, at + 1);
            if (width > 2)
                o2 += p * Load(v, at + 2);
            if (width > 3)
                o3 += p * Load(v, at + 3);
            if (width > 4)
                o4 += p * Load(v, at + 4);
            if (width > 5)
                o5 += p * Load(v, at + 5);
            if (width > 6)
                o6 += p * Load(v, at + 6);
            if (width > 7)
                o7 += p * Load(v, at + 7);
        }

        int to = qAt + d0;
        Store(y, to, o0 / sum);
        if (width > 1)
            Store(y, to + 1, o1 / sum);
        if (width > 2)
            Store(y, to + 2, o2 / sum);
        if (width > 3)
            Store(y, to + 3, o3 / sum);
        if (width > 4)
            Store(y, to + 4, o4 / sum);
        if (width > 5)
            Store(y, to + 5, o5 / sum);
        if (width > 6)
            Store(y, to + 6, o6 / sum);
        if (width > 7)
            Store(y, to + 7, o7 / sum);
    }

    private static float Load(ArrayView<T> view, int index) => default(TStorage).Load(view, index);

    private static void Store(ArrayView<T> view, int index, float value) => default(TStorage).Store(view, index, value);
}
