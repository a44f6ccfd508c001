using System.Globalization;
using AfaNative.Kernels.Contracts;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Devices.Ilgpu;

/// <summary>Elements on an accelerator, stored as T and float32 to everyone outside the kernels.</summary>
internal sealed class IlgpuBuffer<T>(IlgpuPool<T> pool, MemoryBuffer1D<T, Stride1D.Dense> memory, long length) : DeviceBuffer
    where T : unmanaged
{
    private MemoryBuffer1D<T, Stride1D.Dense>? _memory = memory;

    public override long Length => length;

    public static ArrayView<T> ViewOf(DeviceBuffer buffer)
    {
        MemoryBuffer1D<T, Stride1D.Dense>? memory = ((IlgpuBuffer<T>)buffer)._memory;
        ObjectDisposedException.ThrowIf(memory is null, buffer);
        return memory.View.AsContiguous().SubView(0, buffer.Length);
    }

    /// <summary>The device's address of the first element.</summary>
    public static ulong AddressOf(DeviceBuffer buffer)
    {
        MemoryBuffer1D<T, Stride1D.Dense>? memory = ((IlgpuBuffer<T>)buffer)._memory;
        ObjectDisposedException.ThrowIf(memory is null, buffer);
        return (ulong)memory.NativePtr;
    }

    protected override void Dispose(bool disposing)
    {
        if (_memory is null)
            return;
        pool.Return(_memory);
        _memory = null;
    }
}

/// <summary>Allocation that knows when not to try.</summary>
internal static class IlgpuMemory
{
    /// <summary>A count that the kernels' 32-bit indices can reach.</summary>
    public static int Index(long count) =>
        count <= int.MaxValue
            ? (int)count
            : throw new ArgumentException(
                $"a tensor of {count} elements is beyond this device's 32-bit indices; draw smaller pictures or smaller batches"
            );

    /// <summary>Takes memory from the driver.</summary>
    /// <exception cref="OutOfMemoryException">There is not enough.</exception>
    public static MemoryBuffer1D<T, Stride1D.Dense> Allocate<T>(Accelerator accelerator, long count)
        where T : unmanaged
    {
        long bytes = count * System.Runtime.CompilerServices.Unsafe.SizeOf<T>();
        // A failed allocation leaves a broken buffer in ILGPU's books, which then fails when the device is closed: ask first.
        if (accelerator is ILGPU.Runtime.Cuda.CudaAccelerator cuda && cuda.GetFreeMemory() < bytes)
            throw new OutOfMemoryException($"{bytes} bytes are more than the device has free");
        try
        {
            return accelerator.Allocate1D<T>(count);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            throw new OutOfMemoryException(e.Message, e);
        }
    }
}

/// <summary>A float32 buffer that only grows, for what lives within one op.</summary>
internal sealed class IlgpuScratch(Accelerator accelerator, AcceleratorStream stream) : IDisposable
{
    private MemoryBuffer1D<float, Stride1D.Dense>? _memory;

    /// <summary>How often it moved.</summary>
    public int Generation { get; private set; }

    public ArrayView<float> View(long count)
    {
        if (_memory is null || _memory.Length < count)
        {
            // Launched work may still use the old one.
            stream.Synchronize();
            Generation++;
            _memory?.Dispose();
            _memory = null;
            _memory = IlgpuMemory.Allocate<float>(accelerator, Math.Max(count, 4096));
        }

        return _memory.View.AsContiguous();
    }

    /// <summary>At least <paramref name="count"/> elements of another type no wider than float32.</summary>
    public ArrayView<T> View<T>(long count)
        where T : unmanaged
    {
        View(count);
        return _memory!.View.Cast<float, T>().AsContiguous();
    }

    /// <summary>The device's address of at least <paramref name="count"/> elements.</summary>
    public ulong Address(long count)
    {
        View(count);
        return (ulong)_memory!.NativePtr;
    }

    public void Dispose() => _memory?.Dispose();
}

/// <summary>
/// Keeps freed blocks by size. Ops of a device run in order on one stream, so a block may be handed out again before they are
/// done. Blocks that recorded work used on the way are kept apart, for recorded work alone: a replay writes to them whenever it
/// comes.
/// </summary>
internal sealed class IlgpuPool<T>(Accelerator accelerator) : IDisposable
    where T : unmanaged
{
    private readonly Dictionary<long, Stack<MemoryBuffer1D<T, Stride1D.Dense>>> _free = [];
    private readonly Dictionary<long, Stack<MemoryBuffer1D<T, Stride1D.Dense>>> _freeForRecordings = [];
    private readonly HashSet<MemoryBuffer1D<T, Stride1D.Dense>> _recorded = [];
    private readonly Lock _lock = new();
    private int _recordings;
    private bool _recording;

    public long LiveBytes { get; private set; }

    /// <summary>How often unused blocks went back to the driver.</summary>
    public int Generation { get; private set; }

    private static int ElementSize => System.Runtime.CompilerServices.Unsafe.SizeOf<T>();

    public IlgpuBuffer<T> Rent(long length)
    {
        long capacity = Capacity(length);
        lock (_lock)
        {
            LiveBytes += capacity * ElementSize;
            if (_recording && Take(_freeForRecordings, capacity) is { } reserved)
                return new IlgpuBuffer<T>(this, reserved, length);
            if (Take(_free, capacity) is { } free)
                return new IlgpuBuffer<T>(this, Reserved(free), length);
        }

        try
        {
            return New();
        }
        catch (OutOfMemoryException)
        {
            // Give back what lies unused and try once more.
            Trim();
            try
            {
                return New();
            }
            catch (OutOfMemoryException again)
            {
                lock (_lock)
                    LiveBytes -= capacity * ElementSize;
                throw new DeviceMemoryException(
                    string.Create(
                        CultureInfo.InvariantCulture,
                        $"{accelerator.Name} could not give {capacity * (double)ElementSize / (1 << 20):F0} MiB more (in "
                            + $"use: {LiveBytes / (1 << 20)} MiB); a smaller picture, a smaller `batch-size` or fewer "
                            + $"experts need less."
                    ),
                    again
                );
            }
        }

        IlgpuBuffer<T> New()
        {
            MemoryBuffer1D<T, Stride1D.Dense> block = IlgpuMemory.Allocate<T>(accelerator, capacity);
            lock (_lock)
                return new IlgpuBuffer<T>(this, Reserved(block), length);
        }
    }

    /// <summary>What is rented from here to <see cref="EndRecording"/> belongs to recorded work.</summary>
    public void BeginRecording()
    {
        lock (_lock)
        {
            _recording = true;
            _recordings++;
        }
    }

    /// <summary>The work is recorded.</summary>
    public void EndRecording()
    {
        lock (_lock)
            _recording = false;
    }

    /// <summary>One recording less: with the last, its blocks are anyone's.</summary>
    public void ForgetRecording()
    {
        lock (_lock)
        {
            if (--_recordings > 0)
                return;
            foreach (Stack<MemoryBuffer1D<T, Stride1D.Dense>> stack in _freeForRecordings.Values)
            {
                while (stack.TryPop(out var block))
                    Put(_free, block);
            }

            _recorded.Clear();
        }
    }

    public void Return(MemoryBuffer1D<T, Stride1D.Dense> memory)
    {
        lock (_lock)
        {
            LiveBytes -= memory.Length * ElementSize;
            Put(_recorded.Contains(memory) ? _freeForRecordings : _free, memory);
        }
    }

    public void Dispose() => Trim();

    private void Trim()
    {
        lock (_lock)
        {
            Generation++;
            foreach (var stack in _free.Values.Concat(_freeForRecordings.Values))
            {
                while (stack.TryPop(out var block))
                {
                    _recorded.Remove(block);
                    block.Dispose();
                }
            }
        }
    }

    private MemoryBuffer1D<T, Stride1D.Dense> Reserved(MemoryBuffer1D<T, Stride1D.Dense> block)
    {
        if (_recording)
            _recorded.Add(block);
        return block;
    }

    private static MemoryBuffer1D<T, Stride1D.Dense>? Take(
        Dictionary<long, Stack<MemoryBuffer1D<T, Stride1D.Dense>>> from,
        long capacity
    ) => from.TryGetValue(capacity, out var stack) && stack.TryPop(out var block) ? block : null;

    private static void Put(
        Dictionary<long, Stack<MemoryBuffer1D<T, Stride1D.Dense>>> to,
        MemoryBuffer1D<T, Stride1D.Dense> block
    )
    {
        if (!to.TryGetValue(block.Length, out var stack))
            to[block.Length] = stack = new Stack<MemoryBuffer1D<T, Stride1D.Dense>>();
        stack.Push(block);
    }

    /// <summary>Elements of a block: sizes go in steps of an eighth of their magnitude.</summary>
    public static long Capacity(long length)
    {
        long size = Math.Max(64, length),
            step = 64;
        while (step * 16 < size)
            step *= 2;
        return (size + step - 1) / step * step;
    }
}
