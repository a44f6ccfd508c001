using System.Reflection;
using AfaNative.Kernels.Devices.Cuda;
using AfaNative.Kernels.Devices.Ilgpu;
using AfaNative.Kernels.Gpu;
using AfaNative.Kernels.Random;
using ILGPU;
using ILGPU.Backends.EntryPoints;
using ILGPU.Backends.PTX;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;

namespace AfaNative.Tests.Cuda;

/// <summary>Compiles kernels to PTX without a driver or a device.</summary>
internal sealed class PtxCompiler : IDisposable
{
    private readonly Context _context = Context.Create(b => b.EnablePtx().Optimize(OptimizationLevel.O2));
    private readonly Dictionary<string, PTXBackend> _backends;

    public PtxCompiler()
    {
        _backends = new()
        {
            ["sm_80"] = new PTXBackend(_context, CudaArchitecture.SM_80, CudaInstructionSet.ISA_80, null!),
            ["sm_90"] = new PTXBackend(_context, CudaArchitecture.SM_90, CudaInstructionSet.ISA_80, null!),
        };
    }

    /// <summary>Every kernel of the product with whether ILGPU groups its threads.</summary>
    public static IReadOnlyList<(MethodInfo Method, bool Grouped)> AllKernels()
    {
        var all = new List<(MethodInfo, bool)>();
        Portable(IlgpuKernels<float, Float32Storage>.All);
        Portable(IlgpuKernels<ushort, Float16Storage>.All);
        Portable(IlgpuKernels<ushort, BFloat16Storage>.All);
        all.AddRange(
            IlgpuGradients<float, Float32Storage>
                .All.Concat(IlgpuGradients<ushort, Float16Storage>.All)
                .Concat(IlgpuGradients<ushort, BFloat16Storage>.All)
                .Select(m => (m, false))
        );
        all.Add((((Action<TransposeArguments, ArrayView<ushort>, ArrayView<ushort>>)TransposeWeights.Run).Method, true));
        all.AddRange(CudaOnly().Select(m => (m, true)));
        return all;

        void Portable((IReadOnlyList<MethodInfo> Implicit, IReadOnlyList<MethodInfo> Grouped) kernels)
        {
            all.AddRange(kernels.Implicit.Select(m => (m, false)));
            all.AddRange(kernels.Grouped.Select(m => (m, true)));
        }
    }

    /// <summary>The kernels that only CUDA runs.</summary>
    public static IReadOnlyList<MethodInfo> CudaOnly() =>
        [
            .. CudaKernels<Float16Storage, Float16Math>.CudaOnly,
            .. CudaKernels<BFloat16Storage, BFloat16Math>.CudaOnly,
            ((Action<NoiseCudaArguments>)GaussianNoiseCuda.Run).Method,
        ];

    /// <summary>The PTX of a kernel for "sm_80" or "sm_90".</summary>
    public string Compile(MethodInfo kernel, string target, bool grouped = true)
    {
        EntryPointDescription entry = grouped
            ? EntryPointDescription.FromExplicitlyGroupedKernel(kernel)
            : EntryPointDescription.FromImplicitlyGroupedKernel(kernel);
        return ((PTXCompiledKernel)_backends[target].Compile(entry, default)).PTXAssembly;
    }

    public static string Name(MethodInfo kernel)
    {
        string arguments = string.Join(", ", kernel.DeclaringType!.GetGenericArguments().Select(a => a.Name));
        return $"{kernel.DeclaringType.Name.Split('`')[0]}<{arguments}>.{kernel.Name}";
    }

    public void Dispose()
    {
        foreach (PTXBackend backend in _backends.Values)
            backend.Dispose();
        _context.Dispose();
    }
}
