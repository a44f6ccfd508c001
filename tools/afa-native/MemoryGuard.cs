using System.CommandLine;
using AfaNative.Engine.Core;
using AfaNative.Engine.Pipeline;

namespace AfaNative.Tool;

/// <summary>Refuses work that this machine has not the memory for, before it takes any.</summary>
internal static class MemoryGuard
{
    /// <summary>The option to begin all the same, for every command that plans.</summary>
    public static Option<bool> Force { get; } =
        new("--force") { Description = "Begin even where the memory plan says that this machine has too little." };

    /// <summary>Bytes of memory this machine, or the container it is, has for the program.</summary>
    public static long Machine => GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;

    /// <summary>Refuses a need beyond what there is.</summary>
    /// <param name="needed">Bytes at the peak.</param>
    /// <param name="available">Bytes there are; null where nobody knows.</param>
    /// <param name="force">Begin all the same: then it is a warning.</param>
    /// <param name="less">What needs less: "smaller pictures".</param>
    /// <exception cref="AfaException">It does not fit.</exception>
    public static void Check(long needed, long? available, bool force, string less)
    {
        if (available is not { } there || needed <= there)
            return;
        string sentence =
            $"this needs {MemoryPlan.Format(needed)} of memory, but there are {MemoryPlan.Format(there)}; {less} need less";
        if (force)
            Terminal.Warn(sentence);
        else
            throw new AfaException($"Not begun: {sentence}, and --force begins all the same.");
    }

    /// <summary>
    /// Bytes of finished pictures on the host, decoded and as they are written, which no plan of a device counts.
    /// </summary>
    public static long Pictures(int width, int height, int count) =>
        (long)width * height * 3 * (count * (long)sizeof(float) + sizeof(float) + 2);

    /// <summary>The run of several that needs the most: the largest picture, and of those the longest prompt.</summary>
    public static GenerationOptions Largest(IEnumerable<GenerationOptions> runs) =>
        runs.MaxBy(o => ((long)o.OutputWidth * o.OutputHeight, o.Prompt.Length))!;
}
