using AfaNative.Kernels.Contracts;

namespace AfaNative.Kernels.Devices.Reference;

/// <summary><c>cpu-reference</c>.</summary>
internal sealed class ReferenceProvider : IDeviceProvider
{
    public string Pattern => ReferenceDevice.DeviceName;

    public bool ForChecking => true;

    public bool StoresFloat32 => true;

    public bool Names(string name) => name == Pattern;

    public IReadOnlyList<DeviceDescription> Find() =>
        [new DeviceDescription(Pattern, "plain loops on one thread, what the others are checked against", null)];

    public string? Refusal(ElementType precision) =>
        precision == ElementType.Float32 ? null : $"is for faster devices; {Pattern} computes in f32.";

    public IDevice Open(in DeviceRequest request) => new ReferenceDevice();
}
