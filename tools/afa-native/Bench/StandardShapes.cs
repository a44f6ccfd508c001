using System.Text;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Planning;

namespace AfaNative.Tool.Bench;

/// <summary>A shape, and how often one evaluation of the network calls it; 0 where nobody knows.</summary>
internal sealed record CountedShape(KernelShape Shape, int Calls);

/// <summary>The shapes to time: those of a real network, or a file's.</summary>
internal static class StandardShapes
{
    private const int Latent = 64,
        Tokens = 77,
        Experts = 3;

    // A file of shapes is a page of lines.
    private const long MostBytes = 16 << 20;

    /// <summary>
    /// Every op of Stable Diffusion 1.5's U-Net at 64 x 64 latents with one and two pictures, and of the 25 aggregators of three
    /// such U-Nets, counted by
    /// running the networks on a device that only plans.
    /// </summary>
    public static IReadOnlyList<CountedShape> StableDiffusion15(IDevice device)
    {
        var shapes = new List<CountedShape>();
        foreach (int batch in new[] { 1, 2 })
        {
            shapes.AddRange(Count(device, batch, experts: 1));
            shapes.AddRange(Count(device, batch, Experts));
        }

        return [.. shapes.GroupBy(s => s.Shape).Select(g => new CountedShape(g.Key, g.Max(s => s.Calls)))];
    }

    /// <summary>The shapes of a file: a JSON object a line; empty lines and lines that start with # are left out.</summary>
    /// <exception cref="AfaException">The file cannot be read, or a line is no shape.</exception>
    public static IReadOnlyList<CountedShape> Read(string path)
    {
        string[] lines;
        try
        {
            if (new FileInfo(path) is { Exists: true, Length: > MostBytes } large)
            {
                throw new AfaException($"{path}: expected a file of shapes, but it has {large.Length} bytes.");
            }

            lines = File.ReadAllLines(path, new UTF8Encoding(false, throwOnInvalidBytes: true));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new AfaException($"{path}: the shapes could not be read: {e.Message}", e);
        }

        var shapes = new List<CountedShape>();
        for (int i = 0; i < lines.Length; i++)
        {
            string line = lines[i].Trim();
            if (line.Length > 0 && line[0] != '#')
                shapes.Add(new CountedShape(KernelShape.Parse(line, $"{path}, line {i + 1}"), 0));
        }

        return shapes.Count > 0 ? [.. shapes.Distinct()] : throw new AfaException($"{path}: it holds no shape.");
    }

    // One U-Net counts itself; of several only what the aggregators do is new.
    private static IEnumerable<CountedShape> Count(IDevice device, int batch, int experts)
    {
        var calls = new Dictionary<KernelShape, int>();
        using var planning = new PlanningDevice(device);
        var watched = new TimingDevice(planning, 1);
        var config = new UNetConfig();
        var unet = new UNetModel(new PlannedParameters(planning, experts), config);
        var ops = new Ops(watched);
        using TensorScope scope = ops.Scope();
        Tensor latents = ops.Allocate(new Shape(1, batch, Latent, Latent, config.InChannels));
        Tensor text = ops.Allocate(new Shape(experts, batch, Tokens, 1, config.CrossAttentionDim));
        Action<KernelShape> count = shape => calls[shape] = calls.GetValueOrDefault(shape) + 1;
        if (experts == 1)
            watched.Seen = count;
        Tensor time = unet.EmbedTime(ops, [.. Enumerable.Repeat(500f, batch)]);
        IAggregation? aggregation = null;
        if (experts > 1)
        {
            watched.Seen = count;
            Tensor meanTime = ops.Activate(ops.MeanOverExperts(time), ActivationKind.Silu),
                meanText = ops.MeanOverExperts(text);
            watched.Seen = null;
            aggregation = new Watched(planning, watched, config, meanTime, meanText, count);
        }

        unet.Forward(ops, latents, time, text, aggregation);
        return calls.Select(c => new CountedShape(c.Key, c.Value));
    }

    private sealed class Watched(
        PlanningDevice planning,
        TimingDevice device,
        UNetConfig config,
        Tensor time,
        Tensor text,
        Action<KernelShape> count
    ) : IAggregation
    {
        public Tensor Aggregate(Ops ops, int point, Tensor features)
        {
            var sabw = new SabwConfig { InChannels = config.AggregationChannels[point], NumExperts = features.Shape.Experts };
            var aggregator = new Sabw(new PlannedParameters(planning, 1), sabw);
            device.Seen = count;
            Tensor fused = aggregator.Forward(ops, features, time, text, wantMaps: false).Fused;
            device.Seen = null;
            return fused;
        }
    }

    // Weights that have a shape and nothing else.
    private sealed unsafe class PlannedParameters(PlanningDevice device, int experts) : Parameters
    {
        public override int Experts => experts;

        protected override PackedWeights Weights(string[] names, long[] fileShape, WeightShape shape)
        {
            var sources = new WeightSource[experts];
            Array.Fill(sources, new WeightSource(null, ElementType.Float32));
            return device.Pack(shape, sources);
        }

        protected override DeviceBuffer Vector(string[] names, long[] shape) =>
            device.Allocate(shape.Aggregate((long)experts, (a, b) => a * b));
    }
}
