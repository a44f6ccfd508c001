using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Host;
using AfaNative.Kernels.MatrixMultiply;
using AfaNative.Kernels.Random;

namespace AfaNative.Kernels.Devices.Cpu;

/// <summary>A device whose memory is the host's and whose buffers are float32 arrays there.</summary>
public abstract unsafe class HostDevice : IDevice
{
    private readonly HostPool _memory = new();

    private protected HostDevice(string name, int threads)
    {
        Name = name;
        Pool = new WorkerPool(threads);
    }

    /// <inheritdoc/>
    public string Name { get; }

    /// <inheritdoc/>
    public virtual ElementType Products => ElementType.Float32;

    /// <inheritdoc/>
    public abstract IKernels Kernels { get; }

    /// <inheritdoc/>
    public abstract IGradients? Gradients { get; }

    /// <inheritdoc/>
    public long AllocatedBytes => _memory.LiveBytes;

    /// <summary>The worker threads.</summary>
    public WorkerPool Pool { get; }

    /// <inheritdoc/>
    public long? FreeBytes => GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;

    /// <inheritdoc/>
    public long KeptBytes => HostPool.Keep;

    // The runtime, its code, and the kernels' packing buffers: 130 to 150 MiB measured.
    /// <inheritdoc/>
    public long WorkspaceBytes => 140L << 20;

    /// <summary>The most bytes that buffers, used and kept for reuse, ever took.</summary>
    public long PeakBytes => _memory.PeakBytes;

    /// <inheritdoc/>
    public long BufferBytes(long length) => HostPool.Capacity(length);

    /// <inheritdoc/>
    public long PackedBytes(WeightShape shape, ReadOnlySpan<ElementType> types) =>
        CpuPackedWeights.Bytes(shape, types, PackedType(shape), PacksPaired(shape));

    /// <inheritdoc/>
    public DeviceBuffer Allocate(long length) => _memory.Rent(length);

    /// <inheritdoc/>
    public void Upload(ReadOnlySpan<float> source, DeviceBuffer destination, long offset = 0)
    {
        if (offset < 0 || offset + source.Length > destination.Length)
            throw new ArgumentException($"{source.Length} elements at {offset} do not fit a buffer of {destination.Length}");
        source.CopyTo(new Span<float>(HostBuffer.PointerOf(destination) + offset, source.Length));
    }

    /// <inheritdoc/>
    public void Download(DeviceBuffer source, Span<float> destination) =>
        new ReadOnlySpan<float>(HostBuffer.PointerOf(source), destination.Length).CopyTo(destination);

    /// <inheritdoc/>
    public void FillNoise(DeviceBuffer destination, int count, ulong seed, ulong stream)
    {
        var values = new float[count];
        GaussianNoise.Fill(values, seed, stream);
        Upload(values, destination);
    }

    /// <inheritdoc/>
    public PackedWeights Pack(WeightShape shape, ReadOnlySpan<WeightSource> experts) =>
        new CpuPackedWeights(Pool, shape, experts, PackedType(shape), PacksPaired(shape));

    /// <inheritdoc/>
    public void Repack(PackedWeights weights, ReadOnlySpan<WeightSource> experts) =>
        ((CpuPackedWeights)weights).Replace(Pool, experts);

    /// <inheritdoc/>
    public void Dispose()
    {
        Pool.Dispose();
        DisposeWorkspace();
        _memory.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>Type that weights are packed in; null: their own.</summary>
    private protected virtual ElementType? PackedType(WeightShape shape) => null;

    /// <summary>Whether weights are packed for products taken in pairs.</summary>
    private protected virtual bool PacksPaired(WeightShape shape) => false;

    /// <summary>Frees what the kernels worked on.</summary>
    private protected virtual void DisposeWorkspace() { }
}
