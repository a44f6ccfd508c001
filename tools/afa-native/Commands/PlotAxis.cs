using System.Globalization;
using System.Text.RegularExpressions;
using AfaNative.Engine.Core;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Sampling.Samplers;

namespace AfaNative.Tool.Commands;

/// <summary>One value of an axis.</summary>
/// <param name="Label">What stands beside its row or over its column.</param>
/// <param name="Apply">The settings with the value in them.</param>
internal sealed record PlotValue(string Label, Func<GenerationOptions, GenerationOptions> Apply);

/// <summary>An axis of an X/Y plot: a setting and the values it takes, written <c>NAME=v1,v2,...</c>.</summary>
/// <param name="Name">The setting.</param>
/// <param name="Search">What <c>prompt-sr</c> replaces; else null.</param>
/// <param name="Values">At least one.</param>
internal sealed partial record PlotAxis(string Name, string? Search, IReadOnlyList<PlotValue> Values)
{
    private const int MostValues = 1000;

    /// <summary>Settings an axis can vary.</summary>
    public static IReadOnlyList<string> Names { get; } =
    ["seed", "steps", "guidance", "sampler", "prompt-sr", "clip-skip", "eta", "strength", "magic-switch", "experts", "fusion"];

    /// <summary>Reads an axis; <paramref name="option"/> is where it was given.</summary>
    /// <exception cref="AfaException">There is no such axis, or a value is none.</exception>
    public static PlotAxis Parse(string option, string text)
    {
        int equals = text.IndexOf('=', StringComparison.Ordinal);
        string name = (equals < 0 ? text : text[..equals]).Trim().ToLowerInvariant().Replace('_', '-');
        name = name switch
        {
            "cfg" or "cfg-scale" => "guidance",
            "prompt" or "s/r" => "prompt-sr",
            _ => name,
        };
        if (!Names.Contains(name))
            throw new AfaException(
                $"{option} varies one of {string.Join(", ", Names)}, written NAME=v1,v2,...; "
                    + $"'{Printable.Shortened(name)}' is none of them{Nearest.Hint(name, Names)}."
            );
        List<string> values = equals < 0 ? [] : Split(text[(equals + 1)..]);
        if (values.Count == 0 || values.Any(v => v.Length == 0 && name != "prompt-sr"))
            throw new AfaException($"{option}: '{name}' needs values, written {name}=v1,v2,...");
        if (name == "prompt-sr" && values[0].Length == 0)
            throw new AfaException($"{option}: the first value of prompt-sr is what is searched for; it is empty.");
        IReadOnlyList<PlotValue> read = name switch
        {
            "seed" =>
            [
                .. Range(true)
                    .Select(v =>
                        Value(
                            v,
                            Numbers.TryUInt64(v, out ulong n) ? n : throw Bad(v, "a whole number from 0 on"),
                            (o, s) => o with { Seeds = [s] }
                        )
                    ),
            ],
            "steps" => [.. Range(true).Select(v => Value(v, Whole(v, 1, Limits.Steps), (o, n) => o with { Steps = n }))],
            "clip-skip" =>
            [
                .. Range(true).Select(v => Value(v, Whole(v, 0, Limits.ClipSkip), (o, n) => o with { ClipSkip = n })),
            ],
            "magic-switch" =>
            [
                .. Range(true)
                    .Select(v =>
                        Value(v, Whole(v, 0, Limits.Steps), (o, n) => o with { Magic = o.Magic with { SwitchTimestep = n } })
                    ),
            ],
            "guidance" =>
            [
                .. Range(false)
                    .Select(v => Value(v, (float)Number(v, 0, Limits.Guidance), (o, n) => o with { GuidanceScale = n })),
            ],
            "eta" => [.. Range(false).Select(v => Value(v, (float)Number(v, 0, 1), (o, n) => o with { Eta = n }))],
            "strength" => [.. Range(false).Select(v => Value(v, Number(v, 0, 1), (o, n) => o with { Strength = n }))],
            "sampler" =>
            [
                .. values.Select(v => SamplerChoice.Find(v)).Select(s => new PlotValue(s.Name, o => o with { Sampler = s })),
            ],
            "experts" =>
            [
                .. values.Select(v => Value(v, SampleExtras.ParseExperts(option, v), (o, e) => o with { Experts = e })),
            ],
            "fusion" =>
            [
                .. values.Select(v =>
                    Value(
                        v,
                        SampleExtras.ParseFusion(v) ?? throw Bad(v, "afa, average, mean or magic"),
                        (o, f) => o with { Fusion = f }
                    )
                ),
            ],
            _ =>
            [
                .. values.Select(v => new PlotValue(
                    v,
                    o =>
                        o with
                        {
                            Prompt = o.Prompt.Replace(values[0], v, StringComparison.Ordinal),
                            NegativePrompt = o.NegativePrompt.Replace(values[0], v, StringComparison.Ordinal),
                        }
                )),
            ],
        };
        if (read.Count > MostValues)
            throw new AfaException($"{option}: {read.Count} values of {name} are more than the {MostValues} an axis can have.");
        return new PlotAxis(name, name == "prompt-sr" ? values[0] : null, read);

        PlotValue Value<T>(string label, T value, Func<GenerationOptions, T, GenerationOptions> apply) =>
            new($"{name} {label}", o => apply(o, value));

        int Whole(string v, int least, int most) =>
            Numbers.TryInt32(v, out int n) && n >= least && n <= most
                ? n
                : throw Bad(v, $"a whole number from {least} to {most}");

        double Number(string v, double least, double most) =>
            Numbers.TryDouble(v, out double n) && n >= least && n <= most
                ? n
                : throw Bad(v, string.Create(CultureInfo.InvariantCulture, $"a number from {least} to {most}"));

        AfaException Bad(string v, string expected) => new($"{option}: {name} takes {expected}, not '{Printable.Shortened(v)}'.");

        // 1-5, 1-9(+2) and 1-9[3] (three of them, evenly spread) stand for several values, as in A1111.
        IEnumerable<string> Range(bool whole) =>
            values.SelectMany(v =>
            {
                if (Ranges().Match(v) is not { Success: true } m)
                    return [v];
                decimal Part(int group) =>
                    decimal.TryParse(
                        m.Groups[group].ValueSpan,
                        NumberStyles.AllowDecimalPoint,
                        CultureInfo.InvariantCulture,
                        out decimal d
                    )
                        ? d
                        : throw Bad(v, "a range of numbers");
                decimal first = Part(1),
                    last = Part(2),
                    step = m.Groups[3].Success ? Part(3) : 1;
                decimal count =
                    m.Groups[4].Success ? Part(4)
                    : step > 0 && last >= first ? Math.Floor((last - first) / step) + 1
                    : 0;
                if (count < 1 || last < first)
                    throw Bad(v, "a range that rises");
                if (count > MostValues)
                    throw new AfaException($"{option}: {v} has more than the {MostValues} values an axis can have.");
                if (m.Groups[4].Success)
                    step = count == 1 ? 0 : (last - first) / (count - 1);
                return Enumerable
                    .Range(0, (int)count)
                    .Select(i => decimal.Round(first + i * step, whole ? 0 : 4).ToString("0.####", CultureInfo.InvariantCulture));
            });
    }

    /// <summary>Values between commas; one in double quotes may hold commas, and two quotes in it are one.</summary>
    private static List<string> Split(string text)
    {
        var values = new List<string>();
        var value = new System.Text.StringBuilder();
        bool quoted = false,
            bare = false;
        for (int i = 0; i <= text.Length; i++)
        {
            if (i == text.Length || (text[i] == ',' && !quoted))
            {
                values.Add(value.ToString().Trim());
                value.Clear();
                bare = false;
            }
            else if (text[i] == '"' && quoted && i + 1 < text.Length && text[i + 1] == '"')
                value.Append(text[i++]);
            else if (text[i] == '"' && (quoted || !bare))
                quoted = !quoted;
            else
            {
                bare |= text[i] != ' ';
                value.Append(text[i]);
            }
        }

        return values is [""] ? [] : values;
    }

    [GeneratedRegex(
        @"^([0-9]+(?:\.[0-9]+)?)\s*-\s*([0-9]+(?:\.[0-9]+)?)\s*(?:\(\+?([0-9]+(?:\.[0-9]+)?)\)|\[([0-9]+)\])?$",
        RegexOptions.CultureInvariant
    )]
    private static partial Regex Ranges();
}
