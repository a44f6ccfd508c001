using System.Globalization;
using AfaNative.Engine.Core;

namespace AfaNative.Engine.Imaging;

/// <summary>Colours people write: <c>#rrggbb</c>, <c>#rgb</c> or one of a few names.</summary>
public static class PictureColor
{
    // CSS's names for its first sixteen colours, and some that are often meant.
    private static readonly Dictionary<string, (byte R, byte G, byte B)> s_names = new(StringComparer.OrdinalIgnoreCase)
    {
        ["white"] = (255, 255, 255),
        ["black"] = (0, 0, 0),
        ["gray"] = (128, 128, 128),
        ["grey"] = (128, 128, 128),
        ["silver"] = (192, 192, 192),
        ["red"] = (255, 0, 0),
        ["lime"] = (0, 255, 0),
        ["green"] = (0, 128, 0),
        ["blue"] = (0, 0, 255),
        ["yellow"] = (255, 255, 0),
        ["cyan"] = (0, 255, 255),
        ["aqua"] = (0, 255, 255),
        ["magenta"] = (255, 0, 255),
        ["fuchsia"] = (255, 0, 255),
        ["maroon"] = (128, 0, 0),
        ["olive"] = (128, 128, 0),
        ["navy"] = (0, 0, 128),
        ["purple"] = (128, 0, 128),
        ["teal"] = (0, 128, 128),
        ["orange"] = (255, 165, 0),
        ["brown"] = (165, 42, 42),
        ["pink"] = (255, 192, 203),
    };

    /// <summary>White.</summary>
    public static (byte R, byte G, byte B) White => (255, 255, 255);

    /// <summary>Reads a colour.</summary>
    /// <param name="what">What the colour is for: the sentence starts with it.</param>
    /// <param name="text">What was written.</param>
    /// <exception cref="AfaException">It is no colour.</exception>
    public static (byte R, byte G, byte B) Parse(string what, string text)
    {
        string trimmed = text.Trim();
        if (s_names.TryGetValue(trimmed, out (byte, byte, byte) named))
            return named;
        string digits = trimmed.StartsWith('#') ? trimmed[1..] : "";
        if (digits.Length == 3)
            digits = string.Concat(digits.Select(d => new string(d, 2)));
        if (
            digits.Length == 6
            && int.TryParse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out int value)
        )
        {
            return ((byte)(value >> 16), (byte)(value >> 8), (byte)value);
        }

        throw new AfaException(
            $"{what}: expected a colour as #rrggbb or one of {string.Join(", ", s_names.Keys)}, but "
                + $"'{Printable.Shortened(text)}' came."
        );
    }

    /// <summary>As <c>#rrggbb</c>.</summary>
    public static string Text((byte R, byte G, byte B) color) =>
        string.Create(CultureInfo.InvariantCulture, $"#{color.R:x2}{color.G:x2}{color.B:x2}");
}
