using System.Reflection;
using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.OpenCL;

namespace AfaNative.Kernels.Devices.Ilgpu;

/// <summary><c>opencl:N</c>.</summary>
internal sealed class OpenClProvider() : IlgpuProvider("opencl", "OpenCL")
{
    public override string Pattern => "opencl:N";

    protected override string Library => OperatingSystem.IsWindows() ? "OpenCL.dll" : "libOpenCL.so.1";

    protected override void Add(Context.Builder builder) => builder.OpenCL(_ => true);

    protected override int Count(Context context) => context.GetCLDevices().Count;

    protected override string Describe(Context context, int index)
    {
        CLDevice device = context.GetCLDevice(index);
        return $"{device.Name} ({device.VendorName}), {device.MemorySize >> 20} MiB, OpenCL {device.DeviceVersion}";
    }

    // PoCL 3 runs these kernels, but announces neither OpenCL 2.0 nor the generic address space ILGPU asks for.
    protected override Accelerator Create(Context context, int index)
    {
        CLDevice device = context.GetCLDevice(index);
        if (device.DeviceVersion < CLDeviceVersion.CL20 || !device.Capabilities.GenericAddressSpace)
        {
            typeof(CLDevice)
                .GetProperty(nameof(CLDevice.DeviceVersion))!
                .GetSetMethod(true)!
                .Invoke(device, [CLDeviceVersion.CL20]);
            for (Type? type = device.Capabilities.GetType(); type is not null; type = type.BaseType)
            {
                foreach (
                    FieldInfo field in type.GetFields(
                        BindingFlags.NonPublic | BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly
                    )
                )
                {
                    if (field.Name.Contains("GenericAddressSpace", StringComparison.Ordinal))
                        field.SetValue(device.Capabilities, true);
                }
            }
        }

        return context.CreateCLAccelerator(index);
    }
}
