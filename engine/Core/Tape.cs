using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Core;

/// <summary>
/// What ops did, for going back through it. An op is recorded only when a gradient is wanted: when an input requires one, or its
/// layer is trained. Frozen
/// layers get no weight gradients, but pass on what their inputs need. Recorded inputs stay alive until the tape has used them or
/// is disposed.
/// </summary>
public sealed class Tape : IDisposable
{
    private readonly List<Node> _nodes = [];
    private readonly Dictionary<Tensor, Tensor> _gradients = new(ReferenceEqualityComparer.Instance);
    private readonly Dictionary<object, Parameter> _parameters = new(ReferenceEqualityComparer.Instance);

    /// <summary>A tape for a device that has gradients.</summary>
    /// <exception cref="AfaException">The device has none.</exception>
    public Tape(IDevice device, IEnumerable<Parameter> trained)
    {
        Device = device;
        Gradients = device.Gradients ?? throw new AfaException($"{device.Name} cannot compute gradients yet; train on cpu.");
        Train(trained);
    }

    /// <summary>Adds parameters whose gradients are wanted.</summary>
    public void Train(IEnumerable<Parameter> trained)
    {
        foreach (Parameter parameter in trained)
            _parameters[parameter.Key] = parameter;
    }

    private Tape(Tape outer)
    {
        Device = outer.Device;
        Gradients = outer.Gradients;
        _parameters = outer._parameters;
    }

    /// <summary>
    /// Keep only the inputs of what <see cref="Ops.Checkpointed"/> runs, and run it again on the way back: less memory, one more
    /// forward pass.
    /// </summary>
    public bool Recompute { get; init; }

    /// <summary>A tape for running a part again; trains the same parameters.</summary>
    internal Tape Inner() => new(this);

    /// <summary>Where everything is.</summary>
    public IDevice Device { get; }

    /// <summary>The device's vector-Jacobian products.</summary>
    public IGradients Gradients { get; }

    /// <summary>The gradient of an op's second output, which its node goes back through together with the first.</summary>
    internal Tensor? Take(Tensor output) => _gradients.Remove(output, out Tensor? gradient) ? gradient : null;

    /// <summary>Ops recorded and not yet gone back through.</summary>
    public int Count => _nodes.Count;

    /// <summary>The trained parameter behind a layer's memory, or null.</summary>
    internal Parameter? Trained(object? key) => key is null ? null : _parameters.GetValueOrDefault(key);

    /// <summary>Remembers how to go back through an op; keeps <paramref name="saved"/> alive until then.</summary>
    internal void Record(Tensor y, Tensor[] saved, Action<Tensor> backward)
    {
        y.RequiresGrad = true;
        foreach (Tensor tensor in saved)
            tensor.Retain();
        _nodes.Add(new Node(y, saved, backward));
    }

    /// <summary>A tensor of no scope.</summary>
    internal Tensor Allocate(Shape shape) => new(Device.Allocate(shape.Count), shape);

    /// <summary>
    /// Adds a gradient of <paramref name="input"/>, owned by the tape from now on. One with an expert axis is summed over it
    /// where the input was shared.
    /// </summary>
    internal void Add(Tensor input, Tensor gradient)
    {
        if (!input.RequiresGrad)
        {
            gradient.Release();
            return;
        }

        if (gradient.Shape.Experts > input.Shape.Experts)
        {
            Tensor sum = Allocate(input.Shape);
            Gradients.SumOverExperts(gradient.Shape.Experts, input.Shape.Count, gradient.Held, sum.Held);
            gradient.Release();
            gradient = sum;
        }

        if (!_gradients.TryGetValue(input, out Tensor? old))
        {
            _gradients[input] = gradient;
            return;
        }

        // In place where nobody else reads it.
        Tensor target =
            !old.IsShared ? old
            : !gradient.IsShared ? gradient
            : Allocate(input.Shape);
        Device.Kernels.Add(new AddShape(1, input.Shape.Count, false, false), old.Held, gradient.Held, target.Held);
        if (!ReferenceEquals(target, old))
            old.Release();
        if (!ReferenceEquals(target, gradient))
            gradient.Release();
        _gradients[input] = target;
    }

    /// <summary>
    /// Goes back from outputs with known gradients. Afterwards <see cref="GradientOf"/> has those of leaf tensors marked with
    /// <see cref="Watch"/>, and
    /// every trained parameter's has grown.
    /// </summary>
    public void Backward(params ReadOnlySpan<(Tensor Output, Tensor Gradient)> outputs)
    {
        foreach ((Tensor output, Tensor gradient) in outputs)
            Add(output, gradient.Retain());
        for (int i = _nodes.Count - 1; i >= 0; i--)
        {
            Node node = _nodes[i];
            if (_gradients.Remove(node.Output, out Tensor? dy))
            {
                node.Backward(dy);
                dy.Release();
            }

            node.Free();
            _nodes.RemoveAt(i);
        }
    }

    /// <summary>Marks a tensor whose gradient is wanted.</summary>
    public static Tensor Watch(Tensor tensor)
    {
        tensor.RequiresGrad = true;
        return tensor;
    }

    /// <summary>
    /// A watched tensor's gradient after <see cref="Backward"/>, or null when the loss does not depend on it. The tape keeps it.
    /// </summary>
    public Tensor? GradientOf(Tensor tensor) => _gradients.GetValueOrDefault(tensor);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Node node in _nodes)
            node.Free();
        _nodes.Clear();
        foreach (Tensor gradient in _gradients.Values)
            gradient.Release();
        _gradients.Clear();
    }

    private sealed record Node(Tensor Output, Tensor[] Saved, Action<Tensor> Backward)
    {
        public void Free()
        {
            foreach (Tensor tensor in Saved)
                tensor.Release();
        }
    }
}
