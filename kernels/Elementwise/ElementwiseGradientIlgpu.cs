using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Gpu;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Elementwise;

/// <summary>Gradients of ops that move, add or map single elements, and of SABW's fusion, on any ILGPU device.</summary>
internal static class ElementwiseGradientIlgpu<T, TStorage>
    where T : unmanaged
    where TStorage : struct, IStorage<T>
{
    public static void Activate(Index1D i, int kind, ArrayView<T> x, ArrayView<T> dy, ArrayView<T> dx) =>
        Store(dx, i, PortableMath.Derivative(kind, Load(x, i)) * Load(dy, i));

    /// <summary>index = element of dy [rows, width].</summary>
    public static void Geglu(Index1D i, int width, ArrayView<T> x, ArrayView<T> dy, ArrayView<T> dx)
    {
        int row = i / width,
            at = row * 2 * width + (i - row * width);
        float gate = Load(x, at + width),
            g = Load(dy, i);
        Store(dx, at, g * PortableMath.Activate(2, gate));
        Store(dx, at + width, g * Load(x, at) * PortableMath.Derivative(2, gate));
    }

    /// <summary>index = element of dx; looks for the outputs that came from it, which lie together.</summary>
    public static void UpsampleNearest(Index1D i, UpsampleShape s, ArrayView<T> dy, ArrayView<T> dx)
    {
        int c = i % s.Channels,
            ix = i / s.Channels % s.Width,
            iy = i / s.Channels / s.Width % s.Height,
            map = i / s.Channels / s.Width / s.Height;
        float sum = 0;
        for (int oy = 0; oy < s.OutHeight; oy++)
        {
            int y = (int)(oy * ((float)s.Height / s.OutHeight));
            if ((y < s.Height ? y : s.Height - 1) == iy)
            {
                for (int ox = 0; ox < s.OutWidth; ox++)
                {
                    int x = (int)(ox * ((float)s.Width / s.OutWidth));
                    if ((x < s.Width ? x : s.Width - 1) == ix)
                        sum += Load(dy, ((map * s.OutHeight + oy) * s.OutWidth + ox) * s.Channels + c);
                }
            }
        }

        Store(dx, i, sum);
    }

    /// <summary>index = element of dy.</summary>
    public static void Split(Index1D i, ConcatArguments s, ArrayView<T> dy, ArrayView<T> da, ArrayView<T> db)
    {
        int width = s.ChannelsA + s.ChannelsB,
            row = i / width,
            c = i - row * width;
        if (c < s.ChannelsA)
            Store(da, row * s.ChannelsA + c, Load(dy, i));
        else
            Store(db, row * s.ChannelsB + c - s.ChannelsA, Load(dy, i));
    }

    public static void SumOverExperts(Index1D i, int experts, int count, ArrayView<T> x, ArrayView<T> y)
    {
        float sum = 0;
        for (int e = 0; e < experts; e++)
            sum += Load(x, e * count + i);
        Store(y, i, sum);
    }

    public static void RepeatForExperts(Index1D i, int count, float scale, ArrayView<T> x, ArrayView<T> y) =>
        Store(y, i, scale * Load(x, i % count));

    /// <summary>index = element of y [E, rows, C].</summary>
    public static void ChannelsToExperts(Index1D i, int experts, int rows, int channels, ArrayView<T> x, ArrayView<T> y)
    {
        int c = i % channels,
            row = i / channels % rows,
            e = i / channels / rows;
        Store(y, i, Load(x, (row * experts + e) * channels + c));
    }

    /// <summary>index = pixel; dmaps counts when <paramref name="hasMaps"/> is 1.</summary>
    public static void FuseExperts(
        Index1D row,
        FusionShape s,
        int hasMaps,
        ArrayView<T> features,
        ArrayView<T> logits,
        ArrayView<T> dy,
        ArrayView<T> dmaps,
        ArrayView<T> dfeatures,
        ArrayView<T> dlogits
    )
    {
        int rows = s.Batch * s.Pixels,
            at = row * s.Experts;
        float max = Load(logits, at),
            total = 0,
            mean = 0;
        for (int e = 1; e < s.Experts; e++)
            max = Load(logits, at + e) > max ? Load(logits, at + e) : max;
        for (int e = 0; e < s.Experts; e++)
            total += PortableMath.Exp(Load(logits, at + e) - max);
        // What each weight is due is computed twice, for want of float32 room to keep it.
        for (int pass = 0; pass < 2; pass++)
        {
            for (int e = 0; e < s.Experts; e++)
            {
                float weight = PortableMath.Exp(Load(logits, at + e) - max) / total,
                    dot = hasMaps == 1 ? Load(dmaps, at + e) : 0;
                for (int c = 0; c < s.Channels; c++)
                {
                    int from = (e * rows + row) * s.Channels + c;
                    float g = Load(dy, row * s.Channels + c);
                    dot += g * Load(features, from);
                    if (pass == 0)
                        Store(dfeatures, from, weight * g);
                }

                if (pass == 0)
                    mean += weight * dot;
                else
                    Store(dlogits, at + e, weight * (dot - mean));
            }
        }
    }

    /// <summary>y[i] = x[i], rounded to storage.</summary>
    public static void Narrow(Index1D i, ArrayView<float> x, ArrayView<T> y) => Store(y, i, x[i]);

    private static float Load(ArrayView<T> view, int index) => default(TStorage).Load(view, index);

    private static void Store(ArrayView<T> view, int index, float value) => default(TStorage).Store(view, index, value);
}
