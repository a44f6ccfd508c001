using AfaNative.Kernels.Gpu;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Attention;

/// <summary>
/// Gradients of attention on any ILGPU device: first each query's softmax statistics and dY . Y, then a thread per result, scores
/// computed anew. Memory is
/// linear in tokens.
/// </summary>
internal static class AttentionGradientIlgpu<T, TStorage>
    where T : unmanaged
    where TStorage : struct, IStorage<T>
{
    /// <summary>index = (image, head, query): maximum, inverse sum and dY . Y into statistics.</summary>
    public static void Statistics(
        Index1D index,
        AttentionArguments s,
        ArrayView<T> q,
        ArrayView<T> k,
        ArrayView<T> y,
        ArrayView<T> dy,
        ArrayView<float> statistics
    )
    {
        int query = index % s.Queries,
            head = index / s.Queries % s.Heads,
            image = index / s.Queries / s.Heads,
            channels = s.Heads * s.HeadWidth;
        int at = (image * s.Queries + query) * channels + head * s.HeadWidth,
            keys = image * s.Keys * channels + head * s.HeadWidth;
        int end = s.Causal == 1 && query + 1 < s.Keys ? query + 1 : s.Keys;
        float max = -1e30f,
            sum = 0,
            inner = 0;
        for (int j = 0; j < end; j++)
        {
            float score = Dot(q, at, k, keys + j * channels, s.HeadWidth) * s.Scale;
            if (score > max)
            {
                sum *= PortableMath.Exp(max - score);
                max = score;
            }

            sum += PortableMath.Exp(score - max);
        }

        for (int d = 0; d < s.HeadWidth; d++)
            inner += Load(dy, at + d) * Load(y, at + d);
        statistics[index * 3] = max;
        statistics[index * 3 + 1] = 1 / sum;
        statistics[index * 3 + 2] = inner;
    }

    /// <summary>index = (image, head, query): dq.</summary>
    public static void Queries(
        Index1D index,
        AttentionArguments s,
        ArrayView<T> q,
        ArrayView<T> k,
        ArrayView<T> v,
        ArrayView<T> dy,
        ArrayView<float> statistics,
        ArrayView<float> dq
    )
    {
        int query = index % s.Queries,
            head = index / s.Queries % s.Heads,
            image = index / s.Queries / s.Heads,
            channels = s.Heads * s.HeadWidth;
        int at = (image * s.Queries + query) * channels + head * s.HeadWidth,
            keys = image * s.Keys * channels + head * s.HeadWidth;
        int end = s.Causal == 1 && query + 1 < s.Keys ? query + 1 : s.Keys;
        for (int d = 0; d < s.HeadWidth; d++)
            dq[at + d] = 0;
        for (int j = 0; j < end; j++)
        {
            int key = keys + j * channels;
            float p =
                PortableMath.Exp(Dot(q, at, k, key, s.HeadWidth) * s.Scale - statistics[index * 3]) * statistics[index * 3 + 1];
            float ds = p * (Dot(dy, at, v, key, s.HeadWidth) - statistics[index * 3 + 2]) * s.Scale;
            for (int d = 0; d < s.HeadWidth; d++)
                dq[at + d] += ds * Load(k, key + d);
        }
    }

    /// <summary>index = (image, head, key): dk and dv.</summary>
    public static void Keys(
        Index1D index,
        AttentionArguments s,
        ArrayView<T> q,
        ArrayView<T> k,
        ArrayView<T> v,
        ArrayView<T> dy,
        ArrayView<float> statistics,
        ArrayView<float> dk,
        ArrayView<float> dv
    )
    {
        int j = index % s.Keys,
            head = index / s.Keys % s.Heads,
            image = index / s.Keys / s.Heads,
            channels = s.Heads * s.HeadWidth;
        int key = (image * s.Keys + j) * channels + head * s.HeadWidth,
            queries = image * s.Queries * channels + head * s.HeadWidth;
        for (int d = 0; d < s.HeadWidth; d++)
        {
            dk[key + d] = 0;
            dv[key + d] = 0;
        }

        for (int query = s.Causal == 1 ? j : 0; query < s.Queries; query++)
        {
            int at = queries + query * channels,
                row = ((image * s.Heads + head) * s.Queries + query) * 3;
            float p = PortableMath.Exp(Dot(q, at, k, key, s.HeadWidth) * s.Scale - statistics[row]) * statistics[row + 1];
            float ds = p * (Dot(dy, at, v, key, s.HeadWidth) - statistics[row + 2]) * s.Scale;
            for (int d = 0; d < s.HeadWidth; d++)
            {
                dk[key + d] += ds * Load(q, at + d);
                dv[key + d] += p * Load(dy, at + d);
            }
        }
    }

    private static float Dot(ArrayView<T> a, int i, ArrayView<T> b, int j, int count)
    {
        float sum = 0;
        for (int d = 0; d < count; d++)
            sum += Load(a, i + d) * Load(b, j + d);
        return sum;
    }

    private static float Load(ArrayView<T> view, int index) => default(TStorage).Load(view, index);
}
