using System.Text;

namespace AfaNative.Tests.Repository;

/// <summary>C# without what is not code.</summary>
internal static class SourceText
{
    /// <summary>Strings become "", characters ' ', comments nothing; what interpolated strings compute stays.</summary>
    public static string WithoutCommentsAndStrings(string text)
    {
        var code = new StringBuilder(text.Length);
        int at = 0;
        Copy(text, ref at, code, inHole: false);
        return code.ToString();
    }

    // To the end, or to the brace that closes a hole; what stands in front of that brace behind a colon is a format.
    private static void Copy(string text, ref int at, StringBuilder code, bool inHole)
    {
        int depth = 0,
            nested = 0;
        while (at < text.Length)
        {
            char c = text[at];
            if (Starts(text, at, "//"))
            {
                at = End(text, '\n', at);
            }
            else if (Starts(text, at, "/*"))
            {
                int end = text.IndexOf("*/", at + 2, StringComparison.Ordinal);
                at = end < 0 ? text.Length : end + 2;
                code.Append(' ');
            }
            else if (c == '\'')
            {
                at += text[at + 1] == '\\' ? 3 : 2;
                at = End(text, '\'', at - 1) + 1;
                code.Append("' '");
            }
            else if (c is '"' or '$' or '@' && TryString(text, ref at, code)) { }
            else
            {
                if (c == '{')
                    depth++;
                if (c == '}' && inHole && depth-- == 0)
                    return;
                if (c == '}' && !inHole)
                    depth--;
                nested +=
                    c is '(' or '[' ? 1
                    : c is ')' or ']' ? -1
                    : 0;
                if (c == ':' && inHole && depth == 0 && nested == 0 && !Starts(text, at, "::") && text[at - 1] != ':')
                {
                    at = End(text, '}', at);
                    return;
                }

                code.Append(c);
                at++;
            }
        }
    }

    private static bool TryString(string text, ref int at, StringBuilder code)
    {
        int start = at,
            dollars = 0;
        bool verbatim = false;
        while (at < text.Length && text[at] is '$' or '@')
        {
            dollars += text[at] == '$' ? 1 : 0;
            verbatim |= text[at] == '@';
            at++;
        }

        int quotes = 0;
        while (at + quotes < text.Length && text[at + quotes] == '"')
            quotes++;
        if (quotes == 0)
        {
            at = start;
            return false;
        }

        code.Append("\"\"");
        if (quotes >= 3 && !verbatim)
        {
            at += quotes;
            Content(text, ref at, code, new string('"', quotes), dollars, escapes: false, doubled: false);
        }
        else
        {
            at++;
            Content(text, ref at, code, "\"", dollars, escapes: !verbatim, doubled: verbatim);
        }

        return true;
    }

    private static void Content(
        string text,
        ref int at,
        StringBuilder code,
        string close,
        int dollars,
        bool escapes,
        bool doubled
    )
    {
        while (at < text.Length)
        {
            if (escapes && text[at] == '\\')
            {
                at += 2;
            }
            else if (doubled && Starts(text, at, "\"\""))
            {
                at += 2;
            }
            else if (Starts(text, at, close))
            {
                at += close.Length;
                return;
            }
            else if (dollars > 0 && text[at] == '{')
            {
                int braces = 0;
                while (at < text.Length && text[at] == '{')
                {
                    braces++;
                    at++;
                }

                // In an ordinary string {{ is a brace; in a raw one a hole takes as many braces as there are dollars.
                bool hole = close.Length == 1 ? braces % 2 == 1 : braces >= dollars;
                if (!hole)
                    continue;
                code.Append(' ');
                Copy(text, ref at, code, inHole: true);
                code.Append(' ');
                at += close.Length == 1 ? 1 : dollars;
            }
            else
            {
                at++;
            }
        }
    }

    private static bool Starts(string text, int at, string what) => string.CompareOrdinal(text, at, what, 0, what.Length) == 0;

    private static int End(string text, char what, int at)
    {
        int end = text.IndexOf(what, Math.Min(at, text.Length));
        return end < 0 ? text.Length : end;
    }
}
