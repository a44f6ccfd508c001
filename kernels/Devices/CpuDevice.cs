using System.Runtime.InteropServices;
using AfaNative.Kernels.MatrixMultiply;

namespace AfaNative.Kernels.Devices;

/// <summary>
/// The host's memory and cores. <c>cpu</c> runs the SIMD kernels, <c>cpu-reference</c> the plain ones they are checked against.
/// </summary>
public sealed unsafe class CpuDevice : IDevice
{
    private readonly HostPool _memory = new();
    private readonly Scratch _shared = new();

    private readonly bool _bfloat16,
        _paired;

    /// <summary>Starts the worker threads.</summary>
    /// <param name="threads">Threads to use; 0 means one per core.</param>
    /// <param name="reference">Run the plain reference kernels.</param>
    /// <param name="simd">Vector width of the matrix kernels; null means the fastest of this machine.</param>
    /// <param name="products">What operands of linear layers, attention and direct convolutions are rounded to: bfloat16, where
    /// <see cref="SupportsBFloat16"/>, or not at all.</param>
    /// <exception cref="NotSupportedException">Such products are not to be had here.</exception>
    public CpuDevice(int threads = 0, bool reference = false, SimdWidth? simd = null, ElementType products = ElementType.Float32)
    {
        bool bfloat16 = products == ElementType.BFloat16;
        if (products == ElementType.Float16 || (bfloat16 && (reference || !SupportsBFloat16)))
            throw new NotSupportedException($"this device has no products in {products}");
        Pool = new WorkerPool(threads > 0 ? threads : Environment.ProcessorCount);
        SimdWidth width = simd ?? RegisterTile.Best;
        _paired = !reference && width == SimdWidth.Paired512;
        Kernels = reference ? new ReferenceKernels() : new CpuKernels(Pool, width, _shared, bfloat16);
        Gradients = reference ? new ReferenceGradients() : new CpuGradients(Pool, width, _shared);
        Name = reference ? "cpu-reference" : "cpu";
        Products = products;
        _bfloat16 = bfloat16;
    }

    /// <summary>
    /// Whether this processor (AVX512-BF16) and system (Linux, executable memory allowed) can multiply bfloat16.
    /// </summary>
    public static bool SupportsBFloat16 => MachineCode.GeneratedKernels.MultipliesBFloat16;

    /// <inheritdoc/>
    public ElementType Products { get; }

    /// <inheritdoc/>
    public string Name { get; }

    /// <inheritdoc/>
    public IKernels Kernels { get; }

    /// <inheritdoc/>
    public IGradients? Gradients { get; }

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
        CpuPackedWeights.Bytes(shape, types, PackedType(shape), Paired(shape));

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
    public PackedWeights Pack(WeightShape shape, ReadOnlySpan<WeightSource> experts) =>
        new CpuPackedWeights(Pool, shape, experts, PackedType(shape), Paired(shape));

    /// <inheritdoc/>
    public void Repack(PackedWeights weights, ReadOnlySpan<WeightSource> experts) =>
        ((CpuPackedWeights)weights).Replace(Pool, experts);

    // Most convolutions transform their weights, each time or never.
    private bool Paired(WeightShape shape) =>
        _paired && PackedType(shape) is null && shape is { KernelHeight: 1, KernelWidth: 1 };

    private ElementType? PackedType(WeightShape shape) => _bfloat16 && !shape.Exact ? ElementType.BFloat16 : null;

    /// <inheritdoc/>
    public void Dispose()
    {
        Pool.Dispose();
        _shared.Dispose();
        _memory.Dispose();
    }
}

/// <summary>Float32 elements in 64-byte aligned native memory.</summary>
internal sealed unsafe class HostBuffer(HostPool pool, float* pointer, long length, long capacity) : DeviceBuffer
{
    private float* _pointer = pointer;

    public override long Length => length;

    public static float* PointerOf(DeviceBuffer buffer)
    {
        float* pointer = ((HostBuffer)buffer)._pointer;
        ObjectDisposedException.ThrowIf(pointer == null, buffer);
        return pointer;
    }

    protected override void Dispose(bool disposing)
    {
        if (_pointer == null)
            return;
        pool.Return(_pointer, capacity);
        _pointer = null;
    }
}

/// <summary>Keeps freed blocks by size, so that a step after the first allocates nothing and touches no fresh page.</summary>
internal sealed unsafe class HostPool : IDisposable
{
    /// <summary>Bytes kept for reuse at most.</summary>
    public const long Keep = 1L << 31;

    private readonly Dictionary<long, Stack<nint>> _free = [];
    private readonly Lock _lock = new();
    private long _freeBytes;

    public long LiveBytes { get; private set; }

    public long PeakBytes { get; private set; }

    public HostBuffer Rent(long length)
    {
        long capacity = Capacity(length);
        lock (_lock)
        {
            LiveBytes += capacity;
            if (_free.TryGetValue(capacity, out Stack<nint>? stack) && stack.TryPop(out nint block))
            {
                _freeBytes -= capacity;
                PeakBytes = Math.Max(PeakBytes, LiveBytes + _freeBytes);
                return new HostBuffer(this, (float*)block, length, capacity);
            }

            PeakBytes = Math.Max(PeakBytes, LiveBytes + _freeBytes);
        }

        return new HostBuffer(this, (float*)HostMemory.Allocate(capacity), length, capacity);
    }

    public void Return(float* pointer, long capacity)
    {
        lock (_lock)
        {
            LiveBytes -= capacity;
            if (_freeBytes + capacity <= Keep)
            {
                if (!_free.TryGetValue(capacity, out Stack<nint>? stack))
                    _free[capacity] = stack = new Stack<nint>();
                stack.Push((nint)pointer);
                _freeBytes += capacity;
                return;
            }
        }

        NativeMemory.AlignedFree(pointer);
    }

    public void Dispose()
    {
        foreach (Stack<nint> stack in _free.Values)
        {
            foreach (nint block in stack)
                NativeMemory.AlignedFree((void*)block);
        }

        _free.Clear();
        _freeBytes = 0;
    }

    /// <summary>
    /// Bytes of a block. Sizes go in steps of an eighth of their magnitude: blocks are reused across slightly different shapes.
    /// </summary>
    public static long Capacity(long length)
    {
        long bytes = Math.Max(64, length * sizeof(float)),
            step = 64;
        while (step * 16 < bytes)
            step *= 2;
        return (bytes + step - 1) / step * step;
    }
}
