using System.Text.Json;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;

namespace AfaNative.Verification;

/// <summary>
/// A folder with a <c>case.json</c> and its tensors: inputs, weights and outputs another implementation computed.
/// </summary>
internal sealed class GoldenCase : IDisposable
{
    private readonly JsonFile _json;
    private readonly Dictionary<string, SafetensorsFile> _files = [];

    public GoldenCase(string folder)
    {
        Folder = folder;
        _json = JsonFile.Open(Path.Combine(folder, "case.json"));
        Op = _json.String("op");
        Id = _json.String("id", Path.GetFileName(folder));
    }

    public string Folder { get; }

    /// <summary>Set when gradients are to be compared too.</summary>
    public GradientRecorder? Recorder { get; set; }

    public string Op { get; }

    public string Id { get; }

    public JsonFile Json => _json;

    public JsonElement Root => _json.Root;

    public JsonElement Params => Get(Root, "params");

    public static JsonElement Get(JsonElement element, string key) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(key, out JsonElement value)
            ? value
            : throw new CheckpointException($"case.json has no '{key}'.");

    /// <summary>A file beside case.json, kept open until the case is disposed.</summary>
    public SafetensorsFile File(string name = "tensors.safetensors")
    {
        if (!_files.TryGetValue(name, out SafetensorsFile? file))
            _files[name] = file = SafetensorsFile.Open(Path.Combine(Folder, name));
        return file;
    }

    public bool HasFile(string name) => System.IO.File.Exists(Path.Combine(Folder, name));

    public float[] Values(string tensor, string file = "tensors.safetensors") => File(file).ReadFloat32(tensor);

    public int[] Dims(string tensor, string file = "tensors.safetensors") =>
        File(file).Tensors.TryGetValue(tensor, out SafetensorsTensor? t)
            ? [.. t.Shape.Select(d => checked((int)d))]
            : throw new CheckpointException($"{Folder}: {file} has no tensor '{tensor}'.");

    public bool Has(string tensor, string file = "tensors.safetensors") => File(file).Tensors.ContainsKey(tensor);

    /// <summary>A path in case.json: relative to the folder that holds the set, found by walking up.</summary>
    public string Resolve(string relative)
    {
        for (DirectoryInfo? at = new(Folder); at is not null; at = at.Parent)
        {
            string candidate = Path.Combine(at.FullName, relative);
            if (Directory.Exists(candidate))
                return candidate;
        }

        throw new CheckpointException($"{Folder}: '{relative}' was not found in any folder above it.");
    }

    public void Dispose()
    {
        foreach (SafetensorsFile file in _files.Values)
            file.Dispose();
        _json.Dispose();
    }
}
