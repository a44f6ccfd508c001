using System.Text.Json;
using AfaNative.Engine.Sampling.Samplers;
using AfaNative.Tests.Ensemble;
using Xunit;

namespace AfaNative.Tests.Tool;

/// <summary>--json: every line of standard output is an object, whatever happens.</summary>
public sealed class JsonLinesTests(TinyEnsemble tiny) : IClassFixture<TinyEnsemble>
{
    [Fact]
    public void Sample_tells_of_every_picture_and_of_nothing_else()
    {
        using var folder = new TemporaryFolder();
        (int code, string text, string error) = InProcess.Run(
            "sample",
            tiny.Path,
            "--prompt",
            "a \"red\" кошка",
            "--steps",
            "2",
            "--count",
            "3",
            "--batch-size",
            "2",
            "--seed",
            "18446744073709551610",
            "--width",
            "40",
            "--height",
            "32",
            "--attention-maps",
            folder.File("maps"),
            "--out",
            folder.File("out"),
            "--json"
        );
        Assert.True(code == 0, error);
        JsonElement[] lines = Lines(text);
        Assert.Equal(
            ["00001-18446744073709551610.png", "00002-18446744073709551611.png", "00003-18446744073709551612.png"],
            lines.Select(l => Path.GetFileName(l.GetProperty("file").GetString()!))
        );
        Assert.Equal(
            [18446744073709551610, 18446744073709551611, 18446744073709551612],
            lines.Select(l => l.GetProperty("seed").GetUInt64())
        );
        Assert.All(
            lines,
            l =>
                Assert.Equal(
                    ("a \"red\" кошка", 40, 32),
                    (l.GetProperty("prompt").GetString(), l.GetProperty("width").GetInt32(), l.GetProperty("height").GetInt32())
                )
        );
        Assert.All(
            lines,
            l => Assert.True(l.GetProperty("seconds").GetDouble() > 0 && File.Exists(l.GetProperty("file").GetString()))
        );
        Assert.Contains("кошка", text);
        Assert.Contains("grid-00001", error);
        Assert.Contains("memory:", error);
    }

    [Fact]
    public void Prompts_of_a_file_are_told_of_with_their_own_settings()
    {
        using var folder = new TemporaryFolder();
        folder.Write("prompts.txt", "a\n{\"prompt\": \"b\", \"seed\": 40, \"width\": 48}\n");
        (int code, string text, string error) = InProcess.Run(
            "sample",
            tiny.Path,
            "--expert",
            "0",
            "--prompts",
            folder.File("prompts.txt"),
            "--count",
            "1",
            "--steps",
            "2",
            "--width",
            "32",
            "--height",
            "32",
            "--out",
            folder.File("out"),
            "--json"
        );
        Assert.True(code == 0, error);
        Assert.Equal(
            [("a", 0, 32), ("b", 40, 48)],
            Lines(text)
                .Select(l =>
                    (l.GetProperty("prompt").GetString()!, l.GetProperty("seed").GetInt32(), l.GetProperty("width").GetInt32())
                )
        );
    }

    [Theory]
    [InlineData("no such file or folder", "sample", "/no/such/model", "--prompt", "x", "--json")]
    [InlineData("--count: expected a whole number from 1 to", "sample", "MODEL", "--prompt", "x", "--count", "0", "--json")]
    [InlineData("--colour", "sample", "MODEL", "--prompt", "x", "--json", "--colour")]
    [InlineData("many", "sample", "MODEL", "--json", "--steps", "many")]
    [InlineData("no such file or folder", "inspect", "/no/such/file", "--json")]
    public void An_error_is_an_object_too(string expected, params string[] arguments)
    {
        (int code, string text, string error) = InProcess.Run([.. arguments.Select(a => a == "MODEL" ? tiny.Path : a)]);
        Assert.Equal(1, code);
        Assert.Contains(expected, Assert.Single(Lines(text)).GetProperty("error").GetString());
        Assert.DoesNotContain("Error", error);
    }

    [Fact]
    public void Samplers_and_inspect_are_told_in_lines()
    {
        JsonElement[] samplers = Lines(InProcess.Run("samplers", "--json").Output);
        Assert.Equal(
            AfaNative.Engine.Sampling.Samplers.SamplerChoice.All.Select(s => (s.Id, s.Name)),
            samplers.Select(l => (l.GetProperty("id").GetString()!, l.GetProperty("name").GetString()!))
        );
        JsonElement[] parts = Lines(InProcess.Run("inspect", tiny.Path, "--json").Output);
        Assert.Equal(
            [
                "U-Net (diffusers names)",
                "U-Net (diffusers names)",
                "U-Net (diffusers names)",
                "CLIP text encoder",
                "CLIP text encoder",
                "CLIP text encoder",
                "VAE",
            ],
            parts[..7].Select(l => l.GetProperty("kind").GetString())
        );
        Assert.Equal(32, parts.Length);
        Assert.All(parts, l => Assert.True(l.GetProperty("parameters").GetInt64() > 0 && !l.TryGetProperty("shapes", out _)));
        JsonElement unet = Assert.Single(
            Lines(InProcess.Run("inspect", Path.Combine(tiny.Path, "unet"), "--json", "--tensors").Output)
        );
        Assert.Equal(unet.GetProperty("tensors").GetInt32(), unet.GetProperty("shapes").EnumerateObject().Count());
    }

    private static JsonElement[] Lines(string text) =>
        [.. text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => JsonDocument.Parse(l).RootElement)];
}
