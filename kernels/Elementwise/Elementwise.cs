using System.Runtime.Intrinsics;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Host;
using AfaNative.Kernels.Vectors;

namespace AfaNative.Kernels.Elementwise;

/// <summary>
/// Ops that move or add elements; memory decides their speed, so reference and SIMD share the loops but for the additions.
/// </summary>
internal static unsafe class ElementwiseSimd
{
    private const int Chunk = 1 << 16;

    /// <summary>See <see cref="AddShape"/>.</summary>
    public static void Add(WorkerPool pool, in AddShape shape, float* a, float* b, float* y)
    {
        AddShape s = shape;
        int chunks = (int)((s.Count + Chunk - 1) / Chunk);
        pool.Run(
            s.Experts * chunks,
            (task, _) =>
            {
                int e = task / chunks;
                long first = (task - (long)e * chunks) * Chunk,
                    last = Math.Min(s.Count, first + Chunk);
                float* pa = a + (s.SharedA ? 0 : e * s.Count),
                    pb = b + (s.SharedB ? 0 : e * s.Count),
                    py = y + e * s.Count;
                for (long i = first; i < last; i += 16)
                {
                    int n = (int)Math.Min(16, last - i);
                    VectorMath.Store(VectorMath.Load(pa + i, n) + VectorMath.Load(pb + i, n), py + i, n);
                }
            }
        );
    }

    /// <summary>See <see cref="ConcatShape"/>.</summary>
    public static void Concat(WorkerPool pool, in ConcatShape shape, float* a, float* b, float* y)
    {
        ConcatShape s = shape;
        int width = s.ChannelsA + s.ChannelsB,
            perTask = Math.Max(1, Chunk / width),
            tasks = (int)((s.Rows + perTask - 1) / perTask);
        pool.Run(
            s.Experts * tasks,
            (task, _) =>
            {
                int e = task / tasks;
                long first = (task - (long)e * tasks) * perTask,
                    last = Math.Min(s.Rows, first + perTask);
                for (long r = first; r < last; r++)
                {
                    float* to = y + (e * s.Rows + r) * width;
                    RowCopy.Copy(a + ((s.SharedA ? 0 : e * s.Rows) + r) * s.ChannelsA, to, s.ChannelsA);
                    RowCopy.Copy(b + ((s.SharedB ? 0 : e * s.Rows) + r) * s.ChannelsB, to + s.ChannelsA, s.ChannelsB);
                }
            }
        );
    }

    /// <summary>See IKernels.MeanOverExperts.</summary>
    public static void MeanOverExperts(WorkerPool pool, int experts, long count, float* x, float* y) =>
        pool.Run(
            (int)((count + Chunk - 1) / Chunk),
            (task, _) =>
            {
                long last = Math.Min(count, (task + 1L) * Chunk);
                Vector512<float> n = Vector512.Create((float)experts);
                for (long i = (long)task * Chunk; i < last; i += 16)
                {
                    int lanes = (int)Math.Min(16, last - i);
                    Vector512<float> sum = VectorMath.Load(x + i, lanes);
                    for (int e = 1; e < experts; e++)
                        sum += VectorMath.Load(x + e * count + i, lanes);
                    VectorMath.Store(sum / n, y + i, lanes);
                }
            }
        );

    /// <summary>See IKernels.ExpertsToChannels.</summary>
    public static void ExpertsToChannels(WorkerPool pool, int experts, long rows, int channels, float* x, float* y)
    {
        int perTask = Math.Max(1, Chunk / (channels * experts));
        pool.Run(
            (int)((rows + perTask - 1) / perTask),
            (task, _) =>
            {
                for (long r = (long)task * perTask; r < Math.Min(rows, (task + 1L) * perTask); r++)
                {
                    for (int e = 0; e < experts; e++)
                        RowCopy.Copy(x + (e * rows + r) * channels, y + (r * experts + e) * channels, channels);
                }
            }
        );
    }
}

/// <summary>The same ops as their contracts read.</summary>
internal static unsafe class ElementwiseReference
{
    /// <summary>See <see cref="AddShape"/>.</summary>
    public static void Add(in AddShape s, float* a, float* b, float* y)
    {
        for (int e = 0; e < s.Experts; e++)
        {
            for (long i = 0; i < s.Count; i++)
                y[e * s.Count + i] = a[(s.SharedA ? 0 : e * s.Count) + i] + b[(s.SharedB ? 0 : e * s.Count) + i];
        }
    }

    /// <summary>See <see cref="ConcatShape"/>.</summary>
    public static void Concat(in ConcatShape s, float* a, float* b, float* y)
    {
        int width = s.ChannelsA + s.ChannelsB;
        for (long i = 0; i < s.Experts * s.Rows * width; i++)
        {
            long row = i / width,
                e = row / s.Rows;
            int c = (int)(i % width);
            y[i] =
                c < s.ChannelsA
                    ? a[(s.SharedA ? row - e * s.Rows : row) * s.ChannelsA + c]
                    : b[(s.SharedB ? row - e * s.Rows : row) * s.ChannelsB + c - s.ChannelsA];
        }
    }

    /// <summary>See IKernels.MeanOverExperts.</summary>
    public static void MeanOverExperts(int experts, long count, float* x, float* y)
    {
        for (long i = 0; i < count; i++)
        {
            double sum = 0;
            for (int e = 0; e < experts; e++)
                sum += x[e * count + i];
            y[i] = (float)(sum / experts);
        }
    }

    /// <summary>See IKernels.ExpertsToChannels.</summary>
    public static void ExpertsToChannels(int experts, long rows, int channels, float* x, float* y)
    {
        for (int e = 0; e < experts; e++)
        {
            for (long i = 0; i < rows * channels; i++)
                y[i / channels * experts * channels + e * channels + i % channels] = x[e * rows * channels + i];
        }
    }
}
