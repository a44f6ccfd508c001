using System.Globalization;
using System.Text;
using AfaNative.Engine.Core;

namespace AfaNative.Engine.Prompts;

/// <summary>Part of a prompt and how much it counts.</summary>
/// <param name="Text">The words; empty for a break.</param>
/// <param name="Weight">1 for plain words.</param>
/// <param name="Break">A new chunk starts here, whatever room is left in the one before.</param>
public readonly record struct PromptPart(string Text, double Weight, bool Break = false);

/// <summary>
/// A1111's prompt syntax: <c>(words)</c> counts 1.1 times as much, <c>[words]</c> that much less, <c>(words:1.3)</c> as much as
/// it says; brackets nest and multiply, <c>\(</c> and the like are plain
/// characters, <c>BREAK</c> starts a new chunk, and <c>&lt;lora:name:weight&gt;</c> is left out (<see cref="PromptLora"/>). What
/// is not closed is taken as closed at the end, and what closes nothing stands for itself. What stands
/// behind a colon and is no number is words, as in A1111.
/// </summary>
public static class PromptParser
{
    /// <summary>Characters a prompt may hold: far more than any text encoder makes use of.</summary>
    public const int MostCharacters = 1 << 16;

    /// <summary>The largest weight, positive or negative, all brackets around a word together.</summary>
    public const double MostWeight = 10_000;

    /// <summary>Brackets that may be open at once.</summary>
    public const int MostNested = 250;

    private const double Step = 1.1;

    /// <summary>The parts in order; neighbours of equal weight are one. Time grows with the text's length alone.</summary>
    /// <exception cref="AfaException">It is too long, a weight is out of range, or brackets nest too deep.</exception>
    public static IReadOnlyList<PromptPart> Parse(string prompt)
    {
        CheckLength(prompt);
        prompt = PromptLora.Remove(prompt);
        var parts = new List<PromptPart>();
        Stack<int> round = [],
            square = [];
        var words = new StringBuilder();
        for (int i = 0; i < prompt.Length; i++)
        {
            char c = prompt[i];
            switch (c)
            {
                case '\\' when i + 1 < prompt.Length && prompt[i + 1] is '(' or ')' or '[' or ']' or '\\':
                    words.Append(prompt[++i]);
                    // An escaped character never makes a word like BREAK.
                    Flush(literal: true);
                    break;
                case '\\':
                    // A1111 leaves out a backslash that escapes nothing.
                    Flush();
                    break;
                case '(' or '[':
                    Flush();
                    (c == '(' ? round : square).Push(parts.Count);
                    if (round.Count + square.Count > MostNested)
                    {
                        throw new AfaException(
                            $"The prompt's brackets nest more than {MostNested} deep ('{Printable.Shortened(prompt)}')."
                        );
                    }

                    break;
                case ':' when round.Count > 0 && Number(prompt, i + 1, out double weight, out int end):
                    Flush();
                    Close(round, weight);
                    i = end;
                    break;
                case ')' when round.Count > 0:
                    Flush();
                    Close(round, Step);
                    break;
                case ']' when square.Count > 0:
                    Flush();
                    Close(square, 1 / Step);
                    break;
                default:
                    words.Append(c);
                    break;
            }
        }

        Flush();
        while (round.Count > 0)
            Close(round, Step);
        while (square.Count > 0)
            Close(square, 1 / Step);
        return Merge(parts);

        // Every part is met once for every bracket around it, of which there are few.
        void Close(Stack<int> open, double weight)
        {
            for (int j = open.Pop(); j < parts.Count; j++)
                parts[j] = parts[j] with { Weight = parts[j].Weight * weight };
        }

        void Flush(bool literal = false)
        {
            if (words.Length == 0)
                return;
            string text = words.ToString();
            words.Clear();
            if (literal)
            {
                // What stood before it is still ordinary text.
                if (text.Length > 1)
                    Add(text[..^1]);
                parts.Add(new PromptPart(text[^1..], 1));
                return;
            }

            Add(text);
        }

        void Add(string text)
        {
            int from = 0;
            for (int at = Next(text, 0); at >= 0; at = Next(text, from))
            {
                string before = text[from..at].TrimEnd();
                if (before.Length > 0)
                    parts.Add(new PromptPart(before, 1));
                parts.Add(new PromptPart("", 1, Break: true));
                from = at + "BREAK".Length;
                while (from < text.Length && char.IsWhiteSpace(text[from]))
                    from++;
            }

            if (from < text.Length)
                parts.Add(new PromptPart(text[from..], 1));
        }
    }

    /// <summary>Refuses what is too long to be a prompt, before anything is made of it.</summary>
    /// <exception cref="AfaException">It is.</exception>
    internal static void CheckLength(string prompt)
    {
        if (prompt.Length > MostCharacters)
        {
            throw new AfaException(
                $"The prompt '{Printable.Shortened(prompt)}' has {prompt.Length} characters; {MostCharacters} is the most."
            );
        }
    }

    // Neighbours of equal weight are one; weights are checked where they count, so that brackets may cancel each other out.
    private static List<PromptPart> Merge(List<PromptPart> parts)
    {
        var merged = new List<PromptPart>();
        var text = new StringBuilder();
        for (int i = 0; i < parts.Count; )
        {
            PromptPart part = parts[i];
            if (part.Break)
            {
                merged.Add(part);
                i++;
                continue;
            }

            if (!(Math.Abs(part.Weight) <= MostWeight))
            {
                throw new AfaException(
                    string.Create(
                        CultureInfo.InvariantCulture,
                        $"The prompt weighs '{Printable.Shortened(part.Text)}' by {part.Weight:G6}; -{MostWeight} to "
                            + $"{MostWeight} "
                            + $"is possible, all brackets around it together."
                    )
                );
            }

            text.Clear();
            for (; i < parts.Count && !parts[i].Break && parts[i].Weight == part.Weight; i++)
                text.Append(parts[i].Text);
            merged.Add(part with { Text = text.ToString() });
        }

        return merged.Count > 0 ? merged : [new PromptPart("", 1)];
    }

    // BREAK as a word of its own.
    private static int Next(string text, int from)
    {
        for (
            int at = text.IndexOf("BREAK", from, StringComparison.Ordinal);
            at >= 0;
            at = text.IndexOf("BREAK", at + 1, StringComparison.Ordinal)
        )
        {
            int end = at + "BREAK".Length;
            if ((at == 0 || !Word(text[at - 1])) && (end == text.Length || !Word(text[end])))
                return at;
        }

        return -1;

        static bool Word(char c) => char.IsLetterOrDigit(c) || c == '_';
    }

    // "1.3)" with spaces around the number, as A1111 finds it: signs, digits and points alone; end is the bracket. What is
    // neither a number nor words, such as 1.2.3, A1111 stops at, too.
    private static bool Number(string text, int from, out double value, out int end)
    {
        value = 0;
        end = from;
        while (end < text.Length && char.IsWhiteSpace(text[end]))
            end++;
        int start = end;
        if (end < text.Length && text[end] is '+' or '-')
            end++;
        int digits = 0;
        for (; end < text.Length && (char.IsAsciiDigit(text[end]) || text[end] == '.'); end++)
            digits += text[end] == '.' ? 0 : 1;
        int stop = end;
        while (end < text.Length && char.IsWhiteSpace(text[end]))
            end++;
        if (digits == 0 || end >= text.Length || text[end] != ')')
            return false;
        ReadOnlySpan<char> number = text.AsSpan(start, stop - start);
        if (Numbers.TryDouble(number, out value))
            return true;
        throw new AfaException($"The prompt's weight '{Printable.Shortened(number)}' is no number, or far too large.");
    }
}
