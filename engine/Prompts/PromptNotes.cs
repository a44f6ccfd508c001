using System.Globalization;
using System.Text.RegularExpressions;
using AfaNative.Engine.Core;

namespace AfaNative.Engine.Prompts;

/// <summary>
/// Names what prompts hold that other programs act on and this one does not yet: A1111's prompt editing (<c>[a:b:0.5]</c>),
/// alternation (<c>[a|b]</c>), <c>AND</c>, tags other than <c>&lt;lora:...&gt;</c> and comments (<c>#</c>),
/// Dynamic Prompts' <c>{a|b}</c>, <c>__name__</c> and <c>${x}</c>; in plain prompts tags, escapes and weights. All of it is taken
/// as words, and said.
/// </summary>
public static partial class PromptNotes
{
    // Of every kind so many are quoted.
    private const int Quoted = 3;

    private enum Kind
    {
        Editing,
        Alternation,
        And,
        Tag,
        Comment,
        Dynamic,
        CommaWeight,
        PlainTag,
        PlainEscape,
        PlainWeight,
    }

    /// <summary>
    /// One sentence for every kind of thing that was found, in all prompts of a run together; none when all is understood.
    /// </summary>
    /// <param name="prompts">The texts, and whether each is a negative prompt (where A1111 takes AND as a word, too).</param>
    /// <param name="syntax">How they are read.</param>
    public static IReadOnlyList<string> Of(IEnumerable<(string Text, bool Negative)> prompts, PromptSyntax syntax)
    {
        var found = new SortedDictionary<Kind, List<string>>();
        var counts = new Dictionary<Kind, int>();
        foreach ((string text, bool negative) in prompts.Distinct())
        {
            if (text.AsSpan().IndexOfAny("[<#{_$\\(A") < 0 || text.Length > PromptParser.MostCharacters)
                continue;
            foreach ((Kind kind, string what) in syntax == PromptSyntax.Plain ? InPlain(text) : InWeighted(text, negative))
            {
                if (!found.TryGetValue(kind, out List<string>? list))
                    found[kind] = list = [];
                if (list.Contains(what))
                    continue;
                if (list.Count < Quoted)
                    list.Add(what);
                else
                    counts[kind] = counts.GetValueOrDefault(kind) + 1;
            }
        }

        return [.. found.Select(f => Sentence(f.Key, string.Join(", ", f.Value) + More(counts.GetValueOrDefault(f.Key))))];

        static string More(int count) => count == 0 ? "" : string.Create(CultureInfo.InvariantCulture, $" and {count} more");
    }

    private static string Sentence(Kind kind, string what) =>
        kind switch
        {
            Kind.Editing => $"prompt editing is not supported yet: {what} is taken as words",
            Kind.Alternation => $"alternating words are not supported yet: {what} is taken as words",
            Kind.And => $"AND does not join prompts yet: in {what} it is taken as a word",
            Kind.Tag => $"only <lora:...> is a tag here: {what} is taken as words",
            Kind.Comment => $"comments are not left out of prompts: {what} is taken as words",
            Kind.Dynamic => $"dynamic prompts are not supported yet: {what} is taken as words",
            Kind.CommaWeight => $"weights are written with a point: {what} is taken as words",
            Kind.PlainTag => $"`prompt-syntax` plain takes everything as words, tags too: {what} does nothing else",
            Kind.PlainEscape => $"`prompt-syntax` plain takes everything as words: the backslash in {what} is part of the text",
            _ => $"`prompt-syntax` plain takes everything as words: {what} is no weight",
        };

    private static IEnumerable<(Kind, string)> InPlain(string text)
    {
        foreach ((int start, int end) in Tags(text))
            yield return (Kind.PlainTag, Quote(text, start, end));
        for (int i = 0; i + 1 < text.Length; i++)
        {
            if (text[i] == '\\' && text[i + 1] is '(' or ')' or '[' or ']')
            {
                yield return (Kind.PlainEscape, Quote(text, i, i + 2));
                break;
            }
        }

        int open = -1;
        for (int i = 0; i < text.Length; i++)
        {
            if (text[i] == '(')
                open = i;
            else if (text[i] == ')' && open >= 0 && NumberBefore(text, i, open + 1) > 0)
            {
                yield return (Kind.PlainWeight, Quote(text, open, i + 1));
                open = -1;
            }
        }
    }

    private static IEnumerable<(Kind, string)> InWeighted(string text, bool negative)
    {
        foreach ((int start, int end) in Tags(text))
        {
            if (string.Compare(text, start, "<lora:", 0, 6, StringComparison.OrdinalIgnoreCase) != 0)
                yield return (Kind.Tag, Quote(text, start, end));
        }

        foreach ((Kind, string) bracket in Brackets(text))
            yield return bracket;
        foreach (Match weight in CommaWeight().Matches(text))
        {
            if (text.LastIndexOf('(', weight.Index) is var open and >= 0)
                yield return (Kind.CommaWeight, Quote(text, Math.Max(open, weight.Index - 40), weight.Index + weight.Length));
        }

        int at = text.IndexOf('#', StringComparison.Ordinal);
        if (at >= 0)
            yield return (Kind.Comment, Quote(text, at, text.IndexOf('\n', at) is var line and >= 0 ? line : text.Length));
        for (
            at = negative ? -1 : text.IndexOf("AND", StringComparison.Ordinal);
            at >= 0;
            at = text.IndexOf("AND", at + 3, StringComparison.Ordinal)
        )
        {
            if ((at > 0 && Word(text[at - 1])) || (at + 3 < text.Length && Word(text[at + 3])))
                continue;
            yield return (Kind.And, Quote(text, Math.Max(0, at - 20), Math.Min(text.Length, at + 23)));
            break;
        }

        int name = text.IndexOf("__", StringComparison.Ordinal),
            close = name < 0 ? -1 : text.IndexOf("__", name + 2, StringComparison.Ordinal);
        if (close > name + 2 && text.AsSpan(name, close - name).IndexOfAny(' ', '\n', ',') < 0)
            yield return (Kind.Dynamic, Quote(text, name, close + 2));
    }

    // [from:to:when], [a|b] and {a|b}: what stands directly inside the innermost bracket that closes.
    private static IEnumerable<(Kind, string)> Brackets(string text)
    {
        var open = new Stack<(int At, bool Bar, bool Dollar)>();
        for (int i = 0; i < text.Length; i++)
        {
            switch (text[i])
            {
                case '\\':
                    i++;
                    break;
                case '[' or '{':
                    open.Push((i, false, i > 0 && text[i - 1] == '$'));
                    break;
                case '|' when open.Count > 0:
                    open.Push(open.Pop() with { Bar = true });
                    break;
                case '$' when open.Count > 0 && i + 1 < text.Length && text[i + 1] == '$':
                    open.Push(open.Pop() with { Dollar = true });
                    break;
                case ']' or '}' when open.Count > 0 && text[open.Peek().At] == (text[i] == ']' ? '[' : '{'):
                    (int at, bool bar, bool dollar) = open.Pop();
                    if (text[i] == '}')
                    {
                        if (bar || dollar)
                            yield return (Kind.Dynamic, Quote(text, at, i + 1));
                    }
                    else if (NumberBefore(text, i, at + 1) > 0)
                    {
                        yield return (Kind.Editing, Quote(text, at, i + 1));
                    }
                    else if (bar)
                    {
                        yield return (Kind.Alternation, Quote(text, at, i + 1));
                    }

                    break;
            }
        }
    }

    // Length of ": 0.5 " directly before a closing bracket, or 0.
    private static int NumberBefore(string text, int end, int least)
    {
        int at = end;
        while (at > least && char.IsWhiteSpace(text[at - 1]))
            at--;
        int digits = 0;
        for (; at > least && (char.IsAsciiDigit(text[at - 1]) || text[at - 1] is '.' or '+' or '-' or 'e' or 'E'); at--)
            digits += char.IsAsciiDigit(text[at - 1]) ? 1 : 0;
        while (at > least && char.IsWhiteSpace(text[at - 1]))
            at--;
        return digits > 0 && at > least && text[at - 1] == ':' ? end - at : 0;
    }

    // <word:...>
    private static IEnumerable<(int Start, int End)> Tags(string text)
    {
        for (int at = text.IndexOf('<', StringComparison.Ordinal); at >= 0; )
        {
            int colon = at + 1;
            while (colon < text.Length && Word(text[colon]))
                colon++;
            int next = colon;
            if (colon > at + 1 && colon < text.Length && text[colon] == ':')
            {
                int end = text.IndexOf('>', colon);
                if (end < 0)
                    yield break;
                next = end;
                if (end > colon + 1)
                    yield return (at, end + 1);
            }

            at = next < text.Length ? text.IndexOf('<', next) : -1;
        }
    }

    [GeneratedRegex(@":\s{0,9}[+-]?[0-9]{1,9},[0-9]{1,9}\s{0,9}\)", RegexOptions.CultureInvariant)]
    private static partial Regex CommaWeight();

    private static bool Word(char c) => char.IsLetterOrDigit(c) || c == '_';

    private static string Quote(string text, int start, int end) =>
        $"'{Printable.Shortened(text.AsSpan(start, end - start).Trim())}'";
}
