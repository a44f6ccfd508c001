using System.CommandLine;
using System.CommandLine.Parsing;
using AfaNative.Engine;

namespace AfaNative.Tool.Bench;

/// <summary>Options of benchmarks, read strictly.</summary>
internal static class BenchOptions
{
    /// <summary>A whole number in a range.</summary>
    public static Option<int> Whole(string name, string description, int otherwise, int least, int most) =>
        Strict(name, description, otherwise, text => Numbers.Int32(name, text, least, most));

    /// <summary>A number in a range.</summary>
    public static Option<double> Number(string name, string description, double otherwise, double least, double most) =>
        Strict(name, description, otherwise, text => Numbers.Double(name, text, least, most));

    /// <summary>What the hardware can do, where somebody knows: TFLOP/s and GB/s.</summary>
    public static (Option<double?> Tflops, Option<double?> Gbs) Peaks() =>
        (Peak("--peak-tflops", "TFLOP/s the hardware can do; measured on a CPU, on a list for a few GPUs."),
            Peak("--peak-gbs", "GB/s the hardware's memory can move; the same."));

    /// <summary>Names joined by commas, each one of those known; empty gives none.</summary>
    /// <exception cref="AfaException">One is not known.</exception>
    public static string[] Names(string option, string text, IReadOnlyList<string> known)
    {
        string[] names = text.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        foreach (string name in names)
        {
            if (known.Contains(name)) continue;
            string all = string.Join(", ", known);
            throw new AfaException($"{option} takes {all}, joined by commas, not '{Printable.Shortened(name)}'.");
        }

        return names;
    }

    private static Option<double?> Peak(string name, string description) =>
        Strict<double?>(name, description, null, text => Numbers.Double(name, text, 1e-6, 1e9));

    private static Option<T> Strict<T>(string name, string description, T otherwise, Func<string, T> read) => new(name)
    {
        Description = description,
        DefaultValueFactory = _ => otherwise,
        CustomParser = result => Parse(result, otherwise, read),
    };

    private static T Parse<T>(ArgumentResult result, T otherwise, Func<string, T> read)
    {
        try
        {
            return result.Tokens.Count == 0 ? otherwise : read(result.Tokens[^1].Value);
        }
        catch (AfaException e)
        {
            result.AddError(e.Message);
            return otherwise;
        }
    }
}
