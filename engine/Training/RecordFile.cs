using System.Text.Json;
using System.Text.Unicode;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;

namespace AfaNative.Engine.Training;

/// <summary>A file of training records in JSON: a list, or one object a line.</summary>
internal static class RecordFile
{
    private const long LongestFile = 1L << 29;

    // Objects of texts need one level, a list of them two.
    private static readonly JsonDocumentOptions s_options = new() { MaxDepth = 8, AllowDuplicateProperties = false };
    private static readonly string[] s_imageKeys = ["image_file", "file_name", "image"],
        s_captionKeys = ["text", "caption"];

    /// <summary>All records; paths are relative to the file's folder.</summary>
    /// <exception cref="AfaException">
    /// It is no JSON, no UTF-8, too large, or a record lacks a picture or caption; the message has the line or the record's
    /// number.
    /// </exception>
    public static IReadOnlyList<TrainingRecord> Read(string path, List<string> warnings)
    {
        byte[] bytes = RegularFile.ReadAllBytes(path, "training records", LongestFile);
        ReadOnlyMemory<byte> text = bytes.AsSpan().StartsWith("\uFEFF"u8) ? bytes.AsMemory(3) : bytes;
        var reader = new Reader(path);
        if (text.Span.TrimStart(" \t\r\n"u8).StartsWith("["u8))
            reader.List(text);
        else
            reader.Lines(text);
        reader.Say(warnings);
        return reader.Records;
    }

    private sealed class Reader(string path)
    {
        private readonly string _folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
        private readonly SortedSet<string> _unused = new(StringComparer.Ordinal);
        private readonly Dictionary<string, string> _first = new(StringComparer.Ordinal);
        private readonly List<string> _skipped = [],
            _again = [],
            _empty = [];

        public List<TrainingRecord> Records { get; } = [];

        public void List(ReadOnlyMemory<byte> text)
        {
            if (!Utf8.IsValid(text.Span))
                throw NotUtf8($"line {LineOf(text.Span)}");
            using JsonDocument document = Parse(text, null);
            int number = 0;
            foreach (JsonElement element in document.RootElement.EnumerateArray())
                Add(element, $"record {++number}");
        }

        public void Lines(ReadOnlyMemory<byte> text)
        {
            for (int number = 1; text.Length > 0; number++)
            {
                int end = text.Span.IndexOf((byte)'\n');
                ReadOnlyMemory<byte> line = end < 0 ? text : text[..end];
                text = end < 0 ? default : text[(end + 1)..];
                if (line.Span.Trim(" \t\r"u8).IsEmpty)
                    continue;
                if (!Utf8.IsValid(line.Span))
                    throw NotUtf8($"line {number}");
                using JsonDocument document = Parse(line, number);
                Add(document.RootElement, $"line {number}");
            }
        }

        public void Say(List<string> warnings)
        {
            string file = Path.GetFileName(path);
            if (_skipped.Count > 0)
                warnings.Add($"{file}: {_skipped.Count} records are left out: {TrainingRecords.Some(_skipped)}");
            if (_again.Count > 0)
                warnings.Add(
                    $"{file}: {_again.Count} records name a picture that another one names too; each counts: "
                        + $"{TrainingRecords.Some(_again)}"
                );
            if (_empty.Count > 0)
                warnings.Add($"{file}: {_empty.Count} records have an empty caption: {TrainingRecords.Some(_empty)}");
            if (_unused.Count > 0)
                warnings.Add($"{file}: keys of records that are not used: {TrainingRecords.Some(_unused)}");
        }

        private void Add(JsonElement element, string where)
        {
            if (element.ValueKind != JsonValueKind.Object)
            {
                throw new AfaException($"{path}: {where} is no object with 'image_file' (or 'file_name') and 'text'.");
            }
            Dictionary<string, JsonElement> values = element
                .EnumerateObject()
                .ToDictionary(Name, p => p.Value, StringComparer.Ordinal);
            string? imageKey = s_imageKeys.FirstOrDefault(IsText),
                captionKey = s_captionKeys.FirstOrDefault(IsText);
            if (imageKey is null || captionKey is null)
            {
                throw new AfaException($"{path}: {where} needs 'image_file' (or 'file_name') and 'text'.");
            }
            // What is null says nothing.
            foreach ((string key, JsonElement value) in values)
            {
                if (value.ValueKind != JsonValueKind.Null && key != imageKey && key != captionKey && _unused.Count < 100)
                    _unused.Add(key);
            }

            string caption =
                Text(values[captionKey])
                ?? throw new AfaException(
                    $"{path}: captions are expected in Unicode, but that of {where} holds half a surrogate pair."
                );
            string? image = Text(values[imageKey]);
            if (image is null || image.Length == 0 || image.Contains('\0', StringComparison.Ordinal))
            {
                string why =
                    image is null ? "half a surrogate pair"
                    : image.Length == 0 ? "nothing"
                    : "a zero character";
                _skipped.Add($"{where} (its file name holds {why})");
                return;
            }

            string full = Path.Combine(_folder, image),
                identity = RegularFile.Look(full).Identity;
            if (!_first.TryAdd(identity, where))
                _again.Add($"{image} ({_first[identity]} and {where})");
            if (string.IsNullOrWhiteSpace(caption))
                _empty.Add(where);
            Records.Add(new TrainingRecord(full, caption));

            bool IsText(string key) => values.TryGetValue(key, out JsonElement value) && value.ValueKind == JsonValueKind.String;
        }

        private JsonDocument Parse(ReadOnlyMemory<byte> text, int? line)
        {
            try
            {
                return JsonDocument.Parse(text, s_options);
            }
            catch (JsonException e)
            {
                string where = (line ?? e.LineNumber + 1) is { } known ? $"line {known}" : "it",
                    at = e.BytePositionInLine is { } position ? $" (at its byte {position + 1})" : "";
                throw new AfaException(
                    $"{path}: {where} is not valid JSON{at}; a record such as {{\"file_name\": \"a.png\", \"text\": \"a cat\"}} "
                        + $"was expected.",
                    e
                );
            }
            catch (InvalidOperationException e)
            {
                throw new AfaException(
                    $"{path}: {(line is { } known ? $"line {known}" : "it")} holds a key with half a surrogate pair.",
                    e
                );
            }
        }

        private AfaException NotUtf8(string where) =>
            new($"{path}: captions and names are expected in UTF-8, but {where} is not; save the file as UTF-8.");

        // Half a surrogate pair can be written in JSON, and is no text.
        private static string? Text(JsonElement value)
        {
            try
            {
                return value.GetString();
            }
            catch (InvalidOperationException)
            {
                return null;
            }
        }

        private static string Name(JsonProperty property)
        {
            try
            {
                return property.Name;
            }
            catch (InvalidOperationException)
            {
                return "one with half a surrogate pair";
            }
        }

        private static int LineOf(ReadOnlySpan<byte> text)
        {
            int line = 1;
            while (text.Length > 0)
            {
                int end = text.IndexOf((byte)'\n');
                if (!Utf8.IsValid(end < 0 ? text : text[..end]))
                    break;
                text = end < 0 ? default : text[(end + 1)..];
                line++;
            }

            return line;
        }
    }
}
