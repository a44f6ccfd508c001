using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Kernels.Devices.Cuda;
using AfaNative.Kernels.Devices.HalfStorage;
using AfaNative.Kernels.Devices.Ilgpu;
using AfaNative.Kernels.Devices.Reference;

namespace AfaNative.Kernels.Devices;

/// <summary>
/// Every kind of device there is: a new one is a provider in this list, and everything that lists, names or opens devices finds
/// it here.
/// </summary>
public static class DeviceRegistry
{
    /// <summary>The kinds, in the order they are listed.</summary>
    public static IReadOnlyList<IDeviceProvider> Providers { get; } =
    [
        new CpuProvider(),
        new CpuPlainProvider(),
        new ReferenceProvider(),
        new CudaProvider(),
        new OpenClProvider(),
        new IlgpuCpuProvider(),
    ];

    /// <summary>The kind a device's name is meant for.</summary>
    /// <exception cref="ArgumentException">It is no device's name.</exception>
    public static IDeviceProvider Of(string name)
    {
        foreach (IDeviceProvider provider in Providers)
        {
            if (provider.Names(name))
                return provider;
        }

        string[] patterns = [.. Providers.Select(p => p.Pattern)];
        throw new ArgumentException($"'{name}' is not a device: expected {string.Join(", ", patterns[..^1])} or {patterns[^1]}.");
    }

    /// <summary>Every device of this machine, and a line for each kind that is absent.</summary>
    public static IReadOnlyList<DeviceDescription> Find() => [.. Providers.SelectMany(p => p.Find())];

    /// <summary>Opens a device by name.</summary>
    /// <param name="name">What <see cref="IDeviceProvider.Pattern"/> says.</param>
    /// <param name="precision">How an accelerator stores activations, or what the cpu rounds factors to.</param>
    /// <param name="threads">Worker threads, where the device has any; 0 means one per core.</param>
    /// <exception cref="ArgumentException">There is none of that name, or it cannot be used so; the message says why.</exception>
    public static IDevice Open(string name, ElementType precision = ElementType.Float32, int threads = 0)
    {
        IDeviceProvider provider = Of(name);
        if (provider.Refusal(precision) is { } refusal)
            throw new ArgumentException($"{precision} {refusal}");
        return provider.Open(new DeviceRequest(name, threads, precision));
    }

    /// <summary>
    /// Opens a device for training: activations, gradients and weights are stored in <paramref name="precision"/> on every
    /// device, on the host by rounding to it.
    /// </summary>
    /// <exception cref="ArgumentException">There is none of that name, or it cannot be used; the message says why.</exception>
    public static IDevice OpenForTraining(string name, ElementType precision = ElementType.Float32, int threads = 0)
    {
        IDeviceProvider provider = Of(name);
        return precision == ElementType.Float32 || !provider.StoresFloat32
            ? provider.Open(new DeviceRequest(name, threads, precision))
            : new HalfStorageDevice((HostDevice)provider.Open(new DeviceRequest(name, threads)), precision);
    }
}
