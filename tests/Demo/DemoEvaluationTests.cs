using AfaNative.Demo;
using AfaNative.Engine.Imaging;
using AfaNative.Kernels.Devices.Cpu;
using Xunit;

namespace AfaNative.Tests.Demo;

/// <summary>The comparison of methods in miniature, and its statistics by hand.</summary>
public class DemoEvaluationTests
{
    [Fact]
    public void Every_method_draws_every_prompt_once_also_when_cut_off()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(2);
        var options = new DemoEvaluationOptions
        {
            Training = MiniatureDemo.Path,
            MixedPrompts = 3,
            FamilyPrompts = 1,
            Seeds = 2,
            Steps = 2,
            Size = 32,
            ValidationPrompts = 2,
            Trials = 5,
            ErrorScenes = 2,
        };
        IReadOnlyList<DemoVerdict> part = new DemoEvaluation(
            device,
            options with
            {
                Only = ["AFA"],
            },
            folder.File("results")
        ).Run();
        Assert.All(part, v => Assert.Equal("AFA", v.Method));
        IReadOnlyList<DemoVerdict> verdicts = new DemoEvaluation(device, options, folder.File("results")).Run();
        Assert.Equal(part, verdicts.Where(v => v.Method == "AFA"));
        Assert.Equal(12 * (3 + 3) * 2, verdicts.Count);
        Assert.Equal(verdicts.Count, verdicts.Select(v => (v.Method, v.Class, v.Prompt, v.Seed)).Distinct().Count());
        Assert.Equal(DemoEvaluation.Methods.Order(), verdicts.Select(v => v.Method).Distinct().Order());

        // What is in the log is not drawn again, and a torn line is.
        string log = Path.Combine(folder.File("results"), "verdicts.jsonl");
        string[] lines = File.ReadAllLines(log);
        File.WriteAllText(log, string.Join('\n', lines[..^1]) + "\n" + lines[^1][..20]);
        var told = new List<(string, int)>();
        Assert.Equal(
            verdicts,
            new DemoEvaluation(device, options, folder.File("results")).Run((what, done, _) => told.Add((what, done)))
        );
        Assert.Equal([("AFA, half the steps", 1)], told);
        IReadOnlyList<DemoError> errors = new DemoEvaluation(device, options, folder.File("results")).Errors;
        Assert.Equal(10 * 2, errors.Count);
        Assert.All(errors, e => Assert.InRange(e.Error, 0.1, 10));
        Assert.Contains("| AFA | ", DemoReport.Markdown(verdicts, errors));
        DemoCharts.Write(verdicts, folder.Path);
        string page = DemoReport.Page(options, verdicts, errors);
        Assert.Contains("--steps 2 --guidance 4 --prompts 3", page);
        foreach (string chart in (string[])["correct-mixed.png", "correct-family.png", "difference.png"])
        {
            Assert.True(PngFile.Read(folder.File(chart), out _).Width > 400);
            Assert.Contains($"]({chart})", page);
        }
    }

    [Fact]
    public void Differences_are_paired_by_prompt()
    {
        // Prompt averages: AFA 1, 0.5, 1; merge 0, 0.5, 0.5. Differences 1, 0, 0.5: mean 0.5, deviation 0.5, error 0.5 / sqrt 3.
        var verdicts = new List<DemoVerdict>();
        void Add(string method, int prompt, bool a, bool b) =>
            verdicts.AddRange([new(method, "mixed", prompt, 0, a, a ? 1 : 0.5), new(method, "mixed", prompt, 1, b, b ? 1 : 0.5)]);
        Add("AFA", 0, true, true);
        Add("AFA", 1, true, false);
        Add("AFA", 2, true, true);
        Add("weighted merge", 0, false, false);
        Add("weighted merge", 1, false, true);
        Add("weighted merge", 2, true, false);
        Estimate difference = DemoReport.Difference(verdicts, "AFA", "weighted merge", "mixed", v => v.Correct ? 1 : 0);
        Assert.Equal(0.5, difference.Mean, 12);
        Assert.Equal(0.5 / Math.Sqrt(3), difference.Error, 12);
        Assert.Equal(5.0 / 6, DemoReport.Correct(verdicts, "AFA", "mixed").Mean, 12);
        Assert.Equal("50.0 ± 28.9", difference.ToString());
    }
}
