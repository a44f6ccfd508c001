using AfaNative.Kernels.Contracts;

namespace AfaNative.Kernels.Activation;

/// <summary>Activations in float64.</summary>
internal static unsafe class ActivationReference
{
    /// <summary>f(x).</summary>
    public static double Apply(ActivationKind kind, double x) =>
        kind switch
        {
            ActivationKind.Silu => x / (1 + Math.Exp(-x)),
            ActivationKind.Gelu => 0.5 * x * (1 + Erf(x / Math.Sqrt(2))),
            ActivationKind.QuickGelu => x / (1 + Math.Exp(-1.702 * x)),
            _ => x,
        };

    /// <summary>erf to about 1e-15: Taylor series near zero, continued fraction of erfc beyond.</summary>
    public static double Erf(double x)
    {
        double a = Math.Abs(x);
        if (a > 6)
            return Math.Sign(x);
        if (a < 2.5)
        {
            double term = a,
                sum = a;
            for (int n = 1; n < 100 && Math.Abs(term) > 1e-18 * sum; n++)
            {
                term *= -a * a / n;
                sum += term / (2 * n + 1);
            }

            return Math.Sign(x) * 2 / Math.Sqrt(Math.PI) * sum;
        }

        double fraction = 0;
        for (int n = 100; n >= 1; n--)
            fraction = n / 2.0 / (a + fraction);
        return Math.Sign(x) * (1 - Math.Exp(-a * a) / Math.Sqrt(Math.PI) / (a + fraction));
    }

    /// <summary>See IKernels.Activate.</summary>
    public static void Run(ActivationKind kind, long count, float* x, float* y)
    {
        for (long i = 0; i < count; i++)
            y[i] = (float)Apply(kind, x[i]);
    }

    /// <summary>See IKernels.Geglu.</summary>
    public static void Geglu(long rows, int width, float* x, float* y)
    {
        for (long r = 0; r < rows; r++)
        {
            for (int j = 0; j < width; j++)
                y[r * width + j] = (float)(x[r * 2 * width + j] * Apply(ActivationKind.Gelu, x[r * 2 * width + width + j]));
        }
    }
}
