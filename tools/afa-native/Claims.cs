using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Files;
using AfaNative.Engine.Training;

namespace AfaNative.Tool;

/// <summary>Claims on what a command writes, taken before its work begins; what cannot be made sure is said.</summary>
internal static class Claims
{
    /// <summary>A file or folder to be created.</summary>
    /// <exception cref="Engine.AfaException">Another program writes there.</exception>
    public static OutputLock Output(string path) => Told(OutputLock.Take(path));

    /// <summary>A folder that is written into.</summary>
    /// <exception cref="Engine.AfaException">Another program writes there.</exception>
    public static OutputLock Folder(string path) => Told(OutputLock.TakeFolder(path));

    /// <summary>A training run's folder.</summary>
    /// <exception cref="Engine.AfaException">It holds the model that is trained or lies in it, holds something else where the run
    /// writes, or another program writes there.</exception>
    public static OutputLock Run(EnsembleFolder models, string run)
    {
        TrainingRun.Check(models, run);
        OutputLock held = Told(OutputLock.TakeFolder(run));
        try
        {
            TrainingRun.MayReplaceModel(run);
            return held;
        }
        catch
        {
            held.Dispose();
            throw;
        }
    }

    private static OutputLock Told(OutputLock held)
    {
        foreach (string warning in held.Warnings)
            Terminal.Warn(warning);
        return held;
    }
}
