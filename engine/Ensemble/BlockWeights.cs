using System.Globalization;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;

namespace AfaNative.Engine.Ensemble;

/// <summary>
/// Weights by block of a U-Net in the original naming (merge block weighted): 12 input blocks, the middle, 12 output blocks, and
/// one for everything
/// outside the U-Net.
/// </summary>
public static class BlockWeights
{
    /// <summary>Weights of a U-Net.</summary>
    public const int Count = 25;

    private static readonly Dictionary<string, Func<double, double>> s_presets = new(StringComparer.OrdinalIgnoreCase)
    {
        ["linear-up"] = x => x,
        ["linear-down"] = x => 1 - x,
        ["v"] = x => Math.Abs(2 * x - 1),
        ["a"] = x => 1 - Math.Abs(2 * x - 1),
        ["cosine"] = x => (1 + Math.Cos(2 * Math.PI * x)) / 2,
        ["cosine-reverse"] = x => (1 - Math.Cos(2 * Math.PI * x)) / 2,
        ["smoothstep"] = x => x * x * (3 - 2 * x),
        ["smoothstep-reverse"] = x => 1 - x * x * (3 - 2 * x),
        // A cubic Hermite curve from 0 to 1 and back to 0, flat at both ends and in the middle.
        ["hermite"] = x => x < 0.5 ? 4 * x * x * (3 - 4 * x) : 4 * (1 - x) * (1 - x) * (3 - 4 * (1 - x)),
        ["flat-25"] = _ => 0.25,
        ["flat-50"] = _ => 0.5,
        ["flat-75"] = _ => 0.75,
        ["middle"] = x => Math.Abs(x - 0.5) < 0.2 ? 1 : 0,
        ["outer"] = x => x is < 0.3 or > 0.7 ? 1 : 0,
        ["ring"] = x => Math.Abs(x - 0.25) < 0.1 || Math.Abs(x - 0.75) < 0.1 ? 1 : 0,
        ["wrap"] = x => x is < 0.17 or > 0.83 ? 1 : 0,
    };

    /// <summary>Names of the curves over the 25 positions.</summary>
    public static IReadOnlyCollection<string> Presets => s_presets.Keys;

    /// <summary>A preset's name, one number for all blocks, or 25 numbers separated by commas.</summary>
    /// <exception cref="AfaException">It is none of them.</exception>
    public static double[] Parse(string text)
    {
        if (s_presets.TryGetValue(text.Trim(), out Func<double, double>? curve))
            return [.. Enumerable.Range(0, Count).Select(i => curve(i / (Count - 1.0)))];
        string[] parts = text.Split([',', ' '], StringSplitOptions.RemoveEmptyEntries);
        var values = new double[parts.Length];
        for (int i = 0; i < parts.Length; i++)
        {
            if (!Numbers.TryDouble(parts[i], out values[i]))
                throw new AfaException(
                    $"`blocks`: '{Printable.Shortened(parts[i])}' is no number, and '{Printable.Shortened(text)}' no preset "
                        + $"({string.Join(", ", s_presets.Keys)}){Nearest.Hint(text.Trim().Replace('_', '-'), s_presets.Keys)}."
                );
        }

        return values.Length switch
        {
            Count => values,
            1 => [.. Enumerable.Repeat(values[0], Count)],
            _ => throw new AfaException(
                $"`blocks` takes {Count} numbers (12 input blocks, middle, 12 output blocks), one for all, or a preset; "
                    + $"{values.Length} came."
            ),
        };
    }

    /// <summary>The weight's index for a U-Net tensor by its diffusers name.</summary>
    public static int IndexOf(string name)
    {
        string[] parts = OriginalNames.Of(name)["model.diffusion_model.".Length..].Split('.');
        return parts[0] switch
        {
            "input_blocks" => int.Parse(parts[1], CultureInfo.InvariantCulture),
            "middle_block" => 12,
            "output_blocks" => 13 + int.Parse(parts[1], CultureInfo.InvariantCulture),
            "time_embed" => 0,
            _ => Count - 1,
        };
    }
}
