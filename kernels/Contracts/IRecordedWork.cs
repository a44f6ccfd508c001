namespace AfaNative.Kernels.Contracts;

/// <summary>Launched work kept by a device, so that it can run again without the host going through it.</summary>
public interface IRecordedWork : IDisposable
{
    /// <summary>
    /// Runs the work again on the same buffers; false when that is no longer possible and it must be launched (and recorded)
    /// anew.
    /// </summary>
    bool TryReplay();
}
