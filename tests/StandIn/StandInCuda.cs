using System.Collections.Concurrent;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using AfaNative.Engine.Core;
using AfaNative.Tests.PtxInterpreter;

namespace AfaNative.Tests.StandIn;

/// <summary>
/// A CUDA driver library without a device, compiled from <c>standin.c</c> and loaded under the driver's own name: memory is the
/// host's, kernels run in
/// the PTX interpreter, streams record and replay. One per process.
/// </summary>
public sealed unsafe partial class StandInCuda
{
    private static readonly Lock s_lock = new();
    private static StandInCuda? s_instance;
    private static string? s_reason;
    private readonly ConcurrentDictionary<string, int> _counts = new();
    private readonly List<PtxKernel> _kernels = [];
    private readonly PtxMemory _memory = new();
    private readonly PtxMachine _machine;
    private readonly nint _library;

    private StandInCuda(nint library)
    {
        _library = library;
        _machine = new PtxMachine(_memory);
    }

    /// <summary>Runs launched kernels; false only counts them.</summary>
    public bool Execute { get; set; } = true;

    /// <summary>What the last failing launch did wrong.</summary>
    public string? LastFault { get; private set; }

    /// <summary>
    /// Names, grids and blocks of launches since <see cref="Clear"/>, and where recorded work was replayed, in the order they
    /// ran.
    /// </summary>
    public ConcurrentQueue<(string Kernel, (int X, int Y, int Z) Grid, (int X, int Y, int Z) Block)> Launches { get; } = new();

    /// <summary>PTX modules loaded.</summary>
    public ConcurrentQueue<string> Modules { get; } = new();

    /// <summary>Bytes the device seems to have.</summary>
    public long MemoryLimit
    {
        set => ((delegate* unmanaged<nuint, void>)Symbol("standin_limit"))((nuint)value);
    }

    /// <summary>Multiprocessors the device seems to have when it is opened.</summary>
    public int Multiprocessors
    {
        set => ((delegate* unmanaged<int, void>)Symbol("standin_multiprocessors"))(value);
    }

    /// <summary>10 times the compute capability.</summary>
    public int Capability
    {
        set => ((delegate* unmanaged<int, void>)Symbol("standin_capability"))(value);
    }

    /// <summary>Allocations not yet freed.</summary>
    public int LiveAllocations => ((delegate* unmanaged<int>)Symbol("standin_live_count"))();

    /// <summary>Double frees and launches no driver would take.</summary>
    public int Errors => ((delegate* unmanaged<int>)Symbol("standin_errors"))();

    /// <summary>Instructions interpreted.</summary>
    public long Executed => _machine.Executed;

    /// <summary>The library, or null and why there is none.</summary>
    public static StandInCuda? TryLoad(out string reason)
    {
        lock (s_lock)
        {
            if (s_instance is null && s_reason is null)
                Load();
            reason = s_reason ?? "";
            return s_instance;
        }
    }

    /// <summary>How often a driver function was called since <see cref="Clear"/>.</summary>
    public int CountOf(string function) => _counts.GetValueOrDefault(function);

    /// <summary>Forgets counts and launches.</summary>
    public void Clear()
    {
        _counts.Clear();
        Launches.Clear();
        LastFault = null;
    }

    private nint Symbol(string name) => NativeLibrary.GetExport(_library, name);

    private static void Load()
    {
        if (!OperatingSystem.IsLinux())
        {
            s_reason = "the stand-in for the CUDA driver is built on Linux only";
            return;
        }

        if (NativeLibrary.TryLoad("libcuda.so.1", out nint real))
        {
            NativeLibrary.Free(real);
            s_reason = "this machine has a CUDA driver of its own";
            return;
        }

        string folder = Directory.CreateTempSubdirectory("afa-standin").FullName,
            path = Path.Combine(folder, "libcuda.so.1"),
            source = Path.Combine(folder, "standin.c");
        try
        {
            using (Stream text = typeof(StandInCuda).Assembly.GetManifestResourceStream("standin.c")!)
            using (FileStream file = File.Create(source))
                text.CopyTo(file);
            // The name inside the library makes later searches for the driver find this one.
            using Process compiler = Process.Start(
                new ProcessStartInfo(
                    "gcc",
                    [
                        "-O1",
                        "-shared",
                        "-fPIC",
                        "-fvisibility=hidden",
                        "-Wl,-soname,libcuda.so.1",
                        "-o",
                        path,
                        source,
                        "-lpthread",
                    ]
                )
                {
                    RedirectStandardError = true,
                }
            )!;
            string errors = compiler.StandardError.ReadToEnd();
            compiler.WaitForExit();
            if (compiler.ExitCode != 0)
            {
                s_reason = "gcc could not build the stand-in for the CUDA driver: " + errors;
                return;
            }

            s_instance = new StandInCuda(NativeLibrary.Load(path));
            var callbacks = new Callbacks
            {
                Log = &Log,
                Load = &LoadModule,
                Function = &GetFunction,
                SharedBytes = &SharedBytes,
                Arguments = &Arguments,
                Launch = &Launch,
                Memory = &MemoryChanged,
            };
            ((delegate* unmanaged<Callbacks*, void>)s_instance.Symbol("standin_set"))(&callbacks);
        }
        catch (System.ComponentModel.Win32Exception)
        {
            s_reason = "there is no gcc to build the stand-in for the CUDA driver with";
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private struct Callbacks
    {
        public delegate* unmanaged[Cdecl]<byte*, void> Log;
        public delegate* unmanaged[Cdecl]<byte*, int> Load;
        public delegate* unmanaged[Cdecl]<int, byte*, int> Function;
        public delegate* unmanaged[Cdecl]<int, int> SharedBytes;
        public delegate* unmanaged[Cdecl]<int, void**, byte*, int> Arguments;
        public delegate* unmanaged[Cdecl]<int, int*, int*, int, byte*, int, int> Launch;
        public delegate* unmanaged[Cdecl]<void*, nuint, void> Memory;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void Log(byte* name) =>
        s_instance!._counts.AddOrUpdate(Marshal.PtrToStringUTF8((nint)name)!, 1, (_, n) => n + 1);

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int LoadModule(byte* ptx)
    {
        StandInCuda me = s_instance!;
        try
        {
            string text = Marshal.PtrToStringUTF8((nint)ptx)!;
            me.Modules.Enqueue(text);
            PtxKernel kernel = PtxKernel.Parse(text);
            lock (s_lock)
            {
                me._kernels.Add(kernel);
                return me._kernels.Count - 1;
            }
        }
        catch (Exception e)
        {
            me.LastFault = e.Message;
            return -1;
        }
    }

    // A module holds one kernel, so they share a number.
    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int GetFunction(int module, byte* name) =>
        Kernel(module).Name == Marshal.PtrToStringUTF8((nint)name) ? module : -1;

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int SharedBytes(int function) => Kernel(function).SharedBytes;

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int Arguments(int function, void** from, byte* to)
    {
        PtxKernel kernel = Kernel(function);
        for (int i = 0; i < kernel.Parameters.Count; i++)
            Buffer.MemoryCopy(from[i], to + kernel.Parameters[i].Offset, 4096, kernel.Parameters[i].Size);
        return kernel.ParameterBytes;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int Launch(int function, int* grid, int* block, int shared, byte* arguments, int bytes)
    {
        const int LaunchFailed = 719;
        StandInCuda me = s_instance!;
        try
        {
            PtxKernel kernel = Kernel(function);
            (int, int, int) g = (grid[0], grid[1], grid[2]),
                b = (block[0], block[1], block[2]);
            me.Launches.Enqueue((kernel.Name, g, b));
            if (me.Execute)
                me._machine.Launch(
                    kernel,
                    g,
                    b,
                    new ReadOnlySpan<byte>(arguments, Math.Max(bytes, kernel.ParameterBytes)),
                    shared
                );
            return 0;
        }
        catch (Exception e)
        {
            me.LastFault = e.Message;
            return LaunchFailed;
        }
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void MemoryChanged(void* address, nuint bytes)
    {
        if (bytes == 0)
            s_instance!._memory.Remove((ulong)address);
        else
            s_instance!._memory.Add((ulong)address, bytes, $"a buffer of {bytes} bytes");
    }

    private static PtxKernel Kernel(int number)
    {
        lock (s_lock)
            return s_instance!._kernels[number];
    }
}
