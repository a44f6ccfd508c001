using System.Globalization;
using System.Runtime.InteropServices;
using AfaNative.Kernels.Contracts;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Devices.Ilgpu;

/// <summary>
/// Weights of an accelerator. Up to <see cref="ResidentLimit"/> they live there; what comes after stays in page-locked host
/// memory and is copied into one
/// staging buffer when an op needs it. Copies and kernels share a stream, so a copy waits for the kernel that still reads the
/// buffer.
/// </summary>
internal sealed class WeightStore(Accelerator accelerator, AcceleratorStream stream) : IDisposable
{
    private readonly Lock _lock = new();
    private MemoryBuffer1D<byte, Stride1D.Dense>? _staging;
    private WeightBlock? _staged;
    private long _resident;

    /// <summary>Bytes of weights that may live on the device.</summary>
    public long ResidentLimit { get; set; } = long.MaxValue;

    /// <summary>Bytes kept on the host for want of room.</summary>
    public long StreamedBytes { get; private set; }

    /// <summary>How often the staging buffer moved.</summary>
    public int Generation { get; private set; }

    /// <summary>Room for a weight of so many bytes.</summary>
    public WeightBlock Add(long bytes)
    {
        if (_resident + bytes > ResidentLimit)
        {
            lock (_lock)
                StreamedBytes += bytes;
            if (_staging is null || _staging.Length < bytes)
            {
                stream.Synchronize();
                Generation++;
                _staging?.Dispose();
                _staging = null;
                _staged = null;
                _staging = Allocate(bytes);
            }

            return new WeightBlock(this, bytes, null, accelerator.AllocatePageLocked1D<byte>(bytes));
        }

        lock (_lock)
            _resident += bytes;
        return new WeightBlock(this, bytes, Allocate(bytes), null);
    }

    public void Dispose() => _staging?.Dispose();

    /// <summary>
    /// The weight's bytes on the device, copied there first where needed; good until the next call for another weight.
    /// </summary>
    internal MemoryBuffer1D<byte, Stride1D.Dense> Stage(WeightBlock block, PageLockedArray1D<byte> host)
    {
        // A recorded run must copy every time: what is staged when it starts is not what was staged when it was recorded.
        if (!ReferenceEquals(_staged, block) || Recording)
        {
            _staging!.View.AsContiguous().SubView(0, block.Bytes).CopyFromPageLockedAsync(stream, host);
            _staged = block;
        }

        return _staging!;
    }

    /// <summary>Set while launches are recorded instead of run.</summary>
    internal bool Recording { get; set; }

    /// <summary>To be called when recorded work runs: it leaves another weight in the staging buffer.</summary>
    internal void ForgetStaged() => _staged = null;

    // Called by whoever disposes of a weight, while another thread's op may be staging one.
    internal void Remove(WeightBlock block, bool resident)
    {
        lock (_lock)
        {
            if (resident)
                _resident -= block.Bytes;
            else
                StreamedBytes -= block.Bytes;
        }

        Interlocked.CompareExchange(ref _staged, null, block);
    }

    private MemoryBuffer1D<byte, Stride1D.Dense> Allocate(long bytes)
    {
        try
        {
            return IlgpuMemory.Allocate<byte>(accelerator, bytes);
        }
        catch (OutOfMemoryException e)
        {
            throw new DeviceMemoryException(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{accelerator.Name} could not give {bytes / (double)(1 << 20):F0} MiB more for weights "
                        + $"({_resident / (1 << 20)} MiB of weights are there); a `memory-budget` keeps some on the host, "
                        + $"fewer experts need less."
                ),
                e
            );
        }
    }
}

/// <summary>One weight: on the device, or on the host until it is used.</summary>
internal sealed class WeightBlock(
    WeightStore store,
    long bytes,
    MemoryBuffer1D<byte, Stride1D.Dense>? device,
    PageLockedArray1D<byte>? host
) : IDisposable
{
    private bool _disposed;

    public long Bytes => bytes;

    /// <summary>Writes part of the weight.</summary>
    public void Write<T>(long offset, ReadOnlySpan<T> values)
        where T : unmanaged
    {
        ReadOnlySpan<byte> source = MemoryMarshal.AsBytes(values);
        if (host is not null)
            source.CopyTo(host.Span.Slice(checked((int)offset)));
        else
            device!.View.AsContiguous().SubView(offset, source.Length).CopyFromCPU(source.ToArray());
    }

    /// <summary>The weight on the device, good until the next weight is asked for.</summary>
    public ArrayView<T> View<T>()
        where T : unmanaged => (device ?? store.Stage(this, host!)).View.SubView(0, bytes).Cast<byte, T>().AsContiguous();

    /// <summary>Its address there.</summary>
    public ulong Address => (ulong)(device ?? store.Stage(this, host!)).NativePtr;

    public void Dispose()
    {
        if (_disposed)
            return;
        _disposed = true;
        store.Remove(this, device is not null);
        device?.Dispose();
        host?.Dispose();
    }
}
