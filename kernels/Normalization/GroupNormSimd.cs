using System.Runtime.Intrinsics;
using AfaNative.Kernels.Activation;
using AfaNative.Kernels.Devices;

namespace AfaNative.Kernels.Normalization;

/// <summary>
/// Group norm on channels-last maps. Statistics take one pass: per channel, sums of the distance to the map's first pixel (so a large mean costs no
/// digits) over fixed chunks of pixels, joined in float64. The second pass is one multiply-add and the SiLU.
/// </summary>
internal static unsafe class GroupNormSimd
{
    private const int ChunkElements = 1 << 15;

    /// <summary>See <see cref="GroupNormShape"/>.</summary>
    public static void Run(WorkerPool pool, in GroupNormShape shape, float* x, float* weight, float* bias, float* y)
    {
        GroupNormShape s = shape;
        int channels = s.Channels, padded = (channels + 15) & ~15, chunkRows = Math.Max(1, ChunkElements / channels);
        int chunks = (s.Pixels + chunkRows - 1) / chunkRows, maps = (s.SharedInput ? 1 : s.Experts) * s.Batch;
        var sums = new float[(long)maps * chunks * 2 * padded];
        var scaleShift = new float[(long)s.Experts * s.Batch * 2 * padded];
        fixed (float* partialBase = sums, affineBase = scaleShift)
        {
            float* partial = partialBase, affine = affineBase;
            pool.Run(maps * chunks, (task, _) =>
            {
                int map = task / chunks, chunk = task - map * chunks;
                float* origin = x + (long)map * s.Pixels * channels;
                int first = chunk * chunkRows, last = Math.Min(s.Pixels, first + chunkRows);
                float* to = partial + (long)task * 2 * padded;
                for (int c = 0; c < channels; c += 16)
                {
                    int n = Math.Min(16, channels - c);
                    Vector512<float> shift = VectorMath.Load(origin + c, n), sum = Vector512<float>.Zero, squares = sum;
                    float* from = origin + (long)first * channels + c;
                    if (n == 16)
                    {
                        for (int r = first; r < last; r++, from += channels)
                        {
                            Vector512<float> d = Vector512.Load(from) - shift;
                            sum += d;
                            squares = Vector512.FusedMultiplyAdd(d, d, squares);
                        }
                    }
                    else
                    {
                        for (int r = first; r < last; r++, from += channels)
                        {
                            Vector512<float> d = VectorMath.Load(from, n) - shift;
                            sum += d;
                            squares = Vector512.FusedMultiplyAdd(d, d, squares);
                        }
                    }

                    sum.Store(to + c);
                    squares.Store(to + padded + c);
                }
            });
            for (int eb = 0; eb < s.Experts * s.Batch; eb++)
            {
                int e = eb / s.Batch, map = s.SharedInput ? eb - e * s.Batch : eb;
                Affine(s, x + (long)map * s.Pixels * channels, partial + (long)map * chunks * 2 * padded, chunks, padded, weight + (long)e * channels, bias + (long)e * channels, affine + (long)eb * 2 * padded);
            }

            pool.Run(s.Experts * s.Batch * chunks, (task, _) =>
            {
                int eb = task / chunks, chunk = task - eb * chunks, e = eb / s.Batch, map = s.SharedInput ? eb - e * s.Batch : eb;
                int first = chunk * chunkRows, last = Math.Min(s.Pixels, first + chunkRows);
                float* from = x + ((long)map * s.Pixels + first) * channels, to = y + ((long)eb * s.Pixels + first) * channels;
                float* scale = affine + (long)eb * 2 * padded, shift = scale + padded;
                for (int r = first; r < last; r++, from += channels, to += channels)
                {
                    for (int c = 0; c < channels; c += 16)
                    {
                        int n = Math.Min(16, channels - c);
                        Vector512<float> v = Vector512.FusedMultiplyAdd(VectorMath.Load(from + c, n), Vector512.Load(scale + c), Vector512.Load(shift + c));
                        VectorMath.Store(s.Silu ? VectorMath.Silu(v) : v, to + c, n);
                    }
                }
            });
        }
    }

    private static void Affine(in GroupNormShape s, float* origin, float* partial, int chunks, int padded, float* weight, float* bias, float* affine)
    {
        int width = s.Channels / s.Groups;
        for (int g = 0; g < s.Groups; g++)
        {
            // Per channel: mean = shift + sum/n, M2 = squares - sum^2/n; joined over the group around its mean.
            double total = 0;
            for (int c = g * width; c < (g + 1) * width; c++) total += origin[c] * (double)s.Pixels + Sum(partial, chunks, padded, c);
            double mean = total / ((double)s.Pixels * width), m2 = 0;
            for (int c = g * width; c < (g + 1) * width; c++)
            {
                double sum = Sum(partial, chunks, padded, c), squares = Sum(partial + padded, chunks, padded, c), distance = origin[c] + sum / s.Pixels - mean;
                m2 += squares - sum * sum / s.Pixels + s.Pixels * distance * distance;
            }

            double inverse = 1 / Math.Sqrt(Math.Max(0, m2 / ((double)s.Pixels * width)) + s.Epsilon);
            for (int c = g * width; c < (g + 1) * width; c++)
            {
                affine[c] = (float)(weight[c] * inverse);
                affine[padded + c] = (float)(bias[c] - mean * weight[c] * inverse);
            }
        }
    }

    private static double Sum(float* partial, int chunks, int padded, int channel)
    {
        double sum = 0;
        for (int i = 0; i < chunks; i++) sum += partial[(long)i * 2 * padded + channel];
        return sum;
    }
}
