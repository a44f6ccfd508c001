using System.Text.Json;
using AfaNative.Engine.Core;

namespace AfaNative.Engine.Files;

/// <summary>A configuration file whose values are checked as they are read; every error names the file and the key.</summary>
internal sealed class JsonFile : IDisposable
{
    // Configurations have a few kilobytes.
    private const long Limit = 4 << 20;

    private readonly JsonDocument _document;

    private JsonFile(string path, JsonDocument document, JsonElement root)
    {
        Path = path;
        _document = document;
        Root = root;
    }

    public string Path { get; }

    public JsonElement Root { get; }

    /// <summary>An object in this one, read as if it were a file of its own; it lives as long as this one does.</summary>
    public JsonFile Part(string key) => new(Path, _document, Root.GetProperty(key));

    public static JsonFile Open(string path)
    {
        try
        {
            if (RegularFile.Kind(path) == FileKind.Missing)
                throw new FileNotFoundException(null, path);
            JsonDocument document = JsonDocument.Parse(
                RegularFile.ReadAllBytes(path, "a configuration", Limit),
                new JsonDocumentOptions { MaxDepth = 32 }
            );
            try
            {
                if (document.RootElement.ValueKind != JsonValueKind.Object)
                    throw new CheckpointException($"{path}: expected a JSON object.");
                // Half a surrogate pair shows itself only when a text is read.
                ReadTexts(document.RootElement);
                return new JsonFile(path, document, document.RootElement);
            }
            catch
            {
                document.Dispose();
                throw;
            }
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new CheckpointException($"{path}: not valid JSON ({Printable.Shortened(e.Message, 200)})", e);
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

    /// <summary>A value as a message quotes it.</summary>
    public static string Shown(JsonElement value) => Printable.Shortened(value.GetRawText());

    /// <summary>A whole number in a range.</summary>
    public int Int(string key, int? otherwise, int least, int most)
    {
        int value = Int(key, otherwise);
        return value >= least && value <= most
            ? value
            : throw Error($"'{key}' is {value}; expected {(most == int.MaxValue ? $"{least} or more" : $"{least} to {most}")}");
    }

    /// <summary>A finite number in a range.</summary>
    public float Float(string key, float? otherwise, float least, float most)
    {
        float value = Float(key, otherwise);
        return value >= least && value <= most
            ? value
            : throw Error(
                string.Create(
                    System.Globalization.CultureInfo.InvariantCulture,
                    $"'{key}' is {value}; expected {least} to {most}"
                )
            );
    }

    /// <summary>Whole numbers in a range, at least one and at most <paramref name="count"/>.</summary>
    public int[] Ints(string key, int[] otherwise, int count, int least, int most)
    {
        int[] values = Ints(key, otherwise);
        if (values.Length < 1 || values.Length > count)
            throw Error($"'{key}' holds {values.Length} numbers; expected 1 to {count}");
        foreach (int value in values)
        {
            if (value < least || value > most)
                throw Error($"'{key}' holds {value}; expected {least} to {most}");
        }

        return values;
    }

    /// <summary>Refuses a divisor that does not divide.</summary>
    public void MustDivide(string key, int divisor, IEnumerable<int> numbers, string what)
    {
        foreach (int number in numbers)
        {
            if (divisor < 1 || number % divisor != 0)
                throw Error($"'{key}' is {divisor}, which does not divide {number} {what}");
        }
    }

    public int Int(string key, int? otherwise = null) =>
        Read(key, otherwise, "a whole number", e => e.ValueKind == JsonValueKind.Number && e.TryGetInt32(out int v) ? v : null);

    public float Float(string key, float? otherwise = null) =>
        Read(key, otherwise, "a number", e => e.ValueKind == JsonValueKind.Number ? (float?)e.GetDouble() : null);

    public bool Bool(string key, bool? otherwise = null) =>
        Read(
            key,
            otherwise,
            "true or false",
            e =>
                e.ValueKind == JsonValueKind.True ? true
                : e.ValueKind == JsonValueKind.False ? (bool?)false
                : null
        );

    public string String(string key, string? otherwise = null)
    {
        if (!Has(key))
            return otherwise ?? throw Error($"'{key}' is missing");
        JsonElement e = Root.GetProperty(key);
        return e.ValueKind == JsonValueKind.String ? e.GetString()! : throw Error($"'{key}' should be a text, but is {Shown(e)}");
    }

    public int[] Ints(string key, int[] otherwise)
    {
        if (!Has(key))
            return otherwise;
        JsonElement e = Root.GetProperty(key);
        if (e.ValueKind != JsonValueKind.Array)
            return [Int(key)];
        return
        [
            .. e.EnumerateArray()
                .Select(v =>
                    v.ValueKind == JsonValueKind.Number && v.TryGetInt32(out int i)
                        ? i
                        : throw Error($"'{key}' should hold whole numbers, but holds {Shown(v)}")
                ),
        ];
    }

    public string[] Strings(string key, string[] otherwise)
    {
        if (!Has(key))
            return otherwise;
        JsonElement e = Root.GetProperty(key);
        if (e.ValueKind != JsonValueKind.Array)
            throw Error($"'{key}' should be a list");
        return
        [
            .. e.EnumerateArray()
                .Select(v =>
                    v.ValueKind == JsonValueKind.String
                        ? v.GetString()!
                        : throw Error($"'{key}' should hold texts, but holds {Shown(v)}")
                ),
        ];
    }

    /// <summary>Refuses any value but one this engine implements; absent counts as that value.</summary>
    public void Require(string key, string value)
    {
        if (Has(key) && Root.GetProperty(key) is { } e && (e.ValueKind != JsonValueKind.String || e.GetString() != value))
        {
            throw Error($"'{key}' is {Shown(e)}; only \"{value}\" (Stable Diffusion 1.x) is supported");
        }
    }

    /// <summary>Refuses a model that uses a feature outside the 1.x family.</summary>
    public void RequireAbsent(string key)
    {
        if (Has(key))
            throw Error(
                $"'{key}' is {Shown(Root.GetProperty(key))}; models that use it are not of the Stable Diffusion 1.x family"
            );
    }

    public void Dispose() => _document.Dispose();

    private static void ReadTexts(JsonElement element)
    {
        switch (element.ValueKind)
        {
            case JsonValueKind.String:
                _ = element.GetString();
                break;
            case JsonValueKind.Array:
                foreach (JsonElement item in element.EnumerateArray())
                    ReadTexts(item);
                break;
            case JsonValueKind.Object:
                foreach (JsonProperty property in element.EnumerateObject())
                {
                    _ = property.Name;
                    ReadTexts(property.Value);
                }

                break;
        }
    }

    private T Read<T>(string key, T? otherwise, string expected, Func<JsonElement, T?> read)
        where T : struct
    {
        if (!Has(key))
            return otherwise ?? throw Error($"'{key}' is missing");
        JsonElement e = Root.GetProperty(key);
        return read(e) ?? throw Error($"'{key}' should be {expected}, but is {Shown(e)}");
    }
}
