using System.CommandLine;
using AfaNative.Engine.Core;

namespace AfaNative.Tool.Bench;

/// <summary>Options of benchmarks.</summary>
internal static class BenchOptions
{
    /// <summary>A whole number in a range.</summary>
    public static Option<int> Whole(string name, string description, int otherwise, int least, int most) =>
        new Option<int>(name) { Description = description, DefaultValueFactory = _ => otherwise }.Within(least, most);

    /// <summary>A number in a range.</summary>
    public static Option<double> Number(string name, string description, double otherwise, double least, double most) =>
        new Option<double>(name) { Description = description, DefaultValueFactory = _ => otherwise }.Within(least, most);

    /// <summary>What the hardware can do, where somebody knows: TFLOP/s and GB/s.</summary>
    public static (Option<double?> Tflops, Option<double?> Gbs) Peaks() =>
        (
            Peak("--peak-tflops", "TFLOP/s the hardware can do; measured on a CPU, on a list for a few GPUs."),
            Peak("--peak-gbs", "GB/s the hardware's memory can move; the same.")
        );

    /// <summary>Names joined by commas, each one of those known; empty gives none.</summary>
    /// <exception cref="AfaException">One is not known.</exception>
    public static string[] Names(string option, string text, IReadOnlyList<string> known)
    {
        string[] names = text.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        foreach (string name in names)
        {
            if (known.Contains(name))
                continue;
            string all = string.Join(", ", known);
            throw new AfaException($"{option} takes {all}, joined by commas, not '{Printable.Shortened(name)}'.");
        }

        return names;
    }

    private static Option<double?> Peak(string name, string description) =>
        new Option<double?>(name) { Description = description }.Within(1e-6, 1e9);
}
