using System.Globalization;
using AfaNative.Engine.Core;
using AfaNative.Engine.Sampling.Samplers;

namespace AfaNative.Engine.Pipeline;

/// <summary>The settings of a generation, as the text that goes into a picture's "parameters" chunk.</summary>
public sealed partial record GenerationMetadata
{
    /// <summary>How this program begins a picture's "Version".</summary>
    internal const string Program = "AfaNative";

    /// <summary>The prompt.</summary>
    public required string Prompt { get; init; }

    /// <summary>The negative prompt; its line is left out when empty.</summary>
    public string NegativePrompt { get; init; } = "";

    /// <summary>Number of sampling steps.</summary>
    public required int Steps { get; init; }

    /// <summary>Name of the sampler, as the text has it.</summary>
    public string Sampler { get; init; } = "DDIM";

    /// <summary>
    /// The noise levels it is run on, where the text names them apart from the sampler, as A1111 does from 1.9 on.
    /// </summary>
    public string? ScheduleType { get; init; }

    /// <summary>Classifier-free guidance scale.</summary>
    public required double CfgScale { get; init; }

    /// <summary>Seed of the noise.</summary>
    public required ulong Seed { get; init; }

    /// <summary>Width in pixels; 0 where a text does not say.</summary>
    public required int Width { get; init; }

    /// <summary>Height in pixels; 0 where a text does not say.</summary>
    public required int Height { get; init; }

    /// <summary>Last layers of the text encoder left out.</summary>
    public int ClipSkip { get; init; }

    /// <summary>The sampler's eta, where it is not the usual one.</summary>
    public double? Eta { get; init; }

    /// <summary>Short hash of the latents the picture started from, where they are not its seed's.</summary>
    public string? Latents { get; init; }

    /// <summary>
    /// Share of a picture to start from, or of a high-resolution pass's, that was changed; null when there was none.
    /// </summary>
    public double? Strength { get; init; }

    /// <summary>A second pass at a larger size; <see cref="Width"/> and <see cref="Height"/> are the first's.</summary>
    public HiresSettings? Hires { get; init; }

    /// <summary>Whose random numbers the seed stands for, where not this engine's.</summary>
    public string? Noise { get; init; }

    /// <summary>The prompt was read as it stands, without weights.</summary>
    public bool PlainPrompt { get; init; }

    /// <summary>Settings that need nothing but a key of their own (<see cref="Setting.MetadataKey"/>), in order.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Settings { get; init; } = [];

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

    /// <summary>The one expert of an ensemble that drew alone, or null.</summary>
    public int? Expert { get; init; }

    /// <summary>MagicFusion's weights, where they were given.</summary>
    public IReadOnlyList<double> MagicWeights { get; init; } = [];

    /// <summary>MagicFusion's time step between its phases; null for other fusions.</summary>
    public int? MagicSwitch { get; init; }

    /// <summary>LoRAs that were asked for beside the prompt's.</summary>
    public IReadOnlyList<RecordedLora> Loras { get; init; } = [];

    /// <summary>Names and short hashes of all LoRAs, the prompt's as well.</summary>
    public IReadOnlyList<(string Name, string Hash)> LoraHashes { get; init; } = [];

    /// <summary>File name of a VAE that was used instead of the model's, or null.</summary>
    public string? Vae { get; init; }

    /// <summary>Its short hash.</summary>
    public string? VaeHash { get; init; }

    /// <summary>Decoding in tiles, where it was switched on or off; null: by the size.</summary>
    public bool? VaeTiling { get; init; }

    /// <summary>Short hash of the picture it started from, or null.</summary>
    public string? InitImageHash { get; init; }

    /// <summary>Short hash of the mask, or null.</summary>
    public string? MaskHash { get; init; }

    /// <summary>What was done with a picture to start from whose shape is another; null where nothing was.</summary>
    public string? Resize { get; init; }

    /// <summary>The colour behind a transparent picture to start from; null where it was opaque.</summary>
    public string? Background { get; init; }

    /// <summary>How activations were stored, where not in float32.</summary>
    public string? Precision { get; init; }

    /// <summary>What computed, where not the processor with its own instructions.</summary>
    public string? Device { get; init; }

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
        if (ClipSkip > 0)
            fields.Add(string.Create(CultureInfo.InvariantCulture, $"Clip skip: {ClipSkip + 1}"));
        if (Eta is { } eta)
            fields.Add(string.Create(CultureInfo.InvariantCulture, $"Eta: {eta}"));
        if (Latents is not null)
            fields.Add($"Latents: {Value(Latents)}");
        if (Strength is { } strength)
            fields.Add(string.Create(CultureInfo.InvariantCulture, $"Denoising strength: {strength}"));
        fields.AddRange(Hires?.Fields().Select(f => $"{f.Key}: {Value(f.Value)}") ?? []);
        if (Noise is not null)
            fields.Add($"RNG: {Value(Noise)}");
        if (ScheduleType is not null)
            fields.Insert(2, $"Schedule type: {Value(ScheduleType)}");
        if (PlainPrompt)
            fields.Add("Prompt syntax: plain");
        fields.AddRange(Settings.Select(s => $"{s.Key}: {Value(s.Value)}"));
        if (ModelHashes.Count > 0)
            fields.Add($"Model hash: {Value(string.Join(" + ", ModelHashes))}");
        if (Models.Count > 0)
            fields.Add($"Model: {Value(string.Join(" + ", Models))}");
        if (AggregatorHash is not null)
            fields.Add($"Aggregator hash: {Value(AggregatorHash)}");
        if (Fusion is not null)
            fields.Add($"Fusion: {Value(Fusion)}");
        if (TextInversions.Count > 0)
            fields.Add($"TI hashes: {Value(Hashes(TextInversions))}");
        if (Experts is not null)
            fields.Add($"Experts: {Value(Experts)}");
        if (Expert is { } alone)
            fields.Add(string.Create(CultureInfo.InvariantCulture, $"Expert: {alone}"));
        if (MagicWeights.Count > 0)
            fields.Add(
                $"Magic weights: "
                    + $"{Value(string.Join(" + ", MagicWeights.Select(w => w.ToString(CultureInfo.InvariantCulture))))}"
            );
        if (MagicSwitch is { } step)
            fields.Add(string.Create(CultureInfo.InvariantCulture, $"Magic switch: {step}"));
        if (Loras.Count > 0)
            fields.Add($"LoRAs: {Value(RecordedLora.Join(Loras))}");
        if (LoraHashes.Count > 0)
            fields.Add($"Lora hashes: {Value(Hashes(LoraHashes))}");
        if (VaeHash is not null)
            fields.Add($"VAE hash: {Value(VaeHash)}");
        if (Vae is not null)
            fields.Add($"VAE: {Value(Vae)}");
        if (VaeTiling is { } tiled)
            fields.Add($"VAE tiling: {(tiled ? "on" : "off")}");
        if (InitImageHash is not null)
            fields.Add($"Init image hash: {Value(InitImageHash)}");
        if (MaskHash is not null)
            fields.Add($"Mask hash: {Value(MaskHash)}");
        if (Resize is not null)
            fields.Add($"Resize mode: {Value(Resize)}");
        if (Background is not null)
            fields.Add($"Background: {Value(Background)}");
        if (Precision is not null)
            fields.Add($"Precision: {Value(Precision)}");
        if (Device is not null)
            fields.Add($"Device: {Value(Device)}");
        if (Plot is not null)
            fields.Add($"Plot: {Value(Plot)}");
        // What would be taken for the settings, or for the other prompt, is there once more.
        if (!ParameterText.Unambiguous(Prompt, NegativePrompt))
            fields.AddRange([$"Prompt text: {Value(Prompt)}", $"Negative prompt text: {Value(NegativePrompt)}"]);
        fields.Add($"Version: {Value($"{Program} {Version}")}");
        string negative = NegativePrompt.Length == 0 ? "" : $"\nNegative prompt: {NegativePrompt}";
        return $"{Prompt}{negative}\n{string.Join(", ", fields)}";
    }

    // A1111's list: a name's own separators are left out.
    private static string Hashes(IEnumerable<(string Name, string Hash)> list) =>
        string.Join(", ", list.Select(t => $"{HashName(t.Name)}: {t.Hash}"));

    /// <summary>A name as lists of hashes have it.</summary>
    public static string HashName(string name) =>
        name.Replace(":", "", StringComparison.Ordinal).Replace(",", "", StringComparison.Ordinal);

    // Values that hold separators are quoted, so that readers can split the line again.
    private static string Value(string text) => ParameterText.Value(text);
}

/// <summary>A LoRA as a picture records it.</summary>
/// <param name="Name">Its file's name, without folder and extension.</param>
/// <param name="Weight">1 as trained.</param>
/// <param name="Expert">One expert, or null for all.</param>
public sealed record RecordedLora(string Name, double Weight = 1, int? Expert = null)
{
    /// <summary>As in a list: <c>name:0.8@1</c>; a backslash stands before a comma or backslash of the name.</summary>
    public override string ToString()
    {
        string escaped = Name.Replace("\\", "\\\\", StringComparison.Ordinal).Replace(",", "\\,", StringComparison.Ordinal);
        return string.Create(CultureInfo.InvariantCulture, $"{escaped}:{Weight}{(Expert is null ? "" : "@")}{Expert}");
    }

    internal static string Join(IEnumerable<RecordedLora> list) => string.Join(", ", list);

    /// <summary>Reads a list; null where it is none.</summary>
    internal static IReadOnlyList<RecordedLora>? Split(string text)
    {
        var list = new List<RecordedLora>();
        var item = new System.Text.StringBuilder();
        for (int i = 0; i <= text.Length; i++)
        {
            if (i < text.Length && text[i] != ',')
            {
                if (text[i] == '\\' && i + 1 < text.Length)
                    i++;
                item.Append(text[i]);
                continue;
            }

            string one = item.ToString();
            item.Clear();
            if (list.Count > 0 && one.StartsWith(' '))
                one = one[1..];
            int? expert = null;
            int at = one.LastIndexOf('@'),
                colon = one.LastIndexOf(':');
            if (at > colon && colon > 0)
            {
                if (!Numbers.TryInt32(one.AsSpan(at + 1), out int number) || number < 0)
                    return null;
                (expert, one) = (number, one[..at]);
            }

            if (colon < 1 || !Numbers.TryDouble(one.AsSpan(colon + 1), out double weight))
                return null;
            list.Add(new RecordedLora(one[..colon], weight, expert));
        }

        return list;
    }
}
