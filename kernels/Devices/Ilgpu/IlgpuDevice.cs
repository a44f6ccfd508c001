using System.Globalization;
using System.Reflection;
using System.Runtime.InteropServices;
using AfaNative.Kernels.Devices.Cuda;
using AfaNative.Kernels.Random;
using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.CPU;
using ILGPU.Runtime.Cuda;
using ILGPU.Runtime.OpenCL;

namespace AfaNative.Kernels.Devices.Ilgpu;

/// <summary>
/// A device that a list shows: what to write after <c>--device</c>, what it is, and why it cannot be used (or null).
/// </summary>
public sealed record DeviceDescription(string Name, string Description, string? Unusable);

/// <summary>
/// An accelerator reached through ILGPU: <c>cuda:N</c>, <c>opencl:N</c>, or ILGPU's own CPU accelerator for debugging
/// (<c>ilgpu-cpu</c>).
/// </summary>
public sealed class IlgpuDevice : IDevice
{
    private static readonly Lock s_resolverLock = new();
    private static bool s_resolver;
    private readonly Context _context;
    private readonly Accelerator _accelerator;
    private readonly IlgpuBackend _backend;

    // Ops of one thread must not come between the launches of another's: they share working memory and the staging buffer.
    private readonly Lock _turn = new();
    private readonly SerialKernels _kernels;
    private SerialGradients? _gradients;
    private Action<AcceleratorStream, KernelConfig, NoiseCudaArguments>? _noise;

    private IlgpuDevice(string name, Context context, Accelerator accelerator, ElementType storage)
    {
        Name = name;
        Storage = storage;
        _context = context;
        _accelerator = accelerator;
        // The kernels of CudaKernels are written for compute capability 8.0 and later (mma.sync of bfloat16, cp.async).
        bool cuda = accelerator is CudaAccelerator { Architecture.Major: >= 8 };
        _backend = storage switch
        {
            ElementType.Float32 => new IlgpuKernels<float, Float32Storage>(accelerator),
            ElementType.Float16 when cuda => new CudaKernels<Float16Storage, Float16Math>(accelerator),
            ElementType.BFloat16 when cuda => new CudaKernels<BFloat16Storage, BFloat16Math>(accelerator),
            ElementType.Float16 => new IlgpuKernels<ushort, Float16Storage>(accelerator),
            ElementType.BFloat16 => new IlgpuKernels<ushort, BFloat16Storage>(accelerator),
            _ => throw new ArgumentException($"activations are stored as float32, float16 or bfloat16, not {storage}"),
        };
        _kernels = new SerialKernels(_backend.Ops, _turn);
    }

    /// <inheritdoc/>
    public string Name { get; }

    /// <inheritdoc/>
    public ElementType Storage { get; }

    /// <inheritdoc/>
    public IKernels Kernels => _kernels;

    /// <inheritdoc/>
    public long AllocatedBytes => _backend.LiveBytes;

    /// <summary>Opens a device by name; its buffers hold <paramref name="storage"/>, its arithmetic is float32.</summary>
    /// <exception cref="ArgumentException">There is none of that name, or it cannot be used; the message says why.</exception>
    public static IlgpuDevice Open(string name, ElementType storage = ElementType.Float32)
    {
        Resolve();
        (string kind, int index) = Split(name);
        Context? context = null;
        try
        {
            context = kind switch
            {
                "ilgpu-cpu" => Context.Create(b => b.CPU(new CPUDevice(32, 8, 1)).Profiling().Optimize(OptimizationLevel.O2)),
                "opencl" => Context.Create(b => b.OpenCL(_ => true).Profiling().Optimize(OptimizationLevel.O2)),
                "cuda" => Context.Create(b => b.Cuda().EnablePtx().Profiling().Optimize(OptimizationLevel.O2)),
                _ => throw new ArgumentException($"'{name}' is not a device: expected cuda:N, opencl:N or ilgpu-cpu."),
            };
            int count = kind switch
            {
                "opencl" => context.GetCLDevices().Count,
                "cuda" => context.GetCudaDevices().Count,
                _ => 1,
            };
            if (index >= count)
                throw new ArgumentException(
                    count == 0
                        ? $"'{name}': no {(kind == "cuda" ? "CUDA" : "OpenCL")} device was found ({Missing(kind)})."
                        : $"'{name}': there are only {count} devices, {kind}:0 to {kind}:{count - 1}."
                );
            Accelerator accelerator = kind switch
            {
                "opencl" => OpenCL(context, index),
                "cuda" => context.CreateCudaAccelerator(index),
                _ => context.GetCPUDevice(0).CreateCPUAccelerator(context, CPUAcceleratorMode.Auto),
            };
            return new IlgpuDevice(name, context, accelerator, storage);
        }
        catch (Exception e)
        {
            context?.Dispose();
            if (e is ArgumentException)
                throw;
            throw new ArgumentException($"'{name}' cannot be used: {(e.InnerException ?? e).Message}", e);
        }
    }

    /// <summary>Every device of this machine that ILGPU reaches, and a line for each kind that is absent.</summary>
    public static IReadOnlyList<DeviceDescription> List()
    {
        Resolve();
        var found = new List<DeviceDescription>();
        Kind(
            "cuda",
            "CUDA",
            b => b.Cuda(),
            c =>
                [
                    .. Enumerable
                        .Range(0, c.GetCudaDevices().Count)
                        .Select(c.GetCudaDevice)
                        .Select(d => $"{d.Name}, {d.MemorySize >> 20} MiB, compute {d.Architecture}"),
                ]
        );
        Kind(
            "opencl",
            "OpenCL",
            b => b.OpenCL(_ => true),
            c =>
                [
                    .. Enumerable
                        .Range(0, c.GetCLDevices().Count)
                        .Select(c.GetCLDevice)
                        .Select(d => $"{d.Name} ({d.VendorName}), {d.MemorySize >> 20} MiB, OpenCL {d.DeviceVersion}"),
                ]
        );
        found.Add(new DeviceDescription("ilgpu-cpu", "ILGPU's CPU accelerator, for debugging kernels (very slow)", null));
        return found;

        void Kind(string name, string title, Action<Context.Builder> add, Func<Context, string[]> describe)
        {
            try
            {
                using Context context = Context.Create(b => add(b));
                string[] devices = describe(context);
                for (int i = 0; i < devices.Length; i++)
                    found.Add(new DeviceDescription($"{name}:{i}", devices[i], null));
                if (devices.Length == 0)
                    found.Add(new DeviceDescription($"{name}:0", title, Missing(name)));
            }
            catch (Exception e)
            {
                found.Add(new DeviceDescription($"{name}:0", title, (e.InnerException ?? e).Message));
            }
        }
    }

    /// <inheritdoc/>
    public long? FreeBytes => _accelerator is CudaAccelerator cuda ? cuda.GetFreeMemory() : _accelerator.MemorySize;

    /// <inheritdoc/>
    public long? ResidentWeightLimit
    {
        get => _backend.Weights.ResidentLimit;
        set => _backend.Weights.ResidentLimit = value ?? long.MaxValue;
    }

    /// <summary>Bytes of weights that stayed on the host.</summary>
    public long StreamedBytes => _backend.Weights.StreamedBytes;

    /// <inheritdoc/>
    public long BufferBytes(long length) => _backend.BufferBytes(length);

    /// <inheritdoc/>
    public long PackedBytes(WeightShape shape, ReadOnlySpan<ElementType> types) => _backend.PackedBytes(shape, types);

    /// <inheritdoc/>
    public DeviceBuffer Allocate(long length)
    {
        lock (_turn)
            return _backend.Allocate(length);
    }

    /// <inheritdoc/>
    public void Upload(ReadOnlySpan<float> source, DeviceBuffer destination, long offset = 0)
    {
        lock (_turn)
            _backend.Upload(source, destination, offset);
    }

    /// <inheritdoc/>
    public void Download(DeviceBuffer source, Span<float> destination)
    {
        lock (_turn)
            _backend.Download(source, destination);
    }

    /// <inheritdoc/>
    public void FillNoise(DeviceBuffer destination, int count, ulong seed, ulong stream)
    {
        if (_accelerator is CudaAccelerator && Storage == ElementType.Float32)
        {
            var s = new NoiseCudaArguments
            {
                Y = IlgpuBuffer<float>.AddressOf(destination),
                Count = count,
                SeedLow = (uint)seed,
                SeedHigh = (uint)(seed >> 32),
                StreamLow = (uint)stream,
                StreamHigh = (uint)(stream >> 32),
            };
            lock (_turn)
            {
                _noise ??= _accelerator.LoadKernel<NoiseCudaArguments>(GaussianNoiseCuda.Run);
                _noise(_backend.Queue, new KernelConfig((count + 1023) / 1024, GaussianNoiseCuda.Threads), s);
            }

            return;
        }

        var values = new float[count];
        GaussianNoise.Fill(values, seed, stream);
        Upload(values, destination);
    }

    /// <inheritdoc/>
    public IGradients? Gradients
    {
        get
        {
            lock (_turn)
                return _gradients ??= new SerialGradients(_backend.Gradients, _turn);
        }
    }

    /// <inheritdoc/>
    public void Repack(PackedWeights weights, ReadOnlySpan<WeightSource> experts)
    {
        lock (_turn)
        {
            // Kernels on the stream may still read the old values.
            _backend.Queue.Synchronize();
            if (weights is TensorCoreWeights forTensorCores)
                forTensorCores.Fill(experts);
            else
                ((IlgpuPackedWeights)weights).Fill(experts);
        }
    }

    /// <inheritdoc/>
    public IDeviceMarker Mark()
    {
        lock (_turn)
            return new IlgpuMarker(_backend.Queue.AddProfilingMarker());
    }

    /// <summary>What to call the hardware.</summary>
    public string Description => $"{_accelerator.Name}, {_accelerator.NumMultiprocessors} multiprocessors";

    /// <inheritdoc/>
    public PackedWeights Pack(WeightShape shape, ReadOnlySpan<WeightSource> experts)
    {
        lock (_turn)
            return _backend.Pack(shape, experts);
    }

    /// <inheritdoc/>
    public IRecordedWork? Record(Action work)
    {
        lock (_turn)
        {
            _accelerator.Bind();
            return _backend.Record(work) is { } recorded ? new SerialRecording(recorded, _accelerator, _turn) : null;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _accelerator.Synchronize();
        _backend.Dispose();
        _accelerator.Dispose();
        _context.Dispose();
    }

    private static (string Kind, int Index) Split(string name)
    {
        int colon = name.IndexOf(':', StringComparison.Ordinal);
        if (colon < 0)
            return (name, 0);
        return int.TryParse(name.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out int index)
            ? (name[..colon], index)
            : throw new ArgumentException($"'{name}': expected a device number after the colon.");
    }

    private static string Missing(string kind)
    {
        string library =
            kind == "cuda"
                ? OperatingSystem.IsWindows()
                    ? "nvcuda.dll"
                    : "libcuda.so.1"
                : OperatingSystem.IsWindows()
                    ? "OpenCL.dll"
                    : "libOpenCL.so.1";
        if (!NativeLibrary.TryLoad(library, out nint handle))
            return $"{library} is not installed";
        NativeLibrary.Free(handle);
        return $"{library} is there, but reports no device";
    }

    // PoCL 3 runs these kernels, but announces neither OpenCL 2.0 nor the generic address space ILGPU asks for.
    private static CLAccelerator OpenCL(Context context, int index)
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

    // ILGPU looks for "cuda" and "OpenCL", which only development packages install under these names.
    private static void Resolve()
    {
        lock (s_resolverLock)
        {
            if (s_resolver || !OperatingSystem.IsLinux())
                return;
            s_resolver = true;
            NativeLibrary.SetDllImportResolver(
                typeof(Context).Assembly,
                (name, _, _) =>
                    name switch
                    {
                        "cuda" => NativeLibrary.TryLoad("libcuda.so.1", out nint handle) ? handle : 0,
                        "OpenCL" => NativeLibrary.TryLoad("libOpenCL.so.1", out nint handle) ? handle : 0,
                        _ => 0,
                    }
            );
        }
    }
}
