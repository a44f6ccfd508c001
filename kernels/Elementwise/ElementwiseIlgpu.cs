using AfaNative.Kernels.Devices.Ilgpu;
using AfaNative.Kernels.FeatureFusion;
using AfaNative.Kernels.Resampling;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Elementwise;

/// <summary>Sizes for the portable concatenation.</summary>
internal struct ConcatArguments
{
    public int Rows, ChannelsA, ChannelsB, SharedA, SharedB;
}

/// <summary>Ops that move, add or map single elements on any ILGPU device: a thread per output element.</summary>
internal static class ElementwiseIlgpu
{
    public static void Activate(Index1D i, int kind, ArrayView<float> x, ArrayView<float> y) => y[i] = PortableMath.Activate(kind, x[i]);

    public static void Geglu(Index1D i, int width, ArrayView<float> x, ArrayView<float> y)
    {
        int row = i / width, j = i - row * width;
        y[i] = x[row * 2 * width + j] * PortableMath.Activate(2, x[row * 2 * width + width + j]);
    }

    /// <summary>Shared inputs have a period of <paramref name="count"/>.</summary>
    public static void Add(Index1D i, int count, int sharedA, int sharedB, ArrayView<float> a, ArrayView<float> b, ArrayView<float> y)
    {
        int at = i, within = at % count;
        y[i] = a[sharedA == 1 ? within : at] + b[sharedB == 1 ? within : at];
    }

    public static void Concat(Index1D i, ConcatArguments s, ArrayView<float> a, ArrayView<float> b, ArrayView<float> y)
    {
        int width = s.ChannelsA + s.ChannelsB, row = i / width, c = i - row * width;
        if (c < s.ChannelsA) y[i] = a[(s.SharedA == 1 ? row % s.Rows : row) * s.ChannelsA + c];
        else y[i] = b[(s.SharedB == 1 ? row % s.Rows : row) * s.ChannelsB + c - s.ChannelsA];
    }

    public static void MeanOverExperts(Index1D i, int experts, int count, ArrayView<float> x, ArrayView<float> y)
    {
        float sum = 0;
        for (int e = 0; e < experts; e++) sum += x[e * count + i];
        y[i] = sum / experts;
    }

    public static void ExpertsToChannels(Index1D i, int experts, int rows, int channels, ArrayView<float> x, ArrayView<float> y)
    {
        int c = i % channels, e = i / channels % experts, row = i / channels / experts;
        y[i] = x[(e * rows + row) * channels + c];
    }

    public static void UpsampleNearest(Index1D i, UpsampleShape s, ArrayView<float> x, ArrayView<float> y)
    {
        int c = i % s.Channels, ox = i / s.Channels % s.OutWidth, oy = i / s.Channels / s.OutWidth % s.OutHeight, map = i / s.Channels / s.OutWidth / s.OutHeight;
        int iy = (int)(oy * ((float)s.Height / s.OutHeight)), ix = (int)(ox * ((float)s.Width / s.OutWidth));
        iy = iy < s.Height ? iy : s.Height - 1;
        ix = ix < s.Width ? ix : s.Width - 1;
        y[i] = x[((map * s.Height + iy) * s.Width + ix) * s.Channels + c];
    }

    public static void TokenEmbedding(Index1D i, int vocabulary, int positions, int length, int dim, ArrayView<int> ids, ArrayView<float> tokens, ArrayView<float> places, ArrayView<float> y)
    {
        int c = i % dim, token = i / dim % ids.IntLength, e = i / dim / ids.IntLength;
        y[i] = tokens[(e * vocabulary + ids[token]) * dim + c] + places[(e * positions + token % length) * dim + c];
    }

    /// <summary>One thread per element of y; the thread of channel 0 writes the maps.</summary>
    public static void FuseExperts(Index1D i, FusionShape s, int wantMaps, ArrayView<float> features, ArrayView<float> logits, ArrayView<float> y, ArrayView<float> maps)
    {
        int c = i % s.Channels, row = i / s.Channels, rows = s.Batch * s.Pixels, at = row * s.Experts;
        float max = logits[at], total = 0, sum = 0;
        for (int e = 1; e < s.Experts; e++) max = logits[at + e] > max ? logits[at + e] : max;
        for (int e = 0; e < s.Experts; e++) total += PortableMath.Exp(logits[at + e] - max);
        for (int e = 0; e < s.Experts; e++)
        {
            float weight = PortableMath.Exp(logits[at + e] - max) / total;
            sum += weight * features[(e * rows + row) * s.Channels + c];
            if (c == 0 && wantMaps == 1) maps[at + e] = weight;
        }

        y[i] = sum;
    }
}
