using System.CommandLine;
using AfaNative.Engine.Core;
using AfaNative.Tool;
using Xunit;

namespace AfaNative.Tests.Tool;

/// <summary>--config in YAML and JSON: the same options come out, and mistakes are named with file and line.</summary>
public sealed class ConfigFileTests
{
    private static readonly RootCommand s_root = Root();

    [Fact]
    public void Yaml_says_what_json_says()
    {
        using var folder = new TemporaryFolder();
        folder.Write(
            "o.json",
            """{ "MODEL": "m o", "prompt": "a: \"cat\" # not a comment", "steps": 20, "clip_skip": 1"""
                + """, "guidance": 7.50, "lora": ["a.safetensors:0.5", "b"], "flag": true, "other": false }"""
        );
        folder.Write(
            "o.yaml",
            """
            # How the pictures are drawn.
            MODEL: m o
            prompt: 'a: "cat" # not a comment'
            steps: &n 20
            clip_skip: 1
            guidance: 7.50      # stays as it is written
            lora:
              - a.safetensors:0.5
              - b
            flag: True
            other: false
            """
        );
        folder.Write(
            "o.yml",
            """{ MODEL: m o, prompt: "a: \"cat\" # not a comment", steps: 20, clip-skip: 1, guidance: 7.50"""
                + """, lora: [a.safetensors:0.5, b], flag: true, other: FALSE }"""
        );
        string[] expected =
        [
            "draw",
            "--config",
            "FILE",
            "m o",
            "--prompt",
            "a: \"cat\" # not a comment",
            "--steps",
            "20",
            "--clip-skip",
            "1",
            "--guidance",
            "7.50",
            "--lora",
            "a.safetensors:0.5",
            "--lora",
            "b",
            "--flag",
            "true",
            "--other",
            "false",
        ];
        foreach (string name in new[] { "o.json", "o.yaml", "o.yml" })
        {
            string[] got = ConfigFile.Expand(s_root, ["draw", "--config", folder.File(name)]);
            Assert.Equal(expected, got.Select(a => a == folder.File(name) ? "FILE" : a));
            Assert.Empty(s_root.Parse(got).Errors);
            // What the command line says counts more.
            Assert.DoesNotContain("20", ConfigFile.Expand(s_root, ["draw", "--steps", "5", "--config", folder.File(name)]));
        }
    }

    [Fact]
    public void Texts_of_several_lines_and_quoted_words_stay_texts()
    {
        using var folder = new TemporaryFolder();
        folder.Write("o.yaml", "prompt: >-\n  a cat\n  on a mat\nlora: ['null', \"true\", '']\n");
        Assert.Equal(
            ["--prompt", "a cat on a mat", "--lora", "null", "--lora", "true", "--lora", ""],
            ConfigFile.Expand(s_root, ["draw", "--config", folder.File("o.yaml")])[3..]
        );
    }

    [Theory]
    [InlineData("prompt: x\ncolour: 1\n", "o.yaml, line 2: 'colour' is no option of draw")]
    [InlineData("prompt: x\nsteps: ~\n", "o.yaml, line 2: null is no value of an option")]
    [InlineData("steps:\n", "line 1: null is no value of an option")]
    [InlineData("steps:\n  a: 1\n", "line 2: a mapping is no value of an option")]
    [InlineData("lora: [a, [b]]\n", "line 1: a sequence is no value of an option")]
    [InlineData("prompt: x\nsteps: [1\n", "could not be read")]
    [InlineData("prompt: x\nprompt: y\n", "line 2: 'prompt' is there twice")]
    [InlineData("- steps\n", "a YAML mapping of options was expected")]
    [InlineData("# nothing\n", "a YAML mapping of options was expected")]
    [InlineData("steps: 1\n---\nsteps: 2\n", "a YAML mapping of options was expected")]
    [InlineData("steps: *none\n", "line 1: the alias '*none' stands for no text or number")]
    public void Mistakes_are_named_with_their_line(string content, string expected)
    {
        using var folder = new TemporaryFolder();
        folder.Write("o.yaml", content);
        string message = Assert
            .Throws<AfaException>(() => ConfigFile.Expand(s_root, ["draw", "--config", folder.File("o.yaml")]))
            .Message;
        Assert.Contains(expected, message);
        Assert.StartsWith(folder.File("o.yaml"), message);
    }

    [Fact]
    public void A_missing_file_is_named()
    {
        foreach (string name in new[] { "/no/such/o.yaml", "/no/such/o.json" })
            Assert.Contains(
                name + ": expected a file of options, but there is none",
                Assert.ThrowsAny<AfaException>(() => ConfigFile.Expand(s_root, ["draw", "--config", name])).Message
            );
    }

    [Fact]
    public void The_program_takes_both()
    {
        using var folder = new TemporaryFolder();
        folder.Write("o.yaml", "MODEL: /no/such/model\nprompt: x\n");
        Assert.Contains(
            "/no/such/model: no such file or folder",
            InProcess.Run("sample", "--config", folder.File("o.yaml")).Error.ReplaceLineEndings(" ")
        );
        folder.Write("bad.yaml", "prompt: x\ncolour: 1\njson: true\n");
        Assert.Contains(
            "'colour' is no option of sample",
            InProcess.Run("sample", "m", "--config", folder.File("bad.yaml")).Error.ReplaceLineEndings(" ")
        );
    }

    private static RootCommand Root()
    {
        var draw = new Command("draw")
        {
            new Argument<string>("MODEL"),
            new Option<string>("--prompt"),
            new Option<int>("--steps"),
            new Option<int>("--clip-skip"),
            new Option<float>("--guidance"),
            new Option<string[]>("--lora"),
            new Option<bool>("--flag"),
            new Option<bool>("--other"),
        };
        return new RootCommand { draw, ConfigFile.Option };
    }
}
