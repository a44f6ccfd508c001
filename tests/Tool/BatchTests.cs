using AfaNative.Engine.Core;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Sampling.Samplers;
using AfaNative.Tests.Ensemble;
using Xunit;

namespace AfaNative.Tests.Tool;

/// <summary>Files of prompts, shards of them, and pictures drawn again from what they say about themselves.</summary>
public sealed class BatchTests(TinyEnsemble tiny) : IClassFixture<TinyEnsemble>
{
    private const string Prompts = """
        a red circle
        {"prompt": "a (blue:1.3) star", "seed": 40, "steps": 3, "sampler": "Euler a", "width": 48}

        a green square
        """;

    [Fact]
    public void Shards_together_are_the_whole_and_what_is_there_is_not_drawn_again()
    {
        using var folder = new TemporaryFolder();
        folder.Write("prompts.txt", Prompts);
        string[] common =
        [
            "sample",
            tiny.Path,
            "--prompts",
            folder.File("prompts.txt"),
            "--count",
            "2",
            "--steps",
            "2",
            "--width",
            "32",
            "--height",
            "32",
            "--seed",
            "7",
            "--expert",
            "0",
        ];
        Sample([.. common, "--out", folder.File("whole"), "--batch-size", "2"]);
        string[] expected = ["00001-7.png", "00002-8.png", "00003-40.png", "00004-41.png", "00005-11.png", "00006-12.png"];
        Assert.Equal(expected, Names(folder.File("whole")));
        Assert.Equal(48, PngFile.Read(Path.Combine(folder.File("whole"), "00003-40.png"), out string? text).Width);
        Assert.StartsWith("a (blue:1.3) star\nSteps: 3, Sampler: Euler a, ", text);

        Sample([.. common, "--out", folder.File("parts"), "--shard", "0/2"]);
        Assert.Equal(["00001-7.png", "00003-40.png", "00005-11.png"], Names(folder.File("parts")));
        Sample([.. common, "--out", folder.File("parts"), "--shard", "1/2"]);
        foreach (string name in expected)
            Assert.Equal(
                File.ReadAllBytes(Path.Combine(folder.File("whole"), name)),
                File.ReadAllBytes(Path.Combine(folder.File("parts"), name))
            );

        // As after an interruption: two are missing, one that is there is not touched.
        File.Delete(Path.Combine(folder.File("parts"), "00004-41.png"));
        File.Delete(Path.Combine(folder.File("parts"), "00006-12.png"));
        DateTime kept = File.GetLastWriteTimeUtc(Path.Combine(folder.File("parts"), "00001-7.png"));
        (_, string printed, string error) = Sample([.. common, "--out", folder.File("parts")]);
        Assert.Contains("4 of 6 pictures are there already", error);
        Assert.Equal(2, printed.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length);
        Assert.Equal(kept, File.GetLastWriteTimeUtc(Path.Combine(folder.File("parts"), "00001-7.png")));
        foreach (string name in expected)
            Assert.Equal(
                File.ReadAllBytes(Path.Combine(folder.File("whole"), name)),
                File.ReadAllBytes(Path.Combine(folder.File("parts"), name))
            );

        // What is no picture of this run is none of its business.
        File.WriteAllText(Path.Combine(folder.File("parts"), "00001-7.png"), "kept");
        (int code, _, error) = InProcess.Run([.. common, "--out", folder.File("parts")]);
        Assert.Equal(1, code);
        Assert.Contains("00001-7.png", error);
        Assert.Equal("kept", File.ReadAllText(Path.Combine(folder.File("parts"), "00001-7.png")));
    }

    [Fact]
    public void A_picture_is_drawn_again_from_itself()
    {
        using var folder = new TemporaryFolder();
        Sample(
            "sample",
            tiny.Path,
            "--expert",
            "1",
            "--prompt",
            "a \"red\", (round:1.2) circle",
            "--negative",
            "blue",
            "--steps",
            "3",
            "--sampler",
            "DPM++ 2M SDE Karras",
            "--noise",
            "cpu",
            "--guidance",
            "3.5",
            "--seed",
            "123456789012",
            "--count",
            "1",
            "--width",
            "40",
            "--height",
            "32",
            "--clip-skip",
            "1",
            "--out",
            folder.File("a")
        );
        string first = Directory.GetFiles(folder.File("a")).Single();
        Sample("sample", tiny.Path, "--expert", "1", "--from", first, "--out", folder.File("b"));
        string second = Directory.GetFiles(folder.File("b")).Single();
        Assert.Equal(File.ReadAllBytes(first), File.ReadAllBytes(second));
        Assert.Equal(Path.GetFileName(first), Path.GetFileName(second));
        // What is given as well counts more.
        Sample("sample", tiny.Path, "--expert", "1", "--from", first, "--steps", "2", "--out", folder.File("c"));
        _ = PngFile.Read(Directory.GetFiles(folder.File("c")).Single(), out string? text);
        Assert.Contains("Steps: 2, Sampler: DPM++ 2M SDE Karras, CFG scale: 3.5, Seed: 123456789012", text);
    }

    [Fact]
    public void Fusion_and_experts_of_a_picture_come_back_and_give_way()
    {
        using var folder = new TemporaryFolder();
        Sample(
            "sample",
            tiny.Path,
            "--prompt",
            "a red circle",
            "--steps",
            "2",
            "--seed",
            "3",
            "--count",
            "1",
            "--width",
            "32",
            "--height",
            "32",
            "--experts",
            "0+1",
            "--fusion",
            "average",
            "--out",
            folder.File("a")
        );
        string first = Directory.GetFiles(folder.File("a")).Single();
        Assert.Contains("Fusion: feature mean", Again("b"));
        Assert.Equal(File.ReadAllBytes(first), File.ReadAllBytes(Directory.GetFiles(folder.File("b")).Single()));
        Assert.DoesNotContain("Fusion", Again("c", "--fusion", "afa"));
        Assert.DoesNotContain("Experts", Again("d", "--experts", "all"));
        string alone = Again("e", "--expert", "1");
        Assert.DoesNotContain("Fusion", alone);
        Assert.DoesNotContain("Experts", alone);

        string Again(string name, params string[] more)
        {
            Sample(["sample", tiny.Path, "--from", first, "--out", folder.File(name), .. more]);
            _ = PngFile.Read(Directory.GetFiles(folder.File(name)).Single(), out string? text);
            return text!;
        }
    }

    [Theory]
    [InlineData("{\"prompt\": \"a\", \"colour\": 1}", "line 1: 'colour' is no setting")]
    [InlineData("{\"steps\": 2}", "line 1: it has no 'prompt'")]
    [InlineData("{\"prompt\": ", "line 1: it cannot be read as settings")]
    [InlineData("\n\n", "holds no prompt")]
    public void Lines_that_cannot_be_understood_are_named(string content, string expected)
    {
        using var folder = new TemporaryFolder();
        folder.Write("prompts.txt", content);
        (int code, _, string error) = InProcess.Run("sample", tiny.Path, "--prompts", folder.File("prompts.txt"));
        Assert.NotEqual(0, code);
        Assert.Contains(expected, error);
    }

    [Theory]
    [InlineData("--shard is written i/n", "--prompts", "PROMPTS", "--shard", "2/2")]
    [InlineData("--prompt says what", "--steps", "2")]
    [InlineData("--shard divides", "--prompt", "x", "--shard", "0/2")]
    [InlineData("no sampler 'fast'", "--prompt", "x", "--sampler", "fast")]
    public void Options_that_do_not_fit_are_named(string expected, params string[] arguments)
    {
        using var folder = new TemporaryFolder();
        folder.Write("prompts.txt", Prompts);
        (int code, _, string error) = InProcess.Run([
            "sample",
            tiny.Path,
            .. arguments.Select(a => a == "PROMPTS" ? folder.File("prompts.txt") : a),
        ]);
        Assert.NotEqual(0, code);
        Assert.Contains(expected, error);
    }

    [Fact]
    public void Options_come_from_a_file_too()
    {
        using var folder = new TemporaryFolder();
        folder.Write(
            "options.json",
            $$"""{ "MODEL": {{System.Text.Json.JsonSerializer.Serialize(tiny.Path)}}"""
                + $$""", "prompt": "a red circle", "steps": 2, "width": 32, "height": 32 """
                + $$""", "seed": 3, "count": 1, "expert": 0, "guidance": 2.5, /* half */ """
                + $$""" "out": {{System.Text.Json.JsonSerializer.Serialize(folder.File("out"))}} }"""
        );
        Sample("sample", "--config", folder.File("options.json"), "--seed", "4");
        Assert.Equal(["00001-4.png"], Names(folder.File("out")));
        _ = PngFile.Read(Path.Combine(folder.File("out"), "00001-4.png"), out string? text);
        Assert.Contains("CFG scale: 2.5", text);
        folder.Write("bad.json", """{ "colour": 1 }""");
        (int code, _, string error) = InProcess.Run("sample", tiny.Path, "--prompt", "x", "--config", folder.File("bad.json"));
        Assert.Equal(1, code);
        Assert.Contains("'colour' is no option of sample", error);
    }

    [Fact]
    public void Settings_as_A1111_writes_them_are_read()
    {
        GenerationMetadata m = GenerationMetadata.Parse(
            "masterpiece, (cat:1.2)\non a mat\nNegative prompt: lowres,\nbad\nSteps: 28, Sampler: DPM++ 2M Karras, CFG "
                + "scale: 6.5, Seed: 42, Size: 512x768, Model hash: abc, Model: \"a, b\", Denoising strength: 0.4, Clip "
                + "skip: 2, RNG: CPU, Version: v1.9.4"
        );
        Assert.Equal(
            ("masterpiece, (cat:1.2)\non a mat", "lowres,\nbad", 28, "DPM++ 2M Karras", 6.5, 42ul),
            (m.Prompt, m.NegativePrompt, m.Steps, m.Sampler, m.CfgScale, m.Seed)
        );
        Assert.Equal((512, 768, 1, 0.4, "CPU"), (m.Width, m.Height, m.ClipSkip, m.Strength!.Value, m.Noise));
        Assert.Contains(
            "no line of settings",
            Assert.Throws<AfaNative.Engine.Core.AfaException>(() => GenerationMetadata.Parse("a cat")).Message
        );
        Assert.Contains(
            "no number",
            Assert
                .Throws<AfaNative.Engine.Core.AfaException>(() =>
                    GenerationMetadata.Parse("a\nSteps: many, Seed: 1, CFG scale: 7")
                )
                .Message
        );
    }

    private static (int Code, string Text, string Error) Sample(params string[] arguments)
    {
        (int code, string text, string error) = InProcess.Run(arguments);
        Assert.True(code == 0, error);
        return (code, text, error);
    }

    private static string[] Names(string folder) =>
        [.. Directory.GetFiles(folder).Select(f => Path.GetFileName(f)).Order(StringComparer.Ordinal)];
}
