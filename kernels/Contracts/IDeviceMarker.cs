namespace AfaNative.Kernels.Contracts;

/// <summary>A point in a device's work, to measure the time between two.</summary>
public interface IDeviceMarker : IDisposable
{
    /// <summary>Seconds from <paramref name="earlier"/> until the device came here; waits until it has.</summary>
    double SecondsSince(IDeviceMarker earlier);
}

/// <summary>A moment of the host's clock, for devices that are done when an op returns.</summary>
internal sealed class ClockMarker : IDeviceMarker
{
    private readonly long _time = System.Diagnostics.Stopwatch.GetTimestamp();

    public double SecondsSince(IDeviceMarker earlier) =>
        System.Diagnostics.Stopwatch.GetElapsedTime(((ClockMarker)earlier)._time, _time).TotalSeconds;

    public void Dispose() { }
}
