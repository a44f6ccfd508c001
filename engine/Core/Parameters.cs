using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Core;

/// <summary>
/// Where a model's constructor gets its layers. A model names every tensor and its shape exactly once; reading a checkpoint,
/// checking one, listing
/// what a model needs and making random weights are all implementations of this class.
/// </summary>
public abstract class Parameters
{
    /// <summary>Number of experts whose weights are stacked.</summary>
    public abstract int Experts { get; }

    /// <summary>A view whose names start with <paramref name="prefix"/> and a dot.</summary>
    public Parameters Child(string prefix) => new Prefixed(this, prefix + ".");

    /// <summary>A view whose weights are multiplied as stored even where the device rounds operands for speed.</summary>
    public Parameters Exact() => new ExactView(this);

    /// <summary>The full name of a module, as hooks and messages use it.</summary>
    public virtual string FullName(string name) => name;

    /// <summary>The full name of this view: what all its names start with.</summary>
    public string Prefix => FullName("").TrimEnd('.');

    /// <summary>A linear layer; files may store its weight as a 1x1 convolution.</summary>
    public Linear Linear(string name, int inputs, int outputs, bool bias = true, bool geglu = false, string? alias = null) =>
        new(
            FullName(name),
            Weights(Named(name, alias, "weight"), [outputs, inputs], new WeightShape(outputs, inputs, Geglu: geglu)),
            bias ? Vector(Named(name, alias, "bias"), [outputs]) : null
        );

    /// <summary>A 1x1 convolution used as a linear layer on channels-last maps.</summary>
    public Linear Pointwise(string name, int inputs, int outputs, bool bias = true) =>
        new(
            FullName(name),
            Weights([name + ".weight"], [outputs, inputs, 1, 1], new WeightShape(outputs, inputs)),
            bias ? Vector([Join(name, "bias")], [outputs]) : null
        );

    /// <summary>A square convolution.</summary>
    public Convolution Convolution(
        string name,
        int inputs,
        int outputs,
        int kernel = 3,
        int stride = 1,
        Padding? padding = null,
        bool bias = true
    ) =>
        new(
            FullName(name),
            Weights([Join(name, "weight")], [outputs, inputs, kernel, kernel], new WeightShape(outputs, inputs, kernel, kernel)),
            bias ? Vector([Join(name, "bias")], [outputs]) : null,
            stride,
            padding ?? Padding.All(kernel / 2)
        );

    /// <summary>A group norm.</summary>
    public GroupNorm GroupNorm(string name, int channels, int groups, float epsilon, string? alias = null)
    {
        if (channels % groups != 0)
            throw new AfaException($"{FullName(name)}: {channels} channels cannot be split into {groups} groups");
        return new(
            FullName(name),
            Vector(Named(name, alias, "weight"), [channels]),
            Vector(Named(name, alias, "bias"), [channels]),
            Experts,
            channels,
            groups,
            epsilon
        );
    }

    /// <summary>A layer norm.</summary>
    public LayerNorm LayerNorm(string name, int channels, float epsilon = 1e-5f) =>
        new(
            FullName(name),
            Vector([Join(name, "weight")], [channels]),
            Vector([Join(name, "bias")], [channels]),
            Experts,
            channels,
            epsilon
        );

    /// <summary>An embedding table.</summary>
    public Embedding Embedding(string name, int rows, int channels) =>
        new(FullName(name), Vector([Join(name, "weight")], [rows, channels]), Experts, rows, channels);

    /// <summary>Packed weights; <paramref name="names"/> are tried in order.</summary>
    protected internal abstract PackedWeights Weights(string[] names, long[] fileShape, WeightShape shape);

    /// <summary>A float32 buffer [E, shape...]; <paramref name="names"/> are tried in order.</summary>
    protected internal abstract DeviceBuffer Vector(string[] names, long[] shape);

    private static string[] Named(string name, string? alias, string tensor) =>
        alias is null ? [Join(name, tensor)] : [Join(name, tensor), Join(alias, tensor)];

    // A module that is itself the root of its view has an empty name.
    private static string Join(string name, string tensor) => name.Length == 0 ? tensor : $"{name}.{tensor}";

    private sealed class ExactView(Parameters inner) : Parameters
    {
        public override int Experts => inner.Experts;

        public override string FullName(string name) => inner.FullName(name);

        protected internal override PackedWeights Weights(string[] names, long[] fileShape, WeightShape shape) =>
            inner.Weights(names, fileShape, shape with { Exact = true });

        protected internal override DeviceBuffer Vector(string[] names, long[] shape) => inner.Vector(names, shape);
    }

    private sealed class Prefixed(Parameters inner, string prefix) : Parameters
    {
        public override int Experts => inner.Experts;

        public override string FullName(string name) => inner.FullName(prefix + name);

        protected internal override PackedWeights Weights(string[] names, long[] fileShape, WeightShape shape) =>
            inner.Weights(Array.ConvertAll(names, n => prefix + n), fileShape, shape);

        protected internal override DeviceBuffer Vector(string[] names, long[] shape) =>
            inner.Vector(Array.ConvertAll(names, n => prefix + n), shape);
    }
}

/// <summary>One tensor a model needs: its name, the older names it may have, and its shape in a file.</summary>
public sealed record ParameterSpec(string Name, IReadOnlyList<string> Aliases, IReadOnlyList<long> Shape);

/// <summary>Records what a model's constructor asks for and hands out nothing usable.</summary>
public sealed class ParameterList : Parameters
{
    private readonly List<ParameterSpec> _specs = [];

    /// <summary>Everything asked for, in construction order.</summary>
    public IReadOnlyList<ParameterSpec> Specs => _specs;

    /// <inheritdoc/>
    public override int Experts => 1;

    /// <inheritdoc/>
    protected internal override PackedWeights Weights(string[] names, long[] fileShape, WeightShape shape)
    {
        _specs.Add(new ParameterSpec(names[0], names[1..], fileShape));
        return new Absent(shape);
    }

    /// <inheritdoc/>
    protected internal override DeviceBuffer Vector(string[] names, long[] shape)
    {
        _specs.Add(new ParameterSpec(names[0], names[1..], shape));
        return null!;
    }

    private sealed class Absent(WeightShape shape) : PackedWeights(shape, 1)
    {
        public override long ByteLength => 0;

        protected override void Dispose(bool disposing) { }
    }
}
