using System.Runtime.InteropServices;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Kernels.Host;

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
