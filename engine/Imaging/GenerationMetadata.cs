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

    /// <summary>Last layers of the text encoder left out.</summary>
    public int ClipSkip { get; init; }

    /// <summary>The sampler's eta, where it is not the usual one.</summary>
    public double? Eta { get; init; }

    /// <summary>Short hash of the latents the picture started from, where they are not its seed's.</summary>
    public string? Latents { get; init; }

    /// <summary>Share of a picture to start from, or of a high-resolution pass's, that was changed; null when there was none.</summary>
    public double? Strength { get; init; }

    /// <summary>A second pass at a larger size; <see cref="Width"/> and <see cref="Height"/> are the first's.</summary>
    public HiresSettings? Hires { get; init; }

    /// <summary>Whose random numbers the seed stands for, where not this engine's.</summary>
    public string? Noise { get; init; }

    /// <summary>The prompt was read as it stands, without weights.</summary>
    public bool PlainPrompt { get; init; }

    /// <summary>Short hashes of the experts.</summary>
    public IReadOnlyList<string> ModelHashes { get; init; } = [];

    /// <summary>Names of the experts.</summary>
    public IReadOnlyList<string> Models { get; init; } = [];

    /// <summary>Short hash of the aggregator, where one was used.</summary>
    public string? AggregatorHash { get; init; }

    /// <summary>How several experts were joined, where not by aggregators.</summary>
    public string? Fusion { get; init; }

    /// <summary>Names and short hashes of the textual inversions the prompts use.</summary>
    public IReadOnlyList<(string Name, string Hash)> TextInversions { get; init; } = [];

    /// <summary>The experts that took part, joined by plus signs, where not all.</summary>
    public string? Experts { get; init; }

    /// <summary>The axes of an X/Y plot and their values; null for a single picture.</summary>
    public string? Plot { get; init; }

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
        if (ClipSkip > 0) fields.Add(string.Create(CultureInfo.InvariantCulture, $"Clip skip: {ClipSkip + 1}"));
        if (Eta is { } eta) fields.Add(string.Create(CultureInfo.InvariantCulture, $"Eta: {eta}"));
        if (Latents is not null) fields.Add($"Latents: {Value(Latents)}");
        if (Strength is { } strength) fields.Add(string.Create(CultureInfo.InvariantCulture, $"Denoising strength: {strength}"));
        fields.AddRange(Hires?.Fields().Select(f => $"{f.Key}: {Value(f.Value)}") ?? []);
        if (Noise is not null) fields.Add($"RNG: {Value(Noise)}");
        if (PlainPrompt) fields.Add("Prompt syntax: plain");
        if (ModelHashes.Count > 0) fields.Add($"Model hash: {Value(string.Join(" + ", ModelHashes))}");
        if (Models.Count > 0) fields.Add($"Model: {Value(string.Join(" + ", Models))}");
        if (AggregatorHash is not null) fields.Add($"Aggregator hash: {Value(AggregatorHash)}");
        if (Fusion is not null) fields.Add($"Fusion: {Value(Fusion)}");
        if (TextInversions.Count > 0) fields.Add($"TI hashes: {Value(Hashes(TextInversions))}");
        if (Experts is not null) fields.Add($"Experts: {Value(Experts)}");
        if (Plot is not null) fields.Add($"Plot: {Value(Plot)}");
        fields.Add($"Version: {Value($"AfaNative {Version}")}");
        string negative = NegativePrompt.Length == 0 ? "" : $"\nNegative prompt: {NegativePrompt}";
        return $"{Prompt}{negative}\n{string.Join(", ", fields)}";
    }

    /// <summary>Reads such a text back, also as A1111 writes it; what it does not say has the values of a new record.</summary>
    /// <exception cref="AfaException">It has no line of settings, or a setting is no number.</exception>
    public static GenerationMetadata Parse(string text)
    {
        string[] lines = text.Replace("\r", "", StringComparison.Ordinal).TrimEnd('\n').Split('\n');
        Dictionary<string, string> fields = Fields(lines[^1]);
        if (!fields.ContainsKey("Steps")) throw new AfaException("The picture's text has no line of settings (Steps: ..., Sampler: ...).");
        int negative = Array.FindIndex(lines, l => l.StartsWith("Negative prompt: ", StringComparison.Ordinal));
        string[] size = fields.GetValueOrDefault("Size", "512x512").Split('x');
        return new GenerationMetadata
        {
            Prompt = string.Join('\n', lines[..(negative < 0 ? lines.Length - 1 : negative)]),
            NegativePrompt = negative < 0 ? "" : string.Join('\n', lines[negative..^1])["Negative prompt: ".Length..],
            Steps = (int)Number("Steps", "20"),
            Sampler = fields.GetValueOrDefault("Sampler", "DDIM"),
            CfgScale = Number("CFG scale", "7"),
            Seed = ulong.TryParse(fields.GetValueOrDefault("Seed", "0"), NumberStyles.None, CultureInfo.InvariantCulture, out ulong seed) ? seed : throw Bad("Seed"),
            Width = size.Length == 2 && int.TryParse(size[0], NumberStyles.None, CultureInfo.InvariantCulture, out int w) ? w : throw Bad("Size"),
            Height = int.TryParse(size[1], NumberStyles.None, CultureInfo.InvariantCulture, out int h) ? h : throw Bad("Size"),
            ClipSkip = Math.Max(0, (int)Number("Clip skip", "1") - 1),
            // A1111 has a field of its own for DDIM's.
            Eta = fields.ContainsKey("Eta") ? Number("Eta", "0") : fields.ContainsKey("Eta DDIM") ? Number("Eta DDIM", "0")
                : null,
            Latents = fields.GetValueOrDefault("Latents"),
            Strength = fields.ContainsKey("Denoising strength") ? Number("Denoising strength", "0") : null,
            Hires = HiresSettings.Parse(fields),
            Noise = fields.GetValueOrDefault("RNG"),
            PlainPrompt = fields.GetValueOrDefault("Prompt syntax") == "plain",
            Fusion = fields.GetValueOrDefault("Fusion"),
            Experts = fields.GetValueOrDefault("Experts"),
            Plot = fields.GetValueOrDefault("Plot"),
            Version = fields.GetValueOrDefault("Version", ""),
        };

        double Number(string key, string fallback) => double.TryParse(fields.GetValueOrDefault(key, fallback), NumberStyles.Float, CultureInfo.InvariantCulture, out double value) ? value : throw Bad(key);

        AfaException Bad(string key) => new($"The picture's text says '{key}: {fields[key]}', which is no number.");
    }

    // "key: value, key: value", values quoted where they hold separators.
    private static Dictionary<string, string> Fields(string line)
    {
        var fields = new Dictionary<string, string>();
        for (int at = 0; at < line.Length;)
        {
            int colon = line.IndexOf(": ", at, StringComparison.Ordinal);
            if (colon < 0) break;
            string key = line[at..colon].Trim();
            int from = colon + 2, end;
            string value;
            if (from < line.Length && line[from] == '"')
            {
                var text = new System.Text.StringBuilder();
                for (end = from + 1; end < line.Length && line[end] != '"'; end++)
                {
                    if (line[end] == '\\' && end + 1 < line.Length) text.Append(line[++end] == 'n' ? '\n' : line[end]);
                    else text.Append(line[end]);
                }

                end = Math.Min(line.Length, end + 1);
                value = text.ToString();
            }
            else
            {
                end = line.IndexOf(", ", from, StringComparison.Ordinal);
                if (end < 0) end = line.Length;
                value = line[from..end];
            }

            fields[key] = value;
            at = end + 2;
        }

        return fields;
    }

    // A1111's list: a name's own separators are left out.
    private static string Hashes(IEnumerable<(string Name, string Hash)> list) => string.Join(", ", list.Select(t => $"{t.Name.Replace(":", "", StringComparison.Ordinal).Replace(",", "", StringComparison.Ordinal)}: {t.Hash}"));

    // Values that hold separators are quoted, so that readers can split the line again.
    private static string Value(string text) =>
        text.AsSpan().IndexOfAny(",:\n\"") < 0
            ? text
            : $"\"{text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal)}\"";
}
