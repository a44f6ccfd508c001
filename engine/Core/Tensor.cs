using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Core;

/// <summary>
/// Shape of every activation: experts, batch, height, width, channels, channels last. Token sequences are maps of width 1,
/// vectors maps of one pixel.
/// An expert count of 1 may stand for a map shared by all experts.
/// </summary>
public readonly record struct Shape(int Experts, int Batch, int Height, int Width, int Channels)
{
    /// <summary>Pixels (tokens) of one map.</summary>
    public int Pixels => Height * Width;

    /// <summary>Pixels of one expert's batch.</summary>
    public int Rows => Batch * Pixels;

    /// <summary>Number of elements.</summary>
    public long Count => (long)Experts * Rows * Channels;

    /// <inheritdoc/>
    public override string ToString() => $"[{Experts}, {Batch}, {Height}, {Width}, {Channels}]";
}

/// <summary>A float32 activation on a device. Freed by the scope it was made in, or earlier by <see cref="Dispose"/>.</summary>
public sealed class Tensor : IDisposable
{
    private readonly DeviceBuffer _memory;
    private DeviceBuffer? _buffer;
    private int _references = 1;

    internal Tensor(DeviceBuffer buffer, Shape shape)
    {
        _memory = _buffer = buffer;
        Shape = shape;
    }

    /// <summary>[E, B, H, W, C].</summary>
    public Shape Shape { get; }

    /// <summary>The memory; throws when the tensor was freed.</summary>
    public DeviceBuffer Buffer =>
        _buffer ?? throw new ObjectDisposedException(nameof(Tensor), $"the tensor {Shape} was already freed by its scope");

    /// <summary>A loss may depend on this tensor, and someone wants to know how.</summary>
    public bool RequiresGrad { get; internal set; }

    /// <summary>The memory, for those who hold a share of it, even after the scope has let go.</summary>
    internal DeviceBuffer Held =>
        _references > 0 ? _memory : throw new ObjectDisposedException(nameof(Tensor), $"the tensor {Shape} was already freed");

    /// <summary>More than one owner: not to be written to.</summary>
    internal bool IsShared => _references > 1;

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_buffer is null)
            return;
        _buffer = null;
        Release();
    }

    /// <summary>Takes a share of the memory.</summary>
    internal Tensor Retain()
    {
        if (_references <= 0)
            throw new ObjectDisposedException(nameof(Tensor), $"the tensor {Shape} was already freed");
        _references++;
        return this;
    }

    /// <summary>
    /// Makes a tensor its scope has let go usable again while someone holds a share; a later Dispose undoes it. False when it
    /// never was let go.
    /// </summary>
    internal bool Revive()
    {
        if (_buffer is not null)
            return false;
        Retain();
        _buffer = _memory;
        return true;
    }

    /// <summary>Gives a share back; the last one frees the memory.</summary>
    internal void Release()
    {
        if (--_references == 0)
            _memory.Dispose();
    }
}

/// <summary>
/// The lifetime of intermediate tensors: everything made since the scope opened is freed at its end, but for what was kept.
/// Scopes nest; a kept tensor passes to the enclosing one.
/// </summary>
public sealed class TensorScope : IDisposable
{
    private readonly Ops _ops;
    private readonly TensorScope? _parent;
    private readonly List<Tensor> _tensors = [];

    internal TensorScope(Ops ops, TensorScope? parent)
    {
        _ops = ops;
        _parent = parent;
    }

    internal void Add(Tensor tensor) => _tensors.Add(tensor);

    /// <summary>Hands a tensor to the enclosing scope (or, at the outermost, to the caller).</summary>
    public Tensor Keep(Tensor tensor)
    {
        if (_tensors.Remove(tensor))
            _parent?.Add(tensor);
        return tensor;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Tensor tensor in _tensors)
            tensor.Dispose();
        _tensors.Clear();
        _ops.Close(this, _parent);
    }
}
