using AfaNative.Kernels.Contracts;

namespace AfaNative.Kernels.Devices.Planning;

/// <summary>
/// Stands in for a device to learn what a run will need: buffers and weights have sizes but no memory, ops do nothing. What it
/// counts is what the device's
/// pool would hold, blocks kept for reuse included.
/// </summary>
public sealed class PlanningDevice(IDevice device) : IDevice
{
    private readonly Dictionary<long, int> _free = [];
    private readonly Lock _lock = new();
    private long _live,
        _kept;

    /// <inheritdoc/>
    public string Name => device.Name;

    /// <inheritdoc/>
    public ElementType Storage => device.Storage;

    /// <inheritdoc/>
    public ElementType Products => device.Products;

    /// <inheritdoc/>
    public IKernels Kernels { get; } = new NoKernels();

    /// <inheritdoc/>
    public IGradients? Gradients { get; } = device.Gradients is null ? null : new NoGradients();

    /// <inheritdoc/>
    public void Repack(PackedWeights weights, ReadOnlySpan<WeightSource> experts) { }

    /// <inheritdoc/>
    public long AllocatedBytes => _live;

    /// <inheritdoc/>
    public bool ReadsData => false;

    /// <summary>Bytes of all packed weights.</summary>
    public long WeightBytes { get; private set; }

    /// <summary>Bytes of the largest packed weight.</summary>
    public long LargestWeight { get; private set; }

    /// <summary>The most bytes that buffers, used and kept, ever took since <see cref="ResetPeak"/>.</summary>
    public long Peak { get; private set; }

    /// <summary>Starts <see cref="Peak"/> anew.</summary>
    public void ResetPeak()
    {
        lock (_lock)
            Peak = _live + _kept;
    }

    /// <inheritdoc/>
    public long BufferBytes(long length) => device.BufferBytes(length);

    /// <inheritdoc/>
    public long PackedBytes(WeightShape shape, ReadOnlySpan<ElementType> types) => device.PackedBytes(shape, types);

    /// <inheritdoc/>
    public DeviceBuffer Allocate(long length)
    {
        long bytes = device.BufferBytes(length);
        lock (_lock)
        {
            if (_free.TryGetValue(bytes, out int free) && free > 0)
            {
                _free[bytes] = free - 1;
                _kept -= bytes;
            }

            _live += bytes;
            Peak = Math.Max(Peak, _live + _kept);
        }

        return new PlannedBuffer(this, length, bytes);
    }

    /// <inheritdoc/>
    public PackedWeights Pack(WeightShape shape, ReadOnlySpan<WeightSource> experts)
    {
        var types = new ElementType[experts.Length];
        for (int e = 0; e < types.Length; e++)
            types[e] = experts[e].Type;
        long bytes = device.PackedBytes(shape, types);
        lock (_lock)
        {
            WeightBytes += bytes;
            LargestWeight = Math.Max(LargestWeight, bytes);
        }

        return new PlannedWeights(shape, experts.Length, bytes);
    }

    /// <inheritdoc/>
    public void Upload(ReadOnlySpan<float> source, DeviceBuffer destination, long offset = 0) { }

    /// <inheritdoc/>
    public void Download(DeviceBuffer source, Span<float> destination) => destination.Clear();

    /// <inheritdoc/>
    public void FillNoise(DeviceBuffer destination, int count, ulong seed, ulong stream) { }

    /// <inheritdoc/>
    public void Dispose() { }

    private void Return(long bytes)
    {
        lock (_lock)
        {
            _live -= bytes;
            if (_kept + bytes > device.KeptBytes)
                return;
            _free[bytes] = _free.GetValueOrDefault(bytes) + 1;
            _kept += bytes;
        }
    }

    private sealed class PlannedBuffer(PlanningDevice owner, long length, long bytes) : DeviceBuffer
    {
        private bool _disposed;

        public override long Length => length;

        protected override void Dispose(bool disposing)
        {
            if (!_disposed)
                owner.Return(bytes);
            _disposed = true;
        }
    }

    private sealed class PlannedWeights(WeightShape shape, int experts, long bytes) : PackedWeights(shape, experts)
    {
        public override long ByteLength => bytes;

        protected override void Dispose(bool disposing) { }
    }
}
