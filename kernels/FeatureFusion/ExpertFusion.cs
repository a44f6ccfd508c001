using System.Runtime.Intrinsics;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Host;
using AfaNative.Kernels.Vectors;

namespace AfaNative.Kernels.FeatureFusion;

/// <summary>SABW fusion, a pixel at a time: softmax over the experts and the weighted sum of their maps in one pass.</summary>
internal static unsafe class ExpertFusion
{
    private const int TaskElements = 1 << 15;

    /// <summary>See <see cref="FusionShape"/>; <paramref name="maps"/> may be null.</summary>
    public static void Simd(WorkerPool pool, in FusionShape shape, float* features, float* logits, float* y, float* maps)
    {
        FusionShape s = shape;
        long rows = (long)s.Batch * s.Pixels;
        int perTask = Math.Max(1, TaskElements / (s.Channels * s.Experts));
        pool.Run(
            (int)((rows + perTask - 1) / perTask),
            (task, _) =>
            {
                Span<float> weights = s.Experts <= 256 ? stackalloc float[s.Experts] : new float[s.Experts];
                for (long r = (long)task * perTask; r < Math.Min(rows, (task + 1L) * perTask); r++)
                {
                    Softmax(logits + r * s.Experts, weights);
                    if (maps != null)
                        weights.CopyTo(new Span<float>(maps + r * s.Experts, s.Experts));
                    for (int c = 0; c < s.Channels; c += 16)
                    {
                        int n = Math.Min(16, s.Channels - c);
                        Vector512<float> sum = Vector512<float>.Zero;
                        for (int e = 0; e < s.Experts; e++)
                            sum = Vector512.FusedMultiplyAdd(
                                Vector512.Create(weights[e]),
                                VectorMath.Load(features + (e * rows + r) * s.Channels + c, n),
                                sum
                            );
                        VectorMath.Store(sum, y + r * s.Channels + c, n);
                    }
                }
            }
        );
    }

    /// <summary>See <see cref="FusionShape"/>, in float64.</summary>
    public static void Reference(in FusionShape s, float* features, float* logits, float* y, float* maps)
    {
        long rows = (long)s.Batch * s.Pixels;
        var weights = new double[s.Experts];
        for (long r = 0; r < rows; r++)
        {
            double max = double.NegativeInfinity,
                total = 0;
            for (int e = 0; e < s.Experts; e++)
                max = Math.Max(max, logits[r * s.Experts + e]);
            for (int e = 0; e < s.Experts; e++)
                total += weights[e] = Math.Exp(logits[r * s.Experts + e] - max);
            for (int e = 0; e < s.Experts; e++)
            {
                weights[e] /= total;
                if (maps != null)
                    maps[r * s.Experts + e] = (float)weights[e];
            }

            for (int c = 0; c < s.Channels; c++)
            {
                double sum = 0;
                for (int e = 0; e < s.Experts; e++)
                    sum += weights[e] * features[(e * rows + r) * s.Channels + c];
                y[r * s.Channels + c] = (float)sum;
            }
        }
    }

    // Equal logits give exactly equal weights, so an untrained ensemble averages exactly.
    internal static void Softmax(float* logits, Span<float> weights)
    {
        float max = float.NegativeInfinity,
            sum = 0;
        for (int e = 0; e < weights.Length; e++)
            max = MathF.Max(max, logits[e]);
        for (int e = 0; e < weights.Length; e++)
            sum += weights[e] = MathF.Exp(logits[e] - max);
        for (int e = 0; e < weights.Length; e++)
            weights[e] /= sum;
    }
}
