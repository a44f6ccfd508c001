using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Files;
using AfaNative.Engine.Training;
using Xunit;

namespace AfaNative.Tests.Checkpoints;

/// <summary>Logs that are read back after their writer was killed, or after something else happened to them.</summary>
public sealed class JsonLogTests : IDisposable
{
    private const string Step = """{"kind":"step","step":NUMBER,"loss":0.5,"gradient_norm":1,"learning_rate":0.1}""";
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void A_torn_last_line_and_garbage_are_left_out_and_named()
    {
        string log = _folder.File("log.jsonl");
        File.WriteAllText(log, $"{Line(1)}\n\0\0\0\0\n{Line(2)}\n[]\n3\n{{\"step\":\"x\"}}\n{Line(3)}\n{Line(4)[..20]}");
        JsonLog<int> read = JsonLines.Read(log, e => e.GetProperty("step").GetInt32());
        Assert.Equal([1, 2, 3], read.Entries.Select(e => e.Value));
        Assert.Equal([1, 3, 7], read.Entries.Select(e => e.Number));
        Assert.True(read.Torn);
        Assert.Equal(
            ["line 2 is no", "line 4 is no", "line 5 is no", "line 6 is no", "line 8, the last, was cut off"],
            read.Damage.Select(d => d[(log.Length + 2)..]).Select((d, i) => d[..(i < 4 ? 12 : 29)])
        );
        // Whole but for its end: it may be a number cut in two.
        File.WriteAllText(log, Line(1));
        Assert.Empty(JsonLines.Read(log, e => e.GetProperty("step").GetInt32()).Entries);
        File.WriteAllText(log, "");
        Assert.Empty(JsonLines.Read(log, e => 0).Damage);
        Assert.Empty(JsonLines.Read(_folder.File("none"), e => 0).Damage);
    }

    [Fact]
    public void A_report_draws_the_rest_and_says_what_is_left_out()
    {
        _folder.Write(
            "log.jsonl",
            $"{Line(1)}\n"
                + $"{{\"kind\":\"evaluation\",\"step\":1,\"loss\":1,\"weights\":[],\"from_uniform\":[]}}\n"
                + $"{Line(2)}\n{Line(3)[..30]}"
        );
        _folder.Write("report.html.tmp", "mine");
        IReadOnlyList<string> warnings = TrainingReport.Write(_folder.Path, _folder.File("report.html"));
        Assert.Equal(2, warnings.Count);
        Assert.Contains("line 2 is no entry", warnings[0]);
        Assert.Contains("line 4, the last, was cut off", warnings[1]);
        Assert.Contains("2 updates", File.ReadAllText(_folder.File("report.html")));
        Assert.Equal("mine", File.ReadAllText(_folder.File("report.html.tmp")));
    }

    [Fact]
    public void A_search_says_what_it_runs_again_and_does_not_go_on_without_a_trial()
    {
        string log = _folder.File("trials.jsonl");
        var options = new BlockWeightSearchOptions
        {
            Models = 2,
            Trials = 6,
            Seed = 4,
            Subject = "a test",
        };
        int calls = 0;
        double Score(double[][] blocks) => ++calls;
        BlockWeightSearch.Run(options, Score, log);
        string whole = File.ReadAllText(log);
        string[] lines = whole.Split('\n');
        File.WriteAllText(log, whole[..^5]);
        var warnings = new List<string>();
        calls = 5;
        BlockWeightSearch.Run(options, Score, log, warn: warnings.Add);
        Assert.Equal(whole, File.ReadAllText(log));
        Assert.Contains("line 7, the last, was cut off", Assert.Single(warnings));
        lines[3] = "\0\0";
        File.WriteAllText(log, string.Join('\n', lines));
        Assert.Contains(
            "line 4 is no entry",
            Assert.Throws<AfaException>(() => BlockWeightSearch.Run(options, Score, log)).Message
        );
        // A file of somebody else's is not written over, be it one line without an end.
        File.WriteAllText(log, "my notes");
        Assert.Contains("another search", Assert.Throws<AfaException>(() => BlockWeightSearch.Run(options, Score, log)).Message);
        Assert.Equal("my notes", File.ReadAllText(log));
    }

    private static string Line(int step) =>
        Step.Replace("NUMBER", step.ToString(System.Globalization.CultureInfo.InvariantCulture), StringComparison.Ordinal);
}
