using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.MatrixMultiply;

namespace AfaNative.Kernels.Devices.Cpu;

/// <summary><c>cpu</c>: the fastest kernels of this machine.</summary>
internal sealed class CpuProvider : IDeviceProvider
{
    public string Pattern => "cpu";

    public bool TakesThreads => true;

    public bool StoresFloat32 => true;

    public bool Names(string name) => name == Pattern;

    public IReadOnlyList<DeviceDescription> Find() =>
        [
            new DeviceDescription(
                Pattern,
                $"{Environment.ProcessorCount} threads, {RegisterTile.Best} "
                    + $"kernels{(CpuDevice.SupportsBFloat16 ? ", bfloat16 products" : "")}",
                null
            ),
        ];

    public string? Refusal(ElementType precision) =>
        precision == ElementType.Float16 ? "is for accelerators; cpu computes in f32 or bf16." : null;

    public string? Shortfall(ElementType precision) =>
        precision == ElementType.BFloat16 && !CpuDevice.SupportsBFloat16
            ? "This processor or system has no products in bfloat16 (AVX512-BF16 on Linux, executable memory allowed): "
                + "computing in f32."
            : null;

    public IDevice Open(in DeviceRequest request) =>
        new CpuDevice(request.Threads, products: Shortfall(request.Precision) is null ? request.Precision : ElementType.Float32);
}

/// <summary><c>cpu-plain</c>: no products in pairs.</summary>
internal sealed class CpuPlainProvider : IDeviceProvider
{
    public string Pattern => "cpu-plain";

    public string? Remark => "gives the same bits on any processor, and is slower on some";

    public bool TakesThreads => true;

    public bool StoresFloat32 => true;

    public bool Names(string name) => name == Pattern;

    public IReadOnlyList<DeviceDescription> Find() =>
        [
            new DeviceDescription(
                Pattern,
                "the same without paired products: the same bits on any processor with fused multiply-add",
                null
            ),
        ];

    public string? Refusal(ElementType precision) =>
        precision == ElementType.Float32 ? null : $"is for cpu and accelerators; {Pattern} computes in f32.";

    public IDevice Open(in DeviceRequest request) => new CpuDevice(request.Threads, RegisterTile.BestPlain);
}
