using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Prompts;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Tests.Ensemble;
using Xunit;

namespace AfaNative.Tests.Text;

/// <summary>A1111's prompt syntax: weights by hand, chunks by hand.</summary>
public sealed class PromptTests(TinyEnsemble tiny) : IClassFixture<TinyEnsemble>
{
    [Theory]
    [InlineData("a cat", "a cat=1")]
    [InlineData("", "=1")]
    [InlineData("a (red) cat", "a =1|red=1.1| cat=1")]
    [InlineData("a ((red)) cat", "a =1|red=1.21| cat=1")]
    [InlineData("a [red] cat", "a =1|red=0.90909| cat=1")]
    [InlineData("a (red:1.3) cat", "a =1|red=1.3| cat=1")]
    [InlineData("a (red: 0.5 ) cat", "a =1|red=0.5| cat=1")]
    [InlineData("(a (red:2) cat)", "a =1.1|red=2.2| cat=1.1")]
    [InlineData("(a [red] cat)", "a =1.1|red=1| cat=1.1")]
    [InlineData("(red:-0.5)", "red=-0.5")]
    [InlineData("a \\(red\\) cat", "a (red) cat=1")]
    [InlineData("(a \\(b\\):1.5)", "a (b)=1.5")]
    [InlineData("\\\\ and \\[", "\\ and [=1")]
    [InlineData("a (red", "a =1|red=1.1")]
    [InlineData("a [red", "a =1|red=0.90909")]
    [InlineData("a) red]", "a) red]=1")]
    [InlineData("time 12:30", "time 12:30=1")]
    [InlineData("(ratio 1:2)", "ratio 1=2")]
    [InlineData("(a:b)", "a:b=1.1")]
    [InlineData("()", "=1")]
    [InlineData("one BREAK two", "one=1|/|two=1")]
    [InlineData("BREAKFAST", "BREAKFAST=1")]
    [InlineData("(one BREAK two:1.2)", "one=1.2|/|two=1.2")]
    [InlineData("one BREAK BREAK two", "one=1|/|/|two=1")]
    public void Weights_are_what_the_brackets_say(string prompt, string expected) =>
        Assert.Equal(
            expected,
            string.Join(
                '|',
                PromptParser
                    .Parse(prompt)
                    .Select(p => p.Break ? "/" : FormattableString.Invariant($"{p.Text}={Math.Round(p.Weight, 5)}"))
            )
        );

    [Fact]
    public void Long_prompts_fill_chunk_after_chunk()
    {
        using var device = new CpuDevice(1);
        using DiffusionModel model = DiffusionModel.Load(device, tiny.Path);
        ClipTokenizer tokenizer = model.Tokenizer;
        string word = Enumerable.Range('a', 26).Select(c => ((char)c).ToString()).First(w => tokenizer.Tokenize(w).Length == 1);
        int id = tokenizer.Tokenize(word)[0];
        IReadOnlyList<PromptChunk> chunks = PromptChunks.Split(
            tokenizer,
            string.Join(' ', Enumerable.Repeat(word, 200)),
            77,
            PromptSyntax.Weighted
        );
        Assert.Equal([75, 75, 50], chunks.Select(c => c.Ids.Count(i => i == id)));
        foreach (PromptChunk chunk in chunks)
        {
            int count = chunk.Ids.Count(i => i == id);
            Assert.Equal(
                [
                    tokenizer.BosId,
                    .. Enumerable.Repeat(id, count),
                    tokenizer.EosId,
                    .. Enumerable.Repeat(tokenizer.PadId, 75 - count),
                ],
                chunk.Ids
            );
        }

        // The comma at place 60 of 75 is near enough to the end for the chunk to stop there.
        string comma = string.Join(' ', Enumerable.Repeat(word, 60)) + ", " + string.Join(' ', Enumerable.Repeat(word, 40));
        Assert.Equal(
            [60, 40],
            PromptChunks.Split(tokenizer, comma, 77, PromptSyntax.Weighted).Select(c => c.Ids.Count(i => i == id))
        );
        string early = string.Join(' ', Enumerable.Repeat(word, 40)) + ", " + string.Join(' ', Enumerable.Repeat(word, 60));
        Assert.Equal(
            [74, 26],
            PromptChunks.Split(tokenizer, early, 77, PromptSyntax.Weighted).Select(c => c.Ids.Count(i => i == id))
        );
        Assert.Single(PromptChunks.Split(tokenizer, comma, 77, PromptSyntax.Plain));
        Assert.Equal(
            string.Join(' ', Enumerable.Repeat(word, 25)),
            PromptChunks.CutOff(tokenizer, string.Join(' ', Enumerable.Repeat(word, 100)), 77)
        );
        Assert.Null(PromptChunks.CutOff(tokenizer, word, 77));
    }

    [Fact]
    public void Two_hundred_tokens_are_encoded_as_their_chunks_are_by_hand()
    {
        using var device = new CpuDevice(2);
        using DiffusionModel model = DiffusionModel.Load(device, tiny.Path);
        var pipeline = new TextToImagePipeline(model);
        var ops = new Ops(device);
        using TensorScope scope = ops.Scope();
        string prompt =
            string.Join(' ', Enumerable.Range(0, 120).Select(i => $"{(char)('a' + i % 26)}{(char)('a' + i % 7)}"))
            + " (strong:1.4)";
        IReadOnlyList<PromptChunk> chunks = PromptChunks.Split(model.Tokenizer, prompt, 77, PromptSyntax.Weighted);
        Assert.True(chunks.Count >= 2);
        Tensor came = pipeline.EncodePrompts(ops, ["short", prompt], 0, PromptSyntax.Weighted).HiddenStates;
        int width = came.Shape.Channels,
            experts = came.Shape.Experts;
        Assert.Equal((3, 2, 77 * chunks.Count), (experts, came.Shape.Batch, came.Shape.Height));
        float[] all = ops.Download(came);
        for (int c = 0; c < chunks.Count; c++)
        {
            float[] hidden = ops.Download(model.TextEncoder.Encode(ops, chunks[c].Ids, 77));
            for (int e = 0; e < experts; e++)
            {
                Span<float> one = hidden.AsSpan(e * 77 * width, 77 * width);
                double before = 0,
                    after = 0;
                foreach (float v in one)
                    before += v;
                for (int i = 0; i < one.Length; i++)
                {
                    one[i] *= chunks[c].Weights[i / width];
                    after += one[i];
                }

                for (int i = 0; i < one.Length; i++)
                    Assert.Equal(
                        chunks[c].Weights.All(w => w == 1) ? one[i] : one[i] * (float)(before / after),
                        all[((e * 2 + 1) * chunks.Count + c) * 77 * width + i]
                    );
            }
        }

        // The short one goes on with empty chunks.
        float[] empty = ops.Download(model.TextEncoder.Encode(ops, model.Tokenizer.Encode(""), 77));
        Assert.Equal(empty[..(77 * width)], all[(77 * width)..(2 * 77 * width)]);
    }

    [Fact]
    public void Without_weights_and_within_one_chunk_both_syntaxes_draw_the_same_picture()
    {
        using var device = new CpuDevice(2);
        using DiffusionModel model = DiffusionModel.Load(device, tiny.Path);
        float[] Draw(string prompt, PromptSyntax syntax) =>
            new TextToImagePipeline(model).Generate(
                new GenerationOptions
                {
                    Prompt = prompt,
                    Syntax = syntax,
                    Steps = 2,
                    Width = 32,
                    Height = 32,
                    Seeds = [3],
                }
            )[0];
        Assert.Equal(Draw("a red circle", PromptSyntax.Plain), Draw("a red circle", PromptSyntax.Weighted));
        Assert.NotEqual(Draw("a red circle", PromptSyntax.Weighted), Draw("a (red:1.5) circle", PromptSyntax.Weighted));
        Assert.Equal(Draw("a \\(red\\) circle", PromptSyntax.Weighted), Draw("a (red) circle", PromptSyntax.Plain));
    }
}
