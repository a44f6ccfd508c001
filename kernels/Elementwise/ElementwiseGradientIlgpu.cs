using AfaNative.Kernels.Devices.Ilgpu;
using AfaNative.Kernels.FeatureFusion;
using AfaNative.Kernels.Resampling;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Elementwise;

/// <summary>Gradients of ops that move, add or map single elements, and of SABW's fusion, on any ILGPU device, float32.</summary>
internal static class ElementwiseGradientIlgpu
{
    /// <summary>f'(x) of the function numbered as in ActivationKind.</summary>
    public static float Derivative(int kind, float x)
    {
        if (kind == 1)
        {
            float s = 1 / (1 + PortableMath.Exp(-x));
            return s * (1 + x * (1 - s));
        }

        if (kind == 2) return 0.5f * (1 + PortableMath.Erf(x * 0.70710678f)) + x * 0.39894228f * PortableMath.Exp(-0.5f * x * x);
        if (kind == 3)
        {
            float q = 1 / (1 + PortableMath.Exp(-1.702f * x));
            return q * (1 + 1.702f * x * (1 - q));
        }

        return 1;
    }

    public static void Activate(Index1D i, int kind, ArrayView<float> x, ArrayView<float> dy, ArrayView<float> dx) => dx[i] = Derivative(kind, x[i]) * dy[i];

    /// <summary>index = element of dy [rows, width].</summary>
    public static void Geglu(Index1D i, int width, ArrayView<float> x, ArrayView<float> dy, ArrayView<float> dx)
    {
        int row = i / width, at = row * 2 * width + (i - row * width);
        float gate = x[at + width], g = dy[i];
        dx[at] = g * PortableMath.Activate(2, gate);
        dx[at + width] = g * x[at] * Derivative(2, gate);
    }

    /// <summary>index = element of dx; looks for the outputs that came from it, which lie together.</summary>
    public static void UpsampleNearest(Index1D i, UpsampleShape s, ArrayView<float> dy, ArrayView<float> dx)
    {
        int c = i % s.Channels, ix = i / s.Channels % s.Width, iy = i / s.Channels / s.Width % s.Height, map = i / s.Channels / s.Width / s.Height;
        float sum = 0;
        for (int oy = 0; oy < s.OutHeight; oy++)
        {
            int y = (int)(oy * ((float)s.Height / s.OutHeight));
            if ((y < s.Height ? y : s.Height - 1) == iy)
            {
                for (int ox = 0; ox < s.OutWidth; ox++)
                {
                    int x = (int)(ox * ((float)s.Width / s.OutWidth));
                    if ((x < s.Width ? x : s.Width - 1) == ix) sum += dy[((map * s.OutHeight + oy) * s.OutWidth + ox) * s.Channels + c];
                }
            }
        }

        dx[i] = sum;
    }

    /// <summary>index = element of dy.</summary>
    public static void Split(Index1D i, ConcatArguments s, ArrayView<float> dy, ArrayView<float> da, ArrayView<float> db)
    {
        int width = s.ChannelsA + s.ChannelsB, row = i / width, c = i - row * width;
        if (c < s.ChannelsA) da[row * s.ChannelsA + c] = dy[i];
        else db[row * s.ChannelsB + c - s.ChannelsA] = dy[i];
    }

    public static void SumOverExperts(Index1D i, int experts, int count, ArrayView<float> x, ArrayView<float> y)
    {
        float sum = 0;
        for (int e = 0; e < experts; e++) sum += x[e * count + i];
        y[i] = sum;
    }

    public static void RepeatForExperts(Index1D i, int count, float scale, ArrayView<float> x, ArrayView<float> y) => y[i] = scale * x[i % count];

    /// <summary>index = element of y [E, rows, C].</summary>
    public static void ChannelsToExperts(Index1D i, int experts, int rows, int channels, ArrayView<float> x, ArrayView<float> y)
    {
        int c = i % channels, row = i / channels % rows, e = i / channels / rows;
        y[i] = x[(row * experts + e) * channels + c];
    }

    /// <summary>index = pixel; dmaps counts when <paramref name="hasMaps"/> is 1.</summary>
    public static void FuseExperts(Index1D row, FusionShape s, int hasMaps, ArrayView<float> features, ArrayView<float> logits, ArrayView<float> dy, ArrayView<float> dmaps, ArrayView<float> dfeatures, ArrayView<float> dlogits)
    {
        int rows = s.Batch * s.Pixels, at = row * s.Experts;
        float max = logits[at], total = 0, mean = 0;
        for (int e = 1; e < s.Experts; e++) max = logits[at + e] > max ? logits[at + e] : max;
        for (int e = 0; e < s.Experts; e++) total += PortableMath.Exp(logits[at + e] - max);
        for (int e = 0; e < s.Experts; e++)
        {
            float weight = PortableMath.Exp(logits[at + e] - max) / total, dot = hasMaps == 1 ? dmaps[at + e] : 0;
            for (int c = 0; c < s.Channels; c++)
            {
                int from = (e * rows + row) * s.Channels + c;
                dot += dy[row * s.Channels + c] * features[from];
                dfeatures[from] = weight * dy[row * s.Channels + c];
            }

            dlogits[at + e] = dot;
            mean += weight * dot;
        }

        for (int e = 0; e < s.Experts; e++) dlogits[at + e] = PortableMath.Exp(logits[at + e] - max) / total * (dlogits[at + e] - mean);
    }
}
