using System.Globalization;

namespace AfaNative.Engine.Imaging;

/// <summary>The settings of a generation, as the text that goes into a picture's "parameters" chunk.</summary>
public sealed record GenerationMetadata
{
    /// <summary>The prompt.</summary>
    public required string Prompt { get; init; }

    /// <summary>The negative prompt; its line is left out when empty.</summary>
    public string NegativePrompt { get; init; } = "";

    /// <summary>Number of sampling steps.</summary>
    public required int Steps { get; init; }

    /// <summary>Name of the sampler.</summary>
    public string Sampler { get; init; } = "DDIM";

    /// <summary>Classifier-free guidance scale.</summary>
    public required double CfgScale { get; init; }

    /// <summary>Seed of the noise.</summary>
    public required ulong Seed { get; init; }

    /// <summary>Width in pixels.</summary>
    public required int Width { get; init; }

    /// <summary>Height in pixels.</summary>
    public required int Height { get; init; }

    /// <summary>Short hashes of the experts.</summary>
    public IReadOnlyList<string> ModelHashes { get; init; } = [];

    /// <summary>Names of the experts.</summary>
    public IReadOnlyList<string> Models { get; init; } = [];

    /// <summary>Short hash of the aggregator, where one was used.</summary>
    public string? AggregatorHash { get; init; }

    /// <summary>How several experts were joined, where not by aggregators.</summary>
    public string? Fusion { get; init; }

    /// <summary>The engine's version, without its name.</summary>
    public required string Version { get; init; }

    /// <summary>The text of the "parameters" chunk.</summary>
    public string ToParameters()
    {
        List<string> fields =
        [
            string.Create(CultureInfo.InvariantCulture, $"Steps: {Steps}"),
            $"Sampler: {Value(Sampler)}",
            string.Create(CultureInfo.InvariantCulture, $"CFG scale: {CfgScale}"),
            string.Create(CultureInfo.InvariantCulture, $"Seed: {Seed}"),
            string.Create(CultureInfo.InvariantCulture, $"Size: {Width}x{Height}"),
        ];
        if (ModelHashes.Count > 0) fields.Add($"Model hash: {Value(string.Join(" + ", ModelHashes))}");
        if (Models.Count > 0) fields.Add($"Model: {Value(string.Join(" + ", Models))}");
        if (AggregatorHash is not null) fields.Add($"Aggregator hash: {Value(AggregatorHash)}");
        if (Fusion is not null) fields.Add($"Fusion: {Value(Fusion)}");
        fields.Add($"Version: {Value($"AfaNative {Version}")}");
        string negative = NegativePrompt.Length == 0 ? "" : $"\nNegative prompt: {NegativePrompt}";
        return $"{Prompt}{negative}\n{string.Join(", ", fields)}";
    }

    // Values that hold separators are quoted, so that readers can split the line again.
    private static string Value(string text) =>
        text.AsSpan().IndexOfAny(",:\n\"") < 0
            ? text
            : $"\"{text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal)}\"";
}
