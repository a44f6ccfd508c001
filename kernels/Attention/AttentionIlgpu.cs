using AfaNative.Kernels.Devices.Ilgpu;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Attention;

/// <summary>Sizes for the portable attention kernel.</summary>
internal struct AttentionArguments
{
    public int Heads, HeadWidth, Queries, Keys, Causal;
    public float Scale;
}

/// <summary>Attention on any ILGPU device: a thread per query and head, online softmax four keys at a time, the running output kept in y.</summary>
internal static class AttentionIlgpu
{
    /// <summary>index = (expert and image, head, query).</summary>
    public static void Run(Index1D index, AttentionArguments s, ArrayView<float> q, ArrayView<float> k, ArrayView<float> v, ArrayView<float> y)
    {
        int query = index % s.Queries, head = index / s.Queries % s.Heads, image = index / s.Queries / s.Heads, channels = s.Heads * s.HeadWidth;
        int qAt = (image * s.Queries + query) * channels + head * s.HeadWidth, kAt = image * s.Keys * channels + head * s.HeadWidth;
        int end = s.Causal == 1 && query + 1 < s.Keys ? query + 1 : s.Keys;
        for (int d = 0; d < s.HeadWidth; d++) y[qAt + d] = 0;
        float max = -1e30f, sum = 0;
        for (int j = 0; j < end; j += 4)
        {
            int last = end - 1, j1 = j + 1 < end ? j + 1 : last, j2 = j + 2 < end ? j + 2 : last, j3 = j + 3 < end ? j + 3 : last;
            int a0 = kAt + j * channels, a1 = kAt + j1 * channels, a2 = kAt + j2 * channels, a3 = kAt + j3 * channels;
            float s0 = 0, s1 = 0, s2 = 0, s3 = 0;
            for (int d = 0; d < s.HeadWidth; d++)
            {
                float value = q[qAt + d];
                s0 += value * k[a0 + d];
                s1 += value * k[a1 + d];
                s2 += value * k[a2 + d];
                s3 += value * k[a3 + d];
            }

            s0 *= s.Scale;
            s1 = j + 1 < end ? s1 * s.Scale : -1e30f;
            s2 = j + 2 < end ? s2 * s.Scale : -1e30f;
            s3 = j + 3 < end ? s3 * s.Scale : -1e30f;
            float high = s0 > s1 ? s0 : s1, other = s2 > s3 ? s2 : s3;
            high = high > other ? high : other;
            float newMax = max > high ? max : high, factor = PortableMath.Exp(max - newMax);
            float p0 = PortableMath.Exp(s0 - newMax), p1 = j + 1 < end ? PortableMath.Exp(s1 - newMax) : 0, p2 = j + 2 < end ? PortableMath.Exp(s2 - newMax) : 0, p3 = j + 3 < end ? PortableMath.Exp(s3 - newMax) : 0;
            for (int d = 0; d < s.HeadWidth; d++) y[qAt + d] = y[qAt + d] * factor + p0 * v[a0 + d] + p1 * v[a1 + d] + p2 * v[a2 + d] + p3 * v[a3 + d];
            sum = sum * factor + p0 + p1 + p2 + p3;
            max = newMax;
        }

        for (int d = 0; d < s.HeadWidth; d++) y[qAt + d] /= sum;
    }
}
