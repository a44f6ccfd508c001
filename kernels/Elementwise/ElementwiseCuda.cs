using AfaNative.Kernels.Gpu;
using ILGPU;

namespace AfaNative.Kernels.Elementwise;

/// <summary>Addresses and sizes of an element-wise op on CUDA; what each field means is up to the op.</summary>
internal struct ElementwiseCudaArguments
{
    public ulong A,
        B,
        Y,
        Maps;
    public int Chunks,
        Kind,
        Experts,
        Rows,
        Channels,
        ChannelsB,
        SharedA,
        SharedB,
        Height,
        Width,
        OutHeight,
        OutWidth;
}

/// <summary>Ops that move, add or map 16-bit elements, a thread per chunk of eight channels of the output.</summary>
internal static class ElementwiseCuda<TMath>
    where TMath : struct, IHalfMath
{
    /// <summary>Threads of a block.</summary>
    public const int Threads = 256;

    private static int Index => Grid.IdxX * Threads + Group.IdxX;

    /// <summary>y = f(x).</summary>
    public static void Activate(ElementwiseCudaArguments s)
    {
        int i = Index;
        if (i >= s.Chunks)
            return;
        ulong at = (ulong)i * 16;
        F8 v = Eight<TMath>.Load(s.A + at);
        for (int j = 0; j < 8; j++)
            v = new F8
            {
                A = v.B,
                B = v.C,
                C = v.D,
                D = v.E,
                E = v.F,
                F = v.G,
                G = v.H,
                H = PortableMath.Activate(s.Kind, v.A),
            };
        Eight<TMath>.Store(s.Y + at, v);
    }

    /// <summary>y = a + b; Rows chunks an expert, a shared map starts again with every expert.</summary>
    public static void Add(ElementwiseCudaArguments s)
    {
        int i = Index;
        if (i >= s.Chunks)
            return;
        int within = i % s.Rows;
        ulong a = (ulong)(s.SharedA == 1 ? within : i) * 16,
            b = (ulong)(s.SharedB == 1 ? within : i) * 16;
        Eight<TMath>.Store(s.Y + (ulong)i * 16, Eight<TMath>.Add(Eight<TMath>.Load(s.A + a), Eight<TMath>.Load(s.B + b)));
    }

    /// <summary>[a, b] along channels; Channels and ChannelsB in chunks.</summary>
    public static void Concat(ElementwiseCudaArguments s)
    {
        int i = Index;
        if (i >= s.Chunks)
            return;
        int width = s.Channels + s.ChannelsB,
            row = i / width,
            c = i - row * width;
        ulong from =
            c < s.Channels
                ? s.A + (ulong)((s.SharedA == 1 ? row % s.Rows : row) * (long)s.Channels + c) * 16
                : s.B + (ulong)((s.SharedB == 1 ? row % s.Rows : row) * (long)s.ChannelsB + c - s.Channels) * 16;
        Ptx.StoreGlobal16(s.Y + (ulong)i * 16, Ptx.LoadGlobal16(from));
    }

    /// <summary>[E, rows, C] to [rows, E C]; Channels in chunks.</summary>
    public static void ExpertsToChannels(ElementwiseCudaArguments s)
    {
        int i = Index;
        if (i >= s.Chunks)
            return;
        int c = i % s.Channels,
            rest = i / s.Channels,
            row = rest / s.Experts,
            e = rest - row * s.Experts;
        Ptx.StoreGlobal16(s.Y + (ulong)i * 16, Ptx.LoadGlobal16(s.A + (ulong)(((long)e * s.Rows + row) * s.Channels + c) * 16));
    }

    /// <summary>Mean over the expert axis.</summary>
    public static void MeanOverExperts(ElementwiseCudaArguments s)
    {
        int i = Index;
        if (i >= s.Chunks)
            return;
        F8 sum = default;
        for (int e = 0; e < s.Experts; e++)
            sum = Eight<TMath>.Add(sum, Eight<TMath>.Load(s.A + (ulong)((long)e * s.Chunks + i) * 16));
        Eight<TMath>.Store(s.Y + (ulong)i * 16, Eight<TMath>.Scale(sum, 1f / s.Experts));
    }

    /// <summary>Nearest-neighbour resize; Channels in chunks.</summary>
    public static void UpsampleNearest(ElementwiseCudaArguments s)
    {
        int i = Index;
        if (i >= s.Chunks)
            return;
        int c = i % s.Channels,
            pixel = i / s.Channels,
            ox = pixel % s.OutWidth,
            row = pixel / s.OutWidth,
            oy = row % s.OutHeight,
            map = row / s.OutHeight;
        int iy = (int)(oy * ((float)s.Height / s.OutHeight)),
            ix = (int)(ox * ((float)s.Width / s.OutWidth));
        iy = iy < s.Height ? iy : s.Height - 1;
        ix = ix < s.Width ? ix : s.Width - 1;
        Ptx.StoreGlobal16(
            s.Y + (ulong)i * 16,
            Ptx.LoadGlobal16(s.A + (ulong)((((long)map * s.Height + iy) * s.Width + ix) * s.Channels + c) * 16)
        );
    }

    /// <summary>
    /// SABW's last step: a thread per pixel and chunk; Rows pixels, Channels in chunks; the first chunk's thread writes the maps.
    /// </summary>
    public static void FuseExperts(ElementwiseCudaArguments s)
    {
        int i = Index;
        if (i >= s.Chunks)
            return;
        int row = i / s.Channels;
        bool maps = s.Maps != 0 & row * s.Channels == i;
        ulong logits = s.B + (ulong)((long)row * s.Experts) * 2,
            to = s.Maps + (ulong)((long)row * s.Experts) * 2;
        float max = Eight<TMath>.LoadOne(logits),
            total = 0;
        for (int e = 1; e < s.Experts; e++)
            max = Ptx.Max(max, Eight<TMath>.LoadOne(logits + (ulong)(e * 2)));
        for (int e = 0; e < s.Experts; e++)
            total += Ptx.Exp2((Eight<TMath>.LoadOne(logits + (ulong)(e * 2)) - max) * 1.44269504f);
        float share = 1 / total;
        F8 sum = default;
        for (int e = 0; e < s.Experts; e++)
        {
            float weight = Ptx.Exp2((Eight<TMath>.LoadOne(logits + (ulong)(e * 2)) - max) * 1.44269504f) * share;
            sum = Eight<TMath>.Add(sum, weight, Eight<TMath>.Load(s.A + (ulong)((long)e * s.Chunks + i) * 16));
            if (maps)
                Eight<TMath>.StoreOne(to + (ulong)(e * 2), weight);
        }

        Eight<TMath>.Store(s.Y + (ulong)i * 16, sum);
    }
}
