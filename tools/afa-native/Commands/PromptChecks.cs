using System.Text.Json;
using System.Text.RegularExpressions;
using AfaNative.Engine.Core;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Prompts;

namespace AfaNative.Tool.Commands;

/// <summary>Says once a run what its prompts hold that is taken as words, though other programs act on it.</summary>
internal static partial class PromptChecks
{
    /// <summary>All prompts of a run, or of its part of a file of prompts.</summary>
    /// <param name="options">The settings.</param>
    /// <param name="jobs">The file's prompts, or null.</param>
    /// <param name="native">Edge of what the model was made for, in pixels.</param>
    public static void Say(GenerationOptions options, PromptJobs? jobs, int native)
    {
        IEnumerable<GenerationOptions> all = jobs?.Drawn.Select(l => l.Options) ?? [options];
        foreach (string sentence in jobs?.Warnings ?? [])
            Terminal.Warn(sentence);
        if (jobs is null && Option().Match(options.Prompt) is { Success: true } option)
            Terminal.Warn($"'{Printable.Shortened(option.Value.Trim())}' within a prompt is words, not an option");
        // Four times the pixels, or a quarter: where pictures fall apart or repeat themselves.
        if (
            native > 0
            && all.FirstOrDefault(o => Area(o) >= 4L * native * native || 4 * Area(o) <= (long)native * native) is { } far
        )
            Terminal.Warn(
                $"{far.Width}x{far.Height} pixels are far from the {native}x{native} the model was made for: pictures may repeat "
                    + "themselves or fall apart"
            );
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

        static long Area(GenerationOptions o) => (long)o.Width * o.Height;
    }

    /// <summary>Sentences that name lines of a file of prompts that look as if they meant more than words.</summary>
    /// <param name="path">The file.</param>
    /// <param name="lines">Its lines with their numbers, those with settings left out.</param>
    public static IReadOnlyList<string> OddLines(string path, IEnumerable<(int Number, string Text)> lines)
    {
        List<int> json = [],
            options = [];
        foreach ((int number, string text) in lines)
        {
            if (IsJson(text))
                json.Add(number);
            else if (text.Contains("--", StringComparison.Ordinal) && Option().IsMatch(text))
                options.Add(number);
        }

        return
        [
            .. json.Count == 0
                ? (string[])[]
                : [$"{path}, {Lines(json)}: JSON other than an object ({{\"prompt\": ...}}) is taken as words"],
            .. options.Count == 0
                ? (string[])[]
                : [$"{path}, {Lines(options)}: options (--name) are taken as words; a JSON object gives a line its own settings"],
        ];

        static string Lines(List<int> numbers) =>
            (numbers.Count == 1 ? "line " : "lines ")
            + string.Join(", ", numbers.Take(10))
            + (numbers.Count > 10 ? $" and {numbers.Count - 10} more" : "");
    }

    private static bool IsJson(string line)
    {
        if (line[0] is not ('[' or '"'))
            return false;
        try
        {
            JsonDocument.Parse(line).Dispose();
            return true;
        }
        catch (JsonException)
        {
            return false;
        }
    }

    [GeneratedRegex(@"(?:^|\s)--[a-zA-Z][a-zA-Z0-9_-]*(?:[\s=]|$)", RegexOptions.CultureInvariant)]
    private static partial Regex Option();
}
