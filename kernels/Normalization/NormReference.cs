using AfaNative.Kernels.Activation;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Kernels.Normalization;

/// <summary>Norms and softmax as their contracts read, in float64.</summary>
internal static unsafe class NormReference
{
    /// <summary>See <see cref="GroupNormShape"/>.</summary>
    public static void GroupNorm(in GroupNormShape s, float* x, float* weight, float* bias, float* y)
    {
        int width = s.Channels / s.Groups;
        for (int e = 0; e < s.Experts; e++)
        {
            for (int b = 0; b < s.Batch; b++)
            {
                float* from = x + ((s.SharedInput ? 0L : (long)e * s.Batch) + b) * s.Pixels * s.Channels,
                    to = y + ((long)e * s.Batch + b) * s.Pixels * s.Channels;
                for (int g = 0; g < s.Groups; g++)
                {
                    double mean = 0,
                        variance = 0;
                    for (int i = 0; i < s.Pixels * width; i++)
                        mean += from[(long)(i / width) * s.Channels + g * width + i % width];
                    mean /= (double)s.Pixels * width;
                    for (int i = 0; i < s.Pixels * width; i++)
                        variance += Math.Pow(from[(long)(i / width) * s.Channels + g * width + i % width] - mean, 2);
                    variance /= (double)s.Pixels * width;
                    for (int i = 0; i < s.Pixels * width; i++)
                    {
                        int c = g * width + i % width;
                        long at = (long)(i / width) * s.Channels + c;
                        double v =
                            (from[at] - mean) / Math.Sqrt(variance + s.Epsilon) * weight[(long)e * s.Channels + c]
                            + bias[(long)e * s.Channels + c];
                        to[at] = (float)(s.Silu ? ActivationReference.Apply(ActivationKind.Silu, v) : v);
                    }
                }
            }
        }
    }

    /// <summary>See <see cref="LayerNormShape"/>.</summary>
    public static void LayerNorm(in LayerNormShape s, float* x, float* weight, float* bias, float* y)
    {
        for (int e = 0; e < s.Experts; e++)
        {
            for (int r = 0; r < s.Rows; r++)
            {
                float* from = x + ((s.SharedInput ? 0L : (long)e * s.Rows) + r) * s.Channels,
                    to = y + ((long)e * s.Rows + r) * s.Channels;
                double mean = 0,
                    variance = 0;
                for (int c = 0; c < s.Channels; c++)
                    mean += from[c];
                mean /= s.Channels;
                for (int c = 0; c < s.Channels; c++)
                    variance += (from[c] - mean) * (from[c] - mean);
                variance /= s.Channels;
                for (int c = 0; c < s.Channels; c++)
                    to[c] = (float)(
                        (from[c] - mean) / Math.Sqrt(variance + s.Epsilon) * weight[(long)e * s.Channels + c]
                        + bias[(long)e * s.Channels + c]
                    );
            }
        }
    }

    /// <summary>See IKernels.Softmax.</summary>
    public static void Softmax(long rows, int width, float* x, float* y)
    {
        for (long r = 0; r < rows; r++)
        {
            double max = double.NegativeInfinity,
                sum = 0;
            for (int i = 0; i < width; i++)
                max = Math.Max(max, x[r * width + i]);
            for (int i = 0; i < width; i++)
                sum += Math.Exp(x[r * width + i] - max);
            for (int i = 0; i < width; i++)
                y[r * width + i] = (float)(Math.Exp(x[r * width + i] - max) / sum);
        }
    }
}
