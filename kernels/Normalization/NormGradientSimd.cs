using System.Runtime.Intrinsics;
using AfaNative.Kernels.Activation;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Host;
using AfaNative.Kernels.Vectors;

namespace AfaNative.Kernels.Normalization;

/// <summary>
/// Gradients of the norms and of softmax. Work is cut by shape alone and joined in order: results do not depend on threads.
/// </summary>
internal static unsafe class NormGradientSimd
{
    private const int TaskElements = 1 << 15;

    /// <summary>See <see cref="IGradients.GroupNorm"/>.</summary>
    public static void GroupNorm(
        WorkerPool pool,
        in GroupNormShape shape,
        float* x,
        float* weight,
        float* bias,
        float* dy,
        float* dx,
        float* dweight,
        float* dbias
    )
    {
        GroupNormShape s = shape;
        int c = s.Channels,
            perTask = Math.Max(1, TaskElements / c),
            chunks = (s.Pixels + perTask - 1) / perTask,
            maps = (s.SharedInput ? 1 : s.Experts) * s.Batch,
            images = s.Experts * s.Batch,
            width = c / s.Groups;
        // Per map and channel: mean, inverse deviation; per image, chunk and channel: two sums.
        var statistics = new float[(long)maps * 2 * c];
        var partial = new double[(long)maps * chunks * c];
        var sums = new double[(long)images * chunks * 2 * c];
        fixed (float* statisticsPointer = statistics)
        {
            float* stat = statisticsPointer;
            ChannelSums(squares: false);
            Join((map, g, total) => Fill(map, 0, g, (float)(total / ((double)width * s.Pixels))));
            ChannelSums(squares: true);
            Join((map, g, total) => Fill(map, 1, g, (float)(1 / Math.Sqrt(total / ((double)width * s.Pixels) + s.Epsilon))));

            // g = dy silu'(z): its sums, plain and times the normalized input.
            pool.Run(
                images * chunks,
                (task, worker) =>
                {
                    int image = task / chunks,
                        chunk = task - image * chunks,
                        e = image / s.Batch,
                        map = s.SharedInput ? image - e * s.Batch : image;
                    float* plain = pool.Scratch(worker).Floats(2L * c + 32),
                        times = plain + c + 16;
                    new Span<float>(plain, 2 * c + 32).Clear();
                    for (int p = chunk * perTask; p < Math.Min(s.Pixels, (chunk + 1) * perTask); p++)
                    {
                        for (int i = 0; i < c; i += 16)
                        {
                            int n = Math.Min(16, c - i);
                            (Vector512<float> g, Vector512<float> normal) = Upstream(
                                s,
                                stat,
                                x,
                                weight,
                                bias,
                                dy,
                                e,
                                map,
                                image,
                                p,
                                i,
                                n
                            );
                            VectorMath.Store(VectorMath.Load(plain + i, n) + g, plain + i, n);
                            VectorMath.Store(VectorMath.Load(times + i, n) + g * normal, times + i, n);
                        }
                    }

                    fixed (double* to = &sums[(long)task * 2 * c])
                    {
                        for (int i = 0; i < c; i++)
                        {
                            to[i] = plain[i];
                            to[c + i] = times[i];
                        }
                    }
                }
            );

            // Per image and channel (expanded from groups): the mean of w g and of w g xhat.
            var means = new float[(long)images * 2 * c];
            var channel = new double[(long)images * 2 * c];
            for (int image = 0; image < images; image++)
            {
                float* w = weight + (long)(image / s.Batch) * c;
                for (int chunk = 0; chunk < chunks; chunk++)
                {
                    for (int i = 0; i < 2 * c; i++)
                        channel[(long)image * 2 * c + i] += sums[((long)image * chunks + chunk) * 2 * c + i];
                }

                for (int half = 0; half < 2; half++)
                {
                    for (int g = 0; g < s.Groups; g++)
                    {
                        double total = 0;
                        for (int i = g * width; i < (g + 1) * width; i++)
                            total += w[i] * channel[(long)image * 2 * c + half * c + i];
                        means
                            .AsSpan(image * 2 * c + half * c + g * width, width)
                            .Fill((float)(total / ((double)width * s.Pixels)));
                    }
                }
            }

            fixed (float* meansPointer = means)
            {
                float* mean = meansPointer;
                pool.Run(
                    images * chunks,
                    (task, _) =>
                    {
                        int image = task / chunks,
                            chunk = task - image * chunks,
                            e = image / s.Batch,
                            map = s.SharedInput ? image - e * s.Batch : image;
                        for (int p = chunk * perTask; p < Math.Min(s.Pixels, (chunk + 1) * perTask); p++)
                        {
                            for (int i = 0; i < c; i += 16)
                            {
                                int n = Math.Min(16, c - i);
                                (Vector512<float> g, Vector512<float> normal) = Upstream(
                                    s,
                                    stat,
                                    x,
                                    weight,
                                    bias,
                                    dy,
                                    e,
                                    map,
                                    image,
                                    p,
                                    i,
                                    n
                                );
                                float* m = mean + (long)image * 2 * c + i;
                                Vector512<float> d =
                                    VectorMath.Load(weight + (long)e * c + i, n) * g
                                    - VectorMath.Load(m, n)
                                    - normal * VectorMath.Load(m + c, n);
                                VectorMath.Store(
                                    d * VectorMath.Load(stat + ((long)map * 2 + 1) * c + i, n),
                                    dx + ((long)image * s.Pixels + p) * c + i,
                                    n
                                );
                            }
                        }
                    }
                );
            }

            for (int half = 0; half < 2; half++)
            {
                float* to = half == 0 ? dbias : dweight;
                if (to == null)
                    continue;
                for (int e = 0; e < s.Experts; e++)
                {
                    for (int i = 0; i < c; i++)
                    {
                        double total = 0;
                        for (int b = 0; b < s.Batch; b++)
                            total += channel[((long)e * s.Batch + b) * 2 * c + half * c + i];
                        to[(long)e * c + i] = (float)total;
                    }
                }
            }

            void ChannelSums(bool squares) =>
                pool.Run(
                    maps * chunks,
                    (task, worker) =>
                    {
                        int map = task / chunks,
                            chunk = task - map * chunks;
                        float* sum = pool.Scratch(worker).Floats(c + 16);
                        new Span<float>(sum, c).Clear();
                        for (int p = chunk * perTask; p < Math.Min(s.Pixels, (chunk + 1) * perTask); p++)
                        {
                            float* from = x + ((long)map * s.Pixels + p) * c;
                            for (int i = 0; i < c; i += 16)
                            {
                                int n = Math.Min(16, c - i);
                                Vector512<float> v = VectorMath.Load(from + i, n);
                                if (squares)
                                {
                                    v -= VectorMath.Load(stat + (long)map * 2 * c + i, n);
                                    v *= v;
                                }

                                VectorMath.Store(VectorMath.Load(sum + i, n) + v, sum + i, n);
                            }
                        }

                        for (int i = 0; i < c; i++)
                            partial[(long)task * c + i] = sum[i];
                    }
                );
        }

        void Join(Action<int, int, double> use)
        {
            for (int map = 0; map < maps; map++)
            {
                for (int g = 0; g < s.Groups; g++)
                {
                    double total = 0;
                    for (int chunk = 0; chunk < chunks; chunk++)
                    {
                        for (int i = g * width; i < (g + 1) * width; i++)
                            total += partial[((long)map * chunks + chunk) * c + i];
                    }

                    use(map, g, total);
                }
            }
        }

        void Fill(int map, int half, int g, float value) =>
            statistics.AsSpan((map * 2 + half) * c + g * width, width).Fill(value);
    }

    /// <summary>See <see cref="IGradients.LayerNorm"/>.</summary>
    public static void LayerNorm(
        WorkerPool pool,
        in LayerNormShape shape,
        float* x,
        float* weight,
        float* dy,
        float* dx,
        float* dweight,
        float* dbias
    )
    {
        LayerNormShape s = shape;
        int c = s.Channels,
            perTask = Math.Max(1, TaskElements / c),
            chunks = (s.Rows + perTask - 1) / perTask;
        var sums = new float[(long)s.Experts * chunks * 2 * c];
        pool.Run(
            s.Experts * chunks,
            (task, worker) =>
            {
                int e = task / chunks,
                    chunk = task - e * chunks;
                float* w = weight + (long)e * c,
                    plain = pool.Scratch(worker).Floats(2L * c + 32),
                    times = plain + c + 16;
                new Span<float>(plain, 2 * c + 32).Clear();
                for (int r = chunk * perTask; r < Math.Min(s.Rows, (chunk + 1) * perTask); r++)
                {
                    float* from = x + ((s.SharedInput ? 0L : (long)e * s.Rows) + r) * c,
                        g = dy + ((long)e * s.Rows + r) * c,
                        to = dx + ((long)e * s.Rows + r) * c;
                    double total = 0,
                        squares = 0,
                        first = 0,
                        second = 0;
                    for (int i = 0; i < c; i++)
                        total += from[i];
                    double mean = total / c;
                    for (int i = 0; i < c; i++)
                        squares += (from[i] - mean) * (from[i] - mean);
                    float center = (float)mean,
                        inverse = (float)(1 / Math.Sqrt(squares / c + s.Epsilon)),
                        rest = (float)(mean - center);
                    for (int i = 0; i < c; i++)
                    {
                        float normal = (from[i] - center - rest) * inverse;
                        plain[i] += g[i];
                        times[i] += g[i] * normal;
                        first += g[i] * w[i];
                        second += g[i] * w[i] * normal;
                    }

                    float a = (float)(first / c),
                        b = (float)(second / c);
                    for (int i = 0; i < c; i++)
                        to[i] = inverse * (g[i] * w[i] - a - (from[i] - center - rest) * inverse * b);
                }

                for (int i = 0; i < c; i++)
                {
                    sums[((long)task * 2) * c + i] = plain[i];
                    sums[((long)task * 2 + 1) * c + i] = times[i];
                }
            }
        );
        for (int half = 0; half < 2; half++)
        {
            float* to = half == 0 ? dbias : dweight;
            if (to == null)
                continue;
            for (int e = 0; e < s.Experts; e++)
            {
                for (int i = 0; i < c; i++)
                {
                    double total = 0;
                    for (int chunk = 0; chunk < chunks; chunk++)
                        total += sums[(((long)e * chunks + chunk) * 2 + half) * c + i];
                    to[(long)e * c + i] = (float)total;
                }
            }
        }
    }

    /// <summary>See <see cref="IGradients.Softmax"/>.</summary>
    public static void Softmax(WorkerPool pool, long rows, int width, float* y, float* dy, float* dx)
    {
        int perTask = Math.Max(1, TaskElements / width);
        pool.Run(
            (int)((rows + perTask - 1) / perTask),
            (task, _) =>
            {
                for (long r = (long)task * perTask; r < Math.Min(rows, (task + 1L) * perTask); r++)
                {
                    float* p = y + r * width,
                        g = dy + r * width,
                        to = dx + r * width;
                    double dot = 0;
                    for (int i = 0; i < width; i++)
                        dot += (double)p[i] * g[i];
                    for (int i = 0; i < width; i++)
                        to[i] = p[i] * (g[i] - (float)dot);
                }
            }
        );
    }

    // The gradient that reaches the norm's affine output, and the normalized input, of up to 16 channels of one pixel.
    private static (Vector512<float> Gradient, Vector512<float> Normal) Upstream(
        in GroupNormShape s,
        float* stat,
        float* x,
        float* weight,
        float* bias,
        float* dy,
        int e,
        int map,
        int image,
        int p,
        int i,
        int n
    )
    {
        int c = s.Channels;
        float* st = stat + (long)map * 2 * c + i;
        Vector512<float> normal =
                (VectorMath.Load(x + ((long)map * s.Pixels + p) * c + i, n) - VectorMath.Load(st, n))
                * VectorMath.Load(st + c, n),
            g = VectorMath.Load(dy + ((long)image * s.Pixels + p) * c + i, n);
        if (!s.Silu)
            return (g, normal);
        Vector512<float> z = Vector512.FusedMultiplyAdd(
            normal,
            VectorMath.Load(weight + (long)e * c + i, n),
            VectorMath.Load(bias + (long)e * c + i, n)
        );
        return (g * ActivationGradientSimd.Derivative(ActivationKind.Silu, z), normal);
    }
}
