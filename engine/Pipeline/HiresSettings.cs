using System.Globalization;
using AfaNative.Engine.Core;

namespace AfaNative.Engine.Pipeline;

/// <summary>
/// A high-resolution pass as A1111 writes it into pictures; its strength is the picture's "Denoising strength".
/// </summary>
/// <param name="Scale">Times as large; does not count where a size is given.</param>
/// <param name="Width">Final width, 0 where not given.</param>
/// <param name="Height">Final height, 0 where not given.</param>
/// <param name="Steps">0 is as many as the first pass's.</param>
/// <param name="Upscaler">Name of the upscaler.</param>
public sealed record HiresSettings(double Scale, int Width, int Height, int Steps, string Upscaler)
{
    /// <summary>The fields, without separators around them.</summary>
    internal IEnumerable<(string Key, string Value)> Fields()
    {
        yield return Width == 0 && Height == 0
            ? ("Hires upscale", Scale.ToString(CultureInfo.InvariantCulture))
            : ("Hires resize", string.Create(CultureInfo.InvariantCulture, $"{Width}x{Height}"));
        if (Steps > 0)
            yield return ("Hires steps", Steps.ToString(CultureInfo.InvariantCulture));
        yield return ("Hires upscaler", Upscaler);
    }

    /// <summary>Reads the fields; null where a picture had no such pass.</summary>
    /// <exception cref="AfaException">One is no number.</exception>
    internal static HiresSettings? Parse(IReadOnlyDictionary<string, string> fields)
    {
        if (!fields.TryGetValue("Hires upscale", out string? scale) & !fields.TryGetValue("Hires resize", out string? resize))
            return null;
        string[] size = (resize ?? "0x0").Split('x');
        if (size.Length != 2)
            throw Bad("Hires resize");
        double times = 2;
        if (scale is not null && !Numbers.TryDouble(scale, out times))
            throw Bad("Hires upscale");
        return new HiresSettings(
            times,
            Whole(size[0], "Hires resize"),
            Whole(size[1], "Hires resize"),
            Whole(fields.GetValueOrDefault("Hires steps", "0"), "Hires steps"),
            fields.GetValueOrDefault("Hires upscaler", "Latent")
        );

        int Whole(string text, string key) =>
            Numbers.TryInt32(text, out int value) && value is >= 0 and <= 1 << 20 ? value : throw Bad(key);

        AfaException Bad(string key) =>
            new($"The picture's text says '{key}: {Printable.Shortened(fields[key])}', which is no number.");
    }
}
