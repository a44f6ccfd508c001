using System.CommandLine;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Samplers;

namespace AfaNative.Tool.Commands;

/// <summary>The sampler of <c>afa-native sample</c>, and its eta.</summary>
internal static class SamplerOptions
{
    /// <summary>--sampler.</summary>
    public static Option<string?> Sampler() =>
        new("--sampler")
        {
            Description =
                "How noise becomes a picture: ddim, euler, dpmpp_2m_karras ... or \"DPM++ 2M Karras\" (afa-native samplers "
                + "lists them), with settings as in \"dpmpp_2m [solver_order=3]\". Left out: what the model's scheduler says.",
        };

    /// <summary>--eta.</summary>
    public static Option<float?> Eta() =>
        new Option<float?>("--eta")
        {
            Description =
                "Share of the noise that is renewed at every step, 0 to 1: of DDIM (0 when left out), Euler a and DPM++ 2M "
                + "SDE (1).",
        }.Within(0, 1);

    /// <summary>
    /// A sampler by its name; where none is named, what the schedule of the model (of its base, for a single file) says it is
    /// sampled with, which is told on standard error where the model is <paramref name="named"/>.
    /// </summary>
    /// <exception cref="AfaException">There is no such sampler, or the schedule cannot be read.</exception>
    public static SamplerChoice Choose(string? sampler, string model, string? basePath, bool named)
    {
        if (sampler is not null)
            return SamplerChoice.Find(sampler);
        string folder = Path.Combine(File.Exists(model) ? basePath ?? "" : model, "scheduler");
        // What is missing is told when the model is loaded.
        if (!File.Exists(Path.Combine(folder, SchedulerConfig.FileName)))
            return SamplerChoice.Default;
        SchedulerConfig config = SchedulerConfig.Load(folder);
        string says = config.ClassName ?? "schedule";
        if (named)
            Terminal.Note($"sampler: {config.Sampler.Name}, as the model's {says} says (--sampler takes another)");
        return config.Sampler;
    }
}
