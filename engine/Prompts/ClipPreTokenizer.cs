using System.Globalization;
using System.Text;
using Microsoft.ML.Tokenizers;

namespace AfaNative.Engine.Prompts;

/// <summary>
/// CLIP's split into words: <c>'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+</c>, everything else dropped. Written out
/// rather
/// than as a <see cref="System.Text.RegularExpressions.Regex"/>, whose classes see the two halves of a character beyond U+FFFF
/// apart.
/// </summary>
internal sealed class ClipPreTokenizer : PreTokenizer
{
    // Merging takes time that grows with the square of a word's length: what is far longer than any word is cut into several.
    private const int MostCharacters = 1024;

    private enum Kind
    {
        Space,
        Letter,
        Number,
        Other,
    }

    /// <inheritdoc/>
    public override IEnumerable<(int Offset, int Length)> PreTokenize(string text) => Split(text);

    /// <inheritdoc/>
    public override IEnumerable<(int Offset, int Length)> PreTokenize(ReadOnlySpan<char> text) => Split(text);

    private static List<(int Offset, int Length)> Split(ReadOnlySpan<char> text)
    {
        var words = new List<(int, int)>();
        int at = 0;
        while (at < text.Length)
        {
            int length = Contraction(text[at..]);
            if (length == 0)
            {
                Kind kind = KindAt(text[at..], out length);
                while (
                    kind is Kind.Letter or Kind.Other
                    && length < MostCharacters
                    && at + length < text.Length
                    && KindAt(text[(at + length)..], out int more) == kind
                )
                    length += more;
                if (kind == Kind.Space)
                {
                    at += length;
                    continue;
                }
            }

            words.Add((at, length));
            at += length;
        }

        return words;
    }

    private static int Contraction(ReadOnlySpan<char> text)
    {
        if (text.Length < 2 || text[0] != '\'')
            return 0;
        if (char.ToLowerInvariant(text[1]) is 's' or 't' or 'm' or 'd')
            return 2;
        ReadOnlySpan<char> two = text.Length < 3 ? default : text.Slice(1, 2);
        return
            two.Equals("re", StringComparison.OrdinalIgnoreCase)
            || two.Equals("ve", StringComparison.OrdinalIgnoreCase)
            || two.Equals("ll", StringComparison.OrdinalIgnoreCase)
            ? 3
            : 0;
    }

    private static Kind KindAt(ReadOnlySpan<char> text, out int length)
    {
        Rune.DecodeFromUtf16(text, out Rune rune, out length);
        if (Rune.IsWhiteSpace(rune))
            return Kind.Space;
        return Rune.GetUnicodeCategory(rune) switch
        {
            UnicodeCategory.UppercaseLetter
            or UnicodeCategory.LowercaseLetter
            or UnicodeCategory.TitlecaseLetter
            or UnicodeCategory.ModifierLetter
            or UnicodeCategory.OtherLetter => Kind.Letter,
            UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber => Kind.Number,
            _ => Kind.Other,
        };
    }
}
