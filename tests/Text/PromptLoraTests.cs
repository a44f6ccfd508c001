using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Prompts;
using AfaNative.Tests.Ensemble;
using AfaNative.Tests.Tool;
using Xunit;

namespace AfaNative.Tests.Text;

/// <summary>LoRAs that prompts ask for: what is read, what is left, and the pictures against those of <c>--lora</c>.</summary>
public sealed class PromptLoraTests(TinyEnsemble tiny) : IClassFixture<TinyEnsemble>, IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("a cat", "a cat", "")]
    [InlineData("a <lora:ink:0.8> cat", "a  cat", "<lora:ink:0.8>")]
    [InlineData("<lora:ink>", "", "<lora:ink:1>")]
    [InlineData("a<LoRA:ink:-0.5>", "a", "<lora:ink:-0.5>")]
    [InlineData("<lora:ink:.5@1><lora:my style v2@0>", "", "<lora:ink:0.5@1> <lora:my style v2:1@0>")]
    [InlineData("<lora:a:1> x <lora:b:2> y <lora:a:0.5>", " x  y ", "<lora:a:1.5> <lora:b:2>")]
    [InlineData("<lora:a:1> <lora:a:1@0>", " ", "<lora:a:1> <lora:a:1@0>")]
    [InlineData("<lora:name@home:1e-1>", "", "<lora:name@home:0.1>")]
    [InlineData("<lora:open", "<lora:open", "")]
    [InlineData("<lora:> <cat-toy>", "<lora:> <cat-toy>", "")]
    public void Tags_are_read_and_left_out(string prompt, string rest, string expected)
    {
        Assert.Equal(rest, PromptLora.Remove(prompt));
        Assert.Equal(expected, string.Join(' ', PromptLora.In(prompt)));
    }

    [Theory]
    [InlineData("<lora:ink:much>", "'much' is no number")]
    [InlineData("<lora:ink:NaN>", "is no number")]
    [InlineData("<lora:ink:0.8:0.6>", "but 2 came")]
    [InlineData("<lora::1>", "name is empty")]
    public void Tags_in_another_form_are_named(string prompt, string expected) =>
        Assert.Contains(expected, Assert.Throws<AfaException>(() => PromptLora.In(prompt)).Message);

    [Fact]
    public void What_is_left_is_weighed_as_ever()
    {
        Assert.Equal([new PromptPart("a red cat", 1.3)], PromptParser.Parse("(a red<lora:x:0.8> cat:1.3)"));
        Assert.Equal([new PromptPart("", 1)], PromptParser.Parse("<lora:x:0.8>"));
    }

    [Fact]
    public void Files_are_found_by_name_and_weights_add_up()
    {
        string ink = Write("loras/ink"),
            face = Write("loras/people/Face"),
            given = Path.Combine(_folder.Path, "loras", "..", "loras", "ink.safetensors");
        string folder = _folder.File("loras");
        Assert.Equal(
            [new LoraRequest(ink, 0.8), new LoraRequest(face, 1, 1)],
            LoraFolder.Collect([], ["<lora:ink:0.8> <lora:face@1>", "other <lora:face:1@1><lora:ink:0.8>"], folder)
        );
        Assert.Equal(
            [new LoraRequest(given, 0.75), new LoraRequest(ink, 2, 0)],
            LoraFolder.Collect([new(given, 0.5)], ["<lora:ink:0.25> <lora:ink:2@0>"], folder)
        );
        Assert.Empty(LoraFolder.Collect([], ["a cat"], null));
        void Refused(string expected, string? where, params string[] prompts) =>
            Assert.Contains(expected, Assert.Throws<AfaException>(() => LoraFolder.Collect([], prompts, where)).Message);
        Refused("`lora-dir` says", null, "<lora:ink:1>");
        Refused("no such folder", _folder.File("nowhere"), "<lora:ink:1>");
        Refused("it holds ink, Face", folder, "<lora:pen:1>");
        Refused(
            "'a <lora:ink:1>' asks for <lora:ink:1>, 'a <lora:ink:2>' for <lora:ink:2>",
            folder,
            "a <lora:ink:1>",
            "a <lora:ink:2>"
        );
        Refused("for none", folder, "<lora:ink:1>", "a cat");
        Write("loras/people/ink");
        Refused("there are 2 of that name", folder, "<lora:ink:1>");
    }

    [Fact]
    public void Pictures_are_those_of_the_option()
    {
        string ink = Write("loras/ink");
        byte[] plain = Draw("plain", "a red circle"),
            option = Draw("option", "a red circle", "--lora", ink + ":0.8@1"),
            asked = Draw("asked", "a red <lora:ink:0.5@1>circle", "--lora-dir", _folder.File("loras"), "--lora", ink + ":0.3@1");
        Assert.NotEqual(plain, option);
        Assert.Equal(option, asked);
        // The picture keeps the prompt as it was written, so it can be drawn again.
        string file = Path.Combine(_folder.File("asked"), "00001-2.png");
        _ = PngFile.Read(file, out string? text);
        Assert.StartsWith("a red <lora:ink:0.5@1>circle\nSteps", text);
        Assert.Equal(option, Draw("again", null, "--from", file, "--lora-dir", _folder.File("loras"), "--lora", ink + ":0.3@1"));
        // Plain prompts are taken as they stand.
        Assert.NotEqual(option, Draw("verbatim", "a red <lora:ink:0.8@1>circle", "--prompt-syntax", "plain"));
        Assert.Contains(
            "does nothing in a negative prompt",
            InProcess
                .Run(
                    "sample",
                    tiny.Path,
                    "--prompt",
                    "a",
                    "--negative",
                    "<lora:ink:1>",
                    "--steps",
                    "1",
                    "--width",
                    "32",
                    "--height",
                    "32",
                    "--count",
                    "1",
                    "--out",
                    _folder.File("negative")
                )
                .Error
        );
    }

    [Fact]
    public void A_file_of_prompts_has_one_set()
    {
        Write("loras/ink");
        _folder.Write("prompts.txt", "a red circle <lora:ink:1>\na blue star");
        string[] arguments =
        [
            "sample",
            tiny.Path,
            "--prompts",
            _folder.File("prompts.txt"),
            "--lora-dir",
            _folder.File("loras"),
            "--count",
            "1",
            "--steps",
            "1",
            "--width",
            "32",
            "--height",
            "32",
            "--out",
            _folder.File("out"),
        ];
        (int code, _, string error) = InProcess.Run(arguments);
        Assert.NotEqual(0, code);
        Assert.Contains(
            "all prompts of a run must ask for the same",
            string.Join(' ', error.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries))
        );
        // Apart they can be drawn.
        (code, _, error) = InProcess.Run([.. arguments, "--shard", "0/2"]);
        Assert.True(code == 0, error);
    }

    private byte[] Draw(string output, string? prompt, params string[] more)
    {
        (int code, _, string error) = InProcess.Run([
            "sample",
            tiny.Path,
            .. prompt is null
                ? Array.Empty<string>()
                : ["--prompt", prompt, "--steps", "2", "--width", "32", "--height", "32", "--seed", "2"],
            "--count",
            "1",
            "--out",
            _folder.File(output),
            .. more,
        ]);
        Assert.True(code == 0, error);
        return PngFile.Read(Path.Combine(_folder.File(output), "00001-2.png"), out _).Pixels;
    }

    private string Write(string name)
    {
        var random = new System.Random(4);
        TensorEntry Matrix(string tensor, params long[] shape) =>
            TensorEntry.FromFloat32(
                tensor,
                shape,
                [.. Enumerable.Range(0, (int)shape.Aggregate(1L, (a, b) => a * b)).Select(_ => random.NextSingle() - 0.5f)]
            );
        string path = Path.GetFullPath(_folder.File(name + ".safetensors"));
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        SafetensorsWriter.Write(
            path,
            [
                Matrix("lora_unet_conv_in.lora_down.weight", 2, 4, 3, 3),
                Matrix("lora_unet_conv_in.lora_up.weight", 32, 2, 1, 1),
                Matrix("lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight", 2, 32),
                Matrix("lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight", 32, 2),
            ]
        );
        return path;
    }
}
