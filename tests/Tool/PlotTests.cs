using System.Text.Json;
using AfaNative.Engine.Core;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Pipeline;
using AfaNative.Tests.Ensemble;
using AfaNative.Tool.Commands;
using Xunit;

namespace AfaNative.Tests.Tool;

/// <summary>X/Y plots: what axes say, what cells are called, and that a plot goes on where it was cut off.</summary>
public sealed class PlotTests(TinyEnsemble tiny) : IClassFixture<TinyEnsemble>
{
    private static readonly GenerationOptions s_options = new()
    {
        Prompt = "a cat and a cat",
        NegativePrompt = "no dog",
        Seeds = [1],
    };

    [Theory]
    [InlineData("steps=10,20", "steps 10|steps 20")]
    [InlineData("cfg=1, 7.5", "guidance 1|guidance 7.5")]
    [InlineData("seed=1-3,9", "seed 1|seed 2|seed 3|seed 9")]
    [InlineData("steps=1-10(+4)", "steps 1|steps 5|steps 9")]
    [InlineData("guidance=1-2 [3]", "guidance 1|guidance 1.5|guidance 2")]
    [InlineData("sampler=dpm++ 2m karras,euler_a", "DPM++ 2M Karras|Euler a")]
    [InlineData("prompt-sr=cat,\"big, \"\"red\"\" dog\",", "cat|big, \"red\" dog|")]
    [InlineData("experts=0,0+2,all", "experts 0|experts 0+2|experts all")]
    [InlineData("clip_skip=0,1", "clip-skip 0|clip-skip 1")]
    [InlineData("fusion=afa,average,mean,magic", "fusion afa|fusion average|fusion mean|fusion magic")]
    public void Axes_are_read(string text, string labels) =>
        Assert.Equal(labels, string.Join('|', PlotAxis.Parse("--x", text).Values.Select(v => v.Label)));

    [Theory]
    [InlineData("colour=1", "varies one of clip-skip, seed")]
    [InlineData("steps", "needs values")]
    [InlineData("steps=", "needs values")]
    [InlineData("steps=1,,2", "needs values")]
    [InlineData("steps=0", "a whole number from 1 to 10000, but '0' came")]
    [InlineData("steps=1.5", "a whole number from 1 to 10000, but '1.5' came")]
    [InlineData("steps=5-1", "a range that rises")]
    [InlineData("steps=1-99999999999999999999999999999999", "a range of numbers")]
    [InlineData("seed=1-100000", "more than the 1000 values")]
    [InlineData("strength=1.5", "a number from 0 to 1")]
    [InlineData("sampler=fast", "no sampler 'fast'")]
    [InlineData("fusion=best", "afa, average, mean, magic, but 'best' came")]
    [InlineData("experts=a+b", "experts are written 0+2 or all, not 'a+b'")]
    [InlineData("prompt-sr=,x", "it is empty")]
    public void Axes_that_make_no_sense_are_named(string text, string expected) =>
        Assert.Contains(expected, Assert.Throws<AfaException>(() => PlotAxis.Parse("--x", text)).Message);

    [Fact]
    public void Every_cell_has_both_values_and_a_name_of_its_own()
    {
        Plot plot = Plot.Of("prompt-sr=cat,dog", "steps=2,3,4")!;
        IReadOnlyList<PlotCell> cells = plot.Cells(s_options, "model");
        Assert.Equal(
            [
                "a cat and a cat/2",
                "a dog and a dog/2",
                "a cat and a cat/3",
                "a dog and a dog/3",
                "a cat and a cat/4",
                "a dog and a dog/4",
            ],
            cells.Select(c => $"{c.Options.Prompt}/{c.Options.Steps}")
        );
        Assert.Equal(6, cells.Select(c => c.Name).Distinct().Count());
        Assert.StartsWith("dog_steps-3-", cells[3].Name);
        // A cell is found again in a plot with more values, and not in another model's or of another seed.
        Assert.Contains(
            cells[3].Name,
            Plot.Of("prompt-sr=cat,bird,dog", "steps=1-4")!.Cells(s_options, "model").Select(c => c.Name)
        );
        Assert.DoesNotContain(cells[3].Name, plot.Cells(s_options, "another").Select(c => c.Name));
        Assert.DoesNotContain(cells[3].Name, plot.Cells(s_options with { Seeds = [2] }, "model").Select(c => c.Name));
        Assert.Contains("both vary steps", Assert.Throws<AfaException>(() => Plot.Of("steps=1,2", "steps=3")).Message);
        Assert.Contains(
            "looks for 'bird'",
            Assert.Throws<AfaException>(() => Plot.Of("prompt-sr=bird,dog", null)!.Check(s_options, 1)).Message
        );
        Assert.Contains(
            "would make a prompt of 2000009 characters",
            Assert
                .Throws<AfaException>(() => Plot.Of("prompt-sr=cat," + new string('x', 1_000_000), null)!.Check(s_options, 1))
                .Message
        );
        Assert.Contains(
            "at most 10000 pictures; these axes ask for 1000 x 11",
            Assert.Throws<AfaException>(() => Plot.Of("seed=1-1000", "steps=1-11")!.Check(s_options, 1)).Message
        );
        Assert.Contains(
            "too large for one picture",
            Assert.Throws<AfaException>(() => Plot.Of("seed=1-1000", null)!.Check(s_options with { Width = 2048 }, 1)).Message
        );
        Assert.Contains(
            "there is none",
            Assert.Throws<AfaException>(() => Plot.Of("strength=0.1,0.2", null)!.Check(s_options, 1)).Message
        );
        Assert.Contains(
            "this run has one",
            Assert.Throws<AfaException>(() => Plot.Of("experts=0", null)!.Check(s_options, 1)).Message
        );
        Assert.Contains("Expert 2", Assert.Throws<AfaException>(() => Plot.Of("experts=0,2", null)!.Check(s_options, 2)).Message);
        Assert.Contains(
            "2 experts, but 3 came",
            Assert
                .Throws<AfaException>(() =>
                    Plot.Of("fusion=afa,magic", null)!
                        .Check(s_options with { Magic = new MagicFusionOptions { Weights = [1, 1, 1] } }, 2)
                )
                .Message
        );
        Assert.Contains(
            "guidance above 1, not 0.5",
            Assert.Throws<AfaException>(() => Plot.Of("fusion=afa,magic", "guidance=0.5,2")!.Check(s_options, 2)).Message
        );
    }

    [Fact]
    public void A_plot_of_experts_and_fusions_takes_one_model_and_goes_on_where_it_was_cut_off()
    {
        using var folder = new TemporaryFolder();
        string[] common =
        [
            "sample",
            tiny.Path,
            "--prompt",
            "a red circle",
            "--steps",
            "2",
            "--seed",
            "5",
            "--width",
            "32",
            "--height",
            "40",
            "--out",
            folder.File("out"),
            "--json",
        ];
        string[] axes = ["--x", "experts=0,0+1,all", "--y", "fusion=afa,average,mean,magic"];
        (int code, string text, string error) = InProcess.Run([.. common, .. axes, "--batch-size", "3"]);
        Assert.True(code == 0, error);
        JsonElement[] lines =
        [
            .. text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => JsonDocument.Parse(l).RootElement),
        ];
        Assert.Equal(13, lines.Length);
        Assert.Equal(
            ("experts 0+1", "fusion mean"),
            (lines[7].GetProperty("x").GetString(), lines[7].GetProperty("y").GetString())
        );
        Assert.Single(error.Split('\n'), l => l.Contains("loading 3 U-Nets", StringComparison.Ordinal));
        Assert.Contains("left", error);
        string[] cells = [.. lines[..12].Select(l => l.GetProperty("file").GetString()!)];
        byte[][] pixels = [.. cells.Select(c => PngFile.Read(c, out _).Pixels)];
        // One expert is that expert however it is fused; two and three differ.
        for (int row = 1; row < 4; row++)
            Assert.InRange(pixels[0].Zip(pixels[3 * row]).Max(p => Math.Abs(p.First - p.Second)), 0, 1);
        Assert.True(new[] { 0, 1, 2, 4, 5, 7, 8 }.Select(i => Convert.ToHexString(pixels[i])).Distinct().Count() == 7);
        _ = PngFile.Read(cells[4], out string? parameters);
        Assert.Contains("Seed: 5, Size: 32x40, Model hash: ", parameters);
        Assert.Contains("Fusion: feature mean, Experts: 0+1, Version", parameters);
        RgbImage plot = PngFile.Read(lines[12].GetProperty("file").GetString()!, out parameters);
        Assert.Contains("Plot: x experts 0 | experts 0+1 | experts all; y fusion afa", parameters);
        Assert.True(plot.Width > 3 * 32 && plot.Height > 4 * 40);

        // The expert alone, by its own option, and the ensemble whole.
        (code, _, error) = InProcess.Run([.. common[..^3], "--out", folder.File("alone"), "--count", "1", "--expert", "0"]);
        Assert.True(code == 0, error);
        Assert.InRange(
            PngFile
                .Read(Directory.GetFiles(folder.File("alone")).Single(), out _)
                .Pixels.Zip(pixels[0])
                .Max(p => Math.Abs(p.First - p.Second)),
            0,
            1
        );
        (code, _, error) = InProcess.Run([
            .. common[..^3],
            "--out",
            folder.File("pair"),
            "--count",
            "1",
            "--experts",
            "0+1",
            "--fusion",
            "average",
        ]);
        Assert.True(code == 0, error);
        Assert.Equal(pixels[4], PngFile.Read(Directory.GetFiles(folder.File("pair")).Single(), out _).Pixels);

        // As after an interruption, and with a value more: what is there is taken as it is.
        byte[] whole = File.ReadAllBytes(lines[12].GetProperty("file").GetString()!);
        File.Delete(cells[10]);
        DateTime kept = File.GetLastWriteTimeUtc(cells[3]);
        (code, text, error) = InProcess.Run([.. common, .. axes]);
        Assert.True(code == 0, error);
        Assert.Contains("11 of 12 cells are there already", error);
        Assert.Equal(2, text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length);
        Assert.Equal(kept, File.GetLastWriteTimeUtc(cells[3]));
        Assert.Equal(pixels[10], PngFile.Read(cells[10], out _).Pixels);
        Assert.Equal(whole, File.ReadAllBytes(lines[12].GetProperty("file").GetString()!));
        Assert.Contains("12 of 16 cells", InProcess.Run([.. common, "--x", "experts=0,0+1,2,all", .. axes[2..]]).Error);
    }

    [Theory]
    [InlineData("do not go with --prompts", "--prompts", "FILE", "--x", "steps=1,2")]
    [InlineData("draw one picture a cell", "--prompt", "x", "--count", "2", "--x", "steps=1,2")]
    [InlineData("this run has one", "--prompt", "x", "--expert", "0", "--y", "experts=0,1")]
    [InlineData("join several experts", "--prompt", "x", "--expert", "0", "--experts", "0+1")]
    [InlineData("Expert 3 was to take part", "--prompt", "x", "--experts", "0+3")]
    public void Options_that_do_not_fit_are_named(string expected, params string[] arguments)
    {
        using var folder = new TemporaryFolder();
        folder.Write("prompts.txt", "a");
        (int code, _, string error) = InProcess.Run([
            "sample",
            tiny.Path,
            "--out",
            folder.File("out"),
            .. arguments.Select(a => a == "FILE" ? folder.File("prompts.txt") : a),
        ]);
        Assert.Equal(1, code);
        Assert.Contains(expected, error.ReplaceLineEndings(" "));
        Assert.False(Directory.Exists(folder.File("out")));
    }
}
