using AfaNative.Kernels.Contracts;

namespace AfaNative.Kernels.Attention;

/// <summary>Attention as its contract reads: all scores of a query, softmax, weighted sum, in float64.</summary>
internal static unsafe class AttentionReference
{
    /// <summary>See <see cref="AttentionShape"/>.</summary>
    public static void Run(in AttentionShape s, float* q, float* k, float* v, float* y)
    {
        int channels = s.Channels;
        var scores = new double[s.Keys];
        for (int eb = 0; eb < s.Experts * s.Batch; eb++)
        {
            for (int head = 0; head < s.Heads; head++)
            {
                for (int i = 0; i < s.Queries; i++)
                {
                    float* query = q + ((long)eb * s.Queries + i) * channels + head * s.HeadWidth,
                        output = y + ((long)eb * s.Queries + i) * channels + head * s.HeadWidth;
                    float* keys = k + (long)eb * s.Keys * channels + head * s.HeadWidth,
                        values = v + (long)eb * s.Keys * channels + head * s.HeadWidth;
                    int visible = s.Causal ? Math.Min(s.Keys, i + 1) : s.Keys;
                    double max = double.NegativeInfinity,
                        sum = 0;
                    for (int j = 0; j < visible; j++)
                    {
                        double dot = 0;
                        for (int d = 0; d < s.HeadWidth; d++)
                            dot += (double)query[d] * keys[(long)j * channels + d];
                        scores[j] = dot * s.Scale;
                        max = Math.Max(max, scores[j]);
                    }

                    for (int j = 0; j < visible; j++)
                        sum += scores[j] = Math.Exp(scores[j] - max);
                    for (int d = 0; d < s.HeadWidth; d++)
                    {
                        double total = 0;
                        for (int j = 0; j < visible; j++)
                            total += scores[j] * values[(long)j * channels + d];
                        output[d] = (float)(total / sum);
                    }
                }
            }
        }
    }
}
