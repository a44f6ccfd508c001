using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using AfaNative.Engine;

namespace AfaNative.Tool;

/// <summary><c>--config FILE</c>: options of a command as a JSON object; what the command line says as well counts more.</summary>
internal static class ConfigFile
{
    /// <summary>The option itself, known to every command.</summary>
    public static Option<string?> Option { get; } = new("--config") { Description = "A JSON object of options, named as on the command line without dashes; options given as well count more.", Recursive = true };

    /// <summary>The arguments with those of the file added.</summary>
    /// <exception cref="AfaException">The file cannot be read, or names what the command does not know.</exception>
    public static string[] Expand(RootCommand root, string[] args)
    {
        ParseResult parsed = root.Parse(args);
        if (parsed.GetValue(Option) is not { } path) return args;
        Command command = parsed.CommandResult.Command;
        var more = new List<string>();
        try
        {
            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(path), new JsonDocumentOptions { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true });
            if (document.RootElement.ValueKind != JsonValueKind.Object) throw new AfaException($"{path}: a JSON object of options was expected.");
            foreach (JsonProperty p in document.RootElement.EnumerateObject())
            {
                string name = p.Name.Replace('_', '-');
                string[] values = p.Value.ValueKind == JsonValueKind.Array ? [.. p.Value.EnumerateArray().Select(Text)] : [Text(p.Value)];
                if (command.Arguments.FirstOrDefault(a => a.Name.Equals(name, StringComparison.OrdinalIgnoreCase)) is { } argument)
                {
                    if (parsed.GetResult(argument) is not { Tokens.Count: > 0 }) more.AddRange(values);
                    continue;
                }

                Option option = command.Options.FirstOrDefault(o => o.Name == "--" + name || o.Aliases.Contains("--" + name))
                    ?? throw new AfaException($"{path}: '{p.Name}' is no option of {command.Name}; --help lists them.");
                if (parsed.GetResult(option) is { Implicit: false }) continue;
                if (p.Value.ValueKind is JsonValueKind.True or JsonValueKind.False) more.AddRange([option.Name, values[0]]);
                else foreach (string value in values) more.AddRange([option.Name, value]);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
        {
            throw new AfaException($"{path}: the options could not be read: {e.Message}", e);
        }

        return [.. args, .. more];

        string Text(JsonElement value) => value.ValueKind switch
        {
            JsonValueKind.String => value.GetString()!,
            JsonValueKind.Number => value.GetRawText(),
            JsonValueKind.True => "true",
            JsonValueKind.False => "false",
            _ => throw new AfaException(string.Create(CultureInfo.InvariantCulture, $"{path}: {value.GetRawText()} is no value of an option.")),
        };
    }
}
