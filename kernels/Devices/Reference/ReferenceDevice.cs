using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Cpu;

namespace AfaNative.Kernels.Devices.Reference;

/// <summary>The host with the plain kernels that the others are checked against, on one thread: <c>cpu-reference</c>.</summary>
public sealed class ReferenceDevice() : HostDevice(DeviceName, 1)
{
    internal const string DeviceName = "cpu-reference";

    /// <inheritdoc/>
    public override IKernels Kernels { get; } = new ReferenceKernels();

    /// <inheritdoc/>
    public override IGradients? Gradients { get; } = new ReferenceGradients();
}
