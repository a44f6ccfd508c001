using System.Runtime.Intrinsics;
using AfaNative.Kernels.Activation;
using AfaNative.Kernels.Devices;

namespace AfaNative.Kernels.Normalization;

/// <summary>
/// Group norm on channels-last maps. Statistics read memory once: per channel and fixed chunk of pixels, a chunk's sums are taken around its own mean
/// (the second look hits the cache), so neither a large mean nor an outlier costs digits; chunks are joined in float64. The second pass subtracts the
/// group's mean before it scales, for the same reason.
/// </summary>
internal static unsafe class GroupNormSimd
{
    private const int ChunkElements = 1 << 15;
    private const int MaxChunkRows = 512;

    /// <summary>See <see cref="GroupNormShape"/>.</summary>
    public static void Run(WorkerPool pool, in GroupNormShape shape, float* x, float* weight, float* bias, float* y)
    {
        GroupNormShape s = shape;
        int channels = s.Channels, padded = (channels + 15) & ~15, chunkRows = Math.Clamp(ChunkElements / channels, 1, MaxChunkRows);
        int chunks = (s.Pixels + chunkRows - 1) / chunkRows, maps = (s.SharedInput ? 1 : s.Experts) * s.Batch;
        var sums = new float[(long)maps * chunks * 3 * padded];
        var centerScaleShift = new float[(long)s.Experts * s.Batch * 3 * padded];
        fixed (float* partialBase = sums, affineBase = centerScaleShift)
        {
            float* partial = partialBase, affine = affineBase;
            pool.Run(maps * chunks, (task, _) =>
            {
                int map = task / chunks, chunk = task - map * chunks, first = chunk * chunkRows, rows = Math.Min(s.Pixels - first, chunkRows);
                float* from = x + ((long)map * s.Pixels + first) * channels, to = partial + (long)task * 3 * padded;
                int done = 0;
                for (; done + 64 <= channels; done += 64) WideMoments(from + done, rows, channels, to + done, padded);
                for (; done < channels; done += 16) Moments(from + done, rows, channels, Math.Min(16, channels - done), to + done, padded);
            });
            for (int eb = 0; eb < s.Experts * s.Batch; eb++)
            {
                int e = eb / s.Batch, map = s.SharedInput ? eb - e * s.Batch : eb;
                Affine(s, partial + (long)map * chunks * 3 * padded, chunkRows, chunks, padded, weight + (long)e * channels, bias + (long)e * channels, affine + (long)eb * 3 * padded);
            }

            pool.Run(s.Experts * s.Batch * chunks, (task, _) =>
            {
                int eb = task / chunks, chunk = task - eb * chunks, e = eb / s.Batch, map = s.SharedInput ? eb - e * s.Batch : eb;
                int first = chunk * chunkRows, last = Math.Min(s.Pixels, first + chunkRows);
                float* from = x + ((long)map * s.Pixels + first) * channels, to = y + ((long)eb * s.Pixels + first) * channels;
                float* center = affine + (long)eb * 3 * padded, scale = center + padded, shift = scale + padded;
                for (int r = first; r < last; r++, from += channels, to += channels)
                {
                    int c = 0;
                    for (; c + 32 <= channels; c += 32)
                    {
                        Vector512<float> v = Vector512.FusedMultiplyAdd(Vector512.Load(from + c) - Vector512.Load(center + c), Vector512.Load(scale + c), Vector512.Load(shift + c));
                        Vector512<float> w = Vector512.FusedMultiplyAdd(Vector512.Load(from + c + 16) - Vector512.Load(center + c + 16), Vector512.Load(scale + c + 16), Vector512.Load(shift + c + 16));
                        (s.Silu ? VectorMath.Silu(v) : v).Store(to + c);
                        (s.Silu ? VectorMath.Silu(w) : w).Store(to + c + 16);
                    }

                    for (; c < channels; c += 16)
                    {
                        int n = Math.Min(16, channels - c);
                        Vector512<float> v = Vector512.FusedMultiplyAdd(VectorMath.Load(from + c, n) - Vector512.Load(center + c), Vector512.Load(scale + c), Vector512.Load(shift + c));
                        VectorMath.Store(s.Silu ? VectorMath.Silu(v) : v, to + c, n);
                    }
                }
            });
        }
    }

    // Of 16 channels over some rows: a float32 mean m, then the sums of x - m and of (x - m)^2.
    private static void Moments(float* from, int rows, int stride, int lanes, float* to, int padded)
    {
        Vector512<float> origin = VectorMath.Load(from, lanes), distances = Vector512<float>.Zero, sum = distances, squares = distances;
        float* row = from;
        for (int r = 0; r < rows; r++, row += stride) distances += VectorMath.Load(row, lanes) - origin;
        Vector512<float> mean = origin + distances / Vector512.Create((float)rows);
        row = from;
        for (int r = 0; r < rows; r++, row += stride)
        {
            Vector512<float> d = VectorMath.Load(row, lanes) - mean;
            sum += d;
            squares = Vector512.FusedMultiplyAdd(d, d, squares);
        }

        Put(mean, sum, squares, to, padded);
    }

    // The same of 64 channels, four vectors of a row at a time: whole stretches of memory, and four sums that do not wait for each other.
    private static void WideMoments(float* from, int rows, int stride, float* to, int padded)
    {
        Vector512<float> o0 = Vector512.Load(from), o1 = Vector512.Load(from + 16), o2 = Vector512.Load(from + 32), o3 = Vector512.Load(from + 48);
        Vector512<float> s0 = Vector512<float>.Zero, s1 = s0, s2 = s0, s3 = s0, q0 = s0, q1 = s0, q2 = s0, q3 = s0;
        float* row = from;
        for (int r = 0; r < rows; r++, row += stride)
        {
            s0 += Vector512.Load(row) - o0;
            s1 += Vector512.Load(row + 16) - o1;
            s2 += Vector512.Load(row + 32) - o2;
            s3 += Vector512.Load(row + 48) - o3;
        }

        Vector512<float> count = Vector512.Create((float)rows);
        o0 += s0 / count;
        o1 += s1 / count;
        o2 += s2 / count;
        o3 += s3 / count;
        s0 = s1 = s2 = s3 = Vector512<float>.Zero;
        row = from;
        for (int r = 0; r < rows; r++, row += stride)
        {
            Vector512<float> d0 = Vector512.Load(row) - o0, d1 = Vector512.Load(row + 16) - o1, d2 = Vector512.Load(row + 32) - o2, d3 = Vector512.Load(row + 48) - o3;
            s0 += d0;
            s1 += d1;
            s2 += d2;
            s3 += d3;
            q0 = Vector512.FusedMultiplyAdd(d0, d0, q0);
            q1 = Vector512.FusedMultiplyAdd(d1, d1, q1);
            q2 = Vector512.FusedMultiplyAdd(d2, d2, q2);
            q3 = Vector512.FusedMultiplyAdd(d3, d3, q3);
        }

        Put(o0, s0, q0, to, padded);
        Put(o1, s1, q1, to + 16, padded);
        Put(o2, s2, q2, to + 32, padded);
        Put(o3, s3, q3, to + 48, padded);
    }

    private static void Put(Vector512<float> mean, Vector512<float> sum, Vector512<float> squares, float* to, int padded)
    {
        mean.Store(to);
        sum.Store(to + padded);
        squares.Store(to + 2 * padded);
    }

    // A group's mean, then its sum of squares around that mean: per chunk and channel M2 = squares - sum^2/n, plus n times the squared distance of the means.
    private static void Affine(in GroupNormShape s, float* partial, int chunkRows, int chunks, int padded, float* weight, float* bias, float* affine)
    {
        int width = s.Channels / s.Groups;
        double count = (double)s.Pixels * width;
        for (int g = 0; g < s.Groups; g++)
        {
            double total = 0, m2 = 0;
            for (int i = 0; i < chunks; i++)
            {
                float* chunk = partial + (long)i * 3 * padded;
                int rows = Math.Min(s.Pixels - i * chunkRows, chunkRows);
                for (int c = g * width; c < (g + 1) * width; c++) total += (double)rows * chunk[c] + chunk[padded + c];
            }

            double mean = total / count;
            for (int i = 0; i < chunks; i++)
            {
                float* chunk = partial + (long)i * 3 * padded;
                int rows = Math.Min(s.Pixels - i * chunkRows, chunkRows);
                for (int c = g * width; c < (g + 1) * width; c++)
                {
                    double sum = chunk[padded + c], distance = chunk[c] + sum / rows - mean;
                    m2 += chunk[2 * padded + c] - sum * sum / rows + rows * distance * distance;
                }
            }

            double inverse = 1 / Math.Sqrt(Math.Max(0, m2 / count) + s.Epsilon);
            float center = (float)mean;
            for (int c = g * width; c < (g + 1) * width; c++)
            {
                affine[c] = center;
                affine[padded + c] = (float)(weight[c] * inverse);
                affine[2 * padded + c] = (float)(bias[c] - (mean - center) * weight[c] * inverse);
            }
        }
    }
}
