using System.Globalization;
using System.Text;

namespace AfaNative.Engine.Pipeline;

/// <summary>
/// The parts of a text of settings as A1111 and its relatives write it: prompt, negative prompt, a line of fields that begins
/// with "Steps:", and lines after it. Read in time that grows with its length alone, whatever it holds.
/// </summary>
/// <param name="Prompt">The lines before, as they stand.</param>
/// <param name="Negative">The lines from "Negative prompt:" on, without this label.</param>
/// <param name="Fields">The settings in order; a key may come twice.</param>
/// <param name="After">Lines after the settings, such as "Template: ...".</param>
internal sealed record ParameterText(
    string Prompt,
    string Negative,
    IReadOnlyList<KeyValuePair<string, string>> Fields,
    IReadOnlyList<string> After
)
{
    private const string Label = "Negative prompt:";

    // With fewer it is a line of a prompt like any other, as A1111 decides it.
    private const int LeastFields = 3;

    /// <summary>Splits a text; null where no line holds settings.</summary>
    public static ParameterText? Read(string text)
    {
        string[] lines = text.Replace("\r\n", "\n", StringComparison.Ordinal).Split('\n');
        int settings = lines.Length - 1;
        IReadOnlyList<KeyValuePair<string, string>> fields = [];
        for (; settings >= 0; settings--)
        {
            if (!lines[settings].AsSpan().TrimStart().StartsWith("Steps:", StringComparison.OrdinalIgnoreCase))
                continue;
            fields = Split(lines[settings]);
            if (fields.Count >= LeastFields)
                break;
        }

        if (settings < 0)
            return null;
        bool own = fields.Any(f =>
            f is { Key: "Version" } && f.Value.StartsWith(GenerationMetadata.Program, StringComparison.Ordinal)
        );
        string[] after = [.. lines[(settings + 1)..].Select(l => l.Trim()).Where(l => l.Length > 0)];
        (string prompt, string negative) = own ? Exact(lines.AsSpan(0, settings)) : Loose(lines.AsSpan(0, settings));
        return new ParameterText(prompt, negative, fields, after);
    }

    /// <summary>
    /// A field's value as it is written: in quotes, with JSON's escapes, where it would not be read back otherwise.
    /// </summary>
    public static string Value(string text)
    {
        bool plain =
            text.Length > 0
            && !char.IsWhiteSpace(text[0])
            && !char.IsWhiteSpace(text[^1])
            && !text.AsSpan().ContainsAny(",:\"")
            && !text.Any(char.IsControl);
        if (plain)
            return text;
        var quoted = new StringBuilder("\"");
        foreach (char c in text)
        {
            if (c is '"' or '\\')
                quoted.Append('\\').Append(c);
            else if (c == '\n')
                quoted.Append("\\n");
            else if (char.IsControl(c))
                quoted.Append(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}");
            else
                quoted.Append(c);
        }

        return quoted.Append('"').ToString();
    }

    /// <summary>Whether prompts can be told apart again where they stand before the settings as they are.</summary>
    public static bool Unambiguous(string prompt, string negative) => !Odd(prompt) && !Odd(negative);

    private static bool Odd(string text) =>
        text.AsSpan().IndexOfAny('\r', '\0') >= 0
        || text.StartsWith(Label, StringComparison.Ordinal)
        || text.Contains("\n" + Label, StringComparison.Ordinal);

    // What this program wrote comes back to the character.
    private static (string, string) Exact(ReadOnlySpan<string> lines)
    {
        int negative = -1;
        for (int i = 0; i < lines.Length && negative < 0; i++)
        {
            if (lines[i].StartsWith(Label + " ", StringComparison.Ordinal))
                negative = i;
        }

        return negative < 0
            ? (string.Join('\n', lines!), "")
            : (string.Join('\n', lines[..negative]!), string.Join('\n', lines[negative..]!)[(Label.Length + 1)..]);
    }

    // A1111's reading: blanks around lines do not count, and every such label begins, or goes on with, the negative prompt.
    private static (string, string) Loose(ReadOnlySpan<string> lines)
    {
        List<string> prompt = [],
            negative = [];
        bool second = false;
        foreach (string line in lines)
        {
            string trimmed = line.Trim();
            if (trimmed.StartsWith(Label, StringComparison.Ordinal))
                (second, trimmed) = (true, trimmed[Label.Length..].Trim());
            (second ? negative : prompt).Add(trimmed);
        }

        return (string.Join('\n', prompt).Trim(), string.Join('\n', negative).Trim());
    }

    /// <summary>"key: value, key: value", values in quotes where they hold separators (A1111's own pattern).</summary>
    public static IReadOnlyList<KeyValuePair<string, string>> Split(string line)
    {
        var fields = new List<KeyValuePair<string, string>>();
        for (int at = 0; at < line.Length; )
        {
            if (!Word(line[at]))
            {
                at++;
                continue;
            }

            int colon = at;
            while (colon < line.Length && (Word(line[colon]) || line[colon] is ' ' or '-' or '/'))
                colon++;
            if (colon == line.Length || line[colon] != ':' || colon - at < 2)
            {
                // None of the run's ends is followed by a colon either.
                at = colon + 1;
                continue;
            }

            string key = line[at..colon].TrimEnd();
            int from = colon + 1;
            while (from < line.Length && char.IsWhiteSpace(line[from]))
                from++;
            int end = Quoted(line, from, out string? value);
            if (value is null)
            {
                end = End(line, from);
                value = line[from..end].TrimEnd();
            }

            fields.Add(new(key, value));
            at = end + 1;
        }

        return fields;
    }

    // A comma within a number (7,5) or within braces separates nothing: the number is refused as a whole, not read as 7.
    private static int End(string line, int from)
    {
        int brace = from < line.Length && line[from] == '{' ? line.IndexOf('}', from) : -1;
        if (brace >= 0 && (brace + 1 == line.Length || line[brace + 1] == ','))
            return brace + 1;
        int end = Comma(line, from);
        bool number = end > from && !line.AsSpan(from, end - from).ContainsAnyExcept("+-.0123456789");
        return number && end + 1 < line.Length && char.IsAsciiDigit(line[end + 1]) ? Comma(line, end + 1) : end;
    }

    private static int Comma(string line, int from) => line.IndexOf(',', from) is >= 0 and var comma ? comma : line.Length;

    // Only if the quotes are closed, and a comma or the end follows.
    private static int Quoted(string line, int from, out string? value)
    {
        value = null;
        if (from >= line.Length || line[from] != '"')
            return from;
        var text = new StringBuilder();
        int at = from + 1;
        for (; at < line.Length && line[at] != '"'; at++)
        {
            if (line[at] != '\\' || at + 1 == line.Length)
            {
                text.Append(line[at]);
                continue;
            }

            at++;
            if (
                line[at] == 'u'
                && at + 4 < line.Length
                && int.TryParse(
                    line.AsSpan(at + 1, 4),
                    NumberStyles.AllowHexSpecifier,
                    CultureInfo.InvariantCulture,
                    out int code
                )
            )
            {
                text.Append((char)code);
                at += 4;
            }
            else
            {
                text.Append(
                    line[at] switch
                    {
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        'b' => '\b',
                        'f' => '\f',
                        char other => other,
                    }
                );
            }
        }

        int end = at + 1;
        if (at >= line.Length || (end < line.Length && line[end] != ','))
            return from;
        value = text.ToString();
        return end;
    }

    private static bool Word(char c) => char.IsLetterOrDigit(c) || c == '_';
}
