using System.Text.Json;
using AfaNative.Engine.Core;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Sampling.Samplers;

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
        ulong? seed = null;
        var seen = new HashSet<string>();
        try
        {
            using JsonDocument document = JsonDocument.Parse(line, new JsonDocumentOptions { MaxDepth = 8 });
            foreach (JsonProperty p in document.RootElement.EnumerateObject())
            {
                string name = p.Name switch
                {
                    "negative_prompt" => "negative",
                    "cfg_scale" => "guidance",
                    _ => p.Name,
                };
                if (!seen.Add(name))
                    throw new AfaException($"'{Printable.Shortened(p.Name)}' is there twice");
                string what = $"'{p.Name}'";
                options = name switch
                {
                    "prompt" => options with { Prompt = Text(p) },
                    "negative" => options with { NegativePrompt = Text(p) },
                    "seed" => options,
                    "steps" => options with { Steps = Numbers.Int32(what, Digits(p), 1, Limits.Steps) },
                    "guidance" => options with { GuidanceScale = (float)Numbers.Double(what, Digits(p), 0, Limits.Guidance) },
                    "sampler" => options with { Sampler = SamplerChoice.Find(Text(p)) },
                    "width" => options with { Width = Edge(p, multiple) },
                    "height" => options with { Height = Edge(p, multiple) },
                    "clip_skip" => options with { ClipSkip = Numbers.Int32(what, Digits(p), 0, Limits.ClipSkip) },
                    _ => throw new AfaException(
                        $"'{Printable.Shortened(p.Name)}' is no setting{Nearest.Hint(p.Name, s_names)}; there are "
                            + $"{string.Join(", ", s_names)}"
                    ),
                };
                if (name == "seed")
                    seed = Numbers.UInt64(what, Digits(p));
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

        return seen.Contains("prompt") ? new PromptLine(number, options, seed) : throw new AfaException("it has no 'prompt'");
    }

    private static readonly string[] s_names =
    [
        "prompt",
        "negative",
        "seed",
        "steps",
        "guidance",
        "sampler",
        "width",
        "height",
        "clip_skip",
    ];

    private static int Edge(JsonProperty p, int multiple)
    {
        int pixels = Numbers.Int32($"'{p.Name}'", Digits(p));
        Limits.CheckEdge($"'{p.Name}'", pixels, multiple);
        return pixels;
    }

    private static string Text(JsonProperty p) =>
        p.Value.ValueKind == JsonValueKind.String ? p.Value.GetString()! : throw Unlike(p, "a text");

    private static string Digits(JsonProperty p) =>
        p.Value.ValueKind == JsonValueKind.Number ? p.Value.GetRawText() : throw Unlike(p, "a number");

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
