using System.CommandLine;
using AfaNative.Engine.Core;
using AfaNative.Kernels;
using AfaNative.Kernels.Devices;
using AfaNative.Kernels.Devices.Ilgpu;
using AfaNative.Kernels.MatrixMultiply;

namespace AfaNative.Tool.Commands;

/// <summary>The options every computing command shares.</summary>
internal static class Devices
{
    public static Option<string> DeviceOption()
    {
        var option = new Option<string>("--device")
        {
            Description =
                "Where to compute: cpu, cuda:N, opencl:N; cpu-plain gives the same bits on any processor, and is slower "
                + "on some; cpu-reference and ilgpu-cpu are slow and for checking.",
            DefaultValueFactory = _ => "cpu",
        };
        option.CompletionSources.Add("cpu", "cuda:0", "opencl:0", "cpu-plain", "cpu-reference", "ilgpu-cpu");
        return option;
    }

    public static Option<int> ThreadsOption() =>
        new Option<int>("--threads") { Description = "Worker threads; 0 means one per core." }.Within(0, 1024);

    public static Option<string> PrecisionOption()
    {
        var option = new Option<string>("--precision")
        {
            Description =
                "How an accelerator stores activations: f32, f16 or bf16; sums are float32 always. On the cpu, bf16 "
                + "rounds what is multiplied (with AVX512-BF16; f32 elsewhere).",
            DefaultValueFactory = _ => "f32",
        };
        option.AcceptOnlyFromAmong("f32", "f16", "bf16");
        return option;
    }

    private static IlgpuDevice Accelerator(string name, string precision)
    {
        try
        {
            return IlgpuDevice.Open(
                name,
                precision switch
                {
                    "f16" => ElementType.Float16,
                    "bf16" => ElementType.BFloat16,
                    _ => ElementType.Float32,
                }
            );
        }
        catch (ArgumentException e)
        {
            throw new AfaException($"--device {e.Message}", e);
        }
    }

    /// <summary>The precisions of training.</summary>
    public static Option<string> TrainingPrecisionOption()
    {
        var option = new Option<string>("--precision")
        {
            Description =
                "What activations, gradients and the weights at work are stored as: f32, f16 (with a loss scale) or bf16, "
                + "on every device; trained numbers, moments and sums are float32 always. The cpu rounds to 16 bits, and "
                + "only weights get smaller there.",
            DefaultValueFactory = _ => "f32",
        };
        option.AcceptOnlyFromAmong("f32", "f16", "bf16");
        return option;
    }

    /// <summary>A device for training: with 16-bit storage where wanted, also on the cpu.</summary>
    /// <exception cref="AfaException">There is no such device, or it computes no gradients.</exception>
    public static IDevice OpenForTraining(string name, int threads, string precision)
    {
        bool onCpu = name is "cpu" or "cpu-plain" or "cpu-reference";
        IDevice device = Open(name, threads, onCpu ? "f32" : precision);
        if (onCpu && precision != "f32")
            device = new HalfStorageDevice((CpuDevice)device, precision == "f16" ? ElementType.Float16 : ElementType.BFloat16);
        if (device.Gradients is not null)
            return device;
        device.Dispose();
        throw new AfaException($"--device {name} cannot train yet; cpu can.");
    }

    /// <summary>The precision that <see cref="Open"/> computes in where another was asked for.</summary>
    public static string Computed(string name, string precision) =>
        name == "cpu" && precision == "bf16" && !CpuDevice.SupportsBFloat16 ? "f32" : precision;

    public static IDevice Open(string name, int threads, string precision)
    {
        if (name is "cpu-reference" or "cpu-plain" && precision != "f32")
            throw new AfaException(
                $"--precision {precision} is for {(name == "cpu-plain" ? "cpu and accelerators" : "faster devices")}; "
                    + $"{name} computes in f32."
            );
        if (name == "cpu" && precision == "f16")
            throw new AfaException("--precision f16 is for accelerators; cpu computes in f32 or bf16.");
        if (name == "cpu" && precision == "bf16" && !CpuDevice.SupportsBFloat16)
            Terminal.Note(
                "This processor or system has no products in bfloat16 (AVX512-BF16 on Linux, executable memory allowed): "
                    + "computing in f32."
            );
        if (threads < 0 || threads > 1024)
            throw new AfaException($"--threads takes 0 to 1024, not {threads}.");
        if (threads > 0 && name is not ("cpu" or "cpu-plain"))
            Terminal.Warn($"--threads is for cpu and cpu-plain: it has no effect on {name}");
        return name switch
        {
            "cpu" => new CpuDevice(
                threads,
                products: precision == "bf16" && CpuDevice.SupportsBFloat16 ? ElementType.BFloat16 : ElementType.Float32
            ),
            "cpu-plain" => new CpuDevice(threads, simd: RegisterTile.BestPlain),
            "cpu-reference" => new CpuDevice(1, reference: true),
            _ => Accelerator(name, precision),
        };
    }
}
