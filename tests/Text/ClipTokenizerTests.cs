using System.Text.Json;
using AfaNative.Engine.Core;
using AfaNative.Engine.Prompts;
using Xunit;

namespace AfaNative.Tests.Text;

public class ClipTokenizerTests
{
    private static readonly Lazy<ClipTokenizer> Full = new(() => ClipTokenizer.Load(Path.Combine(Folder(), "vocab_full")));

    [Fact]
    public void Agrees_with_every_golden_case()
    {
        using var cases = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(Folder(), "cases.json")));
        ClipTokenizer tokenizer = Full.Value;
        var wrong = new List<string>();
        int agreed = 0;
        foreach (JsonElement one in cases.RootElement.EnumerateArray())
        {
            string text = one.GetProperty("text").GetString()!;
            bool agree = one.GetProperty("all_agree").GetBoolean();
            JsonElement ids = agree ? one.GetProperty("ids") : one.GetProperty("variants").GetProperty("hf_fast_rust");
            JsonElement padded = agree ? one.GetProperty("ids77") : one.GetProperty("variants77").GetProperty("hf_fast_rust");
            int[] expected = [.. ids.EnumerateArray().Select(e => e.GetInt32())];
            int[] expected77 = [.. padded.EnumerateArray().Select(e => e.GetInt32())];
            int[] came = tokenizer.Tokenize(text);
            if (!came.SequenceEqual(expected) || !tokenizer.Encode(text).SequenceEqual(expected77))
                wrong.Add(
                    $"{(agree ? "all" : "fast")} {JsonSerializer.Serialize(text)}: [{string.Join(',', expected)}] "
                        + $"[{string.Join(',', came)}]"
                );
            agreed += agree ? 1 : 0;
        }

        Assert.True(wrong.Count == 0, string.Join('\n', wrong));
        Assert.True(agreed > 100);
    }

    [Theory]
    [InlineData("a")]
    [InlineData("the")]
    [InlineData("!")]
    [InlineData("\u00e9\u0301")]
    [InlineData("\U0001F408")]
    [InlineData("x ")]
    public void Long_words_come_to_an_end(string part)
    {
        string text = string.Concat(Enumerable.Repeat(part, (1 << 16) / part.Length));
        int[] whole = Full.Value.Tokenize(text);
        Assert.InRange(whole.Length, 1, 2 * text.Length);
        Assert.Equal(whole[..75], Full.Value.Encode(text)[1..76]);
    }

    [Fact]
    public void Knows_its_special_tokens()
    {
        ClipTokenizer tokenizer = Full.Value;
        Assert.Equal((49406, 49407, 49407, 49408), (tokenizer.BosId, tokenizer.EosId, tokenizer.PadId, tokenizer.VocabularySize));
        Assert.Equal([49406, 49407, 49407], tokenizer.Encode("", 3));
    }

    [Fact]
    public void Map_of_special_tokens_overrules_an_older_configuration()
    {
        using var folder = new TemporaryFolder();
        WriteSmall(folder);
        folder.Write("tokenizer_config.json", """{"pad_token":"<|endoftext|>"}""");
        folder.Write("special_tokens_map.json", """{"pad_token":{"content":"!","lstrip":false}}""");
        ClipTokenizer tokenizer = ClipTokenizer.Load(folder.Path);
        Assert.Equal(0, tokenizer.PadId);
        Assert.Equal([5, 4, 6, 0], tokenizer.Encode("AB", 4));
    }

    [Theory]
    [InlineData("vocab.json", "[1]", "object")]
    [InlineData("vocab.json", "{", "JSON")]
    [InlineData("vocab.json", """{"a":-1}""", "'a'")]
    [InlineData("vocab.json", """{"a":1,"a":2}""", "again")]
    [InlineData("vocab.json", """{"a":1}""", "<|startoftext|>")]
    [InlineData("vocab.json", null, "none")]
    [InlineData("merges.txt", "#version\na b c", "line 2")]
    [InlineData("merges.txt", "#version\nq z", "fit")]
    [InlineData("tokenizer_config.json", """{"pad_token":3}""", "pad_token")]
    [InlineData("special_tokens_map.json", """{"pad_token":"nowhere"}""", "nowhere")]
    public void Refuses_with_one_sentence(string file, string? content, string expected)
    {
        using var folder = new TemporaryFolder();
        WriteSmall(folder);
        if (content is null)
            File.Delete(Path.Combine(folder.Path, file));
        else
            folder.Write(file, content);
        var error = Assert.Throws<CheckpointException>(() => ClipTokenizer.Load(folder.Path));
        Assert.Contains(expected, error.Message);
        Assert.Contains(folder.Path, error.Message);
    }

    [Theory]
    [InlineData("cafe\u0301", "caf\u00e9")]
    [InlineData("a\u0323\u0302 a\u0302\u0323", "\u1ead \u1ead")]
    [InlineData("\u1100\u1161\u11a8 \uac01", "\uac01 \uac01")]
    [InlineData("\u212b \u0958 \uf900", "\u00e5 \u0915\u093c \u8c48")]
    [InlineData("\u0130 \ud801\udc00", "i\u0307 \ud801\udc28")]
    [InlineData("a\t\u3000\nb", "a b")]
    public void Normalises(string text, string expected) => Assert.Equal(expected, ClipTokenizer.Normalize(text));

    private static void WriteSmall(TemporaryFolder folder)
    {
        folder.Write("vocab.json", """{"!":0,"a":1,"b":2,"b</w>":3,"ab</w>":4,"<|startoftext|>":5,"<|endoftext|>":6}""");
        folder.Write("merges.txt", "#version: 0.2\na b</w>\n");
    }

    private static string Folder()
    {
        string? goldens = SharedFiles.Goldens();
        if (goldens is null)
            Assert.Skip("The golden files are not here; set AFA_SHARED to the folder that contains goldens/.");
        return Path.Combine(goldens, "public", "tokenizer");
    }
}
