using System.Buffers;
using System.Globalization;
using System.Text;

namespace AfaNative.Engine.Core;

/// <summary>
/// Text from files - names, tensors, metadata - as a terminal may show it: nothing in it moves the cursor, sets a title or turns
/// the line around.
/// </summary>
public static class Printable
{
    // C0 without tab and line feed, DEL, C1, and what sets a direction (Unicode TR 9); lone surrogates are found one by one.
    private static readonly SearchValues<char> s_suspects = SearchValues.Create([
        .. Enumerable.Range(0, 0x20).Where(c => c is not ('\t' or '\n')).Select(c => (char)c),
        .. Enumerable.Range(0x7F, 0x21).Select(c => (char)c),
        '\u200E',
        '\u200F',
        '\u061C',
        .. Enumerable.Range(0x202A, 5).Select(c => (char)c),
        .. Enumerable.Range(0x2066, 4).Select(c => (char)c),
        '\u2028',
        '\u2029',
        .. Enumerable.Range(0xD800, 0x800).Select(c => (char)c),
    ]);

    /// <summary>The text, with what a terminal would act on written as <c>\u001B</c>; tabs and line feeds stay.</summary>
    public static string Text(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        if (text.AsSpan().IndexOfAny(s_suspects) < 0)
            return text;
        var shown = new StringBuilder(text.Length + 16);
        for (int i = 0; i < text.Length; i++)
        {
            char c = text[i];
            if (char.IsHighSurrogate(c) && i + 1 < text.Length && char.IsLowSurrogate(text[i + 1]))
            {
                shown.Append(c).Append(text[++i]);
                continue;
            }

            if (s_suspects.Contains(c))
                shown.Append(CultureInfo.InvariantCulture, $"\\u{(int)c:X4}");
            else
                shown.Append(c);
        }

        return shown.ToString();
    }

    /// <summary>
    /// As <see cref="Text"/>, on one line and of at most <paramref name="most"/> characters: for what a message quotes.
    /// </summary>
    public static string Shortened(ReadOnlySpan<char> text, int most = 60)
    {
        string part = text.Length > most ? string.Concat(text[..most], "...") : text.ToString();
        return Text(part).Replace("\n", "\\n", StringComparison.Ordinal).Replace("\t", "\\t", StringComparison.Ordinal);
    }
}
