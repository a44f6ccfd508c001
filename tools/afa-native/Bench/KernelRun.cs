using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.MatrixMultiply;

namespace AfaNative.Tool.Bench;

/// <summary>One kernel on buffers of its own, ready to be called again and again.</summary>
internal sealed unsafe class KernelRun : IDisposable
{
    private readonly IDevice _device;
    private readonly ElementType _weights;
    private readonly List<IDisposable> _owned = [];
    private readonly Action _run;

    /// <summary>Makes buffers and weights of fixed random numbers.</summary>
    /// <exception cref="AfaException">The device has not the memory.</exception>
    public KernelRun(IDevice device, KernelShape shape, ElementType weights)
    {
        (_device, _weights) = (device, weights);
        double bytes = 4 * (shape.Values + shape.WeightValues);
        if (device.FreeBytes is { } free && bytes > free)
        {
            string memory = FormattableString.Invariant($"{bytes / 1e9:F1} GB, of which {device.Name} has {free / 1e9:F1}");
            throw new AfaException($"{shape.Name} takes {memory}.");
        }

        try
        {
            _run = Prepare(shape);
        }
        catch
        {
            Dispose();
            throw;
        }

        Bytes = (shape.Values - shape.WeightValues) * device.Storage.Size() + shape.WeightValues * weights.Size();
    }

    /// <summary>Multiplications and additions of one call, by the op's definition; 0 where they do not count.</summary>
    public double Flops { get; private set; }

    /// <summary>Bytes that one call reads and writes at least.</summary>
    public double Bytes { get; }

    /// <summary>One call.</summary>
    public void Call() => _run();

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (IDisposable one in _owned)
            one.Dispose();
    }

    private Action Prepare(KernelShape s) =>
        s.Op switch
        {
            "conv2d" => Convolution(s),
            "linear" => Linear(s),
            "attention" => Attention(s),
            "group_norm" => GroupNorm(s),
            "layer_norm" => LayerNorm(s),
            "fuse" => Fuse(s),
            "mean" => Mean(s),
            "side_by_side" => SideBySide(s),
            "activation" => Activation(s),
            "geglu" => Geglu(s),
            "softmax" => Softmax(s),
            "upsample" => Upsample(s),
            "concat" => Concat(s),
            "add" => Add(s),
            _ => throw new InvalidOperationException($"no kernel is called {s.Op}"),
        };

    private Action Convolution(KernelShape s)
    {
        int pad = s["kernel"] / 2;
        var shape = new ConvolutionShape(
            s["experts"],
            s["batch"],
            s["height"],
            s["width"],
            false,
            s["stride"],
            pad,
            pad,
            pad,
            pad,
            s["kernel"],
            s["kernel"]
        );
        long maps = (long)s["experts"] * s["batch"];
        PackedWeights weights = Weights(new WeightShape(s["out"], s["in"], s["kernel"], s["kernel"]), s["experts"]);
        DeviceBuffer x = Buffer(maps * s["height"] * s["width"] * s["in"]),
            y = Buffer(maps * shape.OutHeight * shape.OutWidth * s["out"]);
        var epilogue = new Epilogue { Bias = Buffer((long)s["experts"] * s["out"]) };
        Flops = 2.0 * maps * shape.OutHeight * shape.OutWidth * weights.Shape.K * s["out"];
        return () => _device.Kernels.Convolution(shape, x, weights, epilogue, y);
    }

    private Action Linear(KernelShape s)
    {
        bool gated = s["geglu"] != 0;
        var shape = new LinearShape(s["experts"], s["rows"], false);
        long rows = (long)s["experts"] * s["rows"];
        PackedWeights weights = Weights(new WeightShape(s["out"], s["in"], Geglu: gated), s["experts"]);
        DeviceBuffer x = Buffer(rows * s["in"]),
            y = Buffer(rows * (gated ? s["out"] / 2 : s["out"]));
        var epilogue = new Epilogue { Bias = Buffer((long)s["experts"] * s["out"]) };
        Flops = 2.0 * rows * s["in"] * s["out"];
        return () => _device.Kernels.Linear(shape, x, weights, epilogue, y);
    }

    private Action Attention(KernelShape s)
    {
        float scale = 1 / MathF.Sqrt(s["head_width"]);
        var shape = new AttentionShape(
            s["experts"],
            s["batch"],
            s["heads"],
            s["head_width"],
            s["queries"],
            s["keys"],
            scale,
            s["causal"] != 0
        );
        long maps = (long)s["experts"] * s["batch"] * shape.Channels;
        DeviceBuffer q = Buffer(maps * s["queries"]),
            k = Buffer(maps * s["keys"]),
            v = Buffer(maps * s["keys"]),
            y = Buffer(maps * s["queries"]);
        Flops = 4.0 * maps * s["queries"] * s["keys"] * (shape.Causal ? 0.5 : 1);
        return () => _device.Kernels.Attention(shape, q, k, v, y);
    }

    private Action GroupNorm(KernelShape s)
    {
        var shape = new GroupNormShape(
            s["experts"],
            s["batch"],
            s["pixels"],
            s["channels"],
            s["groups"],
            1e-5f,
            s["silu"] != 0,
            false
        );
        (DeviceBuffer x, DeviceBuffer y) = Pair((long)s["experts"] * s["batch"] * s["pixels"] * s["channels"]);
        DeviceBuffer weight = Buffer((long)s["experts"] * s["channels"]),
            bias = Buffer((long)s["experts"] * s["channels"]);
        return () => _device.Kernels.GroupNorm(shape, x, weight, bias, y);
    }

    private Action LayerNorm(KernelShape s)
    {
        var shape = new LayerNormShape(s["experts"], s["rows"], s["channels"], 1e-5f, false);
        (DeviceBuffer x, DeviceBuffer y) = Pair((long)s["experts"] * s["rows"] * s["channels"]);
        DeviceBuffer weight = Buffer((long)s["experts"] * s["channels"]),
            bias = Buffer((long)s["experts"] * s["channels"]);
        return () => _device.Kernels.LayerNorm(shape, x, weight, bias, y);
    }

    private Action Fuse(KernelShape s)
    {
        var shape = new FusionShape(s["experts"], s["batch"], s["pixels"], s["channels"]);
        long pixels = (long)s["batch"] * s["pixels"];
        DeviceBuffer features = Buffer(s["experts"] * pixels * s["channels"]),
            logits = Buffer(pixels * s["experts"]),
            y = Buffer(pixels * s["channels"]);
        return () => _device.Kernels.FuseExperts(shape, features, logits, y, null);
    }

    private Action Mean(KernelShape s)
    {
        (int experts, long count) = (s["experts"], s["count"]);
        DeviceBuffer x = Buffer(experts * count),
            y = Buffer(count);
        return () => _device.Kernels.MeanOverExperts(experts, count, x, y);
    }

    private Action SideBySide(KernelShape s)
    {
        (int experts, long rows, int channels) = (s["experts"], s["rows"], s["channels"]);
        (DeviceBuffer x, DeviceBuffer y) = Pair(experts * rows * channels);
        return () => _device.Kernels.ExpertsToChannels(experts, rows, channels, x, y);
    }

    private Action Activation(KernelShape s)
    {
        long count = s["count"];
        (DeviceBuffer x, DeviceBuffer y) = Pair(count);
        return () => _device.Kernels.Activate(ActivationKind.Silu, count, x, y);
    }

    private Action Geglu(KernelShape s)
    {
        (long rows, int width) = (s["rows"], s["width"]);
        DeviceBuffer x = Buffer(2 * rows * width),
            y = Buffer(rows * width);
        return () => _device.Kernels.Geglu(rows, width, x, y);
    }

    private Action Softmax(KernelShape s)
    {
        (long rows, int width) = (s["rows"], s["width"]);
        (DeviceBuffer x, DeviceBuffer y) = Pair(rows * width);
        return () => _device.Kernels.Softmax(rows, width, x, y);
    }

    private Action Upsample(KernelShape s)
    {
        var shape = new UpsampleShape(s["maps"], s["height"], s["width"], s["channels"], 2 * s["height"], 2 * s["width"]);
        long count = (long)s["maps"] * s["height"] * s["width"] * s["channels"];
        DeviceBuffer x = Buffer(count),
            y = Buffer(4 * count);
        return () => _device.Kernels.UpsampleNearest(shape, x, y);
    }

    private Action Concat(KernelShape s)
    {
        long rows = (long)s["experts"] * s["rows"];
        var shape = new ConcatShape(s["experts"], s["rows"], s["channels_a"], s["channels_b"], false, false);
        DeviceBuffer a = Buffer(rows * s["channels_a"]),
            b = Buffer(rows * s["channels_b"]),
            y = Buffer(rows * ((long)s["channels_a"] + s["channels_b"]));
        return () => _device.Kernels.Concat(shape, a, b, y);
    }

    private Action Add(KernelShape s)
    {
        var shape = new AddShape(s["experts"], s["count"], false, false);
        (DeviceBuffer a, DeviceBuffer y) = Pair((long)s["experts"] * s["count"]);
        DeviceBuffer b = Buffer((long)s["experts"] * s["count"]);
        return () => _device.Kernels.Add(shape, a, b, y);
    }

    private (DeviceBuffer X, DeviceBuffer Y) Pair(long count) => (Buffer(count), Buffer(count));

    private DeviceBuffer Buffer(long count)
    {
        DeviceBuffer buffer = _device.Allocate(count);
        _owned.Add(buffer);
        // A block at a time: what numbers they are does not matter, only that none is special.
        var block = new float[(int)Math.Min(count, 1 << 20)];
        Kernels.Random.GaussianNoise.Fill(block, 1, (ulong)_owned.Count);
        for (long at = 0; at < count; at += block.Length)
            _device.Upload(block.AsSpan(0, (int)Math.Min(block.Length, count - at)), buffer, at);
        return buffer;
    }

    private PackedWeights Weights(WeightShape shape, int experts)
    {
        var values = new float[(long)shape.Out * shape.K];
        Kernels.Random.GaussianNoise.Fill(values, 2, 0);
        float scale = 1 / MathF.Sqrt(shape.K);
        for (int i = 0; i < values.Length; i++)
            values[i] *= scale;
        byte[] bytes = Widening.ToBytes(values, _weights);
        fixed (byte* pointer = bytes)
        {
            var sources = new WeightSource[experts];
            Array.Fill(sources, new WeightSource(pointer, _weights));
            PackedWeights packed = _device.Pack(shape, sources);
            _owned.Add(packed);
            return packed;
        }
    }
}
