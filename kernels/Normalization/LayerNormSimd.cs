using System.Runtime.Intrinsics;
using AfaNative.Kernels.Activation;
using AfaNative.Kernels.Devices;

namespace AfaNative.Kernels.Normalization;

/// <summary>Layer norm and softmax: a row at a time, in first-level cache.</summary>
internal static unsafe class LayerNormSimd
{
    private const int TaskElements = 1 << 15;

    /// <summary>See <see cref="LayerNormShape"/>.</summary>
    public static void Run(WorkerPool pool, in LayerNormShape shape, float* x, float* weight, float* bias, float* y)
    {
        LayerNormShape s = shape;
        int channels = s.Channels, perTask = Math.Max(1, TaskElements / channels), tasks = (s.Rows + perTask - 1) / perTask;
        pool.Run(s.Experts * tasks, (task, _) =>
        {
            int e = task / tasks, first = (task - e * tasks) * perTask, last = Math.Min(s.Rows, first + perTask);
            float* w = weight + (long)e * channels, b = bias + (long)e * channels;
            for (int r = first; r < last; r++)
            {
                float* from = x + ((s.SharedInput ? 0L : (long)e * s.Rows) + r) * channels, to = y + ((long)e * s.Rows + r) * channels;
                Vector512<float> sums = Vector512<float>.Zero;
                for (int c = 0; c < channels; c += 16) sums += VectorMath.Load(from + c, Math.Min(16, channels - c));
                float mean = Vector512.Sum(sums) / channels;
                Vector512<float> squares = Vector512<float>.Zero, rest = squares;
                for (int c = 0; c < channels; c += 16)
                {
                    int n = Math.Min(16, channels - c);
                    Vector512<float> d = VectorMath.Load(from + c, n) - Vector512.Create(mean);
                    if (n < 16) d = Vector512.ConditionalSelect(Vector512.LessThan(Vector512<int>.Indices, Vector512.Create(n)).AsSingle(), d, Vector512<float>.Zero);
                    rest += d;
                    squares = Vector512.FusedMultiplyAdd(d, d, squares);
                }

                // What rounding left of the mean: it matters where the mean is large beside the deviation.
                float error = Vector512.Sum(rest) / channels, variance = Math.Max(0, Vector512.Sum(squares) / channels - error * error);
                Vector512<float> inverse = Vector512.Create(1 / MathF.Sqrt(variance + s.Epsilon)), center = Vector512.Create(mean), offset = Vector512.Create(error);
                for (int c = 0; c < channels; c += 16)
                {
                    int n = Math.Min(16, channels - c);
                    Vector512<float> v = (VectorMath.Load(from + c, n) - center - offset) * inverse;
                    VectorMath.Store(Vector512.FusedMultiplyAdd(v, VectorMath.Load(w + c, n), VectorMath.Load(b + c, n)), to + c, n);
                }
            }
        });
    }

    /// <summary>See IKernels.Softmax.</summary>
    public static void Softmax(WorkerPool pool, long rows, int width, float* x, float* y)
    {
        int perTask = Math.Max(1, TaskElements / width);
        pool.Run((int)((rows + perTask - 1) / perTask), (task, _) =>
        {
            for (long r = (long)task * perTask; r < Math.Min(rows, (task + 1L) * perTask); r++)
            {
                float* from = x + r * width, to = y + r * width;
                float max = float.NegativeInfinity;
                for (int i = 0; i < width; i++) max = MathF.Max(max, from[i]);
                double sum = 0;
                for (int i = 0; i < width; i += 16)
                {
                    int n = Math.Min(16, width - i);
                    VectorMath.Store(VectorMath.Exp(VectorMath.Load(from + i, n) - Vector512.Create(max)), to + i, n);
                    for (int j = 0; j < n; j++) sum += to[i + j];
                }

                float inverse = (float)(1 / sum);
                for (int i = 0; i < width; i++) to[i] *= inverse;
            }
        });
    }
}
