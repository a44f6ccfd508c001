using System.Diagnostics;
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

/// <summary>Passes every op on to another device and adds up time and multiply-adds by op class.</summary>
internal sealed class TimingDevice(IDevice inner) : IDevice, IKernels
{
    private readonly Dictionary<string, (double Seconds, double Flops, int Calls)> _classes = [];

    public string Name => inner.Name;

    public IKernels Kernels => this;

    public long AllocatedBytes => inner.AllocatedBytes;

    public long BufferBytes(long length) => inner.BufferBytes(length);

    public long PackedBytes(WeightShape shape, ReadOnlySpan<AfaNative.Kernels.ElementType> types) => inner.PackedBytes(shape, types);

    public DeviceBuffer Allocate(long length) => inner.Allocate(length);

    public void Upload(ReadOnlySpan<float> source, DeviceBuffer destination, long offset = 0) => inner.Upload(source, destination, offset);

    public void Download(DeviceBuffer source, Span<float> destination) => inner.Download(source, destination);

    public PackedWeights Pack(WeightShape shape, ReadOnlySpan<WeightSource> experts) => inner.Pack(shape, experts);

    public void Dispose()
    {
    }

    public void Reset() => _classes.Clear();

    /// <summary>Prints a line per op class: time, share, GFLOP/s, share of the peak.</summary>
    public void Report(int repeats, double peak)
    {
        double total = _classes.Values.Sum(c => c.Seconds);
        Console.WriteLine($"{"op",-28}{"calls",6}{"ms",10}{"share",8}{"GFLOP/s",10}{"of peak",9}");
        foreach ((string name, (double seconds, double flops, int calls)) in _classes.OrderByDescending(c => c.Value.Seconds))
        {
            string rate = flops > 0 ? $"{flops / seconds / 1e9,10:F0}{flops / seconds / 1e9 / peak,9:P0}" : "";
            Console.WriteLine($"{name,-28}{calls / repeats,6}{seconds / repeats * 1e3,10:F1}{seconds / total,8:P1}{rate}");
        }

        double all = _classes.Values.Sum(c => c.Flops);
        Console.WriteLine($"{"all",-28}{"",6}{total / repeats * 1e3,10:F1}{"",8}{all / total / 1e9,10:F0}{all / total / 1e9 / peak,9:P0}");
    }

    public void Linear(in LinearShape shape, DeviceBuffer x, PackedWeights weights, in Epilogue epilogue, DeviceBuffer y)
    {
        long start = Stopwatch.GetTimestamp();
        inner.Kernels.Linear(shape, x, weights, epilogue, y);
        Add(weights.Shape.Geglu ? "linear + GEGLU" : shape.Rows * shape.Experts <= 256 ? "linear, few rows" : "linear", start, 2.0 * shape.Experts * shape.Rows * weights.Shape.K * weights.Shape.Out);
    }

    public void Convolution(in ConvolutionShape shape, DeviceBuffer x, PackedWeights weights, in Epilogue epilogue, DeviceBuffer y)
    {
        long start = Stopwatch.GetTimestamp();
        inner.Kernels.Convolution(shape, x, weights, epilogue, y);
        Add($"conv {shape.KernelHeight}x{shape.KernelWidth} @{shape.OutHeight}", start, 2.0 * shape.Experts * shape.Batch * shape.OutHeight * shape.OutWidth * weights.Shape.K * weights.Shape.Out);
    }

    public void Attention(in AttentionShape shape, DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer y)
    {
        long start = Stopwatch.GetTimestamp();
        inner.Kernels.Attention(shape, q, k, v, y);
        Add($"attention {shape.Queries}x{shape.Keys} d{shape.HeadWidth}", start, 4.0 * shape.Experts * shape.Batch * shape.Channels * shape.Queries * shape.Keys);
    }

    public void GroupNorm(in GroupNormShape shape, DeviceBuffer x, DeviceBuffer weight, DeviceBuffer bias, DeviceBuffer y)
    {
        long start = Stopwatch.GetTimestamp();
        inner.Kernels.GroupNorm(shape, x, weight, bias, y);
        Add("group norm", start);
    }

    public void LayerNorm(in LayerNormShape shape, DeviceBuffer x, DeviceBuffer weight, DeviceBuffer bias, DeviceBuffer y)
    {
        long start = Stopwatch.GetTimestamp();
        inner.Kernels.LayerNorm(shape, x, weight, bias, y);
        Add("layer norm", start);
    }

    public void Activate(ActivationKind kind, long count, DeviceBuffer x, DeviceBuffer y) => Other(k => k.Activate(kind, count, x, y));

    public void Geglu(long rows, int width, DeviceBuffer x, DeviceBuffer y) => Other(k => k.Geglu(rows, width, x, y));

    public void Softmax(long rows, int width, DeviceBuffer x, DeviceBuffer y) => Other(k => k.Softmax(rows, width, x, y));

    public void UpsampleNearest(in UpsampleShape shape, DeviceBuffer x, DeviceBuffer y)
    {
        UpsampleShape s = shape;
        Other(k => k.UpsampleNearest(s, x, y));
    }

    public void Concat(in ConcatShape shape, DeviceBuffer a, DeviceBuffer b, DeviceBuffer y)
    {
        ConcatShape s = shape;
        Other(k => k.Concat(s, a, b, y));
    }

    public void Add(in AddShape shape, DeviceBuffer a, DeviceBuffer b, DeviceBuffer y)
    {
        AddShape s = shape;
        Other(k => k.Add(s, a, b, y));
    }

    public void MeanOverExperts(int experts, long count, DeviceBuffer x, DeviceBuffer y) => Other(k => k.MeanOverExperts(experts, count, x, y));

    public void ExpertsToChannels(int experts, long rows, int channels, DeviceBuffer x, DeviceBuffer y) => Other(k => k.ExpertsToChannels(experts, rows, channels, x, y));

    public void TimestepEmbedding(ReadOnlySpan<float> timesteps, int dim, DeviceBuffer y) => inner.Kernels.TimestepEmbedding(timesteps, dim, y);

    public void TokenEmbedding(int experts, int vocabulary, int positionRows, int length, int dim, ReadOnlySpan<int> ids, DeviceBuffer tokens, DeviceBuffer positions, DeviceBuffer y) =>
        inner.Kernels.TokenEmbedding(experts, vocabulary, positionRows, length, dim, ids, tokens, positions, y);

    public void FuseExperts(in FusionShape shape, DeviceBuffer features, DeviceBuffer logits, DeviceBuffer y, DeviceBuffer? maps)
    {
        FusionShape s = shape;
        Other(k => k.FuseExperts(s, features, logits, y, maps));
    }

    private void Other(Action<IKernels> run)
    {
        long start = Stopwatch.GetTimestamp();
        run(inner.Kernels);
        Add("moving and adding", start);
    }

    private void Add(string name, long start, double flops = 0)
    {
        (double seconds, double sum, int calls) = _classes.GetValueOrDefault(name);
        _classes[name] = (seconds + Stopwatch.GetElapsedTime(start).TotalSeconds, sum + flops, calls + 1);
    }
}
