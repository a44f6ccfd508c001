using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Tool.Bench;

/// <summary>Passes every op on to another device, with a mark before and after.</summary>
internal sealed class TimingDevice(IDevice inner, int insideRepeats) : IDevice, IKernels
{
    private readonly List<(string Name, double Flops, double Bytes, IDeviceMarker Start, IDeviceMarker End)> _marks = [];

    public string Name => inner.Name;

    public ElementType Storage => inner.Storage;

    public ElementType Products => inner.Products;

    public IKernels Kernels => this;

    public long AllocatedBytes => inner.AllocatedBytes;

    /// <summary>Times ops while set.</summary>
    public bool Timing { get; set; }

    /// <summary>Keeps linear layers and convolutions of different sizes apart.</summary>
    public bool ByShape { get; init; }

    /// <summary>Told the shape of every op, as <see cref="KernelShape"/> writes it.</summary>
    public Action<KernelShape>? Seen { get; set; }

    private int ElementBytes => inner.Storage.Size();

    public IRecordedWork? Record(Action work) => inner.Record(work);

    public IDeviceMarker Mark() => inner.Mark();

    public long BufferBytes(long length) => inner.BufferBytes(length);

    public long PackedBytes(WeightShape shape, ReadOnlySpan<ElementType> types) => inner.PackedBytes(shape, types);

    public DeviceBuffer Allocate(long length) => inner.Allocate(length);

    public void Upload(ReadOnlySpan<float> source, DeviceBuffer destination, long offset = 0) =>
        inner.Upload(source, destination, offset);

    public void Download(DeviceBuffer source, Span<float> destination) => inner.Download(source, destination);

    public void FillNoise(DeviceBuffer destination, int count, ulong seed, ulong stream) =>
        inner.FillNoise(destination, count, seed, stream);

    public PackedWeights Pack(WeightShape shape, ReadOnlySpan<WeightSource> experts) => inner.Pack(shape, experts);

    public void Dispose() { }

    /// <summary>Sums by op class since the last call.</summary>
    public IReadOnlyList<OpTiming> Collect()
    {
        var sums = new Dictionary<string, OpTiming>();
        foreach ((string name, double flops, double bytes, IDeviceMarker start, IDeviceMarker end) in _marks)
        {
            double seconds = end.SecondsSince(start) / insideRepeats;
            OpTiming sum = sums.GetValueOrDefault(name) ?? new OpTiming(name, 0, 0, 0, 0);
            sums[name] = sum with
            {
                Calls = sum.Calls + 1,
                Seconds = sum.Seconds + seconds,
                Flops = sum.Flops + flops,
                Bytes = sum.Bytes + bytes,
            };
            start.Dispose();
            end.Dispose();
        }

        _marks.Clear();
        return [.. sums.Values];
    }

    public void Linear(in LinearShape shape, DeviceBuffer x, PackedWeights weights, in Epilogue epilogue, DeviceBuffer y)
    {
        (LinearShape s, Epilogue e, WeightShape w) = (shape, epilogue, weights.Shape);
        See("linear", ("experts", s.Experts), ("rows", s.Rows), ("in", w.K), ("out", w.Out), ("geglu", w.Geglu ? 1 : 0));
        string name =
            w.Geglu ? "linear + GEGLU"
            : s.Rows * s.Experts <= 256 ? "linear, few rows"
            : "linear";
        if (ByShape)
            name = $"{name} {w.K}-{w.Out} x{s.Rows} E{s.Experts}";
        double flops = 2.0 * s.Experts * s.Rows * w.K * w.Out;
        Time(name, flops, Elements(x, y, epilogue.Residual) + weights.ByteLength, k => k.Linear(s, x, weights, e, y));
    }

    public void Convolution(
        in ConvolutionShape shape,
        DeviceBuffer x,
        PackedWeights weights,
        in Epilogue epilogue,
        DeviceBuffer y
    )
    {
        (ConvolutionShape s, Epilogue e, WeightShape w) = (shape, epilogue, weights.Shape);
        See(
            "conv2d",
            ("experts", s.Experts),
            ("batch", s.Batch),
            ("height", s.Height),
            ("width", s.Width),
            ("in", w.In),
            ("out", w.Out),
            ("kernel", s.KernelHeight),
            ("stride", s.Stride)
        );
        string size = ByShape ? $" {w.In}-{w.Out} E{s.Experts}" : "";
        double flops = 2.0 * s.Experts * s.Batch * s.OutHeight * s.OutWidth * w.K * w.Out;
        Time(
            $"conv {s.KernelHeight}x{s.KernelWidth} @{s.OutHeight}{size}",
            flops,
            Elements(x, y, epilogue.Residual) + weights.ByteLength,
            k => k.Convolution(s, x, weights, e, y)
        );
    }

    public void Attention(in AttentionShape shape, DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer y)
    {
        AttentionShape s = shape;
        See(
            "attention",
            ("experts", s.Experts),
            ("batch", s.Batch),
            ("heads", s.Heads),
            ("head_width", s.HeadWidth),
            ("queries", s.Queries),
            ("keys", s.Keys),
            ("causal", s.Causal ? 1 : 0)
        );
        double flops = 4.0 * s.Experts * s.Batch * s.Channels * s.Queries * s.Keys;
        Time($"attention {s.Queries}x{s.Keys} d{s.HeadWidth}", flops, Elements(q, k, v, y), d => d.Attention(s, q, k, v, y));
    }

    public void GroupNorm(in GroupNormShape shape, DeviceBuffer x, DeviceBuffer weight, DeviceBuffer bias, DeviceBuffer y)
    {
        GroupNormShape s = shape;
        See(
            "group_norm",
            ("experts", s.Experts),
            ("batch", s.Batch),
            ("pixels", s.Pixels),
            ("channels", s.Channels),
            ("groups", s.Groups),
            ("silu", s.Silu ? 1 : 0)
        );
        Time("group norm", 0, Elements(x, y), k => k.GroupNorm(s, x, weight, bias, y));
    }

    public void LayerNorm(in LayerNormShape shape, DeviceBuffer x, DeviceBuffer weight, DeviceBuffer bias, DeviceBuffer y)
    {
        LayerNormShape s = shape;
        See("layer_norm", ("experts", s.Experts), ("rows", s.Rows), ("channels", s.Channels));
        Time("layer norm", 0, Elements(x, y), k => k.LayerNorm(s, x, weight, bias, y));
    }

    public void Activate(ActivationKind kind, long count, DeviceBuffer x, DeviceBuffer y)
    {
        See("activation", ("count", count));
        Time("activation", 0, Elements(x, y), k => k.Activate(kind, count, x, y));
    }

    public void Geglu(long rows, int width, DeviceBuffer x, DeviceBuffer y)
    {
        See("geglu", ("rows", rows), ("width", width));
        Time("GEGLU", 0, Elements(x, y), k => k.Geglu(rows, width, x, y));
    }

    public void Softmax(long rows, int width, DeviceBuffer x, DeviceBuffer y)
    {
        See("softmax", ("rows", rows), ("width", width));
        Time("softmax", 0, Elements(x, y), k => k.Softmax(rows, width, x, y));
    }

    public void UpsampleNearest(in UpsampleShape shape, DeviceBuffer x, DeviceBuffer y)
    {
        UpsampleShape s = shape;
        See("upsample", ("maps", s.Maps), ("height", s.Height), ("width", s.Width), ("channels", s.Channels));
        Time("upsample", 0, Elements(x, y), k => k.UpsampleNearest(s, x, y));
    }

    public void Concat(in ConcatShape shape, DeviceBuffer a, DeviceBuffer b, DeviceBuffer y)
    {
        ConcatShape s = shape;
        See("concat", ("experts", s.Experts), ("rows", s.Rows), ("channels_a", s.ChannelsA), ("channels_b", s.ChannelsB));
        Time("concat", 0, Elements(a, b, y), k => k.Concat(s, a, b, y));
    }

    public void Add(in AddShape shape, DeviceBuffer a, DeviceBuffer b, DeviceBuffer y)
    {
        AddShape s = shape;
        See("add", ("experts", s.Experts), ("count", s.Count));
        Time("add", 0, Elements(a, b, y), k => k.Add(s, a, b, y));
    }

    public void MeanOverExperts(int experts, long count, DeviceBuffer x, DeviceBuffer y)
    {
        See("mean", ("experts", experts), ("count", count));
        Time("mean over experts", 0, Elements(x, y), k => k.MeanOverExperts(experts, count, x, y));
    }

    public void ExpertsToChannels(int experts, long rows, int channels, DeviceBuffer x, DeviceBuffer y)
    {
        See("side_by_side", ("experts", experts), ("rows", rows), ("channels", channels));
        Time("experts to channels", 0, Elements(x, y), k => k.ExpertsToChannels(experts, rows, channels, x, y));
    }

    public void TimestepEmbedding(ReadOnlySpan<float> timesteps, int dim, DeviceBuffer y) =>
        inner.Kernels.TimestepEmbedding(timesteps, dim, y);

    public void TokenEmbedding(
        int experts,
        int vocabulary,
        int positionRows,
        int length,
        int dim,
        ReadOnlySpan<int> ids,
        DeviceBuffer tokens,
        DeviceBuffer positions,
        DeviceBuffer y
    ) => inner.Kernels.TokenEmbedding(experts, vocabulary, positionRows, length, dim, ids, tokens, positions, y);

    public void FuseExperts(in FusionShape shape, DeviceBuffer features, DeviceBuffer logits, DeviceBuffer y, DeviceBuffer? maps)
    {
        FusionShape s = shape;
        See("fuse", ("experts", s.Experts), ("batch", s.Batch), ("pixels", s.Pixels), ("channels", s.Channels));
        Time("SABW fusion", 0, Elements(features, logits, y), k => k.FuseExperts(s, features, logits, y, maps));
    }

    private void See(string op, params ReadOnlySpan<(string Name, long Value)> sizes) => Seen?.Invoke(KernelShape.Of(op, sizes));

    private double Elements(params ReadOnlySpan<DeviceBuffer?> buffers)
    {
        double sum = 0;
        foreach (DeviceBuffer? buffer in buffers)
            sum += buffer?.Length ?? 0;
        return sum * ElementBytes;
    }

    // Several times in a row where launching costs as much as a small op: the device's queue then stays full.
    private void Time(string name, double flops, double bytes, Action<IKernels> run)
    {
        if (!Timing)
        {
            run(inner.Kernels);
            return;
        }

        IDeviceMarker start = inner.Mark();
        for (int i = 0; i < insideRepeats; i++)
            run(inner.Kernels);
        _marks.Add((name, flops, bytes, start, inner.Mark()));
    }
}
