using AfaNative.Kernels.Contracts;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Devices.Ilgpu;

/// <summary>
/// What depends on how a device stores activations. One thread at a time: <see cref="IlgpuDevice"/> sees to it.
/// </summary>
internal abstract class IlgpuBackend : IDisposable
{
    /// <summary>The ops.</summary>
    public abstract IKernels Ops { get; }

    /// <summary>Bytes in live buffers.</summary>
    public abstract long LiveBytes { get; }

    /// <summary>Takes a buffer from the pool.</summary>
    public abstract DeviceBuffer Allocate(long length);

    /// <summary>Copies float32 values in, rounding to storage.</summary>
    public abstract void Upload(ReadOnlySpan<float> source, DeviceBuffer destination, long offset = 0);

    /// <summary>Copies values out as float32.</summary>
    public abstract void Download(DeviceBuffer source, Span<float> destination);

    /// <summary>Brings weights into the layout the multiply wants.</summary>
    public abstract PackedWeights Pack(WeightShape shape, ReadOnlySpan<WeightSource> experts);

    /// <summary>Replaces the values of weights packed here.</summary>
    public abstract void Repack(PackedWeights weights, ReadOnlySpan<WeightSource> experts);

    /// <summary>Fills a buffer with a seed's noise on the device; false where the host must.</summary>
    public virtual bool TryFillNoise(DeviceBuffer destination, int count, ulong seed, ulong stream) => false;

    /// <summary>Bytes <see cref="Pack"/> takes.</summary>
    public abstract long PackedBytes(WeightShape shape, ReadOnlySpan<ElementType> types);

    /// <summary>Bytes <see cref="Allocate"/> takes.</summary>
    public abstract long BufferBytes(long length);

    /// <summary>The gradients.</summary>
    public abstract IGradients Gradients { get; }

    /// <summary>The stream everything runs on, in order.</summary>
    public abstract AcceleratorStream Queue { get; }

    /// <summary>Where weights live.</summary>
    public abstract WeightStore Weights { get; }

    /// <summary>Records what <paramref name="work"/> launches, for replay; null where the device cannot.</summary>
    public virtual IRecordedWork? Record(Action work) => null;

    /// <inheritdoc/>
    public abstract void Dispose();
}
