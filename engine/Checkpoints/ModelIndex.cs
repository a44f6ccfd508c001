using System.Text.Json;
using System.Text.Json.Nodes;
using AfaNative.Engine.Synthesis;

namespace AfaNative.Engine.Checkpoints;

/// <summary><c>model_index.json</c>, by which diffusers finds the parts of a pipeline.</summary>
internal static class ModelIndex
{
    /// <summary>The file's name.</summary>
    public const string FileName = "model_index.json";

    /// <summary>An entry that stands for a folder: <c>[library, class]</c>, neither null.</summary>
    public static bool IsPart(JsonProperty entry) =>
        entry.Value.ValueKind == JsonValueKind.Array && entry.Value.GetArrayLength() == 2 && entry.Value.EnumerateArray().All(v => v.ValueKind == JsonValueKind.String);

    /// <summary>
    /// Writes the index of a folder that took <paramref name="parts"/> from the model at <paramref name="from"/>: its own, with what was not taken - a safety checker, an image encoder - marked as absent,
    /// or, where it has none, the usual one.
    /// </summary>
    /// <exception cref="CheckpointException">The model's own is no JSON object.</exception>
    public static void Write(string from, string to, IReadOnlyCollection<string> parts)
    {
        string path = Path.Combine(from, FileName), target = Path.Combine(to, FileName);
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
            if (entry.Name == "safety_checker") index["requires_safety_checker"] = false;
        }

        ConfigJson.Save(target, index);
    }
}
