using AfaNative.Kernels.Contracts;
using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.CPU;

namespace AfaNative.Kernels.Devices.Ilgpu;

/// <summary><c>ilgpu-cpu</c>: the portable kernels on ILGPU's own CPU accelerator.</summary>
internal sealed class IlgpuCpuProvider() : IlgpuProvider("ilgpu-cpu", "ILGPU")
{
    public override string Pattern => "ilgpu-cpu";

    public override bool ForChecking => true;

    protected override string? Library => null;

    public override IReadOnlyList<DeviceDescription> Find() =>
        [new DeviceDescription(Pattern, "ILGPU's CPU accelerator, for debugging kernels (very slow)", null)];

    protected override void Add(Context.Builder builder) => builder.CPU(new CPUDevice(32, 8, 1));

    protected override int Count(Context context) => 1;

    protected override string Describe(Context context, int index) => "";

    protected override Accelerator Create(Context context, int index) =>
        context.GetCPUDevice(0).CreateCPUAccelerator(context, CPUAcceleratorMode.Auto);
}
