using System.Text.Json;
using AfaNative.Engine.Core;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace AfaNative.Tool;

/// <summary>One option of a configuration.</summary>
/// <param name="Name">As it is written there.</param>
/// <param name="Values">Each as it would be on a command line.</param>
/// <param name="IsSwitch">It is true or false, and not in quotes.</param>
/// <param name="Where">The file and, where known, the line.</param>
internal sealed record ConfigEntry(string Name, IReadOnlyList<string> Values, bool IsSwitch, string Where);

/// <summary>
/// Reads configurations: flat lists of names with a value or a list of values, so that nothing nests and nothing multiplies.
/// </summary>
internal static class ConfigReader
{
    private const long MostBytes = 4 << 20;
    private const int MostEntries = 1000,
        MostValues = 100_000;

    // The spellings of YAML 1.2's core schema.
    private static readonly string[] s_true = ["true", "True", "TRUE"],
        s_false = ["false", "False", "FALSE"],
        s_null = ["", "~", "null", "Null", "NULL"];

    /// <summary>What a file says: YAML where its name ends in .yaml or .yml, else JSON.</summary>
    /// <exception cref="AfaException">It cannot be read, or says what no option can be.</exception>
    public static IReadOnlyList<ConfigEntry> Read(string path)
    {
        string text = TextFile.Read(path, "a file of options", MostBytes);
        List<ConfigEntry> entries = Path.GetExtension(path).ToLowerInvariant() is ".yaml" or ".yml"
            ? FromYaml(path, text)
            : FromJson(path, text);
        foreach (ConfigEntry entry in entries)
        {
            if (entry.Name.Length == 0)
                throw new AfaException($"{entry.Where}: a name is empty.");
        }

        return entries;
    }

    private static List<ConfigEntry> FromJson(string path, string text)
    {
        var entries = new List<ConfigEntry>();
        try
        {
            using JsonDocument document = JsonDocument.Parse(
                text,
                new JsonDocumentOptions
                {
                    CommentHandling = JsonCommentHandling.Skip,
                    AllowTrailingCommas = true,
                    MaxDepth = 8,
                }
            );
            if (document.RootElement.ValueKind != JsonValueKind.Object)
                throw new AfaException($"{path}: a JSON object of options was expected.");
            foreach (JsonProperty p in document.RootElement.EnumerateObject())
            {
                string[] values =
                    p.Value.ValueKind == JsonValueKind.Array
                        ? [.. p.Value.EnumerateArray().Select(v => Text(p.Name, v))]
                        : [Text(p.Name, p.Value)];
                if (entries.Any(e => e.Name == p.Name))
                    throw new AfaException($"{path}: '{Printable.Shortened(p.Name)}' is there twice.");
                Add(
                    entries,
                    new ConfigEntry(p.Name, values, p.Value.ValueKind is JsonValueKind.True or JsonValueKind.False, path)
                );
            }

            return entries;
        }
        catch (JsonException e)
        {
            throw new AfaException($"{path}: the options could not be read: {e.Message}", e);
        }
        catch (InvalidOperationException e)
        {
            // Half a surrogate pair, written \ud800, is found when the text is asked for.
            throw new AfaException($"{path}: the options could not be read: a text holds half a surrogate pair.", e);
        }

        string Text(string name, JsonElement value) =>
            value.ValueKind switch
            {
                JsonValueKind.String => value.GetString()!,
                JsonValueKind.Number => value.GetRawText(),
                JsonValueKind.True => "true",
                JsonValueKind.False => "false",
                JsonValueKind.Null => throw new AfaException(
                    $"{path}: '{Printable.Shortened(name)}' is null, which is no value of an option; leave it out."
                ),
                _ => throw new AfaException(
                    $"{path}: '{Printable.Shortened(name)}': {Printable.Shortened(value.GetRawText())} is no value of an option."
                ),
            };
    }

    // Event by event: aliases are never followed into collections, and what nests is refused where it begins.
    private static List<ConfigEntry> FromYaml(string path, string text)
    {
        try
        {
            var parser = new Parser(new StringReader(text));
            parser.Consume<StreamStart>();
            if (!parser.Accept<DocumentStart>(out _))
                throw new AfaException($"{path}: a YAML mapping of options was expected.");
            parser.Consume<DocumentStart>();
            if (!parser.TryConsume<MappingStart>(out var top))
                throw new AfaException($"{path}: a YAML mapping of options was expected.");
            var reader = new YamlScalars(path);
            reader.CheckTag(top);
            var entries = new List<ConfigEntry>();
            while (!parser.TryConsume<MappingEnd>(out _))
            {
                ParsingEvent key = parser.Consume<ParsingEvent>();
                string name = reader.Text(key);
                if (entries.Any(e => e.Name == name))
                    throw new AfaException($"{reader.Where(key)}: '{Printable.Shortened(name)}' is there twice.");
                ParsingEvent value = parser.Consume<ParsingEvent>();
                var values = new List<string>();
                if (value is SequenceStart sequence)
                {
                    reader.CheckTag(sequence);
                    while (!parser.TryConsume<SequenceEnd>(out _))
                    {
                        values.Add(reader.Text(parser.Consume<ParsingEvent>()));
                        if (values.Count > MostValues)
                            throw TooMany(path);
                    }
                }
                else
                {
                    values.Add(reader.Text(value));
                }

                Add(
                    entries,
                    new ConfigEntry(name, values, value is not SequenceStart && reader.IsSwitch(value), reader.Where(key))
                );
            }

            parser.Consume<DocumentEnd>();
            if (!parser.Accept<StreamEnd>(out _))
                throw new AfaException($"{path}: a YAML mapping of options was expected, but more than one document came.");
            return entries;
        }
        catch (YamlException e)
        {
            // "While scanning X, found Y": where Y is.
            throw new AfaException(
                $"{path}, line {Math.Max(e.Start.Line, e.End.Line)}: the options could not be read: {e.Message}",
                e
            );
        }
        catch (Exception e)
            when (e is InvalidOperationException or ArgumentException or IndexOutOfRangeException or OverflowException)
        {
            // The parser's own words for texts it did not expect, such as half a surrogate pair or a state it should not be in.
            throw new AfaException($"{path}: the options could not be read as YAML: {e.Message}", e);
        }
    }

    private static void Add(List<ConfigEntry> entries, ConfigEntry entry)
    {
        if (entries.Count == MostEntries || entry.Values.Count > MostValues)
            throw TooMany(entry.Where);
        entries.Add(entry);
    }

    private static AfaException TooMany(string where) =>
        new($"{where}: at most {MostEntries} options with at most {MostValues} values each were expected.");

    /// <summary>The scalars of one document, and the anchors among them.</summary>
    private sealed class YamlScalars(string path)
    {
        private readonly Dictionary<AnchorName, Scalar> _anchors = [];

        public string Where(ParsingEvent at) => $"{path}, line {at.Start.Line}";

        public bool IsSwitch(ParsingEvent at) =>
            Resolve(at) is { Style: ScalarStyle.Plain } s && (s_true.Contains(s.Value) || s_false.Contains(s.Value));

        public void CheckTag(NodeEvent node)
        {
            if (!node.Tag.IsEmpty)
                throw new AfaException(
                    $"{Where(node)}: the tag '{Printable.Shortened(node.Tag.ToString())}' means nothing here; leave it out."
                );
        }

        public string Text(ParsingEvent at)
        {
            if (Resolve(at) is not { } scalar)
            {
                if (at is AnchorAlias { Value: var alias })
                    throw new AfaException(
                        $"{Where(at)}: the alias '*{Printable.Shortened(alias.Value)}' stands for no text or number."
                    );
                throw new AfaException(
                    $"{Where(at)}: a {(at is MappingStart ? "mapping" : "sequence")} is no value of an option."
                );
            }

            CheckTag(scalar);
            if (scalar.Style != ScalarStyle.Plain)
                return scalar.Value;
            if (s_null.Contains(scalar.Value))
                throw new AfaException($"{Where(at)}: null is no value of an option.");
            // Written otherwise, the command line would not know them.
            return s_true.Contains(scalar.Value) ? "true"
                : s_false.Contains(scalar.Value) ? "false"
                : scalar.Value;
        }

        private Scalar? Resolve(ParsingEvent at)
        {
            if (at is AnchorAlias alias)
            {
                return _anchors.TryGetValue(alias.Value, out Scalar? named) ? named : null;
            }

            if (at is Scalar { Anchor.IsEmpty: false } anchored)
                _anchors[anchored.Anchor] = anchored;
            return at as Scalar;
        }
    }
}
