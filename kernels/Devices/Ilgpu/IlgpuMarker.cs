using AfaNative.Kernels.Contracts;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Devices.Ilgpu;

/// <summary>An event in a stream: the device's own clock, without the host's way to it.</summary>
internal sealed class IlgpuMarker(ProfilingMarker marker) : IDeviceMarker
{
    private readonly ProfilingMarker _marker = marker;

    public double SecondsSince(IDeviceMarker earlier)
    {
        _marker.Synchronize();
        return _marker.MeasureFrom(((IlgpuMarker)earlier)._marker).Duration().TotalSeconds;
    }

    public void Dispose() => _marker.Dispose();
}
