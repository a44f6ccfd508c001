using System.Runtime.Intrinsics;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.FeatureFusion;
using AfaNative.Kernels.Host;
using AfaNative.Kernels.Resampling;
using AfaNative.Kernels.Vectors;

namespace AfaNative.Kernels.Elementwise;

/// <summary>Gradients of ops that move or add, and of SABW's fusion.</summary>
internal static unsafe class ElementwiseGradientSimd
{
    private const int Chunk = 1 << 15;

    /// <summary>See <see cref="IGradients.SumRows"/>.</summary>
    public static void SumRows(WorkerPool pool, int experts, long rows, long rowsPerGroup, int columns, float* x, float* y)
    {
        long groups = (rows + rowsPerGroup - 1) / rowsPerGroup;
        const int Width = 64;
        int blocks = (columns + Width - 1) / Width;
        pool.Run(
            (int)(experts * groups) * blocks,
            (task, _) =>
            {
                int block = task % blocks,
                    first = block * Width,
                    count = Math.Min(Width, columns - first);
                long group = task / blocks,
                    e = group / groups,
                    g = group - e * groups;
                double* sums = stackalloc double[Width];
                new Span<double>(sums, Width).Clear();
                for (long r = g * rowsPerGroup; r < Math.Min(rows, (g + 1) * rowsPerGroup); r++)
                {
                    float* from = x + (e * rows + r) * columns + first;
                    for (int i = 0; i < count; i++)
                        sums[i] += from[i];
                }

                for (int i = 0; i < count; i++)
                    y[group * columns + first + i] = (float)sums[i];
            }
        );
    }

    /// <summary>See <see cref="IGradients.UpsampleNearest"/>.</summary>
    public static void UpsampleNearest(WorkerPool pool, in UpsampleShape shape, float* dy, float* dx)
    {
        UpsampleShape s = shape;
        pool.Run(
            s.Maps,
            (map, _) =>
            {
                float* to = dx + (long)map * s.Height * s.Width * s.Channels,
                    from = dy + (long)map * s.OutHeight * s.OutWidth * s.Channels;
                new Span<float>(to, s.Height * s.Width * s.Channels).Clear();
                for (int oy = 0; oy < s.OutHeight; oy++)
                {
                    for (int ox = 0; ox < s.OutWidth; ox++, from += s.Channels)
                    {
                        float* pixel =
                            to
                            + (
                                (long)NearestUpsampling.Source(oy, s.Height, s.OutHeight) * s.Width
                                + NearestUpsampling.Source(ox, s.Width, s.OutWidth)
                            ) * s.Channels;
                        for (int i = 0; i < s.Channels; i++)
                            pixel[i] += from[i];
                    }
                }
            }
        );
    }

    /// <summary>See <see cref="IGradients.Split"/>.</summary>
    public static void Split(WorkerPool pool, in ConcatShape shape, float* dy, float* da, float* db)
    {
        ConcatShape s = shape;
        int width = s.ChannelsA + s.ChannelsB,
            perTask = Math.Max(1, Chunk / width);
        long rows = s.Experts * s.Rows;
        pool.Run(
            (int)((rows + perTask - 1) / perTask),
            (task, _) =>
            {
                for (long r = (long)task * perTask; r < Math.Min(rows, (task + 1L) * perTask); r++)
                {
                    RowCopy.Copy(dy + r * width, da + r * s.ChannelsA, s.ChannelsA);
                    RowCopy.Copy(dy + r * width + s.ChannelsA, db + r * s.ChannelsB, s.ChannelsB);
                }
            }
        );
    }

    /// <summary>See <see cref="IGradients.SumOverExperts"/>.</summary>
    public static void SumOverExperts(WorkerPool pool, int experts, long count, float* x, float* y) =>
        Chunks(
            pool,
            count,
            (i, n) =>
            {
                Vector512<float> sum = VectorMath.Load(x + i, n);
                for (int e = 1; e < experts; e++)
                    sum += VectorMath.Load(x + e * count + i, n);
                VectorMath.Store(sum, y + i, n);
            }
        );

    /// <summary>See <see cref="IGradients.RepeatForExperts"/>.</summary>
    public static void RepeatForExperts(WorkerPool pool, int experts, long count, float scale, float* x, float* y) =>
        Chunks(
            pool,
            count,
            (i, n) =>
            {
                Vector512<float> v = VectorMath.Load(x + i, n) * Vector512.Create(scale);
                for (int e = 0; e < experts; e++)
                    VectorMath.Store(v, y + e * count + i, n);
            }
        );

    /// <summary>See <see cref="IGradients.ChannelsToExperts"/>.</summary>
    public static void ChannelsToExperts(WorkerPool pool, int experts, long rows, int channels, float* x, float* y) =>
        pool.Run(
            experts,
            (e, _) =>
            {
                for (long r = 0; r < rows; r++)
                    RowCopy.Copy(x + (r * experts + e) * channels, y + (e * rows + r) * channels, channels);
            }
        );

    /// <summary>See <see cref="IGradients.FuseExperts"/>.</summary>
    public static void FuseExperts(
        WorkerPool pool,
        in FusionShape shape,
        float* features,
        float* logits,
        float* dy,
        float* dmaps,
        float* dfeatures,
        float* dlogits
    )
    {
        FusionShape s = shape;
        long rows = (long)s.Batch * s.Pixels;
        int perTask = Math.Max(1, Chunk / (s.Channels * s.Experts));
        pool.Run(
            (int)((rows + perTask - 1) / perTask),
            (task, _) =>
            {
                Span<float> weights = s.Experts <= 256 ? stackalloc float[s.Experts] : new float[s.Experts];
                Span<float> upstream = s.Experts <= 256 ? stackalloc float[s.Experts] : new float[s.Experts];
                for (long r = (long)task * perTask; r < Math.Min(rows, (task + 1L) * perTask); r++)
                {
                    ExpertFusion.Softmax(logits + r * s.Experts, weights);
                    float* g = dy + r * s.Channels;
                    double mean = 0;
                    for (int e = 0; e < s.Experts; e++)
                    {
                        float* f = features + (e * rows + r) * s.Channels,
                            df = dfeatures + (e * rows + r) * s.Channels;
                        Vector512<float> dot = Vector512<float>.Zero,
                            w = Vector512.Create(weights[e]);
                        for (int c = 0; c < s.Channels; c += 16)
                        {
                            int n = Math.Min(16, s.Channels - c);
                            Vector512<float> v = VectorMath.Load(g + c, n);
                            dot = Vector512.FusedMultiplyAdd(v, VectorMath.Load(f + c, n), dot);
                            VectorMath.Store(v * w, df + c, n);
                        }

                        upstream[e] = Vector512.Sum(dot) + (dmaps == null ? 0 : dmaps[r * s.Experts + e]);
                        mean += (double)weights[e] * upstream[e];
                    }

                    for (int e = 0; e < s.Experts; e++)
                        dlogits[r * s.Experts + e] = weights[e] * (upstream[e] - (float)mean);
                }
            }
        );
    }

    private static void Chunks(WorkerPool pool, long count, Action<long, int> body) =>
        pool.Run(
            (int)((count + Chunk - 1) / Chunk),
            (task, _) =>
            {
                long end = Math.Min(count, (task + 1L) * Chunk);
                for (long i = (long)task * Chunk; i < end; i += 16)
                    body(i, (int)Math.Min(16, end - i));
            }
        );
}
