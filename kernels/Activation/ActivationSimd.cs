using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Host;
using AfaNative.Kernels.Vectors;

namespace AfaNative.Kernels.Activation;

/// <summary>Element-wise activations on 16 lanes.</summary>
internal static unsafe class ActivationSimd
{
    private const int Chunk = 1 << 16;

    /// <summary>See IKernels.Activate.</summary>
    public static void Run(WorkerPool pool, ActivationKind kind, long count, float* x, float* y) =>
        pool.Run(
            (int)((count + Chunk - 1) / Chunk),
            (task, _) =>
            {
                long end = Math.Min(count, (task + 1L) * Chunk);
                for (long i = (long)task * Chunk; i < end; i += 16)
                {
                    int n = (int)Math.Min(16, end - i);
                    VectorMath.Store(VectorMath.Apply(kind, VectorMath.Load(x + i, n)), y + i, n);
                }
            }
        );

    /// <summary>See IKernels.Geglu.</summary>
    public static void Geglu(WorkerPool pool, long rows, int width, float* x, float* y)
    {
        int rowsPerTask = Math.Max(1, Chunk / width);
        pool.Run(
            (int)((rows + rowsPerTask - 1) / rowsPerTask),
            (task, _) =>
            {
                for (long r = (long)task * rowsPerTask; r < Math.Min(rows, (task + 1L) * rowsPerTask); r++)
                {
                    float* from = x + r * 2 * width,
                        to = y + r * width;
                    for (int j = 0; j < width; j += 16)
                    {
                        int n = Math.Min(16, width - j);
                        VectorMath.Store(
                            VectorMath.Load(from + j, n) * VectorMath.Gelu(VectorMath.Load(from + width + j, n)),
                            to + j,
                            n
                        );
                    }
                }
            }
        );
    }
}
