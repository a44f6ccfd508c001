namespace AfaNative.Kernels.Contracts;

/// <summary>
/// A block of elements on a device, float32 to everyone outside the kernels, returned to the device's pool when disposed.
/// </summary>
public abstract class DeviceBuffer : IDisposable
{
    /// <summary>Number of elements a caller may use.</summary>
    public abstract long Length { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Gives the memory back; called at most once with effect.</summary>
    protected abstract void Dispose(bool disposing);
}
