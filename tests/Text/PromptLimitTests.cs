using System.Text.Json;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Prompts;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Tests.Ensemble;
using Xunit;

namespace AfaNative.Tests.Text;

/// <summary>Prompts of any length and depth: read in time that grows with their length, or refused in a sentence.</summary>
public sealed class PromptLimitTests(TinyEnsemble tiny) : IClassFixture<TinyEnsemble>
{
    private const int Most = PromptParser.MostCharacters;

    [Theory]
    [InlineData("(:")]
    [InlineData("a:1 ")]
    [InlineData("(a:1")]
    [InlineData("\\(")]
    [InlineData("(a)(b:2)[c]")]
    [InlineData("BREAK")]
    [InlineData("<lora:")]
    [InlineData("<")]
    [InlineData("(:1111")]
    [InlineData("( : 1 ")]
    [InlineData("])")]
    public void Long_texts_are_read_or_refused(string part)
    {
        string text = string.Concat(Enumerable.Repeat(part, Most / part.Length));
        foreach (string one in (string[])[text, "(" + text[..(Most / 2)], "[" + text[..(Most / 2)]])
        {
            try
            {
                Assert.All(PromptParser.Parse(one), p => Assert.True(double.IsFinite(p.Weight)));
            }
            catch (AfaException e)
            {
                Assert.Contains("brackets", e.Message);
            }

            PromptNotes.Of([(one, false)], PromptSyntax.Weighted);
            PromptNotes.Of([(one, false)], PromptSyntax.Plain);
            PromptLora.Remove(one);
        }
    }

    [Fact]
    public void Brackets_and_weights_without_end_are_refused()
    {
        Assert.Contains("nest more than 250 deep", Refused(new string('(', 8000) + "a"));
        Assert.Contains("nest more than 250 deep", Refused(new string('[', 8000) + "a"));
        Assert.Contains("weighs 'a' by 2219", Refused(new string('(', 105) + "a" + new string(')', 105)));
        Assert.Contains("is no number, or far too large", Refused($"(a:{new string('9', 400)})"));
        Assert.Contains("'1.2.3' is no number", Refused("(a:1.2.3)"));
        Assert.Contains("weighs 'a' by -20000", Refused("((a:-200):100)"));
        // Deep, but they cancel each other out.
        Assert.Equal(1, PromptParser.Parse(string.Concat(Enumerable.Repeat("([", 60)) + "a").Single().Weight, 9);
        foreach (string words in (string[])["(a:nan)", "(a:1e999)", "(a:1,5)", "(a:inf)", "(a:...)", "(a:1e5)"])
        {
            PromptPart part = PromptParser.Parse(words).Single();
            Assert.Equal((words[1..^1], 1.1), (part.Text, part.Weight));
        }

        Assert.Contains("has 65537 characters; 65536 is the most", Refused(new string('a', Most + 1)));

        static string Refused(string prompt) => Assert.Throws<AfaException>(() => PromptParser.Parse(prompt)).Message;
    }

    [Fact]
    public void Chunks_words_and_names_are_bounded()
    {
        using var device = new CpuDevice(1);
        using DiffusionModel model = DiffusionModel.Load(device, tiny.Path);
        ClipTokenizer tokenizer = model.Tokenizer;
        string letter = Enumerable.Range('a', 26).Select(c => ((char)c).ToString()).First(w => tokenizer.Tokenize(w).Length == 1),
            words = string.Join(' ', Enumerable.Repeat(letter, Most / 2));
        Assert.Contains(
            "more than 64 chunks of 75 tokens",
            Assert.Throws<AfaException>(() => PromptChunks.Split(tokenizer, words, 77, PromptSyntax.Weighted)).Message
        );
        Assert.Single(PromptChunks.Split(tokenizer, words, 77, PromptSyntax.Plain));
        Assert.Contains(
            "65536 is the most",
            Assert
                .Throws<AfaException>(() => PromptChunks.Split(tokenizer, new string('a', 1 << 20), 77, PromptSyntax.Plain))
                .Message
        );
        Assert.Equal(Most / 2 - 75, PromptChunks.CutOff(tokenizer, words, 77)!.Split(' ').Length);
        string word = new('a', Most);
        Assert.Equal(word, PromptChunks.CutOff(tokenizer, word, 77));
        Assert.Equal(
            2000,
            tokenizer.Tokenize(string.Concat(Enumerable.Repeat("<|endoftext|>", 2000))).Count(i => i == tokenizer.EosId)
        );
        // Half a character counts as the replacement character.
        Assert.Equal(tokenizer.Tokenize("a \uFFFD b"), tokenizer.Tokenize("a \uD83D b"));
        Assert.Equal(tokenizer.Tokenize("a \uFFFD\uFFFD"), tokenizer.Tokenize("a \uDC00\uD800"));
    }

    [Fact]
    public void Many_embeddings_are_found_by_their_first_letter()
    {
        using var folder = new TemporaryFolder();
        string file = folder.File("x.safetensors");
        SafetensorsWriter.Write(file, [TensorEntry.FromFloat32("emb_params", [1, 4], new float[4])]);
        EmbeddingRequest[] all =
        [
            new(file, "Sun"),
            new(file, "sun-set"),
            new(file, "'odd'"),
            new(file, ""),
            .. Enumerable.Range(0, 500).Select(i => new EmbeddingRequest(file, $"a{i}")),
        ];
        EmbeddingSet set = EmbeddingSet.Load(all, 4, 75);
        Assert.Equal(
            ["sun-set", "Sun", "'odd'", "a7"],
            set.UsedBy(PromptSyntax.Weighted, "SUN-SET, sun 'ODD' sunny a7").Select(e => e.Name)
        );
        Assert.Empty(set.UsedBy(PromptSyntax.Plain, string.Concat(Enumerable.Repeat("a6x", Most / 3))));
    }

    [Fact]
    public void A1111s_weights_are_read_as_it_reads_them()
    {
        if (SharedFiles.More("prompts", "attention", "case.json") is not { } path)
        {
            Assert.Skip("The further golden files are not here.");
            return;
        }

        using var document = JsonDocument.Parse(File.ReadAllBytes(path));
        var wrong = new List<string>();
        foreach (JsonElement row in document.RootElement.GetProperty("rows").EnumerateArray())
        {
            string text = row.GetProperty("text").GetString()!;
            // Tags are taken out before, there as here.
            if (text.Contains("<lora", StringComparison.Ordinal))
                continue;
            if (row.TryGetProperty("error", out _))
            {
                // What is only points is no number to begin with.
                if (text.Any(char.IsAsciiDigit))
                    Assert.Throws<AfaException>(() => PromptParser.Parse(text));
                continue;
            }

            string came = string.Join(
                '|',
                PromptParser.Parse(text).Select(p => p.Break ? "/" : FormattableString.Invariant($"{p.Text}={p.Weight:R}"))
            );
            // A break weighs nothing, whatever its brackets say; what is empty beside one is left out.
            var parts = row.GetProperty("parts")
                .EnumerateArray()
                .Select(p => (Text: p[0].GetString()!, Weight: p[1].GetDouble()))
                .ToList();
            if (parts.Count > 1)
                parts.RemoveAll(p => p.Text.Length == 0);
            string expected = string.Join(
                '|',
                parts.Select(p =>
                    p is { Text: "BREAK", Weight: < 0 } ? "/" : FormattableString.Invariant($"{p.Text}={p.Weight:R}")
                )
            );
            if (came != expected)
                wrong.Add($"{text}: {came} instead of {expected}");
        }

        Assert.True(wrong.Count == 0, string.Join('\n', wrong));
    }

    [Theory]
    [InlineData(
        "a [cat:dog:0.5], [x:3]",
        false,
        "prompt editing is not supported yet: '[cat:dog:0.5]', '[x:3]' is taken as words"
    )]
    [InlineData(
        "[a::.25] [b|c]",
        false,
        "prompt editing is not supported yet: '[a::.25]' is taken as words",
        "alternating words are not supported yet: '[b|c]' is taken as words"
    )]
    [InlineData("cow AND moon", false, "AND does not join prompts yet: in 'cow AND moon' it is taken as a word")]
    [InlineData("cow AND moon", true)]
    [InlineData("SAND ANDROID", false)]
    [InlineData(
        "a <hypernet:h:0.3> <lyco:x:1> <lora:y:1>",
        false,
        "only <lora:...> is a tag here: '<hypernet:h:0.3>', '<lyco:x:1>' is taken as words"
    )]
    [InlineData("a # comment\nb", false, "comments are not left out of prompts: '# comment' is taken as words")]
    [InlineData(
        "{red|blue} __hair__",
        false,
        "dynamic prompts are not supported yet: '{red|blue}', '__hair__' is taken as words"
    )]
    [InlineData("(a:1.2) [b] \\(c\\) \\[d:1\\] {e} <cat-toy> snake_case [x:y]", false)]
    public void What_is_not_supported_yet_is_named(string prompt, bool negative, params string[] expected) =>
        Assert.Equal(expected, PromptNotes.Of([(prompt, negative), (prompt, negative)], PromptSyntax.Weighted));

    [Fact]
    public void Plain_prompts_are_words_and_it_is_said()
    {
        Assert.Equal(
            [
                "`prompt-syntax` plain takes everything as words, tags too: '<lora:x:1>' does nothing else",
                "`prompt-syntax` plain takes everything as words: the backslash in '\\(' is part of the text",
                "`prompt-syntax` plain takes everything as words: '(a:1.2)' is no weight",
            ],
            PromptNotes.Of([("<lora:x:1> \\(b\\) (a:1.2) (c) [d:e:5]", false)], PromptSyntax.Plain)
        );
        Assert.Equal(
            "prompt editing is not supported yet: '[0:1]', '[1:1]', '[2:1]' and 7 more is taken as words",
            PromptNotes.Of(Enumerable.Range(0, 10).Select(i => ($"[{i}:1]", false)), PromptSyntax.Weighted).Single()
        );
    }
}
