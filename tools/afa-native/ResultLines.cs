using System.CommandLine;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace AfaNative.Tool;

/// <summary>
/// What a command has to say on standard output: text for people, or with <c>--json</c> one JSON object a line and nothing else.
/// </summary>
internal sealed class ResultLines(bool json)
{
    // Prompts stay readable: the lines are for programs, not for web pages.
    private static readonly JsonSerializerOptions s_compact = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>The option, for every command that knows it.</summary>
    public static Option<bool> Json { get; } =
        new("--json")
        {
            Description = "Write one JSON object a line on standard output, and nothing else; errors too, as {\"error\": ...}.",
        };

    /// <summary>Results as these arguments ask for.</summary>
    public static ResultLines Of(ParseResult result) => new(result.GetValue(Json));

    /// <summary>A result, in both forms.</summary>
    public void Write(string text, Func<JsonObject> fields)
    {
        if (json)
            WriteObject(fields());
        else
            Terminal.Result(text);
    }

    /// <summary>
    /// A file that comes with the pictures, such as their grid: programs that count pictures do not want it between them.
    /// </summary>
    public void WriteBeside(string path)
    {
        if (json)
            Terminal.Note(path);
        else
            Terminal.Result(path);
    }

    /// <summary>One line.</summary>
    public static void WriteObject(JsonObject fields) => Terminal.Result(fields.ToJsonString(s_compact));
}
