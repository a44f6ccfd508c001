using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Ilgpu;
using AfaNative.Kernels.Gpu;
using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;

namespace AfaNative.Kernels.Devices.Cuda;

/// <summary><c>cuda:N</c>: NVIDIA's, with kernels of their own where activations are 16-bit.</summary>
internal sealed class CudaProvider() : IlgpuProvider("cuda", "CUDA")
{
    public override string Pattern => "cuda:N";

    protected override string Library => CudaLibrary.File;

    protected override void Add(Context.Builder builder) => builder.Cuda();

    protected override void Prepare(Context.Builder builder) => builder.EnablePtx();

    protected override int Count(Context context) => context.GetCudaDevices().Count;

    protected override string Describe(Context context, int index)
    {
        CudaDevice device = context.GetCudaDevice(index);
        return $"{device.Name}, {device.MemorySize >> 20} MiB, compute {device.Architecture}";
    }

    protected override Accelerator Create(Context context, int index) => context.CreateCudaAccelerator(index);

    // The kernels of CudaKernels are written for compute capability 8.0 and later (mma.sync of bfloat16, cp.async).
    protected override IlgpuBackend CreateBackend(Accelerator accelerator, ElementType storage)
    {
        bool tensorCores = ((CudaAccelerator)accelerator).Architecture.Major >= 8;
        return storage switch
        {
            ElementType.Float32 => new CudaFloat32Kernels(accelerator),
            ElementType.Float16 when tensorCores => new CudaKernels<Float16Storage, Float16Math>(accelerator),
            ElementType.BFloat16 when tensorCores => new CudaKernels<BFloat16Storage, BFloat16Math>(accelerator),
            _ => base.CreateBackend(accelerator, storage),
        };
    }
}
