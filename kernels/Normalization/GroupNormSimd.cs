using System.Runtime.Intrinsics;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Host;
using AfaNative.Kernels.Vectors;

namespace AfaNative.Kernels.Normalization;

/// <summary>
/// Group norm on channels-last maps. Statistics read memory once: per channel and fixed chunk of pixels, a chunk's sums are taken
/// around its own mean
/// (the second look hits the cache), so neither a large mean nor an outlier costs digits; chunks are joined in float64. The
/// second pass subtracts the
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
        int channels = s.Channels,
            padded = (channels + 15) & ~15,
            chunkRows = Math.Clamp(ChunkElements / channels, 1, MaxChunkRows);
        int chunks = (s.Pixels + chunkRows - 1) / chunkRows,
            maps = (s.SharedInput ? 1 : s.Experts) * s.Batch;
        var moments = new double[(long)maps * chunks * s.Groups * 2];
        var centerScaleShift = new float[(long)s.Experts * s.Batch * 3 * padded];
        fixed (double* momentsBase = moments)
        fixed (float* affineBase = centerScaleShift)
        {
            double* partial = momentsBase;
            float* affine = affineBase;
            pool.Run(
                maps * chunks,
                (task, worker) =>
                {
                    int map = task / chunks,
                        chunk = task - map * chunks,
                        first = chunk * chunkRows,
                        rows = Math.Min(s.Pixels - first, chunkRows);
                    float* from = x + ((long)map * s.Pixels + first) * channels,
                        sums = pool.Scratch(worker).Floats(3 * padded);
                    int done = 0;
                    for (; done + 64 <= channels; done += 64)
                        WideMoments(from + done, rows, channels, sums + done, padded);
                    for (; done < channels; done += 16)
                        Moments(from + done, rows, channels, Math.Min(16, channels - done), sums + done, padded);
                    JoinChannels(s, sums, rows, padded, partial + (long)task * s.Groups * 2);
                }
            );
            for (int eb = 0; eb < s.Experts * s.Batch; eb++)
            {
                int e = eb / s.Batch,
                    map = s.SharedInput ? eb - e * s.Batch : eb;
                Affine(
                    s,
                    partial + (long)map * chunks * s.Groups * 2,
                    chunkRows,
                    chunks,
                    padded,
                    weight + (long)e * channels,
                    bias + (long)e * channels,
                    affine + (long)eb * 3 * padded
                );
            }

            pool.Run(
                s.Experts * s.Batch * chunks,
                (task, _) =>
                {
                    int eb = task / chunks,
                        chunk = task - eb * chunks,
                        e = eb / s.Batch,
                        map = s.SharedInput ? eb - e * s.Batch : eb;
                    int first = chunk * chunkRows,
                        last = Math.Min(s.Pixels, first + chunkRows);
                    float* from = x + ((long)map * s.Pixels + first) * channels,
                        to = y + ((long)eb * s.Pixels + first) * channels;
                    float* center = affine + (long)eb * 3 * padded,
                        scale = center + padded,
                        shift = scale + padded;
                    for (int r = first; r < last; r++, from += channels, to += channels)
                    {
                        int c = 0;
                        for (; c + 32 <= channels; c += 32)
                        {
                            Vector512<float> v = Vector512.FusedMultiplyAdd(
                                Vector512.Load(from + c) - Vector512.Load(center + c),
                                Vector512.Load(scale + c),
                                Vector512.Load(shift + c)
                            );
                            Vector512<float> w = Vector512.FusedMultiplyAdd(
                                Vector512.Load(from + c + 16) - Vector512.Load(center + c + 16),
                                Vector512.Load(scale + c + 16),
                                Vector512.Load(shift + c + 16)
                            );
                            (s.Silu ? VectorMath.Silu(v) : v).Store(to + c);
                            (s.Silu ? VectorMath.Silu(w) : w).Store(to + c + 16);
                        }

                        for (; c < channels; c += 16)
                        {
                            int n = Math.Min(16, channels - c);
                            Vector512<float> v = Vector512.FusedMultiplyAdd(
                                VectorMath.Load(from + c, n) - Vector512.Load(center + c),
                                Vector512.Load(scale + c),
                                Vector512.Load(shift + c)
                            );
                            VectorMath.Store(s.Silu ? VectorMath.Silu(v) : v, to + c, n);
                        }
                    }
                }
            );
        }
    }

    // Of 16 channels over some rows: a float32 mean m, then the sums of x - m and of (x - m)^2.
    private static void Moments(float* from, int rows, int stride, int lanes, float* to, int padded)
    {
        Vector512<float> origin = VectorMath.Load(from, lanes),
            distances = Vector512<float>.Zero,
            sum = distances,
            squares = distances;
        float* row = from;
        for (int r = 0; r < rows; r++, row += stride)
            distances += VectorMath.Load(row, lanes) - origin;
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

    // The same of 64 channels, four vectors of a row at a time: whole stretches of memory, and four sums that do not wait for
    // each other.
    private static void WideMoments(float* from, int rows, int stride, float* to, int padded)
    {
        Vector512<float> o0 = Vector512.Load(from),
            o1 = Vector512.Load(from + 16),
            o2 = Vector512.Load(from + 32),
            o3 = Vector512.Load(from + 48);
        Vector512<float> s0 = Vector512<float>.Zero,
            s1 = s0,
            s2 = s0,
            s3 = s0,
            q0 = s0,
            q1 = s0,
            q2 = s0,
            q3 = s0;
        float* row = from;
        for (int r = 0; r < rows; r++, row += stride)
        {
            // Four lines of every row: a step too long for the processor to foresee.
            Prefetch.Rows(row + 8L * stride, 2, 32);
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
            Vector512<float> d0 = Vector512.Load(row) - o0,
                d1 = Vector512.Load(row + 16) - o1,
                d2 = Vector512.Load(row + 32) - o2,
                d3 = Vector512.Load(row + 48) - o3;
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

    // A chunk's mean and sum of squares around it, per group: every channel adds squares - sum^2/n, plus n times the squared
    // distance of its mean.
    private static void JoinChannels(in GroupNormShape s, float* sums, int rows, int padded, double* moments)
    {
        int width = s.Channels / s.Groups;
        double inverseRows = 1.0 / rows;
        for (int g = 0; g < s.Groups; g++, moments += 2)
        {
            double mean = 0,
                m2 = 0;
            for (int c = g * width; c < (g + 1) * width; c++)
                mean += sums[c] + sums[padded + c] * inverseRows;
            mean /= width;
            for (int c = g * width; c < (g + 1) * width; c++)
            {
                double sum = sums[padded + c],
                    distance = sums[c] + sum * inverseRows - mean;
                m2 += sums[2 * padded + c] - sum * sum * inverseRows + rows * distance * distance;
            }

            moments[0] = mean;
            moments[1] = m2;
        }
    }

    // Chunks joined in the same way, then what brings a group to mean 0 and deviation 1.
    private static void Affine(
        in GroupNormShape s,
        double* moments,
        int chunkRows,
        int chunks,
        int padded,
        float* weight,
        float* bias,
        float* affine
    )
    {
        int width = s.Channels / s.Groups;
        double count = (double)s.Pixels * width;
        for (int g = 0; g < s.Groups; g++)
        {
            double mean = 0,
                m2 = 0;
            for (int i = 0; i < chunks; i++)
                mean += Math.Min(s.Pixels - i * chunkRows, chunkRows) * moments[((long)i * s.Groups + g) * 2];
            mean /= s.Pixels;
            for (int i = 0; i < chunks; i++)
            {
                double* chunk = moments + ((long)i * s.Groups + g) * 2;
                double distance = chunk[0] - mean;
                m2 += chunk[1] + (double)Math.Min(s.Pixels - i * chunkRows, chunkRows) * width * distance * distance;
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
