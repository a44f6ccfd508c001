using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Diffusion;
using AfaNative.Engine.Ensemble;

namespace AfaNative.Tool;

/// <summary>Says what was found odd in a model's files.</summary>
internal static class ModelWarnings
{
    /// <summary>Of a loaded model.</summary>
    public static void Say(DiffusionModel model) => Say(model.Warnings);

    /// <summary>Of the noise schedule alone, for commands that read no whole model.</summary>
    public static void SayScheduler(EnsembleFolder folder) => Say(SchedulerConfig.Load(folder.Scheduler).Warnings);

    private static void Say(IReadOnlyList<string> warnings)
    {
        foreach (string warning in warnings.Distinct()) Terminal.Warn(warning);
    }
}
