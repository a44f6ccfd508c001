using System.Runtime.InteropServices;
using AfaNative.Kernels.Contracts;
using ILGPU.Runtime.Cuda;

namespace AfaNative.Kernels.Devices.Cuda;

/// <summary>A recorded sequence of launches, replayed by the driver in one call.</summary>
internal sealed partial class CudaGraph : IRecordedWork
{
    // Relaxed: an allocation during capture does not void it.
    private const int Relaxed = 2;
    private readonly CudaStream _stream;
    private readonly Func<int> _generation;
    private readonly int _recordedGeneration;
    private nint _graph,
        _executable;

    private CudaGraph(CudaStream stream, nint graph, nint executable, Func<int> generation)
    {
        _stream = stream;
        _graph = graph;
        _executable = executable;
        _generation = generation;
        _recordedGeneration = generation();
    }

    /// <summary>
    /// Records what <paramref name="work"/> launches on <paramref name="stream"/>; null when the driver will not.
    /// </summary>
    public static CudaGraph? Record(CudaStream stream, Action work, Func<int> generation)
    {
        CudaLibrary.Resolve();
        if (BeginCapture(stream.StreamPtr, Relaxed) != 0)
            return null;
        int before = generation();
        nint graph = 0;
        try
        {
            work();
        }
        catch
        {
            if (EndCapture(stream.StreamPtr, out graph) == 0 && graph != 0)
                _ = DestroyGraph(graph);
            throw;
        }

        if (EndCapture(stream.StreamPtr, out graph) != 0 || graph == 0)
            return null;
        if (generation() != before || Instantiate(out nint executable, graph, 0) != 0)
        {
            _ = DestroyGraph(graph);
            return null;
        }

        return new CudaGraph(stream, graph, executable, generation);
    }

    /// <inheritdoc/>
    public bool TryReplay() =>
        _executable != 0 && _generation() == _recordedGeneration && LaunchGraph(_executable, _stream.StreamPtr) == 0;

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_executable == 0)
            return;
        _ = DestroyExecutable(_executable);
        _ = DestroyGraph(_graph);
        _executable = _graph = 0;
    }

    [LibraryImport(CudaLibrary.Name, EntryPoint = "cuStreamBeginCapture_v2")]
    private static partial int BeginCapture(nint stream, int mode);

    [LibraryImport(CudaLibrary.Name, EntryPoint = "cuStreamEndCapture")]
    private static partial int EndCapture(nint stream, out nint graph);

    [LibraryImport(CudaLibrary.Name, EntryPoint = "cuGraphInstantiateWithFlags")]
    private static partial int Instantiate(out nint executable, nint graph, ulong flags);

    [LibraryImport(CudaLibrary.Name, EntryPoint = "cuGraphLaunch")]
    private static partial int LaunchGraph(nint executable, nint stream);

    [LibraryImport(CudaLibrary.Name, EntryPoint = "cuGraphExecDestroy")]
    private static partial int DestroyExecutable(nint executable);

    [LibraryImport(CudaLibrary.Name, EntryPoint = "cuGraphDestroy")]
    private static partial int DestroyGraph(nint graph);
}

/// <summary>Finds the CUDA driver under the name its packages install.</summary>
internal static class CudaLibrary
{
    /// <summary>What imports say.</summary>
    public const string Name = "cuda";

    private static readonly Lock s_lock = new();
    private static bool s_done;

    /// <summary>The file the driver is in.</summary>
    public static string File => OperatingSystem.IsWindows() ? "nvcuda.dll" : "libcuda.so.1";

    /// <summary>To be called before the first import is used.</summary>
    public static void Resolve()
    {
        lock (s_lock)
        {
            if (s_done)
                return;
            s_done = true;
            NativeLibrary.SetDllImportResolver(
                typeof(CudaLibrary).Assembly,
                (name, _, _) => name == Name && NativeLibrary.TryLoad(File, out nint handle) ? handle : 0
            );
        }
    }
}
