using System.CommandLine;
using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices;

namespace AfaNative.Tool.Commands;

/// <summary>The options every computing command shares.</summary>
internal static class Devices
{
    public static Option<string> DeviceOption()
    {
        var option = new Option<string>("--device") { Description = Description(), DefaultValueFactory = _ => "cpu" };
        option.CompletionSources.Add([.. DeviceRegistry.Providers.Select(p => p.Example())]);
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
        IDeviceProvider provider = Of(name);
        IDevice device = provider.StoresFloat32
            ? Open(provider, name, threads, "f32", _ => DeviceRegistry.OpenForTraining(name, Type(precision), threads))
            : Open(name, threads, precision);
        if (device.Gradients is not null)
            return device;
        device.Dispose();
        throw new AfaException($"--device {name} cannot train yet; cpu can.");
    }

    /// <summary>The precision that <see cref="Open(string, int, string)"/> computes in where another was asked for.</summary>
    public static string Computed(string name, string precision) =>
        Of(name).Shortfall(Type(precision)) is null ? precision : "f32";

    public static IDevice Open(string name, int threads, string precision) =>
        Open(Of(name), name, threads, precision, p => DeviceRegistry.Open(name, p, threads));

    private static IDevice Open(
        IDeviceProvider provider,
        string name,
        int threads,
        string precision,
        Func<ElementType, IDevice> open
    )
    {
        ElementType type = Type(precision);
        if (provider.Refusal(type) is { } refusal)
            throw new AfaException($"--precision {precision} {refusal}");
        if (provider.Shortfall(type) is { } shortfall)
            Terminal.Note(shortfall);
        if (threads < 0 || threads > 1024)
            throw new AfaException($"--threads takes 0 to 1024, not {threads}.");
        if (threads > 0 && !provider.TakesThreads)
        {
            string[] those = [.. DeviceRegistry.Providers.Where(p => p.TakesThreads).Select(p => p.Pattern)];
            Terminal.Warn($"--threads is for {string.Join(" and ", those)}: it has no effect on {name}");
        }

        return Named(() => open(type));
    }

    private static IDeviceProvider Of(string name) => Named(() => DeviceRegistry.Of(name));

    private static T Named<T>(Func<T> find)
    {
        try
        {
            return find();
        }
        catch (ArgumentException e)
        {
            throw new AfaException($"--device {e.Message}", e);
        }
    }

    private static ElementType Type(string precision) =>
        precision switch
        {
            "f16" => ElementType.Float16,
            "bf16" => ElementType.BFloat16,
            _ => ElementType.Float32,
        };

    // The fast ones, then those with something to say, then those for checking.
    private static string Description()
    {
        IReadOnlyList<IDeviceProvider> all = DeviceRegistry.Providers;
        string first = string.Join(", ", all.Where(p => p is { Remark: null, ForChecking: false }).Select(p => p.Pattern));
        IEnumerable<string> rest = all.Where(p => p.Remark is not null).Select(p => $"; {p.Pattern} {p.Remark}");
        string slow = string.Join(" and ", all.Where(p => p.ForChecking).Select(p => p.Pattern));
        return $"Where to compute: {first}{string.Concat(rest)}; {slow} are slow and for checking.";
    }
}
