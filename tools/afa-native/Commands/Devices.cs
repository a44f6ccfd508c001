using System.CommandLine;
using AfaNative.Engine;
using AfaNative.Kernels.Devices;
using AfaNative.Kernels.Devices.Ilgpu;

namespace AfaNative.Tool.Commands;

/// <summary>The options every computing command shares.</summary>
internal static class Devices
{
    public static Option<string> DeviceOption() => new("--device") { Description = "Where to compute: cpu, cuda:N, opencl:N; cpu-reference and ilgpu-cpu are slow and for checking.", DefaultValueFactory = _ => "cpu" };

    public static Option<int> ThreadsOption() => new("--threads") { Description = "Worker threads; 0 means one per core." };

    private static IlgpuDevice Accelerator(string name)
    {
        try
        {
            return IlgpuDevice.Open(name);
        }
        catch (ArgumentException e)
        {
            throw new AfaException($"--device {e.Message}", e);
        }
    }

    public static IDevice Open(string name, int threads)
    {
        if (threads < 0 || threads > 1024) throw new AfaException($"--threads takes 0 to 1024, not {threads}.");
        return name switch
        {
            "cpu" => new CpuDevice(threads),
            "cpu-reference" => new CpuDevice(1, reference: true),
            _ => Accelerator(name),
        };
    }
}
