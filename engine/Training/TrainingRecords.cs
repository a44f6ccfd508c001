using System.Text.Json;

namespace AfaNative.Engine.Training;

/// <summary>A picture and what it shows.</summary>
public sealed record TrainingRecord(string Image, string Caption);

/// <summary>
/// Finds training data: the AFA authors' JSON file (<c>[{"image_file": ..., "text": ...}]</c>, also one object a line), a Hugging Face image folder with
/// <c>metadata.jsonl</c> (<c>file_name</c>, <c>text</c>), or a folder of pictures with a <c>.txt</c> caption beside each.
/// </summary>
public static class TrainingRecords
{
    private static readonly HashSet<string> s_extensions = new(StringComparer.OrdinalIgnoreCase) { ".png", ".jpg", ".jpeg", ".webp", ".bmp" };

    /// <summary>All records, in an order that depends on names alone.</summary>
    /// <exception cref="AfaException">Nothing usable is there; the message says what was expected.</exception>
    public static IReadOnlyList<TrainingRecord> Find(string path)
    {
        List<TrainingRecord> records;
        if (File.Exists(path)) records = FromJson(path);
        else if (!Directory.Exists(path)) throw new AfaException($"{path}: no such file or folder of training data.");
        else if (File.Exists(Path.Combine(path, "metadata.jsonl"))) records = FromJson(Path.Combine(path, "metadata.jsonl"));
        else
        {
            records = [.. Directory.EnumerateFiles(path, "*", SearchOption.AllDirectories).Where(f => s_extensions.Contains(Path.GetExtension(f))).Order(StringComparer.Ordinal)
                .Where(f => File.Exists(Path.ChangeExtension(f, ".txt"))).Select(f => new TrainingRecord(f, File.ReadAllText(Path.ChangeExtension(f, ".txt")).Trim()))];
        }

        return records.Count > 0 ? records : throw new AfaException($"{path}: no training data; expected records with 'image_file' and 'text', a metadata.jsonl, or pictures with a .txt caption beside each.");
    }

    private static List<TrainingRecord> FromJson(string path)
    {
        string folder = Path.GetDirectoryName(Path.GetFullPath(path))!, text = File.ReadAllText(path);
        var records = new List<TrainingRecord>();
        int line = 0;
        try
        {
            if (text.AsSpan().TrimStart().StartsWith("["))
            {
                using JsonDocument document = JsonDocument.Parse(text);
                foreach (JsonElement element in document.RootElement.EnumerateArray())
                {
                    line++;
                    records.Add(Record(element));
                }
            }
            else
            {
                foreach (string one in text.Split('\n'))
                {
                    line++;
                    if (string.IsNullOrWhiteSpace(one)) continue;
                    using JsonDocument document = JsonDocument.Parse(one);
                    records.Add(Record(document.RootElement));
                }
            }
        }
        catch (JsonException e)
        {
            throw new AfaException($"{path}: record {line} is not valid JSON: {e.Message}", e);
        }

        return records;

        TrainingRecord Record(JsonElement element)
        {
            string? image = Text(element, "image_file") ?? Text(element, "file_name") ?? Text(element, "image"), caption = Text(element, "text") ?? Text(element, "caption");
            if (image is null || caption is null) throw new AfaException($"{path}: record {line} needs 'image_file' (or 'file_name') and 'text'.");
            return new TrainingRecord(Path.Combine(folder, image), caption);
        }
    }

    private static string? Text(JsonElement element, string key) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(key, out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;
}
