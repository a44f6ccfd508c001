using AfaNative.Engine.Core;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Prompts;
using AfaNative.Tool.Commands;
using Xunit;

namespace AfaNative.Tests.Tool;

/// <summary>Files of prompts are checked whole before the first picture, and their pictures are counted, not listed.</summary>
public sealed class PromptFileTests
{
    private static readonly GenerationOptions s_defaults = new()
    {
        Prompt = "",
        Seeds = [0],
        Syntax = PromptSyntax.Weighted,
    };

    [Theory]
    [InlineData("{\"prompt\": null}", "'prompt': expected a text, but null came")]
    [InlineData("{\"prompt\": 5}", "'prompt': expected a text, but 5 came")]
    [InlineData("{\"prompt\": \"a\", \"negative\": null}", "'negative': expected a text, but null came")]
    [InlineData("{\"prompt\": \"a\", \"steps\": \"20\"}", "'steps': expected a number, but \"20\" came")]
    [InlineData("{\"prompt\": \"a\", \"steps\": 0}", "'steps': expected a whole number from 1 to 10000, but '0' came")]
    [InlineData("{\"prompt\": \"a\", \"steps\": 1.5}", "'steps': expected a whole number")]
    [InlineData("{\"prompt\": \"a\", \"steps\": 1e400}", "'steps': expected a whole number")]
    [InlineData("{\"prompt\": \"a\", \"guidance\": 1e400}", "'guidance': expected a number from 0 to 1000")]
    [InlineData("{\"prompt\": \"a\", \"guidance\": NaN}", "it cannot be read as settings")]
    [InlineData("{\"prompt\": \"a\", \"guidance\": 7,5}", "it cannot be read as settings")]
    [InlineData("{\"prompt\": \"a\", \"seed\": -1}", "'seed': a random one is had by leaving it out")]
    [InlineData("{\"prompt\": \"a\", \"seed\": 18446744073709551616}", "'seed': expected a whole number from 0 on")]
    [InlineData("{\"prompt\": \"a\", \"width\": 33}", "'width': expected a multiple of 8 from 8 to 16384, but 33 came")]
    [InlineData("{\"prompt\": \"a\", \"height\": 16392}", "'height': expected a whole number from 8 to 16384")]
    [InlineData("{\"prompt\": \"a\", \"sampler\": \"fast\"}", "no sampler 'fast'")]
    [InlineData("{\"prompt\": \"a\", \"clip_skip\": -1}", "'clip_skip': expected a whole number from 0")]
    [InlineData("{\"prompt\": \"a\", \"prompt\": \"b\"}", "'prompt' is there twice")]
    [InlineData("{\"prompt\": \"a\", \"guidance\": 1, \"cfg_scale\": 2}", "'cfg_scale' is there twice")]
    [InlineData("{\"prompt\": \"a\", \"stps\": 1}", "'stps' is no setting; did you mean steps?")]
    [InlineData("{\"prompt\": \"\\ud800\"}", "half a surrogate pair")]
    [InlineData("{\"prompt\": \"a\\u0000\"}", "NUL characters")]
    [InlineData("<lora:a:1,5>", "'1,5' is no number")]
    [InlineData("{\"prompt\": \"a\"", "it cannot be read as settings")]
    public void Every_fault_of_a_line_is_named(string line, string expected)
    {
        using var folder = new TemporaryFolder();
        folder.Write("prompts.txt", "a good one\n\n" + line + "\nanother\n");
        string message = Read(folder, 1).Message;
        Assert.Contains(expected, message);
        Assert.StartsWith(folder.File("prompts.txt") + ", line 3: ", message);
    }

    [Fact]
    public void All_faults_are_named_at_once_up_to_ten()
    {
        using var folder = new TemporaryFolder();
        folder.Write(
            "prompts.txt",
            "fine\n" + string.Concat(Enumerable.Range(0, 14).Select(i => $"{{\"prompt\": \"a\", \"steps\": {-i}}}\nfine\n"))
        );
        string message = Read(folder, 1).Message;
        Assert.Contains(": 14 lines cannot be drawn: line 2: 'steps'", message);
        Assert.Contains("line 20: ", message);
        Assert.DoesNotContain("line 22: ", message);
        Assert.EndsWith("; and 4 more.", message);
    }

    [Fact]
    public void Text_that_is_not_UTF8_or_too_long_is_refused()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(folder.File("prompts.txt"), [.. "a\nb\ncaf"u8, 0xE9, 0x0A]);
        Assert.Contains(", line 3: UTF-8 was expected, but byte 0xE9 came", Read(folder, 1).Message);
        folder.Write("prompts.txt", new string('x', AfaNative.Tool.Limits.PromptCharacters + 1));
        Assert.Contains(
            $"line 1: 'prompt': at most {AfaNative.Tool.Limits.PromptCharacters} characters were expected",
            Read(folder, 1).Message
        );
        folder.Write("prompts.txt", string.Concat(Enumerable.Repeat("x\n", 200_001)));
        Assert.Contains(", line 200001: a file holds at most 200000 prompts", Read(folder, 1).Message);
        folder.Write("prompts.txt", string.Concat(Enumerable.Repeat("x\n", 3000)));
        Assert.Contains(
            "3000 prompts with 1000000 pictures each are more than the 2147483647 pictures of a run",
            Read(folder, 1_000_000).Message
        );
    }

    [Fact]
    public void A_million_pictures_need_no_list()
    {
        using var folder = new TemporaryFolder();
        folder.Write("prompts.txt", "a\n{\"prompt\": \"b\", \"seed\": 40}\nc\n");
        long before = GC.GetAllocatedBytesForCurrentThread();
        PromptJobs jobs = PromptBatch.Read(folder.File("prompts.txt"), s_defaults, 700_000_000, 7);
        Assert.Equal(2_100_000_000, jobs.Count);
        Assert.Equal((1, "a", 7ul), Told(jobs[0]));
        Assert.Equal((700_000_001, "b", 40ul), Told(jobs[700_000_000]));
        Assert.Equal((2_100_000_000, "c", 2_100_000_006ul), Told(jobs[^1]));
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 20);
        // Shards divide them without loss.
        PromptJobs small = PromptBatch.Read(folder.File("prompts.txt"), s_defaults, 3, 7);
        PromptJobs[] shards = [small.Shard("0/4"), small.Shard("1/4"), small.Shard("2/4"), small.Shard(" 3/4")];
        Assert.Equal([3, 2, 2, 2], shards.Select(s => s.Count));
        Assert.Equal(small.Select(Told).Order(), shards.SelectMany(s => s).Select(Told).Order());
        Assert.Empty(small.Shard("9/10"));
        foreach (string bad in new[] { "1", "1/1", "-1/2", "a/b", "0/0", "1,0/2", "0/2/3", "" })
            Assert.Contains("--shard is written i/n", Assert.Throws<AfaException>(() => small.Shard(bad)).Message);
    }

    private static (int, string, ulong) Told(PromptJob job) => (job.Number, job.Options.Prompt, job.Options.Seeds[0]);

    private static AfaException Read(TemporaryFolder folder, int count) =>
        Assert.ThrowsAny<AfaException>(() => PromptBatch.Read(folder.File("prompts.txt"), s_defaults, count, 0));
}
