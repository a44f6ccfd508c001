using System.Globalization;
using System.Text;
using AfaNative.Engine.Core;

namespace AfaNative.Engine.Prompts;

/// <summary>
/// A LoRA a prompt asks for as A1111 writes it: <c>&lt;lora:name:weight&gt;</c>, the weight 1 where it is left out, and
/// <c>@expert</c> behind either for one expert alone. The text encoder never sees it; whoever loads the model
/// merges it into the weights.
/// </summary>
/// <param name="Name">A file's name without folder and extension.</param>
/// <param name="Weight">1 as trained; may be negative.</param>
/// <param name="Expert">One expert, or null for all.</param>
public sealed record PromptLora(string Name, double Weight = 1, int? Expert = null)
{
    private const string Opening = "<lora:";

    /// <summary>The LoRAs of a prompt in order, one asked for several times once with its weights added up.</summary>
    /// <exception cref="AfaException">One is written in a way this program does not know.</exception>
    public static IReadOnlyList<PromptLora> In(string prompt) =>
        [
            .. Tags(prompt)
                .Select(t => Parse(prompt.Substring(t.Start, t.Length)))
                .GroupBy(l => (l.Name, l.Expert))
                .Select(g => g.First() with { Weight = g.Sum(l => l.Weight) }),
        ];

    /// <summary>The prompt without them.</summary>
    public static string Remove(string prompt)
    {
        if (!prompt.Contains(Opening, StringComparison.OrdinalIgnoreCase))
            return prompt;
        var rest = new StringBuilder();
        int from = 0;
        foreach ((int start, int length) in Tags(prompt))
        {
            rest.Append(prompt, from, start - from);
            from = start + length;
        }

        return rest.Append(prompt, from, prompt.Length - from).ToString();
    }

    /// <summary>As in a prompt.</summary>
    public override string ToString() =>
        string.Create(CultureInfo.InvariantCulture, $"{Opening}{Name}:{Weight}{(Expert is null ? "" : "@")}{Expert}>");

    // What is not closed, or empty, is text like any other.
    private static IEnumerable<(int Start, int Length)> Tags(string prompt)
    {
        for (int at = prompt.IndexOf(Opening, StringComparison.OrdinalIgnoreCase); at >= 0; )
        {
            int end = prompt.IndexOf('>', at);
            if (end < 0)
                yield break;
            if (end > at + Opening.Length)
                yield return (at, end + 1 - at);
            at = prompt.IndexOf(Opening, end, StringComparison.OrdinalIgnoreCase);
        }
    }

    private static PromptLora Parse(string tag)
    {
        string inner = tag[Opening.Length..^1];
        int? expert = null;
        int at = inner.LastIndexOf('@');
        if (at > 0 && int.TryParse(inner.AsSpan(at + 1), NumberStyles.None, CultureInfo.InvariantCulture, out int number))
            (expert, inner) = (number, inner[..at]);
        string[] parts = inner.Split(':');
        string name = parts[0].Trim();
        if (name.Length == 0)
            throw new AfaException($"{tag}: expected <lora:name:weight>, but the name is empty.");
        if (parts.Length > 2)
            throw new AfaException(
                $"{tag}: expected <lora:name:weight>, one weight for text encoder and U-Net alike, but {parts.Length - 1} came."
            );
        double weight = 1;
        if (parts.Length == 2 && !Numbers.TryDouble(parts[1], out weight))
            throw new AfaException($"{tag}: expected <lora:name:weight>, but '{Printable.Shortened(parts[1])}' is no number.");
        return new PromptLora(name, weight, expert);
    }
}
