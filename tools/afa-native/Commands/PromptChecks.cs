using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Prompts;

namespace AfaNative.Tool.Commands;

/// <summary>Says once a run what its prompts hold that is taken as words, though other programs act on it.</summary>
internal static class PromptChecks
{
    /// <summary>All prompts of a run, or of its part of a file of prompts.</summary>
    public static void Say(GenerationOptions options, PromptJobs? jobs)
    {
        IEnumerable<GenerationOptions> all = jobs?.Drawn.Select(l => l.Options) ?? [options];
        if (all.Any(o => o.NegativePrompt.Length > 0 && o.GuidanceScale <= 1))
            Terminal.Warn("a guidance of 1 and less leaves the negative prompt out");
        foreach (
            string sentence in PromptNotes.Of(
                all.SelectMany(o => ((string, bool)[])[(o.Prompt, false), (o.NegativePrompt, true)]),
                options.Syntax
            )
        )
        {
            Terminal.Warn(sentence);
        }
    }
}
