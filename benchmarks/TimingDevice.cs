using AfaNative.Kernels;
using AfaNative.Kernels.Activation;
using AfaNative.Kernels.Attention;
using AfaNative.Kernels.Convolution;
using AfaNative.Kernels.Devices;
using AfaNative.Kernels.Elementwise;
using AfaNative.Kernels.FeatureFusion;
using AfaNative.Kernels.MatrixMultiply;
using AfaNative.Kernels.Normalization;
using AfaNative.Kernels.Resampling;

namespace AfaNative.Benchmarks;

/// <summary>What one class of ops took: seconds by the device's own clock, multiply-adds counted twice, bytes that must move at least.</summary>
internal sealed record OpTiming(string Name, int Calls, double Seconds, double Flops, double Bytes)
{
    /// <summary>TFLOP/s.</summary>
    public double Tflops => Flops / Seconds / 1e12;

    /// <summary>GB/s of the bytes that must move.</summary>
    public double Gbs => Bytes / Seconds / 1e9;

    /// <summary>Share of what the roofline allows: the larger of the share of peak arithmetic and the share of peak bandwidth.</summary>
    public double OfRoofline(Roofline peak) => Math.Max(Flops / peak.Tflops / 1e12, peak.Gbs > 0 ? Bytes / peak.Gbs / 1e9 : 0) / Seconds;
}

/// <summary>What the hardware can do at best; 0 GB/s when unknown.</summary>
internal sealed record Roofline(double Tflops, double Gbs, string Source);

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

    private int ElementBytes => inner.Storage.Size();

    public IRecordedWork? Record(Action work) => inner.Record(work);

    public IDeviceMarker Mark() => inner.Mark();

    public long BufferBytes(long length) => inner.BufferBytes(length);

    public long PackedBytes(WeightShape shape, ReadOnlySpan<ElementType> types) => inner.PackedBytes(shape, types);

    public DeviceBuffer Allocate(long length) => inner.Allocate(length);

    public void Upload(ReadOnlySpan<float> source, DeviceBuffer destination, long offset = 0) => inner.Upload(source, destination, offset);

    public void Download(DeviceBuffer source, Span<float> destination) => inner.Download(source, destination);

    public PackedWeights Pack(WeightShape shape, ReadOnlySpan<WeightSource> experts) => inner.Pack(shape, experts);

    public void Dispose()
    {
    }

    /// <summary>Sums by op class since the last call.</summary>
    public IReadOnlyList<OpTiming> Collect()
    {
        var sums = new Dictionary<string, OpTiming>();
        foreach ((string name, double flops, double bytes, IDeviceMarker start, IDeviceMarker end) in _marks)
        {
            double seconds = end.SecondsSince(start) / insideRepeats;
            OpTiming sum = sums.GetValueOrDefault(name) ?? new OpTiming(name, 0, 0, 0, 0);
            sums[name] = sum with { Calls = sum.Calls + 1, Seconds = sum.Seconds + seconds, Flops = sum.Flops + flops, Bytes = sum.Bytes + bytes };
            start.Dispose();
            end.Dispose();
        }

        _marks.Clear();
        return [.. sums.Values];
    }

    public void Linear(in LinearShape shape, DeviceBuffer x, PackedWeights weights, in Epilogue epilogue, DeviceBuffer y)
    {
        (LinearShape s, Epilogue e) = (shape, epilogue);
        string name = weights.Shape.Geglu ? "linear + GEGLU" : shape.Rows * shape.Experts <= 256 ? "linear, few rows" : "linear";
        if (ByShape) name = $"{name} {weights.Shape.K}-{weights.Shape.Out} x{shape.Rows} E{shape.Experts}";
        Time(name, 2.0 * shape.Experts * shape.Rows * weights.Shape.K * weights.Shape.Out, Elements(x, y, epilogue.Residual) + weights.ByteLength, k => k.Linear(s, x, weights, e, y));
    }

    public void Convolution(in ConvolutionShape shape, DeviceBuffer x, PackedWeights weights, in Epilogue epilogue, DeviceBuffer y)
    {
        (ConvolutionShape s, Epilogue e) = (shape, epilogue);
        string size = ByShape ? $" {weights.Shape.In}-{weights.Shape.Out} E{shape.Experts}" : "";
        Time($"conv {shape.KernelHeight}x{shape.KernelWidth} @{shape.OutHeight}{size}", 2.0 * shape.Experts * shape.Batch * shape.OutHeight * shape.OutWidth * weights.Shape.K * weights.Shape.Out,
            Elements(x, y, epilogue.Residual) + weights.ByteLength, k => k.Convolution(s, x, weights, e, y));
    }

    public void Attention(in AttentionShape shape, DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer y)
    {
        AttentionShape s = shape;
        Time($"attention {shape.Queries}x{shape.Keys} d{shape.HeadWidth}", 4.0 * shape.Experts * shape.Batch * shape.Channels * shape.Queries * shape.Keys, Elements(q, k, v, y), d => d.Attention(s, q, k, v, y));
    }

    public void GroupNorm(in GroupNormShape shape, DeviceBuffer x, DeviceBuffer weight, DeviceBuffer bias, DeviceBuffer y)
    {
        GroupNormShape s = shape;
        Time("group norm", 0, Elements(x, y), k => k.GroupNorm(s, x, weight, bias, y));
    }

    public void LayerNorm(in LayerNormShape shape, DeviceBuffer x, DeviceBuffer weight, DeviceBuffer bias, DeviceBuffer y)
    {
        LayerNormShape s = shape;
        Time("layer norm", 0, Elements(x, y), k => k.LayerNorm(s, x, weight, bias, y));
    }

    public void Activate(ActivationKind kind, long count, DeviceBuffer x, DeviceBuffer y) => Time("activation", 0, Elements(x, y), k => k.Activate(kind, count, x, y));

    public void Geglu(long rows, int width, DeviceBuffer x, DeviceBuffer y) => Time("GEGLU", 0, Elements(x, y), k => k.Geglu(rows, width, x, y));

    public void Softmax(long rows, int width, DeviceBuffer x, DeviceBuffer y) => Time("softmax", 0, Elements(x, y), k => k.Softmax(rows, width, x, y));

    public void UpsampleNearest(in UpsampleShape shape, DeviceBuffer x, DeviceBuffer y)
    {
        UpsampleShape s = shape;
        Time("upsample", 0, Elements(x, y), k => k.UpsampleNearest(s, x, y));
    }

    public void Concat(in ConcatShape shape, DeviceBuffer a, DeviceBuffer b, DeviceBuffer y)
    {
        ConcatShape s = shape;
        Time("concat", 0, Elements(a, b, y), k => k.Concat(s, a, b, y));
    }

    public void Add(in AddShape shape, DeviceBuffer a, DeviceBuffer b, DeviceBuffer y)
    {
        AddShape s = shape;
        Time("add", 0, Elements(a, b, y), k => k.Add(s, a, b, y));
    }

    public void MeanOverExperts(int experts, long count, DeviceBuffer x, DeviceBuffer y) => Time("mean over experts", 0, Elements(x, y), k => k.MeanOverExperts(experts, count, x, y));

    public void ExpertsToChannels(int experts, long rows, int channels, DeviceBuffer x, DeviceBuffer y) => Time("experts to channels", 0, Elements(x, y), k => k.ExpertsToChannels(experts, rows, channels, x, y));

    public void TimestepEmbedding(ReadOnlySpan<float> timesteps, int dim, DeviceBuffer y) => inner.Kernels.TimestepEmbedding(timesteps, dim, y);

    public void TokenEmbedding(int experts, int vocabulary, int positionRows, int length, int dim, ReadOnlySpan<int> ids, DeviceBuffer tokens, DeviceBuffer positions, DeviceBuffer y) =>
        inner.Kernels.TokenEmbedding(experts, vocabulary, positionRows, length, dim, ids, tokens, positions, y);

    public void FuseExperts(in FusionShape shape, DeviceBuffer features, DeviceBuffer logits, DeviceBuffer y, DeviceBuffer? maps)
    {
        FusionShape s = shape;
        Time("SABW fusion", 0, Elements(features, logits, y), k => k.FuseExperts(s, features, logits, y, maps));
    }

    private double Elements(params ReadOnlySpan<DeviceBuffer?> buffers)
    {
        double sum = 0;
        foreach (DeviceBuffer? buffer in buffers) sum += buffer?.Length ?? 0;
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
        for (int i = 0; i < insideRepeats; i++) run(inner.Kernels);
        _marks.Add((name, flops, bytes, start, inner.Mark()));
    }
}
