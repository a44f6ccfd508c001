using System.Globalization;
using System.Text.RegularExpressions;
using AfaNative.Engine.Core;
using AfaNative.Engine.Pipeline;

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

    private const string Replacement = "prompt-sr";

    /// <summary>Settings an axis can vary.</summary>
    public static IReadOnlyList<string> Names { get; } =
    [.. SettingTable.All.Where(s => s.IsAxis).Select(s => s.Name), Replacement];

    /// <summary>Reads an axis; <paramref name="option"/> is where it was given.</summary>
    /// <exception cref="AfaException">There is no such axis, or a value is none.</exception>
    public static PlotAxis Parse(string option, string text)
    {
        int equals = text.IndexOf('=', StringComparison.Ordinal);
        string name = (equals < 0 ? text : text[..equals]).Trim().ToLowerInvariant().Replace('_', '-');
        Setting? setting = name is "prompt" or "s/r" or Replacement ? null : SettingTable.Find(name);
        name = setting?.Name ?? (name is "prompt" or "s/r" ? Replacement : name);
        if (!Names.Contains(name))
            throw new AfaException(
                $"{option} varies one of {string.Join(", ", Names)}, written NAME=v1,v2,...; "
                    + $"'{Printable.Shortened(name)}' is none of them{Nearest.Hint(name, Names)}."
            );
        List<string> values = equals < 0 ? [] : Split(text[(equals + 1)..]);
        if (values.Count == 0 || values.Any(v => v.Length == 0 && setting is not null))
            throw new AfaException($"{option}: '{name}' needs values, written {name}=v1,v2,...");
        if (setting is null && values[0].Length == 0)
            throw new AfaException($"{option}: the first value of {Replacement} is what is searched for; it is empty.");
        IReadOnlyList<PlotValue> read = setting is null
            ? [.. values.Select(v => Replaced(values[0], v))]
            : [.. Expand(setting.Kind).Select(v => Value(setting, v))];
        if (read.Count > MostValues)
            throw new AfaException($"{option}: {read.Count} values of {name} are more than the {MostValues} an axis can have.");
        return new PlotAxis(name, setting is null ? values[0] : null, read);

        PlotValue Value(Setting row, string v)
        {
            string what = $"{option}: {row.Name}";
            row.Check(what, v);
            string label = row.Label?.Invoke(v) ?? $"{row.Name} {v}";
            return new PlotValue(label, o => row.Apply(what, v, o));
        }

        IEnumerable<string> Expand(SettingKind kind) =>
            kind switch
            {
                SettingKind.Whole => Range(true),
                SettingKind.Number => Range(false),
                _ => values,
            };

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

    private static PlotValue Replaced(string search, string by) =>
        new(
            by,
            o =>
                o with
                {
                    Prompt = o.Prompt.Replace(search, by, StringComparison.Ordinal),
                    NegativePrompt = o.NegativePrompt.Replace(search, by, StringComparison.Ordinal),
                }
        );

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
