using System.Text.Json;
using System.Text.Json.Nodes;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;

namespace AfaNative.Engine.Checkpoints;

/// <summary><c>model_index.json</c>, by which diffusers finds the parts of a pipeline.</summary>
internal static class ModelIndex
{
    /// <summary>The file's name.</summary>
    public const string FileName = "model_index.json";

    // Pipelines that sample as this program does, and parts that no picture is made with here.
    private static readonly HashSet<string> s_pipelines =
    [
        "StableDiffusionPipeline",
        "StableDiffusionImg2ImgPipeline",
        "FlaxStableDiffusionPipeline",
        "OnnxStableDiffusionPipeline",
        "LatentConsistencyModelPipeline",
    ];
    private static readonly HashSet<string> s_parts =
    [
        "unet",
        "vae",
        "text_encoder",
        "tokenizer",
        "scheduler",
        "safety_checker",
        "feature_extractor",
        "image_encoder",
    ];
    private static readonly HashSet<string> s_settings =
    [
        "_class_name",
        "_diffusers_version",
        "_name_or_path",
        "_module",
        "requires_safety_checker",
        "num_models",
        "num_aggregators",
    ];

    /// <summary>
    /// Whole sentences about what a folder's index names and this program does not run; none where there is no index.
    /// </summary>
    /// <exception cref="CheckpointException">It is no JSON object.</exception>
    public static IReadOnlyList<string> Warnings(string folder)
    {
        string path = Path.Combine(folder, FileName);
        if (RegularFile.Kind(path) == FileKind.Missing)
            return [];
        using JsonFile json = JsonFile.Open(path);
        var warnings = new List<string>();
        foreach (JsonProperty entry in json.Root.EnumerateObject())
        {
            if (entry.Name == "_class_name")
            {
                // The authors' own class is that of an ensemble; the folders decide what is run.
                if (
                    entry.Value.ValueKind == JsonValueKind.String
                    && entry.Value.GetString() is { } name
                    && !s_pipelines.Contains(name)
                    && !name.Contains("Aggregat", StringComparison.Ordinal)
                )
                    warnings.Add($"{path}: it is a {Printable.Shortened(name)}, run here as a StableDiffusionPipeline.");
            }
            else if (
                !s_parts.Contains(entry.Name)
                && !s_settings.Contains(entry.Name)
                && !entry.Name.StartsWith("additional_", StringComparison.Ordinal)
                && !entry.Name.StartsWith("aggregator", StringComparison.Ordinal)
                && !IsAbsent(entry.Value)
            )
            {
                warnings.Add(
                    $"{path}: it names '{Printable.Shortened(entry.Name)}' ({JsonFile.Shown(entry.Value)}), which this "
                        + $"program does not run."
                );
            }
        }

        return warnings.Count <= 8
            ? warnings
            : [.. warnings.Take(8), $"{path}: {warnings.Count - 8} more of its entries are not known either."];
    }

    private static bool IsAbsent(JsonElement value) =>
        value.ValueKind is JsonValueKind.Null or JsonValueKind.False
        || (value.ValueKind == JsonValueKind.Array && value.EnumerateArray().All(v => v.ValueKind == JsonValueKind.Null));

    /// <summary>An entry that stands for a folder: <c>[library, class]</c>, neither null.</summary>
    public static bool IsPart(JsonProperty entry) =>
        entry.Value.ValueKind == JsonValueKind.Array
        && entry.Value.GetArrayLength() == 2
        && entry.Value.EnumerateArray().All(v => v.ValueKind == JsonValueKind.String);

    /// <summary>
    /// Writes the index of a folder that took <paramref name="parts"/> from the model at <paramref name="from"/>: its own, with
    /// what was not taken - a safety checker, an image encoder - marked as absent,
    /// or, where it has none, the usual one.
    /// </summary>
    /// <exception cref="CheckpointException">The model's own is no JSON object.</exception>
    public static void Write(string from, string to, IReadOnlyCollection<string> parts)
    {
        string path = Path.Combine(from, FileName),
            target = Path.Combine(to, FileName);
        if (!File.Exists(path))
        {
            ConfigJson.Save(target, ConfigJson.ModelIndex());
            return;
        }

        using JsonFile json = JsonFile.Open(path);
        JsonProperty[] absent = [.. json.Root.EnumerateObject().Where(e => IsPart(e) && !parts.Contains(e.Name))];
        if (absent.Length == 0)
        {
            File.Copy(path, target);
            return;
        }

        JsonObject index = JsonObject.Create(json.Root.Clone())!;
        foreach (JsonProperty entry in absent)
        {
            index[entry.Name] = new JsonArray(null, null);
            if (entry.Name == "safety_checker")
                index["requires_safety_checker"] = false;
        }

        ConfigJson.Save(target, index);
    }
}
