using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Files;

namespace AfaNative.Engine.Prompts;

/// <summary>
/// A byte-level tokenizer in CLIP's file format that owes nothing to anyone's vocabulary: the 256 bytes, the same with the
/// end-of-word mark, and merges
/// of the letters a to z counted up in order until the wanted size is reached.
/// </summary>
internal static class TokenizerWriter
{
    /// <summary>As many tokens as CLIP's.</summary>
    public const int FullVocabulary = 49408;

    /// <summary>Enough for two-letter merges.</summary>
    public const int TinyVocabulary = 2014;

    private const string EndOfWord = "</w>";

    /// <summary>The configuration's file.</summary>
    private const string ConfigFile = "tokenizer_config.json";

    /// <summary>
    /// Writes the files of a tokenizer of <paramref name="vocabulary"/> tokens for a text encoder of so many
    /// <paramref name="positions"/>.
    /// </summary>
    public static void Write(string folder, int vocabulary, int positions) =>
        Write(folder, Merges().Take(vocabulary - 514), positions);

    /// <summary>
    /// Copies a tokenizer for a text encoder of so many <paramref name="positions"/>: a configuration that states another number
    /// of tokens gets this one.
    /// </summary>
    public static void Copy(string from, string to, int positions)
    {
        WholeFolder.Copy(from, to);
        string path = Path.Combine(from, ConfigFile);
        if (!File.Exists(path))
            return;
        using JsonFile json = JsonFile.Open(path);
        if (
            !json.Has("model_max_length")
            || (
                json.Root.GetProperty("model_max_length") is { ValueKind: JsonValueKind.Number } stated
                && stated.TryGetInt32(out int length)
                && length == positions
            )
        )
            return;
        JsonObject config = JsonObject.Create(json.Root.Clone())!;
        config["model_max_length"] = positions;
        ConfigJson.Save(Path.Combine(to, ConfigFile), config);
    }

    /// <summary>
    /// Writes the files of a tokenizer with these merges, for a text encoder of so many <paramref name="positions"/>; returns the
    /// size of its vocabulary.
    /// </summary>
    public static int Write(string folder, IEnumerable<(string Left, string Right)> pairs, int positions)
    {
        Directory.CreateDirectory(folder);
        List<string> tokens = [.. Bytes(), .. Bytes().Select(b => b + EndOfWord)];
        var merges = new StringBuilder("#version: 0.2\n");
        foreach ((string left, string right) in pairs)
        {
            merges.Append(left).Append(' ').Append(right).Append('\n');
            tokens.Add(left + right);
        }

        tokens.Add("<|startoftext|>");
        tokens.Add("<|endoftext|>");
        var options = new JsonSerializerOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
        WholeFile.WriteText(
            Path.Combine(folder, "vocab.json"),
            JsonSerializer.Serialize(tokens.Select((t, i) => (t, i)).ToDictionary(p => p.t, p => p.i), options)
        );
        WholeFile.WriteText(Path.Combine(folder, "merges.txt"), merges.ToString());
        WholeFile.WriteText(
            Path.Combine(folder, ConfigFile),
            $$"""
            {
              "tokenizer_class": "CLIPTokenizer",
              "model_max_length": {{positions}},
              "do_lower_case": true,
              "bos_token": "<|startoftext|>",
              "eos_token": "<|endoftext|>",
              "unk_token": "<|endoftext|>",
              "pad_token": "<|endoftext|>"
            }

            """
        );
        return tokens.Count;
    }

    // Pairs, triples, then quadruples of letters, each first inside and then at the end of a word.
    private static IEnumerable<(string Left, string Right)> Merges()
    {
        string[] letters = [.. Enumerable.Range('a', 26).Select(c => ((char)c).ToString())];
        string[] pairs = [.. letters.SelectMany(a => letters.Select(b => a + b))];
        foreach (string end in new[] { "", EndOfWord })
        {
            foreach (string a in letters)
            {
                foreach (string b in letters)
                    yield return (a, b + end);
            }
        }

        foreach (string end in new[] { "", EndOfWord })
        {
            foreach (string a in pairs)
            {
                foreach (string b in letters)
                    yield return (a, b + end);
            }
        }

        foreach (string a in pairs)
        {
            foreach (string b in pairs)
                yield return (a, b);
        }
    }

    // Printable characters stand for themselves, the other bytes for characters from U+0100 on: the usual byte-level alphabet.
    private static IEnumerable<string> Bytes()
    {
        int next = 256;
        for (int b = 0; b < 256; b++)
        {
            bool printable = b is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or >= 0xAE;
            yield return ((char)(printable ? b : next++)).ToString();
        }
    }
}
