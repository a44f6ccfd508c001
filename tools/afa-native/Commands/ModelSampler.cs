using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Samplers;

namespace AfaNative.Tool.Commands;

/// <summary>The sampler of <c>afa-native sample</c> where none is named.</summary>
internal static class ModelSampler
{
    /// <summary>
    /// What the schedule of the model (of its base, for a single file) says it is sampled with, which is told on standard error
    /// where the model is <paramref name="named"/>.
    /// </summary>
    /// <exception cref="AfaException">The schedule cannot be read.</exception>
    public static SamplerChoice OfModel(string model, string? basePath, bool named)
    {
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
