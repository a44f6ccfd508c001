namespace AfaNative.Kernels.Contracts;

/// <summary>
/// A kind of device: how it is named, what it can compute, what of it is here, and how it is opened. Whoever lists or opens
/// devices asks these, and knows none by name.
/// </summary>
public interface IDeviceProvider
{
    /// <summary>How its devices are named: one name, or <c>kind:N</c> where there may be several.</summary>
    string Pattern { get; }

    /// <summary>A sentence's end that says when to take it; null for the fast devices, which come first.</summary>
    string? Remark => null;

    /// <summary>It is slow, and there to check others or their kernels with.</summary>
    bool ForChecking => false;

    /// <summary>Whether a number of threads has an effect on it.</summary>
    bool TakesThreads => false;

    /// <summary>Whether its memory holds float32 whatever the precision: training in 16 bits rounds on top of it.</summary>
    bool StoresFloat32 => false;

    /// <summary>Whether a name is meant for this kind, be there such a device or not.</summary>
    bool Names(string name);

    /// <summary>The devices that are here, or one that says why there is none.</summary>
    IReadOnlyList<DeviceDescription> Find();

    /// <summary>Why it does not compute in a precision, to follow that one's name in a sentence; null where it does.</summary>
    string? Refusal(ElementType precision) => null;

    /// <summary>A sentence on what it computes in instead of a precision this machine lacks; null where that is here.</summary>
    string? Shortfall(ElementType precision) => null;

    /// <summary>Opens a device.</summary>
    /// <exception cref="ArgumentException">There is none of that name, or it cannot be used; the message says why.</exception>
    IDevice Open(in DeviceRequest request);
}

/// <summary>Which device to open, and how.</summary>
/// <param name="Name">One of the provider's names.</param>
/// <param name="Threads">Worker threads; 0 means one per core.</param>
/// <param name="Precision">How an accelerator stores activations, or what the host rounds factors to.</param>
public readonly record struct DeviceRequest(string Name, int Threads = 0, ElementType Precision = ElementType.Float32);

/// <summary>Facts about <see cref="IDeviceProvider"/>.</summary>
public static class DeviceProviders
{
    /// <summary>A name to begin with: the first of several.</summary>
    public static string Example(this IDeviceProvider provider) =>
        provider.Pattern.EndsWith(":N", StringComparison.Ordinal) ? provider.Pattern[..^1] + "0" : provider.Pattern;
}
