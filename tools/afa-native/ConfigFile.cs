using System.CommandLine;
using System.Text.Json;
using AfaNative.Engine;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace AfaNative.Tool;

/// <summary><c>--config FILE</c>: options of a command as a JSON object or, in a file named .yaml or .yml, a YAML mapping; what the command line says as well counts more.</summary>
internal static class ConfigFile
{
    // The spellings of YAML 1.2's core schema.
    private static readonly string[] s_true = ["true", "True", "TRUE"], s_false = ["false", "False", "FALSE"], s_null = ["", "~", "null", "Null", "NULL"];

    /// <summary>One option of the file.</summary>
    /// <param name="Name">As it is written there.</param>
    /// <param name="Values">Each as it would be on a command line.</param>
    /// <param name="IsSwitch">It is true or false.</param>
    /// <param name="Where">The file and, where known, the line.</param>
    private sealed record Entry(string Name, string[] Values, bool IsSwitch, string Where);

    /// <summary>The option itself, known to every command.</summary>
    public static Option<string?> Option { get; } = new("--config") { Description = "A JSON object or a YAML mapping (.yaml, .yml) of options, named as on the command line without dashes; options given as well count more.", Recursive = true };

    /// <summary>The arguments with those of the file added.</summary>
    /// <exception cref="AfaException">The file cannot be read, or names what the command does not know.</exception>
    public static string[] Expand(RootCommand root, string[] args)
    {
        ParseResult parsed = root.Parse(args);
        if (parsed.GetValue(Option) is not { } path) return args;
        Command command = parsed.CommandResult.Command;
        var more = new List<string>();
        IReadOnlyList<Entry> entries;
        try
        {
            entries = Path.GetExtension(path).ToLowerInvariant() is ".yaml" or ".yml" ? FromYaml(path) : FromJson(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
        {
            throw new AfaException($"{path}: the options could not be read: {e.Message}", e);
        }

        foreach (Entry entry in entries)
        {
            string name = entry.Name.Replace('_', '-');
            if (command.Arguments.FirstOrDefault(a => a.Name.Equals(name, StringComparison.OrdinalIgnoreCase)) is { } argument)
            {
                if (parsed.GetResult(argument) is not { Tokens.Count: > 0 }) more.AddRange(entry.Values);
                continue;
            }

            Option option = command.Options.FirstOrDefault(o => o.Name == "--" + name || o.Aliases.Contains("--" + name))
                ?? throw new AfaException($"{entry.Where}: '{entry.Name}' is no option of {command.Name}; --help lists them.");
            if (parsed.GetResult(option) is { Implicit: false }) continue;
            if (entry.IsSwitch) more.AddRange([option.Name, entry.Values[0]]);
            else foreach (string value in entry.Values) more.AddRange([option.Name, value]);
        }

        return [.. args, .. more];
    }

    private static IReadOnlyList<Entry> FromJson(string path)
    {
        using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(path), new JsonDocumentOptions { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true });
        if (document.RootElement.ValueKind != JsonValueKind.Object) throw new AfaException($"{path}: a JSON object of options was expected.");
        return
        [
            .. document.RootElement.EnumerateObject().Select(p => new Entry(p.Name,
                p.Value.ValueKind == JsonValueKind.Array ? [.. p.Value.EnumerateArray().Select(Text)] : [Text(p.Value)], p.Value.ValueKind is JsonValueKind.True or JsonValueKind.False, path)),
        ];

        string Text(JsonElement value) => value.ValueKind switch
        {
            JsonValueKind.String => value.GetString()!,
            JsonValueKind.Number => value.GetRawText(),
            JsonValueKind.True => "true",
            JsonValueKind.False => "false",
            _ => throw new AfaException($"{path}: {value.GetRawText()} is no value of an option."),
        };
    }

    private static IReadOnlyList<Entry> FromYaml(string path)
    {
        var stream = new YamlStream();
        try
        {
            using var reader = new StringReader(File.ReadAllText(path));
            stream.Load(reader);
        }
        catch (YamlException e)
        {
            throw new AfaException($"{path}, line {e.Start.Line}: the options could not be read: {e.Message}", e);
        }

        if (stream.Documents.Count != 1 || stream.Documents[0].RootNode is not YamlMappingNode mapping) throw new AfaException($"{path}: a YAML mapping of options was expected.");
        return
        [
            .. mapping.Children.Select(p => new Entry(Text(p.Key), p.Value is YamlSequenceNode many ? [.. many.Children.Select(Text)] : [Text(p.Value)],
                p.Value is YamlScalarNode { Style: ScalarStyle.Plain, Value: { } word } && (s_true.Contains(word) || s_false.Contains(word)), Where(p.Key))),
        ];

        string Where(YamlNode node) => $"{path}, line {node.Start.Line}";

        string Text(YamlNode node)
        {
            if (node is not YamlScalarNode { Value: { } value } scalar) throw new AfaException($"{Where(node)}: a {node.NodeType.ToString().ToLowerInvariant()} is no value of an option.");
            if (scalar.Style != ScalarStyle.Plain) return value;
            if (s_null.Contains(value)) throw new AfaException($"{Where(node)}: null is no value of an option.");
            // Written otherwise, the command line would not know them.
            return s_true.Contains(value) ? "true" : s_false.Contains(value) ? "false" : value;
        }
    }
}
