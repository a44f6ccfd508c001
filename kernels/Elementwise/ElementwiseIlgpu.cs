using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Gpu;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Elementwise;

/// <summary>Sizes for the portable concatenation.</summary>
internal struct ConcatArguments
{
    public int Rows,
        ChannelsA,
        ChannelsB,
        SharedA,
        SharedB;
}

/// <summary>Ops that move, add or map single elements on any ILGPU device: a thread per output element.</summary>
internal static class ElementwiseIlgpu<T, TStorage>
    where T : unmanaged
    where TStorage : struct, IStorage<T>
{
    public static void Activate(Index1D i, int kind, ArrayView<T> x, ArrayView<T> y) =>
        Store(y, i, PortableMath.Activate(kind, Load(x, i)));

    public static void Geglu(Index1D i, int width, ArrayView<T> x, ArrayView<T> y)
    {
        int row = i / width,
            j = i - row * width;
        Store(y, i, Load(x, row * 2 * width + j) * PortableMath.Activate(2, Load(x, row * 2 * width + width + j)));
    }

    /// <summary>Shared inputs have a period of <paramref name="count"/>.</summary>
    public static void Add(Index1D i, int count, int sharedA, int sharedB, ArrayView<T> a, ArrayView<T> b, ArrayView<T> y)
    {
        int at = i,
            within = at % count;
        Store(y, i, Load(a, sharedA == 1 ? within : at) + Load(b, sharedB == 1 ? within : at));
    }

    public static void Concat(Index1D i, ConcatArguments s, ArrayView<T> a, ArrayView<T> b, ArrayView<T> y)
    {
        int width = s.ChannelsA + s.ChannelsB,
            row = i / width,
            c = i - row * width;
        if (c < s.ChannelsA)
            Store(y, i, Load(a, (s.SharedA == 1 ? row % s.Rows : row) * s.ChannelsA + c));
        else
            Store(y, i, Load(b, (s.SharedB == 1 ? row % s.Rows : row) * s.ChannelsB + c - s.ChannelsA));
    }

    public static void MeanOverExperts(Index1D i, int experts, int count, ArrayView<T> x, ArrayView<T> y)
    {
        float sum = 0;
        for (int e = 0; e < experts; e++)
            sum += Load(x, e * count + i);
        Store(y, i, sum / experts);
    }

    public static void ExpertsToChannels(Index1D i, int experts, int rows, int channels, ArrayView<T> x, ArrayView<T> y)
    {
        int c = i % channels,
            e = i / channels % experts,
            row = i / channels / experts;
        Store(y, i, Load(x, (e * rows + row) * channels + c));
    }

    public static void UpsampleNearest(Index1D i, UpsampleShape s, ArrayView<T> x, ArrayView<T> y)
    {
        int c = i % s.Channels,
            ox = i / s.Channels % s.OutWidth,
            oy = i / s.Channels / s.OutWidth % s.OutHeight,
            map = i / s.Channels / s.OutWidth / s.OutHeight;
        int iy = (int)(oy * ((float)s.Height / s.OutHeight)),
            ix = (int)(ox * ((float)s.Width / s.OutWidth));
        iy = iy < s.Height ? iy : s.Height - 1;
        ix = ix < s.Width ? ix : s.Width - 1;
        Store(y, i, Load(x, ((map * s.Height + iy) * s.Width + ix) * s.Channels + c));
    }

    public static void TokenEmbedding(
        Index1D i,
        int vocabulary,
        int positions,
        int length,
        int dim,
        ArrayView<int> ids,
        ArrayView<T> tokens,
        ArrayView<T> places,
        ArrayView<T> y
    )
    {
        int c = i % dim,
            token = i / dim % ids.IntLength,
            e = i / dim / ids.IntLength;
        Store(
            y,
            i,
            Load(tokens, (e * vocabulary + ids[token]) * dim + c) + Load(places, (e * positions + token % length) * dim + c)
        );
    }

    /// <summary>One thread per element of y; the thread of channel 0 writes the maps.</summary>
    public static void FuseExperts(
        Index1D i,
        FusionShape s,
        int wantMaps,
        ArrayView<T> features,
        ArrayView<T> logits,
        ArrayView<T> y,
        ArrayView<T> maps
    )
    {
        int c = i % s.Channels,
            row = i / s.Channels,
            rows = s.Batch * s.Pixels,
            at = row * s.Experts;
        float max = Load(logits, at),
            total = 0,
            sum = 0;
        for (int e = 1; e < s.Experts; e++)
            max = Load(logits, at + e) > max ? Load(logits, at + e) : max;
        for (int e = 0; e < s.Experts; e++)
            total += PortableMath.Exp(Load(logits, at + e) - max);
        for (int e = 0; e < s.Experts; e++)
        {
            float weight = PortableMath.Exp(Load(logits, at + e) - max) / total;
            sum += weight * Load(features, (e * rows + row) * s.Channels + c);
            if (c == 0 && wantMaps == 1)
                Store(maps, at + e, weight);
        }

        Store(y, i, sum);
    }

    private static float Load(ArrayView<T> view, int index) => default(TStorage).Load(view, index);

    private static void Store(ArrayView<T> view, int index, float value) => default(TStorage).Store(view, index, value);
}
