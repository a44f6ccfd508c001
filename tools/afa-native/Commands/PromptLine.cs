using System.Text.Json;
using AfaNative.Engine.Core;
using AfaNative.Engine.Pipeline;

namespace AfaNative.Tool.Commands;

/// <summary>A line of a file of prompts.</summary>
/// <param name="Number">From 1, as editors count.</param>
/// <param name="Options">Its prompt and its settings.</param>
/// <param name="Seed">Its first picture's seed, or null where the run decides.</param>
internal sealed record PromptLine(int Number, GenerationOptions Options, ulong? Seed)
{
    /// <summary>Reads a line that is not empty.</summary>
    /// <exception cref="AfaException">It cannot be understood; the sentence does not name the line.</exception>
    public static PromptLine Parse(int number, string line, GenerationOptions defaults, int multiple)
    {
        PromptLine read = line.StartsWith('{')
            ? FromJson(number, line, defaults, multiple)
            : new PromptLine(number, defaults with { Prompt = line }, null);
        Limits.CheckPrompt("'prompt'", read.Options.Prompt, defaults.Syntax);
        Limits.CheckPrompt("'negative'", read.Options.NegativePrompt, defaults.Syntax);
        return read;
    }

    private static PromptLine FromJson(int number, string line, GenerationOptions options, int multiple)
    {
        var seen = new HashSet<string>();
        try
        {
            using JsonDocument document = JsonDocument.Parse(line, new JsonDocumentOptions { MaxDepth = 8 });
            var values = new Dictionary<Setting, JsonProperty>();
            foreach (JsonProperty p in document.RootElement.EnumerateObject())
            {
                Setting setting = SettingTable.Find(p.Name) is { IsLine: true } found
                    ? found
                    : throw new AfaException(
                        $"'{Printable.Shortened(p.Name)}' is no setting{Nearest.Hint(p.Name, s_names)}; there are "
                            + $"{string.Join(", ", s_names)}"
                    );
                if (!seen.Add(setting.Name))
                    throw new AfaException($"'{Printable.Shortened(p.Name)}' is there twice");
                values.Add(setting, p);
            }

            // In the table's order, not the line's: some settings build on others.
            foreach (Setting setting in SettingTable.All.Where(values.ContainsKey))
                options = setting.Apply($"'{values[setting].Name}'", Text(values[setting], setting), options);
            foreach (string edge in (string[])["width", "height"])
            {
                if (seen.Contains(edge))
                    Limits.CheckEdge($"'{edge}'", edge == "width" ? options.Width : options.Height, multiple);
            }
        }
        catch (JsonException e)
        {
            throw new AfaException($"it cannot be read as settings: {e.Message}", e);
        }
        catch (InvalidOperationException e)
        {
            throw new AfaException("it cannot be read as settings: a text holds half a surrogate pair", e);
        }

        if (!seen.Contains("prompt"))
            throw new AfaException("it has no 'prompt'");
        return new PromptLine(number, options, seen.Contains("seed") ? options.Seeds[0] : null);
    }

    /// <summary>Settings a line can have, as JSON names them.</summary>
    public static IReadOnlyList<string> Names => s_names;

    private static readonly string[] s_names = [.. SettingTable.All.Where(s => s.IsLine).Select(s => s.Name.Replace('-', '_'))];

    private static string Text(JsonProperty p, Setting setting) =>
        (setting.Kind, p.Value.ValueKind) switch
        {
            (SettingKind.Whole or SettingKind.Number, JsonValueKind.Number) => p.Value.GetRawText(),
            (SettingKind.Whole or SettingKind.Number, _) => throw Unlike(p, "a number"),
            (SettingKind.List, JsonValueKind.Array) => string.Join('+', p.Value.EnumerateArray().Select(v => Item(p, v))),
            (SettingKind.List, _) => throw Unlike(p, "a list of numbers"),
            (_, JsonValueKind.String) => p.Value.GetString()!,
            _ => throw Unlike(p, "a text"),
        };

    private static string Item(JsonProperty p, JsonElement value) =>
        value.ValueKind == JsonValueKind.Number ? value.GetRawText() : throw Unlike(p, "a list of numbers");

    private static AfaException Unlike(JsonProperty p, string expected) =>
        new($"'{p.Name}': expected {expected}, but {Printable.Shortened(p.Value.GetRawText())} came");
}

/// <summary>Gathers what is wrong in a file of prompts, line by line, and says it at once.</summary>
internal sealed class PromptFaults(string path)
{
    private const int MostNamed = 10;
    private readonly List<(int Line, AfaException Fault)> _named = [];
    private int _more;

    /// <summary>Does something that may find a fault in a line.</summary>
    public void Try(int line, Action action)
    {
        try
        {
            action();
        }
        catch (AfaException e)
        {
            if (_named.Count < MostNamed)
                _named.Add((line, e));
            else
                _more++;
        }
    }

    /// <summary>Says what was found.</summary>
    /// <exception cref="AfaException">Something was.</exception>
    public void Throw()
    {
        if (_named.Count == 0)
            return;
        if (_named is [(int line, AfaException fault)])
            throw new AfaException($"{path}, line {line}: {fault.Message.TrimEnd('.')}.", fault);
        string rest = _more > 0 ? $"; and {_more} more" : "";
        throw new AfaException(
            $"{path}: {_named.Count + _more} lines cannot be drawn: "
                + $"{string.Join("; ", _named.Select(f => $"line {f.Line}: {f.Fault.Message.TrimEnd('.')}"))}{rest}.",
            _named[0].Fault
        );
    }
}
