using System.Runtime.Intrinsics;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Host;
using AfaNative.Kernels.Vectors;

namespace AfaNative.Kernels.Activation;

/// <summary>Derivatives of the activations on 16 lanes.</summary>
internal static unsafe class ActivationGradientSimd
{
    private const int Chunk = 1 << 15;

    /// <summary>f'(x).</summary>
    public static Vector512<float> Derivative(ActivationKind kind, Vector512<float> x)
    {
        Vector512<float> one = Vector512<float>.One;
        switch (kind)
        {
            case ActivationKind.Silu:
                Vector512<float> s = VectorMath.Sigmoid(x);
                return s * (one + x * (one - s));
            case ActivationKind.QuickGelu:
                Vector512<float> t = x * Vector512.Create(1.702f),
                    q = VectorMath.Sigmoid(t);
                return q * (one + t * (one - q));
            case ActivationKind.Gelu:
                // Phi(x) + x phi(x).
                Vector512<float> density = VectorMath.Exp(Vector512.Create(-0.5f) * x * x) * Vector512.Create(0.39894228f);
                return Vector512.Create(0.5f) * (one + VectorMath.Erf(x * Vector512.Create(0.70710678f))) + x * density;
            default:
                return one;
        }
    }

    /// <summary>See <see cref="IGradients.Activate"/>.</summary>
    public static void Run(WorkerPool pool, ActivationKind kind, long count, float* x, float* dy, float* dx) =>
        pool.Run(
            (int)((count + Chunk - 1) / Chunk),
            (task, _) =>
            {
                long end = Math.Min(count, (task + 1L) * Chunk);
                for (long i = (long)task * Chunk; i < end; i += 16)
                {
                    int n = (int)Math.Min(16, end - i);
                    VectorMath.Store(Derivative(kind, VectorMath.Load(x + i, n)) * VectorMath.Load(dy + i, n), dx + i, n);
                }
            }
        );

    /// <summary>See <see cref="IGradients.Geglu"/>.</summary>
    public static void Geglu(WorkerPool pool, long rows, int width, float* x, float* dy, float* dx)
    {
        int perTask = Math.Max(1, Chunk / width);
        pool.Run(
            (int)((rows + perTask - 1) / perTask),
            (task, _) =>
            {
                for (long r = (long)task * perTask; r < Math.Min(rows, (task + 1L) * perTask); r++)
                {
                    float* from = x + r * 2 * width,
                        to = dx + r * 2 * width,
                        g = dy + r * width;
                    for (int j = 0; j < width; j += 16)
                    {
                        int n = Math.Min(16, width - j);
                        Vector512<float> gate = VectorMath.Load(from + width + j, n),
                            up = VectorMath.Load(g + j, n),
                            value = VectorMath.Load(from + j, n);
                        VectorMath.Store(up * VectorMath.Gelu(gate), to + j, n);
                        VectorMath.Store(up * value * Derivative(ActivationKind.Gelu, gate), to + width + j, n);
                    }
                }
            }
        );
    }
}
