using System.Runtime.Intrinsics;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Host;
using AfaNative.Kernels.Vectors;

namespace AfaNative.Kernels.Normalization;

/// <summary>Layer norm and softmax: a row at a time, in first-level cache.</summary>
internal static unsafe class LayerNormSimd
{
    private const int TaskElements = 1 << 15;

    /// <summary>See <see cref="LayerNormShape"/>.</summary>
    public static void Run(WorkerPool pool, in LayerNormShape shape, float* x, float* weight, float* bias, float* y)
    {
        LayerNormShape s = shape;
        int channels = s.Channels,
            perTask = Math.Max(1, TaskElements / channels),
            tasks = (s.Rows + perTask - 1) / perTask;
        pool.Run(
            s.Experts * tasks,
            (task, _) =>
            {
                int e = task / tasks,
                    first = (task - e * tasks) * perTask,
                    last = Math.Min(s.Rows, first + perTask);
                float* w = weight + (long)e * channels,
                    b = bias + (long)e * channels;
                for (int r = first; r < last; r++)
                {
                    float* from = x + ((s.SharedInput ? 0L : (long)e * s.Rows) + r) * channels,
                        to = y + ((long)e * s.Rows + r) * channels;
                    Row(from, w, b, to, channels, s.Epsilon);
                }
            }
        );
    }

    // Four sums that do not wait for each other.
    private static void Row(float* x, float* weight, float* bias, float* y, int channels, float epsilon)
    {
        Vector512<float> s0 = Vector512<float>.Zero,
            s1 = s0,
            s2 = s0,
            s3 = s0,
            q0 = s0,
            q1 = s0,
            q2 = s0,
            q3 = s0;
        int c = 0;
        for (; c + 64 <= channels; c += 64)
        {
            s0 += Vector512.Load(x + c);
            s1 += Vector512.Load(x + c + 16);
            s2 += Vector512.Load(x + c + 32);
            s3 += Vector512.Load(x + c + 48);
        }

        for (; c < channels; c += 16)
            s0 += VectorMath.Load(x + c, Math.Min(16, channels - c));
        float mean = Vector512.Sum(s0 + s1 + (s2 + s3)) / channels;
        Vector512<float> center = Vector512.Create(mean);
        s0 = s1 = s2 = s3 = Vector512<float>.Zero;
        for (c = 0; c + 64 <= channels; c += 64)
        {
            Vector512<float> d0 = Vector512.Load(x + c) - center,
                d1 = Vector512.Load(x + c + 16) - center,
                d2 = Vector512.Load(x + c + 32) - center,
                d3 = Vector512.Load(x + c + 48) - center;
            s0 += d0;
            s1 += d1;
            s2 += d2;
            s3 += d3;
            q0 = Vector512.FusedMultiplyAdd(d0, d0, q0);
            q1 = Vector512.FusedMultiplyAdd(d1, d1, q1);
            q2 = Vector512.FusedMultiplyAdd(d2, d2, q2);
            q3 = Vector512.FusedMultiplyAdd(d3, d3, q3);
        }

        for (; c < channels; c += 16)
        {
            int n = Math.Min(16, channels - c);
            Vector512<float> d = VectorMath.Load(x + c, n) - center;
            if (n < 16)
                d = Vector512.ConditionalSelect(
                    Vector512.LessThan(Vector512<int>.Indices, Vector512.Create(n)).AsSingle(),
                    d,
                    Vector512<float>.Zero
                );
            s0 += d;
            q0 = Vector512.FusedMultiplyAdd(d, d, q0);
        }

        // What rounding left of the mean: it matters where the mean is large beside the deviation.
        float error = Vector512.Sum(s0 + s1 + (s2 + s3)) / channels,
            variance = Math.Max(0, Vector512.Sum(q0 + q1 + (q2 + q3)) / channels - error * error);
        Vector512<float> inverse = Vector512.Create(1 / MathF.Sqrt(variance + epsilon)),
            offset = Vector512.Create(error);
        for (c = 0; c + 16 <= channels; c += 16)
        {
            Vector512<float> v = (Vector512.Load(x + c) - center - offset) * inverse;
            Vector512.FusedMultiplyAdd(v, Vector512.Load(weight + c), Vector512.Load(bias + c)).Store(y + c);
        }

        if (c < channels)
        {
            int n = channels - c;
            Vector512<float> v = (VectorMath.Load(x + c, n) - center - offset) * inverse;
            VectorMath.Store(
                Vector512.FusedMultiplyAdd(v, VectorMath.Load(weight + c, n), VectorMath.Load(bias + c, n)),
                y + c,
                n
            );
        }
    }

    /// <summary>See IKernels.Softmax.</summary>
    public static void Softmax(WorkerPool pool, long rows, int width, float* x, float* y)
    {
        int perTask = Math.Max(1, TaskElements / width);
        pool.Run(
            (int)((rows + perTask - 1) / perTask),
            (task, _) =>
            {
                for (long r = (long)task * perTask; r < Math.Min(rows, (task + 1L) * perTask); r++)
                {
                    float* from = x + r * width,
                        to = y + r * width;
                    float max = float.NegativeInfinity;
                    for (int i = 0; i < width; i++)
                        max = MathF.Max(max, from[i]);
                    double sum = 0;
                    for (int i = 0; i < width; i += 16)
                    {
                        int n = Math.Min(16, width - i);
                        VectorMath.Store(VectorMath.Exp(VectorMath.Load(from + i, n) - Vector512.Create(max)), to + i, n);
                        for (int j = 0; j < n; j++)
                            sum += to[i + j];
                    }

                    float inverse = (float)(1 / sum);
                    for (int i = 0; i < width; i++)
                        to[i] *= inverse;
                }
            }
        );
    }
}
