using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Samplers;

namespace AfaNative.Tool;

/// <summary>Says what was found odd in a model's files.</summary>
internal static class ModelWarnings
{
    /// <summary>Of a loaded model.</summary>
    public static void Say(DiffusionModel model) => Say(model.Warnings);

    /// <summary>Of the noise schedule alone, for commands that read no whole model.</summary>
    public static void SayScheduler(EnsembleFolder folder) => Say(SchedulerConfig.Load(folder.Scheduler).Warnings);

    /// <summary>Of settings that do not do what they may be expected to, once each.</summary>
    public static void SayRuns(DiffusionModel model, IEnumerable<GenerationOptions> runs) =>
        Say([.. runs.DistinctBy(o => (o.Sampler.Name, o.Steps, o.Eta, o.Strength)).SelectMany(o => o.Warnings(model.Scheduler))]);

    private static void Say(IReadOnlyList<string> warnings)
    {
        foreach (string warning in warnings.Distinct())
            Terminal.Warn(warning);
    }
}
