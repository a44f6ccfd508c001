using System.Globalization;
using AfaNative.Engine.Core;

namespace AfaNative.Engine.Checkpoints;

/// <summary>A LoRA to load: file, weight, and which expert gets it.</summary>
/// <param name="Path">A safetensors file.</param>
/// <param name="Weight">1 as trained.</param>
/// <param name="Expert">One expert, or null for all.</param>
public sealed record LoraRequest(string Path, double Weight = 1, int? Expert = null)
{
    /// <summary><c>file</c>, <c>file:weight</c>, <c>file@expert</c> or <c>file:weight@expert</c>.</summary>
    /// <exception cref="AfaException">Weight or expert are no numbers.</exception>
    public static LoraRequest Parse(string text)
    {
        if (File.Exists(text))
            return new LoraRequest(text);
        string rest = text;
        int? expert = null;
        int at = rest.LastIndexOf('@');
        if (at > 0 && int.TryParse(rest.AsSpan(at + 1), NumberStyles.None, CultureInfo.InvariantCulture, out int number))
            (expert, rest) = (number, rest[..at]);
        int colon = rest.LastIndexOf(':');
        // A colon may be part of a path, as behind a drive; what has no folder and no extension behind it was meant as a weight.
        if (
            colon <= 0
            || File.Exists(rest)
            || rest.AsSpan(colon + 1).IndexOfAny('/', '\\') >= 0
            || rest.EndsWith(".safetensors", StringComparison.OrdinalIgnoreCase)
        )
            return new LoraRequest(rest, 1, expert);
        return new LoraRequest(rest[..colon], Numbers.Double($"`lora` {text}: the weight", rest.AsSpan(colon + 1)), expert);
    }
}
