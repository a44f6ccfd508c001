using System.Globalization;
using System.Runtime.InteropServices;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Gpu;
using ILGPU;
using ILGPU.Runtime;
using IDevice = AfaNative.Kernels.Contracts.IDevice;

namespace AfaNative.Kernels.Devices.Ilgpu;

/// <summary>Devices that ILGPU reaches by one of its backends.</summary>
internal abstract class IlgpuProvider(string kind, string title) : IDeviceProvider
{
    private static readonly Lock s_resolverLock = new();
    private static bool s_resolver;

    public abstract string Pattern { get; }

    public virtual bool ForChecking => false;

    /// <summary>The driver's file; null where none is needed.</summary>
    protected abstract string? Library { get; }

    public bool Names(string name)
    {
        int colon = name.IndexOf(':', StringComparison.Ordinal);
        return (colon < 0 ? name : name[..colon]) == kind;
    }

    public virtual IReadOnlyList<DeviceDescription> Find()
    {
        Resolve();
        try
        {
            using Context context = Context.Create(b => Add(b));
            int count = Count(context);
            return count == 0
                ? [new DeviceDescription($"{kind}:0", title, Missing())]
                : [.. Enumerable.Range(0, count).Select(i => new DeviceDescription($"{kind}:{i}", Describe(context, i), null))];
        }
        catch (Exception e)
        {
            return [new DeviceDescription($"{kind}:0", title, (e.InnerException ?? e).Message)];
        }
    }

    public IDevice Open(in DeviceRequest request)
    {
        Resolve();
        string name = request.Name;
        int index = Index(name);
        Context? context = null;
        try
        {
            context = Context.Create(b =>
            {
                Add(b);
                Prepare(b);
                b.Profiling().Optimize(OptimizationLevel.O2);
            });
            int count = Count(context);
            if (index >= count)
                throw new ArgumentException(
                    count == 0
                        ? $"'{name}': no {title} device was found ({Missing()})."
                        : $"'{name}': there are only {count} devices, {kind}:0 to {kind}:{count - 1}."
                );
            Accelerator accelerator = Create(context, index);
            return new IlgpuDevice(name, context, accelerator, request.Precision, CreateBackend(accelerator, request.Precision));
        }
        catch (Exception e)
        {
            context?.Dispose();
            if (e is ArgumentException)
                throw;
            throw new ArgumentException($"'{name}' cannot be used: {(e.InnerException ?? e).Message}", e);
        }
    }

    /// <summary>Has the context look for devices.</summary>
    protected abstract void Add(Context.Builder builder);

    /// <summary>What else a context that computes needs.</summary>
    protected virtual void Prepare(Context.Builder builder) { }

    /// <summary>How many there are.</summary>
    protected abstract int Count(Context context);

    /// <summary>What one of them is.</summary>
    protected abstract string Describe(Context context, int index);

    /// <summary>Opens one of them.</summary>
    protected abstract Accelerator Create(Context context, int index);

    /// <summary>The kernels for activations stored as <paramref name="storage"/>: the portable ones.</summary>
    protected virtual IlgpuBackend CreateBackend(Accelerator accelerator, ElementType storage) =>
        storage switch
        {
            ElementType.Float32 => new IlgpuKernels<float, Float32Storage>(accelerator),
            ElementType.Float16 => new IlgpuKernels<ushort, Float16Storage>(accelerator),
            ElementType.BFloat16 => new IlgpuKernels<ushort, BFloat16Storage>(accelerator),
            _ => throw new ArgumentException($"activations are stored as float32, float16 or bfloat16, not {storage}"),
        };

    private static int Index(string name)
    {
        int colon = name.IndexOf(':', StringComparison.Ordinal);
        if (colon < 0)
            return 0;
        return int.TryParse(name.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out int index)
            ? index
            : throw new ArgumentException($"'{name}': expected a device number after the colon.");
    }

    private string Missing()
    {
        if (!NativeLibrary.TryLoad(Library!, out nint handle))
            return $"{Library} is not installed";
        NativeLibrary.Free(handle);
        return $"{Library} is there, but reports no device";
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
