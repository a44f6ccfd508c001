using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;

namespace AfaNative.Engine.Checkpoints;

/// <summary>
/// What a LoRA file says of itself outside its tensors: PEFT's configuration under <c>lora_adapter_metadata</c>, as diffusers
/// writes it with a component's name before
/// each key, or in the <c>adapter_config.json</c> beside PEFT's own files.
/// </summary>
internal sealed class LoraMetadata
{
    private const string Key = "lora_adapter_metadata";

    // How an adapter was trained and where: nothing that is done with it depends on these.
    private static readonly HashSet<string> s_irrelevant =
    [
        "target_modules",
        "exclude_modules",
        "lora_dropout",
        "task_type",
        "inference_mode",
        "base_model_name_or_path",
        "revision",
        "auto_mapping",
        "layers_to_transform",
        "layers_pattern",
        "megatron_config",
        "megatron_core",
        "loftq_config",
        "eva_config",
        "corda_config",
        "runtime_config",
        "lora_bias",
        "peft_version",
        "ensure_weight_tying",
        "parent_library",
        "qalora_group_size",
    ];

    private readonly string _source;
    private readonly Dictionary<string, Settings> _components = new(StringComparer.Ordinal);

    private LoraMetadata(string source) => _source = source;

    /// <summary>Whole sentences about what is said and not done.</summary>
    public List<string> Warnings { get; } = [];

    /// <summary>Reads what there is; null for none.</summary>
    /// <exception cref="CheckpointException">It cannot be read, or is of another kind of adapter.</exception>
    public static LoraMetadata? Read(SafetensorsFile file)
    {
        if (file.Metadata.TryGetValue(Key, out string? text))
            return Parse($"{file.Path}: the metadata's {Key}", text);
        string beside = Path.Combine(Path.GetDirectoryName(Path.GetFullPath(file.Path))!, "adapter_config.json");
        if (
            !Path.GetFileName(file.Path).StartsWith("adapter_model", StringComparison.Ordinal)
            || RegularFile.Kind(beside) == FileKind.Missing
        )
            return null;
        return Parse(
            beside,
            System.Text.Encoding.UTF8.GetString(RegularFile.ReadAllBytes(beside, "PEFT's configuration", 4 << 20))
        );
    }

    /// <summary>
    /// What a layer's change is multiplied by, where no alpha lies beside it; null where nothing is said of its component.
    /// </summary>
    /// <param name="component"><c>unet</c> or <c>text_encoder</c>.</param>
    /// <param name="module">The layer's name in the model.</param>
    /// <param name="rank">The rank of its tensors.</param>
    public double? Scale(string component, string module, long rank)
    {
        if (!_components.TryGetValue(component, out Settings? settings) && !_components.TryGetValue("", out settings))
            return null;
        double alpha = settings.Match(settings.AlphaPattern, module) ?? settings.Alpha ?? rank,
            said = settings.Match(settings.RankPattern, module) ?? settings.Rank ?? rank;
        if (said != rank && Warnings.Count < 4)
            Warnings.Add(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{_source}: the rank of {module} is {rank}, not {said} as said there; the tensors' counts."
                )
            );
        return alpha / (settings.RankStabilized ? Math.Sqrt(rank) : rank);
    }

    private static LoraMetadata Parse(string source, string text)
    {
        var metadata = new LoraMetadata(source);
        try
        {
            using var document = JsonDocument.Parse(text, new JsonDocumentOptions { MaxDepth = 16 });
            if (document.RootElement.ValueKind != JsonValueKind.Object)
                throw new CheckpointException($"{source} should be a JSON object.");
            foreach (JsonProperty property in document.RootElement.EnumerateObject())
            {
                string component = "",
                    key = property.Name;
                foreach (string name in (string[])["unet", "text_encoder", "text_encoder_2", "transformer"])
                {
                    if (key.StartsWith(name + ".", StringComparison.Ordinal))
                        (component, key) = (name, key[(name.Length + 1)..]);
                }

                if (!metadata._components.TryGetValue(component, out Settings? settings))
                    metadata._components[component] = settings = new Settings();
                metadata.Take(settings, key, property.Value);
            }
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new CheckpointException($"{source} should be JSON: {e.Message}", e);
        }

        return metadata;
    }

    private void Take(Settings settings, string key, JsonElement value)
    {
        if (value.ValueKind == JsonValueKind.Null)
            return;
        string shown = Printable.Shortened(value.GetRawText());
        switch (key)
        {
            case "r":
                settings.Rank = Number(key, value, 1);
                break;
            case "lora_alpha":
                settings.Alpha = Number(key, value, double.MinValue);
                break;
            case "alpha_pattern" or "rank_pattern":
                List<(Regex, double)> pattern = key == "alpha_pattern" ? settings.AlphaPattern : settings.RankPattern;
                if (value.ValueKind != JsonValueKind.Object)
                    throw Bad(key, "an object", shown);
                foreach (JsonProperty entry in value.EnumerateObject())
                    pattern.Add(
                        (Pattern(key, entry.Name), Number(key, entry.Value, key == "rank_pattern" ? 1 : double.MinValue))
                    );
                break;
            case "use_rslora":
                settings.RankStabilized = Flag(key, value);
                break;
            case "use_dora":
                // The tensors decide: with it there are lengths beside them.
                _ = Flag(key, value);
                break;
            case "peft_type":
                if (value.ValueKind != JsonValueKind.String || value.GetString() != "LORA")
                    throw Bad(key, "\"LORA\"", shown);
                break;
            case "bias":
                if (value.ValueKind != JsonValueKind.String || value.GetString() != "none")
                    Ignored(key, shown);
                break;
            case "init_lora_weights":
                // These take something out of the base model before training, so that the LoRA fits no other.
                if (
                    value.ValueKind == JsonValueKind.String
                    && value.GetString() is { } how
                    && (how.StartsWith("pissa", StringComparison.Ordinal) || how is "olora" or "corda" or "loftq")
                )
                    Warnings.Add(
                        $"{_source}: {key} is {shown}, which changed the base model before training; unless the file was "
                            + $"converted back, it does not fit an unchanged one."
                    );
                break;
            default:
                if (s_irrelevant.Contains(key) || value.ValueKind == JsonValueKind.False || shown is "{}" or "[]")
                    break;
                Ignored(key, shown);
                break;
        }
    }

    private void Ignored(string key, string shown) =>
        Warnings.Add($"{_source}: '{Printable.Shortened(key)}' is {shown}, which this program does not act on.");

    private double Number(string key, JsonElement value, double least) =>
        value.ValueKind == JsonValueKind.Number
        && value.TryGetDouble(out double number)
        && double.IsFinite(number)
        && number >= least
            ? number
            : throw Bad(key, least > 0 ? "a number from 1 on" : "a finite number", Printable.Shortened(value.GetRawText()));

    private bool Flag(string key, JsonElement value) =>
        value.ValueKind switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            _ => throw Bad(key, "true or false", Printable.Shortened(value.GetRawText())),
        };

    // As PEFT matches: the pattern is the end of the layer's name, whole parts of it. In linear time, whatever a file has
    // written.
    private Regex Pattern(string key, string pattern)
    {
        try
        {
            return new Regex($@"^(?:.*\.)?(?:{pattern})$", RegexOptions.NonBacktracking | RegexOptions.CultureInvariant);
        }
        catch (Exception e) when (e is ArgumentException or NotSupportedException)
        {
            throw new CheckpointException(
                $"{_source}: '{key}' holds '{Printable.Shortened(pattern)}', which is no pattern: {e.Message}",
                e
            );
        }
    }

    private CheckpointException Bad(string key, string expected, string shown) =>
        new($"{_source}: '{key}' should be {expected}, but is {shown}.");

    private sealed class Settings
    {
        public double? Alpha { get; set; }

        public double? Rank { get; set; }

        public bool RankStabilized { get; set; }

        public List<(Regex, double)> AlphaPattern { get; } = [];

        public List<(Regex, double)> RankPattern { get; } = [];

        public double? Match(List<(Regex Pattern, double Value)> patterns, string module)
        {
            foreach ((Regex pattern, double value) in patterns)
            {
                if (pattern.IsMatch(module))
                    return value;
            }

            return null;
        }
    }
}
