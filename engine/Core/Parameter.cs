using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Core;

/// <summary>
/// A trained tensor: float32 values on the host as a checkpoint stores them, what the device's layer uses made from them, and the
/// gradient.
/// </summary>
public abstract class Parameter : IDisposable
{
    private bool _fresh = true;

    private protected Parameter(string name, IReadOnlyList<long> shape, float[] values)
    {
        Name = name;
        Shape = shape;
        Values = values;
        Gradient = new float[values.Length];
    }

    /// <summary>The checkpoint's name.</summary>
    public string Name { get; }

    /// <summary>The checkpoint's shape.</summary>
    public IReadOnlyList<long> Shape { get; }

    /// <summary>The values; call <see cref="Publish"/> after changing them.</summary>
    public float[] Values { get; }

    /// <summary>The sum of gradients since <see cref="ZeroGradient"/>.</summary>
    public float[] Gradient { get; }

    /// <summary>What a layer holds: the object the tape knows it by.</summary>
    internal abstract object Key { get; }

    /// <summary>Brings the values to the device.</summary>
    public abstract void Publish();

    /// <summary>Forgets the gradient.</summary>
    public void ZeroGradient()
    {
        Array.Clear(Gradient);
        _fresh = true;
    }

    /// <summary>Adds a gradient that lies on the device in the checkpoint's layout.</summary>
    internal void Accumulate(IDevice device, DeviceBuffer gradient)
    {
        if (_fresh)
        {
            device.Download(gradient, Gradient);
            _fresh = false;
            return;
        }

        var values = new float[Gradient.Length];
        device.Download(gradient, values);
        for (int i = 0; i < values.Length; i++)
            Gradient[i] += values[i];
    }

    /// <summary>Adds part of a gradient, from element <paramref name="offset"/> on.</summary>
    internal void Accumulate(int offset, ReadOnlySpan<float> gradient)
    {
        _fresh = false;
        for (int i = 0; i < gradient.Length; i++)
            Gradient[offset + i] += gradient[i];
    }

    /// <inheritdoc/>
    public abstract void Dispose();
}
