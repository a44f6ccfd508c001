using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Random;
using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;
using IDevice = AfaNative.Kernels.Contracts.IDevice;

namespace AfaNative.Kernels.Devices.Ilgpu;

/// <summary>
/// An accelerator reached through ILGPU: <c>cuda:N</c>, <c>opencl:N</c>, or ILGPU's own CPU accelerator for debugging
/// (<c>ilgpu-cpu</c>).
/// </summary>
public sealed class IlgpuDevice : IDevice
{
    private readonly Context _context;
    private readonly Accelerator _accelerator;
    private readonly IlgpuBackend _backend;

    // Ops of one thread must not come between the launches of another's: they share working memory and the staging buffer.
    private readonly Lock _turn = new();
    private readonly SerialKernels _kernels;
    private SerialGradients? _gradients;

    /// <summary>Takes over an accelerator, its context and its kernels.</summary>
    internal IlgpuDevice(string name, Context context, Accelerator accelerator, ElementType storage, IlgpuBackend backend)
    {
        Name = name;
        Storage = storage;
        _context = context;
        _accelerator = accelerator;
        _backend = backend;
        _kernels = new SerialKernels(_backend.Ops, _turn);
    }

    /// <inheritdoc/>
    public string Name { get; }

    /// <inheritdoc/>
    public ElementType Storage { get; }

    /// <inheritdoc/>
    public IKernels Kernels => _kernels;

    /// <inheritdoc/>
    public long AllocatedBytes => _backend.LiveBytes;

    /// <inheritdoc/>
    public long? FreeBytes => _accelerator is CudaAccelerator cuda ? cuda.GetFreeMemory() : _accelerator.MemorySize;

    /// <inheritdoc/>
    public long? ResidentWeightLimit
    {
        get => _backend.Weights.ResidentLimit;
        set => _backend.Weights.ResidentLimit = value ?? long.MaxValue;
    }

    /// <summary>Bytes of weights that stayed on the host.</summary>
    public long StreamedBytes => _backend.Weights.StreamedBytes;

    /// <inheritdoc/>
    public long BufferBytes(long length) => _backend.BufferBytes(length);

    /// <inheritdoc/>
    public long PackedBytes(WeightShape shape, ReadOnlySpan<ElementType> types) => _backend.PackedBytes(shape, types);

    /// <inheritdoc/>
    public DeviceBuffer Allocate(long length)
    {
        lock (_turn)
            return _backend.Allocate(length);
    }

    /// <inheritdoc/>
    public void Upload(ReadOnlySpan<float> source, DeviceBuffer destination, long offset = 0)
    {
        lock (_turn)
            _backend.Upload(source, destination, offset);
    }

    /// <inheritdoc/>
    public void Download(DeviceBuffer source, Span<float> destination)
    {
        lock (_turn)
            _backend.Download(source, destination);
    }

    /// <inheritdoc/>
    public void FillNoise(DeviceBuffer destination, int count, ulong seed, ulong stream)
    {
        lock (_turn)
        {
            if (_backend.TryFillNoise(destination, count, seed, stream))
                return;
        }

        var values = new float[count];
        GaussianNoise.Fill(values, seed, stream);
        Upload(values, destination);
    }

    /// <inheritdoc/>
    public IGradients? Gradients
    {
        get
        {
            lock (_turn)
                return _gradients ??= new SerialGradients(_backend.Gradients, _turn);
        }
    }

    /// <inheritdoc/>
    public void Repack(PackedWeights weights, ReadOnlySpan<WeightSource> experts)
    {
        lock (_turn)
        {
            // Kernels on the stream may still read the old values.
            _backend.Queue.Synchronize();
            _backend.Repack(weights, experts);
        }
    }

    /// <inheritdoc/>
    public IDeviceMarker Mark()
    {
        lock (_turn)
            return new IlgpuMarker(_backend.Queue.AddProfilingMarker());
    }

    /// <summary>What to call the hardware.</summary>
    public string Description => $"{_accelerator.Name}, {_accelerator.NumMultiprocessors} multiprocessors";

    /// <inheritdoc/>
    public PackedWeights Pack(WeightShape shape, ReadOnlySpan<WeightSource> experts)
    {
        lock (_turn)
            return _backend.Pack(shape, experts);
    }

    /// <inheritdoc/>
    public IRecordedWork? Record(Action work)
    {
        lock (_turn)
        {
            _accelerator.Bind();
            return _backend.Record(work) is { } recorded ? new SerialRecording(recorded, _accelerator, _turn) : null;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _accelerator.Synchronize();
        _backend.Dispose();
        _accelerator.Dispose();
        _context.Dispose();
    }
}
