using System.Diagnostics;
using System.Text;
using AfaNative.Engine.Core;
using AfaNative.Tool;
using Xunit;

namespace AfaNative.Tests.Tool;

/// <summary>Configurations nobody should write, and some do: each is one sentence that names file and, in YAML, line.</summary>
public sealed class OddConfigurationTests
{
    [Theory]
    [InlineData("o.json", "{\"steps\": 1, \"steps\": 2}", "'steps' is there twice")]
    [InlineData("o.json", "{\"clip_skip\": 1, \"clip-skip\": 1}", "'clip-skip' says again what 'clip_skip' says")]
    [InlineData("o.json", "{\"steps\": null}", "'steps' is null")]
    [InlineData("o.json", "{\"steps\": []}", "'steps' is an empty list")]
    [InlineData("o.json", "{\"steps\": [1, 2]}", "'steps' takes one value, but a list of 2 came")]
    [InlineData("o.json", "{\"steps\": {}}", "'steps': {} is no value")]
    [InlineData("o.json", "{\"lora\": [[1]]}", "'lora': [1] is no value")]
    [InlineData("o.json", "{\"prompt\": \"\\ud800\"}", "half a surrogate pair")]
    [InlineData("o.json", "{\"\\udc00\": 1}", "half a surrogate pair")]
    [InlineData("o.json", "{\"prompt\": \"a\\u0000b\"}", "NUL character")]
    [InlineData("o.json", "{\"\": 1}", "a name is empty")]
    [InlineData("o.json", "{\"prompt\": true}", "'prompt' is no switch")]
    [InlineData("o.json", "{\"json\": \"yes\"}", "'json' takes true or false, not 'yes'")]
    [InlineData("o.json", "{\"json\": 1}", "'json' takes true or false, not '1'")]
    [InlineData("o.json", "{\"guidence\": 1}", "'guidence' is no option of sample; did you mean guidance?")]
    [InlineData("o.json", "{\"--steps\": 1}", "'--steps' is no option of sample; did you mean steps?")]
    [InlineData("o.json", "{\"config\": \"x\"}", "'config' is no option of sample")]
    [InlineData("o.json", "{\"help\": true}", "'help' is no option of sample")]
    [InlineData("o.json", "{\"steps\": NaN}", "the options could not be read")]
    [InlineData("o.json", "{\"steps\": 0x10}", "the options could not be read")]
    [InlineData("o.json", "[1]", "a JSON object of options was expected")]
    [InlineData(
        "o.json",
        "{\"guidance\": \"7,5\"}",
        "--guidance: expected a number from 0 to 1000, but '7,5' came; decimals are written with a point, and thousands "
            + "without a separator. (it is set in FILE)"
    )]
    [InlineData("o.json", "{\"steps\": 1e1}", "--steps: expected a whole number from 1 to 10000, but '1e1' came")]
    [InlineData("o.yaml", "steps: 1_000", "'1_000' came")]
    [InlineData("o.yaml", "steps: 0x10", "'0x10' came")]
    [InlineData("o.yaml", "steps: 0o17", "'0o17' came")]
    [InlineData("o.yaml", "steps: 1:30", "'1:30' came")]
    [InlineData("o.yaml", "guidance: .inf", "'.inf' came")]
    [InlineData("o.yaml", "guidance: .nan", "'.nan' came")]
    [InlineData(
        "o.yaml",
        "guidance: 7,5",
        "'7,5' came; decimals are written with a point, and thousands without a separator. (it is set in FILE, line 1)"
    )]
    [InlineData("o.yaml", "json: yes", "line 1: 'json' takes true or false, not 'yes'")]
    [InlineData("o.yaml", "prompt: true", "line 1: 'prompt' is no switch")]
    [InlineData("o.yaml", "steps: !!int 5", "line 1: the tag 'tag:yaml.org,2002:int' means nothing here")]
    [InlineData("o.yaml", "steps: !foo 5", "line 1: the tag '!foo' means nothing here")]
    [InlineData("o.yaml", "lora: []", "line 1: 'lora' is an empty list")]
    [InlineData("o.yaml", "? [a, b]\n: 1", "line 1: a sequence is no value of an option")]
    [InlineData("o.yaml", "a: &a {x: 1}\n<<: *a", "line 1: a mapping is no value of an option")]
    [InlineData("o.yaml", "lora: &a [x]\nsteps: *a", "line 2: the alias '*a' stands for no text or number")]
    [InlineData("o.yaml", "guidence: 1", "did you mean guidance?")]
    [InlineData("o.yaml", "prompt: \"\\ud800\"", "")]
    [InlineData("o.yaml", "\tsteps: 1", "")]
    [InlineData("o.yaml", "%YAML 9.9\n---\nsteps: 1", "")]
    public async Task Mistakes_are_one_sentence(string name, string content, string expected)
    {
        using var folder = new TemporaryFolder();
        folder.Write(name, content);
        (int code, _, string error) = await InProcess.RunAsync("sample", folder.File("none"), "--config", folder.File(name));
        Assert.Equal(1, code);
        string line = Assert.Single(error.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.StartsWith("Error: ", line);
        Assert.Contains(expected, line.Replace(folder.File(name), "FILE", StringComparison.Ordinal));
        Assert.DoesNotContain("unexpected", line);
    }

    [Fact]
    public void What_would_multiply_or_nest_is_refused_where_it_begins()
    {
        using var folder = new TemporaryFolder();
        var laughs = new StringBuilder("a: &a [x, x, x, x, x, x, x, x, x]\n");
        for (char c = 'b'; c <= 'z'; c++)
            laughs.Append($"{c}: &{c} [{string.Join(", ", Enumerable.Repeat($"*{(char)(c - 1)}", 9))}]\n");
        folder.Write("laughs.yaml", laughs.ToString());
        folder.Write("nested.yaml", "a: " + new string('[', 100_000));
        folder.Write("braces.yaml", string.Concat(Enumerable.Repeat("{a: ", 100_000)));
        folder.Write("dashes.yaml", string.Concat(Enumerable.Repeat("- ", 100_000)));
        folder.Write("nested.json", "{\"a\": " + new string('[', 100_000));
        folder.Write("long.json", "{\"prompt\": \"" + new string('x', 5 << 20) + "\"}");
        folder.Write("many.json", "{" + string.Join(",", Enumerable.Range(0, 5000).Select(i => $"\"o{i}\": 1")) + "}");
        folder.Write("empty.json", "");
        File.WriteAllBytes(folder.File("latin.json"), [.. "{\n\"prompt\": \"caf"u8, 0xE9, .. "\"}"u8]);
        long before = GC.GetTotalAllocatedBytes();
        foreach (string file in Directory.GetFiles(folder.Path))
            Assert.ThrowsAny<AfaException>(() => ConfigReader.Read(file));
        Assert.InRange(GC.GetTotalAllocatedBytes() - before, 0, 300 << 20);
        Assert.Contains(
            "latin.json, line 2: UTF-8 was expected, but byte 0xE9 came",
            Assert.ThrowsAny<AfaException>(() => ConfigReader.Read(folder.File("latin.json"))).Message
        );
    }

    [Fact]
    public void Files_that_are_none_are_refused_without_being_opened()
    {
        if (OperatingSystem.IsWindows())
            Assert.Skip("has no named pipes of this kind");
        using var folder = new TemporaryFolder();
        Process.Start("mkfifo", [folder.File("pipe.yaml")])!.WaitForExit();
        foreach (string path in new[] { folder.File("pipe.yaml"), "/dev/zero", "/dev/null", folder.Path })
            Assert.Contains(path, Assert.ThrowsAny<AfaException>(() => ConfigReader.Read(path)).Message);
    }

    [Fact]
    public void Aliases_of_single_values_and_a_byte_order_mark_are_fine()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(
            folder.File("o.yaml"),
            [.. Encoding.UTF8.Preamble, .. "prompt: &p \"a cat\"\nnegative: *p\nlora: [*p, b]\n"u8]
        );
        Assert.Equal(["a cat", "a cat", "a cat", "b"], ConfigReader.Read(folder.File("o.yaml")).SelectMany(e => e.Values));
    }
}
