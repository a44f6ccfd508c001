using System.Text.Json;

namespace AfaNative.Engine.Checkpoints;

/// <summary>A configuration file whose values are checked as they are read; every error names the file and the key.</summary>
internal sealed class JsonFile : IDisposable
{
    // Configurations have a few kilobytes.
    private const long Limit = 4 << 20;

    private readonly JsonDocument _document;

    private JsonFile(string path, JsonDocument document)
    {
        Path = path;
        _document = document;
    }

    public string Path { get; }

    public JsonElement Root => _document.RootElement;

    public static JsonFile Open(string path)
    {
        try
        {
            if (RegularFile.Kind(path) == FileKind.Missing) throw new FileNotFoundException(null, path);
            JsonDocument document = JsonDocument.Parse(RegularFile.ReadAllBytes(path, "a configuration", Limit), new JsonDocumentOptions { MaxDepth = 32 });
            if (document.RootElement.ValueKind == JsonValueKind.Object) return new JsonFile(path, document);
            document.Dispose();
            throw new CheckpointException($"{path}: expected a JSON object.");
        }
        catch (JsonException e)
        {
            throw new CheckpointException($"{path}: not valid JSON ({e.Message})", e);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new CheckpointException($"{path}: the file is missing; expected a diffusers model folder.", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"{path}: cannot be read: {e.Message}", e);
        }
    }

    public CheckpointException Error(string message) => new($"{Path}: {message}.");

    public bool Has(string key) => Root.TryGetProperty(key, out JsonElement value) && value.ValueKind != JsonValueKind.Null;

    public int Int(string key, int? otherwise = null) => Read(key, otherwise, "a whole number", e => e.ValueKind == JsonValueKind.Number && e.TryGetInt32(out int v) ? v : null);

    public float Float(string key, float? otherwise = null) => Read(key, otherwise, "a number", e => e.ValueKind == JsonValueKind.Number ? (float?)e.GetDouble() : null);

    public bool Bool(string key, bool? otherwise = null) =>
        Read(key, otherwise, "true or false", e => e.ValueKind == JsonValueKind.True ? true : e.ValueKind == JsonValueKind.False ? (bool?)false : null);

    public string String(string key, string? otherwise = null)
    {
        if (!Has(key)) return otherwise ?? throw Error($"'{key}' is missing");
        JsonElement e = Root.GetProperty(key);
        return e.ValueKind == JsonValueKind.String ? e.GetString()! : throw Error($"'{key}' should be a text, but is {e.GetRawText()}");
    }

    public int[] Ints(string key, int[] otherwise)
    {
        if (!Has(key)) return otherwise;
        JsonElement e = Root.GetProperty(key);
        if (e.ValueKind != JsonValueKind.Array) return [Int(key)];
        return [.. e.EnumerateArray().Select(v => v.ValueKind == JsonValueKind.Number && v.TryGetInt32(out int i) ? i : throw Error($"'{key}' should hold whole numbers, but holds {v.GetRawText()}"))];
    }

    public string[] Strings(string key, string[] otherwise)
    {
        if (!Has(key)) return otherwise;
        JsonElement e = Root.GetProperty(key);
        if (e.ValueKind != JsonValueKind.Array) throw Error($"'{key}' should be a list");
        return [.. e.EnumerateArray().Select(v => v.ValueKind == JsonValueKind.String ? v.GetString()! : throw Error($"'{key}' should hold texts, but holds {v.GetRawText()}"))];
    }

    /// <summary>Refuses any value but one this engine implements; absent counts as that value.</summary>
    public void Require(string key, string value)
    {
        if (Has(key) && Root.GetProperty(key) is { } e && (e.ValueKind != JsonValueKind.String || e.GetString() != value))
        {
            throw Error($"'{key}' is {e.GetRawText()}; only \"{value}\" (Stable Diffusion 1.x) is supported");
        }
    }

    /// <summary>Refuses a model that uses a feature outside the 1.x family.</summary>
    public void RequireAbsent(string key)
    {
        if (Has(key)) throw Error($"'{key}' is {Root.GetProperty(key).GetRawText()}; models that use it are not of the Stable Diffusion 1.x family");
    }

    public void Dispose() => _document.Dispose();

    private T Read<T>(string key, T? otherwise, string expected, Func<JsonElement, T?> read) where T : struct
    {
        if (!Has(key)) return otherwise ?? throw Error($"'{key}' is missing");
        JsonElement e = Root.GetProperty(key);
        return read(e) ?? throw Error($"'{key}' should be {expected}, but is {e.GetRawText()}");
    }
}
