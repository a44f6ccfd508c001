using System.Globalization;
using System.Text.Json;
using AfaNative.Engine.Core;

namespace AfaNative.Engine.Prompts;

/// <summary>
/// A token that a tokenizer's own files add to its vocabulary, such as <c>&lt;sks&gt;</c>: <c>added_tokens.json</c>, and
/// <c>added_tokens_decoder</c> in <c>tokenizer_config.json</c>.
/// </summary>
/// <param name="Text">As it stands in prompts.</param>
/// <param name="Id">Its row of the text encoder's embedding.</param>
/// <param name="AnyCase">It is looked for after lower-casing (the file's <c>normalized</c>).</param>
/// <param name="Word">It counts as a word of its own alone (the file's <c>single_word</c>).</param>
public sealed record AddedToken(string Text, int Id, bool AnyCase, bool Word)
{
    // Every one is looked for in every prompt.
    private const int Most = 4096;

    /// <summary>The tokens of a folder that its vocabulary does not hold, the longest first.</summary>
    /// <exception cref="CheckpointException">A file is not what it should be.</exception>
    internal static IReadOnlyList<AddedToken> Read(string folder, IReadOnlyDictionary<string, int> vocabulary)
    {
        var found = new Dictionary<string, AddedToken>(StringComparer.Ordinal);
        try
        {
            foreach (AddedToken token in Decoder(Path.Combine(folder, "tokenizer_config.json")))
                found[token.Text] = token;
            // Of a token in both files the one that says more counts.
            foreach (AddedToken token in Plain(Path.Combine(folder, "added_tokens.json")))
                found.TryAdd(token.Text, token);
        }
        catch (InvalidOperationException e)
        {
            throw new CheckpointException($"{folder}: what it says of added tokens holds half a surrogate pair.", e);
        }

        AddedToken[] added = [.. found.Values.Where(t => !vocabulary.ContainsKey(t.Text))];
        if (added.Length > Most)
            throw new CheckpointException($"{folder}: at most {Most} added tokens were expected, but {added.Length} came.");
        return [.. added.OrderByDescending(t => t.Text.Length).ThenBy(t => t.Text, StringComparer.Ordinal)];
    }

    /// <summary>Where it stands in a text next, or -1.</summary>
    internal int In(string text, int from)
    {
        StringComparison comparison = AnyCase ? StringComparison.OrdinalIgnoreCase : StringComparison.Ordinal;
        for (int at = text.IndexOf(Text, from, comparison); at >= 0; at = text.IndexOf(Text, at + 1, comparison))
        {
            int end = at + Text.Length;
            if (!Word || ((at == 0 || !IsWord(text[at - 1])) && (end == text.Length || !IsWord(text[end]))))
                return at;
        }

        return -1;

        static bool IsWord(char c) => char.IsLetterOrDigit(c) || c == '_';
    }

    // {"49408": {"content": "<sks>", "normalized": true, "single_word": false, ...}}
    private static IEnumerable<AddedToken> Decoder(string path)
    {
        if (!File.Exists(path))
            yield break;
        using JsonDocument document = TokenizerFiles.ReadJson(path);
        if (
            document.RootElement.ValueKind != JsonValueKind.Object
            || !document.RootElement.TryGetProperty("added_tokens_decoder", out JsonElement tokens)
            || tokens.ValueKind == JsonValueKind.Null
        )
            yield break;
        if (tokens.ValueKind != JsonValueKind.Object)
            throw Odd(path, "added_tokens_decoder", tokens);
        foreach (JsonProperty entry in tokens.EnumerateObject())
        {
            if (
                !int.TryParse(entry.Name, NumberStyles.None, CultureInfo.InvariantCulture, out int id)
                || entry.Value.ValueKind != JsonValueKind.Object
                || !entry.Value.TryGetProperty("content", out JsonElement content)
                || content.ValueKind != JsonValueKind.String
                || TokenizerFiles.TextOf(content) is not { Length: > 0 } text
            )
                throw Odd(path, "added_tokens_decoder", entry.Value);
            yield return new AddedToken(text, id, Is("normalized", !Is("special", false)), Is("single_word", false));

            bool Is(string flag, bool otherwise) =>
                entry.Value.TryGetProperty(flag, out JsonElement value)
                && value.ValueKind is JsonValueKind.True or JsonValueKind.False
                    ? value.ValueKind == JsonValueKind.True
                    : otherwise;
        }
    }

    // {"<sks>": 49408}
    private static IEnumerable<AddedToken> Plain(string path)
    {
        if (!File.Exists(path))
            yield break;
        using JsonDocument document = TokenizerFiles.ReadJson(path);
        if (document.RootElement.ValueKind != JsonValueKind.Object)
            throw Odd(path, "added tokens", document.RootElement);
        foreach (JsonProperty entry in document.RootElement.EnumerateObject())
        {
            if (
                entry.Value.ValueKind != JsonValueKind.Number
                || !entry.Value.TryGetInt32(out int id)
                || id < 0
                || entry.Name.Length == 0
            )
                throw Odd(path, "added tokens", entry.Value);
            yield return new AddedToken(entry.Name, id, true, false);
        }
    }

    private static CheckpointException Odd(string path, string what, JsonElement came) =>
        new($"Expected {what} as tokens with their ids, but '{path}' gives {TokenizerFiles.Short(came)}.");
}
