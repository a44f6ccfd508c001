using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Ilgpu;
using AfaNative.Kernels.Gpu;
using AfaNative.Kernels.Random;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Devices.Cuda;

/// <summary>The portable kernels on CUDA, which draws its noise itself.</summary>
internal sealed class CudaFloat32Kernels(Accelerator accelerator) : IlgpuKernels<float, Float32Storage>(accelerator)
{
    private Action<AcceleratorStream, KernelConfig, NoiseCudaArguments>? _noise;

    public override bool TryFillNoise(DeviceBuffer destination, int count, ulong seed, ulong stream)
    {
        _noise ??= Accelerator.LoadKernel<NoiseCudaArguments>(GaussianNoiseCuda.Run);
        var s = new NoiseCudaArguments
        {
            Y = IlgpuBuffer<float>.AddressOf(destination),
            Count = count,
            SeedLow = (uint)seed,
            SeedHigh = (uint)(seed >> 32),
            StreamLow = (uint)stream,
            StreamHigh = (uint)(stream >> 32),
        };
        _noise(Stream, new KernelConfig((count + 1023) / 1024, GaussianNoiseCuda.Threads), s);
        return true;
    }
}
