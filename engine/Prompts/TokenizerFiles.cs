using System.Text;
using System.Text.Json;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;

namespace AfaNative.Engine.Prompts;

/// <summary>Reads the small text files of a tokenizer folder, with one clear sentence for each way that can fail.</summary>
internal static class TokenizerFiles
{
    private const long Limit = 64 << 20;

    internal static string ReadText(string path)
    {
        try
        {
            if (RegularFile.Kind(path) == FileKind.Missing)
                throw new FileNotFoundException(null, path);
            return new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(
                RegularFile.ReadAllBytes(path, "a tokenizer file", Limit)
            );
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new CheckpointException($"Expected the tokenizer file '{path}', but there is none.", e);
        }
        catch (DecoderFallbackException e)
        {
            throw new CheckpointException($"Expected UTF-8 text, but '{path}' holds bytes that are not.", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"Expected a readable tokenizer file, but '{path}' cannot be read: {e.Message}", e);
        }
    }

    internal static JsonDocument ReadJson(string path)
    {
        string text = ReadText(path);
        try
        {
            var document = JsonDocument.Parse(text, new JsonDocumentOptions { MaxDepth = 16 });
            if (document.RootElement.ValueKind == JsonValueKind.Object)
            {
                // A name that is half a surrogate pair shows itself only when it is read.
                foreach (JsonProperty property in document.RootElement.EnumerateObject())
                    _ = property.Name;
            }

            return document;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new CheckpointException($"Expected JSON, but '{path}' is not: {e.Message}", e);
        }
    }

    /// <summary>A text, or null where it holds half a surrogate pair.</summary>
    internal static string? TextOf(JsonElement element)
    {
        try
        {
            return element.GetString();
        }
        catch (InvalidOperationException)
        {
            // The caller says what was expected.
            return null;
        }
    }

    internal static string Name(JsonElement element) =>
        element.ValueKind switch
        {
            JsonValueKind.Object => "an object",
            JsonValueKind.Array => "an array",
            JsonValueKind.String => "a string",
            JsonValueKind.Number => "a number",
            _ => element.ValueKind.ToString().ToLowerInvariant(),
        };

    internal static string Short(JsonElement element)
    {
        string raw = element.GetRawText();
        return raw.Length <= 40 ? raw : raw[..40] + "...";
    }
}

/// <summary>What a tokenizer folder says its special tokens are.</summary>
internal sealed class SpecialTokenNames
{
    // The order in which they count.
    private readonly List<Dictionary<string, string>> _sources = [];

    internal static SpecialTokenNames Read(string folder)
    {
        var names = new SpecialTokenNames();
        Dictionary<string, string> config = ReadOne(System.IO.Path.Combine(folder, "tokenizer_config.json"), out bool complete);
        Dictionary<string, string> map = ReadOne(System.IO.Path.Combine(folder, "special_tokens_map.json"), out _);
        // Older folders put corrections into the map (SD 2.x pads with "!" this way); newer ones make the configuration complete.
        names._sources.AddRange(complete ? [config, map] : [map, config]);
        return names;
    }

    internal string? Find(string role)
    {
        foreach (Dictionary<string, string> source in _sources)
        {
            if (source.TryGetValue(role, out string? token))
                return token;
        }

        return null;
    }

    private static Dictionary<string, string> ReadOne(string path, out bool complete)
    {
        var tokens = new Dictionary<string, string>(StringComparer.Ordinal);
        complete = false;
        if (!File.Exists(path))
            return tokens;
        using JsonDocument document = TokenizerFiles.ReadJson(path);
        if (document.RootElement.ValueKind != JsonValueKind.Object)
            throw new CheckpointException(
                $"Expected a JSON object, but '{path}' holds {TokenizerFiles.Name(document.RootElement)}."
            );
        foreach (JsonProperty property in document.RootElement.EnumerateObject())
        {
            if (property.NameEquals("added_tokens_decoder"))
                complete = true;
            if (
                property.Name is not ("bos_token" or "eos_token" or "pad_token")
                || property.Value.ValueKind == JsonValueKind.Null
            )
                continue;
            JsonElement value = property.Value;
            if (value.ValueKind == JsonValueKind.Object && value.TryGetProperty("content", out JsonElement content))
                value = content;
            string? token = value.ValueKind == JsonValueKind.String ? TokenizerFiles.TextOf(value) : null;
            if (string.IsNullOrEmpty(token))
                throw new CheckpointException(
                    $"Expected a token's text as {property.Name}, but '{path}' gives {TokenizerFiles.Short(property.Value)}."
                );
            tokens[property.Name] = token;
        }

        return tokens;
    }
}
