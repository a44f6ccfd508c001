using AfaNative.Engine.Core;
using AfaNative.Engine.Imaging;

namespace AfaNative.Engine.Pipeline;

/// <summary>
/// Compares what a picture records of itself with what a run would record: a picture is only taken for done if both say the same.
/// </summary>
public static class RecordedSettings
{
    // The program's version draws nothing, a model's or VAE's name is how its file is called (its hash is what it is), and
    // devices agree but for rounding.
    private static readonly string[] s_beside = ["Version", "Model", "VAE", "Device"];

    /// <summary>Refuses to go on where a picture that is there already is another than this run's.</summary>
    /// <param name="path">The picture.</param>
    /// <param name="expected">The text this run would record.</param>
    /// <exception cref="AfaException">It is no picture, records nothing, or something else; the message says what.</exception>
    public static void MustMatch(string path, string expected)
    {
        string? recorded;
        try
        {
            recorded = PngFile.ReadParameters(path);
        }
        catch (AfaException e)
        {
            throw new AfaException(
                $"{path}: a picture of this run belongs there, but what is there is none ({e.Message}); nothing more was "
                    + $"drawn, name another `out` or move it away.",
                e
            );
        }

        if (Difference(recorded, expected) is { } difference)
        {
            throw new AfaException(
                $"{path}: it is there already, but is another picture: {difference}; nothing more was drawn, name another "
                    + $"`out` or move it away."
            );
        }
    }

    /// <summary>The first setting that differs, as a part of a sentence; null where all are the same.</summary>
    public static string? Difference(string? recorded, string expected)
    {
        if (recorded is null)
            return "it records no settings";
        if (recorded == expected)
            return null;
        (string prompt, Dictionary<string, string> fields) = Split(recorded);
        (string wantedPrompt, Dictionary<string, string> wanted) = Split(expected);
        if (!fields.ContainsKey("Steps"))
            return "it records no settings";
        if (prompt != wantedPrompt)
            return $"its prompt is '{Printable.Shortened(prompt)}', not '{Printable.Shortened(wantedPrompt)}'";
        // Another version may not have recorded everything.
        bool sameVersion = fields.GetValueOrDefault("Version") == wanted.GetValueOrDefault("Version");
        foreach (string key in wanted.Keys.Concat(fields.Keys).Distinct().Except(s_beside))
        {
            if (!fields.TryGetValue(key, out string? came))
            {
                if (sameVersion)
                    return $"it records no '{key}', which is to be {Printable.Shortened(wanted[key])}";
            }
            else if (!wanted.TryGetValue(key, out string? value))
            {
                return $"its '{key}' is {Printable.Shortened(came)}, which this run does not have";
            }
            else if (came != value)
            {
                return $"its '{key}' is {Printable.Shortened(came)}, not {Printable.Shortened(value)}";
            }
        }

        return null;
    }

    // The prompts, and the settings below them.
    private static (string Prompts, Dictionary<string, string> Fields) Split(string text)
    {
        if (ParameterText.Read(text) is not { } parts)
            return (text, []);
        var fields = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach ((string key, string value) in parts.Fields)
            fields[key] = value;
        return (parts.Negative.Length == 0 ? parts.Prompt : $"{parts.Prompt}\nNegative prompt: {parts.Negative}", fields);
    }
}
