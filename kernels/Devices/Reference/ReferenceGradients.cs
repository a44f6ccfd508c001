using AfaNative.Kernels.Activation;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.MatrixMultiply;
using AfaNative.Kernels.Resampling;
using static AfaNative.Kernels.Host.HostBuffer;

namespace AfaNative.Kernels.Devices.Reference;

/// <summary>Every gradient as its definition reads: plain loops, sums in float64. What the others are checked against.</summary>
internal sealed unsafe partial class ReferenceGradients : IGradients
{
    public void LinearInput(in LinearShape shape, DeviceBuffer dy, PackedWeights weights, DeviceBuffer dx) =>
        ConvolutionInput(shape.AsConvolution(), dy, weights, dx);

    public void ConvolutionInput(in ConvolutionShape shape, DeviceBuffer dy, PackedWeights weights, DeviceBuffer dx)
    {
        ConvolutionShape s = shape;
        var packed = (CpuPackedWeights)weights;
        int inputs = weights.Shape.In,
            outputs = weights.Shape.Out;
        float* g = PointerOf(dy),
            to = PointerOf(dx);
        var sums = new double[(long)s.Experts * s.Batch * s.Height * s.Width * inputs];
        Taps(
            s,
            (e, b, oy, ox, iy, ix, tap) =>
            {
                float* from = g + (((long)(e * s.Batch + b) * s.OutHeight + oy) * s.OutWidth + ox) * outputs;
                long at = (((long)(e * s.Batch + b) * s.Height + iy) * s.Width + ix) * inputs;
                for (int n = 0; n < outputs; n++)
                {
                    for (int i = 0; i < inputs; i++)
                        sums[at + i] += (double)from[n] * packed.At(e, n, tap * inputs + i);
                }
            }
        );
        for (long i = 0; i < sums.LongLength; i++)
            to[i] = (float)sums[i];
    }

    public void LinearWeights(in LinearShape shape, WeightShape weights, DeviceBuffer x, DeviceBuffer dy, DeviceBuffer dw) =>
        ConvolutionWeights(shape.AsConvolution(), weights, x, dy, dw);

    public void ConvolutionWeights(
        in ConvolutionShape shape,
        WeightShape weights,
        DeviceBuffer x,
        DeviceBuffer dy,
        DeviceBuffer dw
    )
    {
        ConvolutionShape s = shape;
        int inputs = weights.In,
            outputs = weights.Out,
            taps = weights.KernelHeight * weights.KernelWidth;
        float* g = PointerOf(dy),
            from = PointerOf(x),
            to = PointerOf(dw);
        var sums = new double[(long)s.Experts * outputs * inputs * taps];
        Taps(
            s,
            (e, b, oy, ox, iy, ix, tap) =>
            {
                float* up = g + (((long)(e * s.Batch + b) * s.OutHeight + oy) * s.OutWidth + ox) * outputs;
                float* pixel = from + (((long)((s.SharedInput ? 0 : e) * s.Batch + b) * s.Height + iy) * s.Width + ix) * inputs;
                for (int n = 0; n < outputs; n++)
                {
                    for (int i = 0; i < inputs; i++)
                        sums[(((long)e * outputs + n) * inputs + i) * taps + tap] += (double)up[n] * pixel[i];
                }
            }
        );
        for (long i = 0; i < sums.LongLength; i++)
            to[i] = (float)sums[i];
    }

    public void SumRows(int experts, long rows, long rowsPerGroup, int columns, DeviceBuffer x, DeviceBuffer y)
    {
        float* from = PointerOf(x),
            to = PointerOf(y);
        long groups = (rows + rowsPerGroup - 1) / rowsPerGroup;
        for (long i = 0; i < experts * groups * columns; i++)
        {
            long c = i % columns,
                g = i / columns % groups,
                e = i / columns / groups;
            double sum = 0;
            for (long r = g * rowsPerGroup; r < Math.Min(rows, (g + 1) * rowsPerGroup); r++)
                sum += from[(e * rows + r) * columns + c];
            to[i] = (float)sum;
        }
    }

    public void Attention(
        in AttentionShape shape,
        DeviceBuffer q,
        DeviceBuffer k,
        DeviceBuffer v,
        DeviceBuffer y,
        DeviceBuffer dy,
        DeviceBuffer dq,
        DeviceBuffer dk,
        DeviceBuffer dv
    )
    {
        AttentionShape s = shape;
        float* pq = PointerOf(q),
            pk = PointerOf(k),
            pv = PointerOf(v),
            g = PointerOf(dy),
            gq = PointerOf(dq),
            gk = PointerOf(dk),
            gv = PointerOf(dv);
        int d = s.HeadWidth,
            channels = s.Channels;
        for (int head = 0; head < s.Experts * s.Batch * s.Heads; head++)
        {
            int image = head / s.Heads;
            long queries = (long)image * s.Queries * channels + head % s.Heads * d,
                keys = (long)image * s.Keys * channels + head % s.Heads * d;
            double[] sumK = new double[s.Keys * d],
                sumV = new double[s.Keys * d],
                p = new double[s.Keys],
                dp = new double[s.Keys];
            for (int i = 0; i < s.Queries; i++)
            {
                int end = s.Causal ? Math.Min(s.Keys, i + 1) : s.Keys;
                long at = queries + (long)i * channels;
                double max = double.NegativeInfinity,
                    total = 0,
                    mean = 0;
                for (int j = 0; j < end; j++)
                    max = Math.Max(max, p[j] = Dot(pq + at, pk + keys + (long)j * channels, d) * s.Scale);
                for (int j = 0; j < end; j++)
                    total += p[j] = Math.Exp(p[j] - max);
                for (int j = 0; j < end; j++)
                {
                    p[j] /= total;
                    dp[j] = Dot(g + at, pv + keys + (long)j * channels, d);
                    mean += p[j] * dp[j];
                }

                for (int c = 0; c < d; c++)
                {
                    double sum = 0;
                    for (int j = 0; j < end; j++)
                    {
                        double ds = p[j] * (dp[j] - mean) * s.Scale;
                        sum += ds * pk[keys + (long)j * channels + c];
                        sumK[j * d + c] += ds * pq[at + c];
                        sumV[j * d + c] += p[j] * g[at + c];
                    }

                    gq[at + c] = (float)sum;
                }
            }

            for (int j = 0; j < s.Keys; j++)
            {
                for (int c = 0; c < d; c++)
                {
                    gk[keys + (long)j * channels + c] = (float)sumK[j * d + c];
                    gv[keys + (long)j * channels + c] = (float)sumV[j * d + c];
                }
            }
        }
    }

    public void Activate(ActivationKind kind, long count, DeviceBuffer x, DeviceBuffer dy, DeviceBuffer dx)
    {
        float* from = PointerOf(x),
            g = PointerOf(dy),
            to = PointerOf(dx);
        for (long i = 0; i < count; i++)
            to[i] = (float)(Derivative(kind, from[i]) * g[i]);
    }

    public void Geglu(long rows, int width, DeviceBuffer x, DeviceBuffer dy, DeviceBuffer dx)
    {
        float* from = PointerOf(x),
            g = PointerOf(dy),
            to = PointerOf(dx);
        for (long i = 0; i < rows * width; i++)
        {
            long at = i / width * 2 * width + i % width;
            to[at] = (float)(g[i] * ActivationReference.Apply(ActivationKind.Gelu, from[at + width]));
            to[at + width] = (float)((double)g[i] * from[at] * Derivative(ActivationKind.Gelu, from[at + width]));
        }
    }

    public void Softmax(long rows, int width, DeviceBuffer y, DeviceBuffer dy, DeviceBuffer dx)
    {
        float* p = PointerOf(y),
            g = PointerOf(dy),
            to = PointerOf(dx);
        for (long r = 0; r < rows; r++, p += width, g += width, to += width)
        {
            double dot = Dot(p, g, width);
            for (int i = 0; i < width; i++)
                to[i] = (float)(p[i] * (g[i] - dot));
        }
    }

    public void UpsampleNearest(in UpsampleShape shape, DeviceBuffer dy, DeviceBuffer dx)
    {
        UpsampleShape s = shape;
        float* g = PointerOf(dy),
            to = PointerOf(dx);
        var sums = new double[(long)s.Maps * s.Height * s.Width * s.Channels];
        for (long i = 0; i < (long)s.Maps * s.OutHeight * s.OutWidth * s.Channels; i++)
        {
            long pixel = i / s.Channels,
                row = pixel / s.OutWidth;
            int iy = NearestUpsampling.Source((int)(row % s.OutHeight), s.Height, s.OutHeight),
                ix = NearestUpsampling.Source((int)(pixel % s.OutWidth), s.Width, s.OutWidth);
            sums[((row / s.OutHeight * s.Height + iy) * s.Width + ix) * s.Channels + i % s.Channels] += g[i];
        }

        for (long i = 0; i < sums.LongLength; i++)
            to[i] = (float)sums[i];
    }

    public void Split(in ConcatShape shape, DeviceBuffer dy, DeviceBuffer da, DeviceBuffer db)
    {
        float* g = PointerOf(dy),
            a = PointerOf(da),
            b = PointerOf(db);
        int width = shape.ChannelsA + shape.ChannelsB;
        for (long i = 0; i < shape.Experts * shape.Rows * width; i++)
        {
            long row = i / width,
                c = i % width;
            if (c < shape.ChannelsA)
                a[row * shape.ChannelsA + c] = g[i];
            else
                b[row * shape.ChannelsB + c - shape.ChannelsA] = g[i];
        }
    }

    public void SumOverExperts(int experts, long count, DeviceBuffer x, DeviceBuffer y)
    {
        float* from = PointerOf(x),
            to = PointerOf(y);
        for (long i = 0; i < count; i++)
        {
            double sum = 0;
            for (int e = 0; e < experts; e++)
                sum += from[e * count + i];
            to[i] = (float)sum;
        }
    }

    public void RepeatForExperts(int experts, long count, float scale, DeviceBuffer x, DeviceBuffer y)
    {
        float* from = PointerOf(x),
            to = PointerOf(y);
        for (long i = 0; i < experts * count; i++)
            to[i] = scale * from[i % count];
    }

    public void ChannelsToExperts(int experts, long rows, int channels, DeviceBuffer x, DeviceBuffer y)
    {
        float* from = PointerOf(x),
            to = PointerOf(y);
        for (long i = 0; i < experts * rows * channels; i++)
            to[i] = from[(i / channels % rows * experts + i / channels / rows) * channels + i % channels];
    }

    public void FuseExperts(
        in FusionShape shape,
        DeviceBuffer features,
        DeviceBuffer logits,
        DeviceBuffer dy,
        DeviceBuffer? dmaps,
        DeviceBuffer dfeatures,
        DeviceBuffer dlogits
    )
    {
        FusionShape s = shape;
        long rows = (long)s.Batch * s.Pixels;
        float* f = PointerOf(features),
            l = PointerOf(logits),
            g = PointerOf(dy),
            df = PointerOf(dfeatures),
            dl = PointerOf(dlogits),
            m = dmaps is null ? null : PointerOf(dmaps);
        double[] weights = new double[s.Experts],
            upstream = new double[s.Experts];
        for (long r = 0; r < rows; r++)
        {
            double max = double.NegativeInfinity,
                total = 0,
                mean = 0;
            for (int e = 0; e < s.Experts; e++)
                max = Math.Max(max, l[r * s.Experts + e]);
            for (int e = 0; e < s.Experts; e++)
                total += weights[e] = Math.Exp(l[r * s.Experts + e] - max);
            for (int e = 0; e < s.Experts; e++)
            {
                weights[e] /= total;
                long at = (e * rows + r) * s.Channels;
                upstream[e] = Dot(g + r * s.Channels, f + at, s.Channels) + (m == null ? 0 : m[r * s.Experts + e]);
                mean += weights[e] * upstream[e];
                for (int c = 0; c < s.Channels; c++)
                    df[at + c] = (float)(weights[e] * g[r * s.Channels + c]);
            }

            for (int e = 0; e < s.Experts; e++)
                dl[r * s.Experts + e] = (float)(weights[e] * (upstream[e] - mean));
        }
    }

    private static double Derivative(ActivationKind kind, float x)
    {
        // The slope of the reference function itself, written out.
        double s = 1 / (1 + Math.Exp(-(double)x)),
            q = 1 / (1 + Math.Exp(-1.702 * x));
        return kind switch
        {
            ActivationKind.Silu => s * (1 + x * (1 - s)),
            ActivationKind.QuickGelu => q * (1 + 1.702 * x * (1 - q)),
            ActivationKind.Gelu => (x == 0 ? 0.5 : ActivationReference.Apply(ActivationKind.Gelu, x) / (double)x)
                + x * Math.Exp(-0.5 * x * x) / Math.Sqrt(2 * Math.PI),
            _ => 1,
        };
    }

    private static void Taps(ConvolutionShape s, Action<int, int, int, int, int, int, int> visit)
    {
        for (int e = 0; e < s.Experts; e++)
        {
            for (int b = 0; b < s.Batch; b++)
            {
                for (int o = 0; o < s.OutHeight * s.OutWidth; o++)
                {
                    for (int tap = 0; tap < s.KernelHeight * s.KernelWidth; tap++)
                    {
                        int oy = o / s.OutWidth,
                            ox = o % s.OutWidth,
                            iy = oy * s.Stride - s.PadTop + tap / s.KernelWidth,
                            ix = ox * s.Stride - s.PadLeft + tap % s.KernelWidth;
                        if (iy >= 0 && iy < s.Height && ix >= 0 && ix < s.Width)
                            visit(e, b, oy, ox, iy, ix, tap);
                    }
                }
            }
        }
    }

    private static double Dot(float* a, float* b, int count)
    {
        double sum = 0;
        for (int i = 0; i < count; i++)
            sum += (double)a[i] * b[i];
        return sum;
    }

    private static void Give(double[] sums, DeviceBuffer? to)
    {
        if (to is null)
            return;
        for (int i = 0; i < sums.Length; i++)
            PointerOf(to)[i] = (float)sums[i];
    }
}
