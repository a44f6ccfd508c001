using AfaNative.Kernels.Contracts;
using static AfaNative.Kernels.Host.HostBuffer;

namespace AfaNative.Kernels.Devices.Reference;

// Gradients of norms.
internal sealed unsafe partial class ReferenceGradients
{
    public void GroupNorm(
        in GroupNormShape shape,
        DeviceBuffer x,
        DeviceBuffer weight,
        DeviceBuffer bias,
        DeviceBuffer dy,
        DeviceBuffer dx,
        DeviceBuffer? dweight,
        DeviceBuffer? dbias
    )
    {
        GroupNormShape s = shape;
        int width = s.Channels / s.Groups;
        double[] dw = new double[s.Experts * s.Channels],
            db = new double[s.Experts * s.Channels];
        for (int image = 0; image < s.Experts * s.Batch; image++)
        {
            int e = image / s.Batch,
                map = s.SharedInput ? image % s.Batch : image;
            float* w = PointerOf(weight) + (long)e * s.Channels,
                o = PointerOf(bias) + (long)e * s.Channels;
            float* from = PointerOf(x) + (long)map * s.Pixels * s.Channels,
                g = PointerOf(dy) + (long)image * s.Pixels * s.Channels,
                to = PointerOf(dx) + (long)image * s.Pixels * s.Channels;
            for (int group = 0; group < s.Groups; group++)
            {
                int[] channel = [.. Enumerable.Range(group * width, width)];
                Normalize(
                    s.Pixels * width,
                    i => (long)(i / width) * s.Channels + channel[i % width],
                    i => channel[i % width],
                    e * s.Channels,
                    s.Epsilon,
                    s.Silu,
                    from,
                    g,
                    to,
                    w,
                    o,
                    dw,
                    db
                );
            }
        }

        Give(dw, dweight);
        Give(db, dbias);
    }

    public void LayerNorm(
        in LayerNormShape shape,
        DeviceBuffer x,
        DeviceBuffer weight,
        DeviceBuffer dy,
        DeviceBuffer dx,
        DeviceBuffer? dweight,
        DeviceBuffer? dbias
    )
    {
        LayerNormShape s = shape;
        double[] dw = new double[s.Experts * s.Channels],
            db = new double[s.Experts * s.Channels];
        for (int row = 0; row < s.Experts * s.Rows; row++)
        {
            int e = row / s.Rows;
            Normalize(
                s.Channels,
                i => i,
                i => i,
                e * s.Channels,
                s.Epsilon,
                false,
                PointerOf(x) + (long)(s.SharedInput ? row % s.Rows : row) * s.Channels,
                PointerOf(dy) + (long)row * s.Channels,
                PointerOf(dx) + (long)row * s.Channels,
                PointerOf(weight) + (long)e * s.Channels,
                null,
                dw,
                db
            );
        }

        Give(dw, dweight);
        Give(db, dbias);
    }

    // One normalized set of elements: at(i) is where element i lies, channel(i) its weight.
    private static void Normalize(
        int count,
        Func<int, long> at,
        Func<int, int> channel,
        int parameters,
        float epsilon,
        bool silu,
        float* x,
        float* dy,
        float* dx,
        float* weight,
        float* bias,
        double[] dweight,
        double[] dbias
    )
    {
        double mean = 0,
            variance = 0,
            a = 0,
            b = 0;
        for (int i = 0; i < count; i++)
            mean += x[at(i)] / (double)count;
        for (int i = 0; i < count; i++)
            variance += (x[at(i)] - mean) * (x[at(i)] - mean) / count;
        double inverse = 1 / Math.Sqrt(variance + epsilon);
        double[] normal = new double[count],
            g = new double[count];
        for (int i = 0; i < count; i++)
        {
            int c = channel(i);
            normal[i] = (x[at(i)] - mean) * inverse;
            double up = dy[at(i)];
            if (silu)
                up *= Derivative(ActivationKind.Silu, (float)(normal[i] * weight[c] + bias[c]));
            dweight[parameters + c] += up * normal[i];
            dbias[parameters + c] += up;
            g[i] = up * weight[c];
            a += g[i] / count;
            b += g[i] * normal[i] / count;
        }

        for (int i = 0; i < count; i++)
            dx[at(i)] = (float)(inverse * (g[i] - a - normal[i] * b));
    }
}
