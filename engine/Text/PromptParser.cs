using System.Globalization;
using System.Text;

namespace AfaNative.Engine.Text;

/// <summary>Part of a prompt and how much it counts.</summary>
/// <param name="Text">The words; empty for a break.</param>
/// <param name="Weight">1 for plain words.</param>
/// <param name="Break">A new chunk starts here, whatever room is left in the one before.</param>
public readonly record struct PromptPart(string Text, double Weight, bool Break = false);

/// <summary>
/// A1111's prompt syntax: <c>(words)</c> counts 1.1 times as much, <c>[words]</c> that much less, <c>(words:1.3)</c> as much as it says; brackets nest and multiply, <c>\(</c> and the like are plain
/// characters, <c>BREAK</c> starts a new chunk, and <c>&lt;lora:name:weight&gt;</c> is left out (<see cref="PromptLora"/>). What is not closed is taken as closed at the end, and what closes nothing stands for itself.
/// </summary>
public static class PromptParser
{
    private const double Step = 1.1;

    /// <summary>The parts in order; neighbours of equal weight are one.</summary>
    public static IReadOnlyList<PromptPart> Parse(string prompt)
    {
        prompt = PromptLora.Remove(prompt);
        var parts = new List<PromptPart>();
        Stack<int> round = [], square = [];
        var words = new StringBuilder();
        for (int i = 0; i < prompt.Length; i++)
        {
            char c = prompt[i];
            switch (c)
            {
                case '\\' when i + 1 < prompt.Length && "()[]\\".Contains(prompt[i + 1], StringComparison.Ordinal):
                    words.Append(prompt[++i]);
                    // An escaped character never makes a word like BREAK.
                    Flush(literal: true);
                    break;
                case '(' or '[':
                    Flush();
                    (c == '(' ? round : square).Push(parts.Count);
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
        while (round.Count > 0) Close(round, Step);
        while (square.Count > 0) Close(square, 1 / Step);
        var merged = new List<PromptPart>();
        foreach (PromptPart part in parts)
        {
            if (merged.Count > 0 && !part.Break && merged[^1] is { Break: false } last && last.Weight == part.Weight) merged[^1] = last with { Text = last.Text + part.Text };
            else merged.Add(part);
        }

        return merged.Count > 0 ? merged : [new PromptPart("", 1)];

        void Close(Stack<int> open, double weight)
        {
            for (int j = open.Pop(); j < parts.Count; j++) parts[j] = parts[j] with { Weight = parts[j].Weight * weight };
        }

        void Flush(bool literal = false)
        {
            if (words.Length == 0) return;
            string text = words.ToString();
            words.Clear();
            if (literal)
            {
                // What stood before it is still ordinary text.
                if (text.Length > 1) Add(text[..^1]);
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
                if (before.Length > 0) parts.Add(new PromptPart(before, 1));
                parts.Add(new PromptPart("", 1, Break: true));
                from = at + "BREAK".Length;
                while (from < text.Length && char.IsWhiteSpace(text[from])) from++;
            }

            if (from < text.Length) parts.Add(new PromptPart(text[from..], 1));
        }
    }

    // BREAK as a word of its own.
    private static int Next(string text, int from)
    {
        for (int at = text.IndexOf("BREAK", from, StringComparison.Ordinal); at >= 0; at = text.IndexOf("BREAK", at + 1, StringComparison.Ordinal))
        {
            int end = at + "BREAK".Length;
            if ((at == 0 || !Word(text[at - 1])) && (end == text.Length || !Word(text[end]))) return at;
        }

        return -1;

        static bool Word(char c) => char.IsLetterOrDigit(c) || c == '_';
    }

    // "1.3)" with spaces around the number; end is the bracket.
    private static bool Number(string text, int from, out double value, out int end)
    {
        end = text.IndexOf(')', from);
        value = 0;
        return end > from && double.TryParse(text.AsSpan(from, end - from).Trim(), NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out value);
    }
}
