using System.Diagnostics;
using System.Text.Json.Nodes;
using AfaNative.Engine.Core;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Tests.Ensemble;
using AfaNative.Tool.Bench;
using Xunit;

namespace AfaNative.Tests.Tool;

/// <summary>
/// Benchmarks: what they take, what they time and how they judge. Nothing here depends on how fast the machine is.
/// </summary>
public sealed class BenchTests(TinyEnsemble tiny) : IClassFixture<TinyEnsemble>
{
    // One small shape of every op.
    private static readonly string[] s_shapes =
    [
        """{"op": "conv2d", "experts": 2, "height": 8, "width": 6, "in": 5, "out": 7, "stride": 2}""",
        """{"op": "linear", "rows": 9, "in": 16, "out": 24, "geglu": true}""",
        """{"op": "attention", "batch": 2, "heads": 2, "head_width": 8, "queries": 5, "keys": 5, "causal": true}""",
        """{"op": "group_norm", "pixels": 10, "channels": 64, "silu": true}""",
        """{"op": "layer_norm", "rows": 6, "channels": 20}""",
        """{"op": "fuse", "experts": 3, "pixels": 12, "channels": 8}""",
        """{"op": "mean", "experts": 3, "count": 50}""",
        """{"op": "side_by_side", "experts": 3, "rows": 4, "channels": 5}""",
        """{"op": "activation", "count": 99}""",
        """{"op": "geglu", "rows": 3, "width": 16}""",
        """{"op": "softmax", "rows": 3, "width": 77}""",
        """{"op": "upsample", "height": 3, "width": 5, "channels": 4}""",
        """{"op": "concat", "rows": 7, "channels_a": 3, "channels_b": 9}""",
        """{"op": "add", "experts": 2, "count": 33}""",
    ];

    private static readonly string[] s_quick = ["--repeats", "3", "--seconds", "0", "--peak-tflops", "0.1", "--peak-gbs", "10"];

    [Fact]
    public void A_shape_of_every_op_runs_and_a_better_baseline_is_told_apart_from_a_worse_one()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllLines(folder.File("shapes.jsonl"), ["# one of each", "", .. s_shapes]);
        string[] run = ["bench", "kernels", "--shapes", folder.File("shapes.jsonl"), .. s_quick];
        (int code, string text, string error) = InProcess.Run([.. run, "--json", folder.File("now.json")]);
        Assert.True(code == 0, error);
        JsonNode report = JsonNode.Parse(File.ReadAllText(folder.File("now.json")))!;
        Assert.Equal(s_shapes.Length, report["kernels"]!.AsArray().Count);
        Assert.Equal(KernelShape.Ops.Count - 1, report["kernels"]!.AsArray().Select(k => (string)k!["op"]!).Distinct().Count());
        foreach (JsonNode? kernel in report["kernels"]!.AsArray())
        {
            Assert.True(
                (double)kernel!["median_ms"]! > 0 && (double)kernel["q1_ms"]! <= (double)kernel["q3_ms"]!,
                kernel.ToJsonString()
            );
            Assert.Contains((string)kernel["name"]!, text);
        }

        // Far slower before: nothing to complain of, whatever the machine does meanwhile.
        Change(1e6);
        (code, text, error) = InProcess.Run([.. run, "--baseline", folder.File("before.json")]);
        Assert.True(code == 0, error);
        Assert.Contains($"none of {s_shapes.Length} kernels is slower", text);

        // One of them far faster before.
        Change(1e-6, only: "softmax");
        (code, text, error) = InProcess.Run("bench", "compare", folder.File("now.json"), folder.File("before.json"));
        Assert.Equal(1, code);
        Assert.Contains($"1 of {s_shapes.Length} kernels are slower", error);
        Assert.Contains("slower: softmax rows 3 width 77", text);

        void Change(double factor, string? only = null)
        {
            JsonNode before = report.DeepClone();
            foreach (JsonNode? kernel in before["kernels"]!.AsArray())
            {
                if (only is null || (string)kernel!["op"]! == only)
                    kernel!["median_ms"] = (double)kernel["median_ms"]! * factor;
                kernel!["spread_ms"] = 0;
            }

            File.WriteAllText(folder.File("before.json"), before.ToJsonString());
            foreach (JsonNode? kernel in report["kernels"]!.AsArray())
                kernel!["spread_ms"] = 0;
            File.WriteAllText(folder.File("now.json"), report.ToJsonString());
        }
    }

    [Fact]
    public void Slower_is_beyond_three_combined_spreads_and_five_percent()
    {
        // Spreads of 0.3 and 0.4: half a millisecond combined, so 1.5 is noise.
        Assert.False(Slower(10, 0.3, 11.4, 0.4));
        Assert.True(Slower(10, 0.3, 11.6, 0.4));
        // Quiet, but 4 %.
        Assert.False(Slower(10, 0, 10.4, 0));
        Assert.True(Slower(10, 0, 10.6, 0));
        Assert.False(Slower(10, 0, 5, 0));

        static bool Slower(double was, double wasSpread, double now, double nowSpread) =>
            KernelComparison.Of(Report(now, nowSpread), Report(was, wasSpread), "before.json").Slower.Any();

        static KernelReport Report(double median, double spread) =>
            new(
                KernelReport.Kernel,
                "cpu",
                "2 threads",
                "f32",
                "f32",
                "",
                new Roofline(1, 1, ""),
                [
                    new KernelResult(
                        "add count 1",
                        "add",
                        new Dictionary<string, long>(),
                        0,
                        9,
                        median,
                        median,
                        median,
                        spread,
                        median,
                        0,
                        0,
                        0
                    ),
                ]
            );
    }

    [Fact]
    public void The_spread_is_that_of_the_middle_and_outliers_do_not_count()
    {
        (double median, double q1, double q3, double spread) = KernelBenchmark.Statistics([5, 1, 2, 3, 1000]);
        Assert.Equal((3, 2, 5), (median, q1, q3));
        Assert.Equal(1.4826 * 2, spread, 1e-9);
    }

    [Fact]
    public void The_shapes_of_sd15_are_those_its_network_calls()
    {
        using var device = new CpuDevice(1);
        IReadOnlyList<CountedShape> shapes = StandardShapes.StableDiffusion15(device);
        Dictionary<string, int> calls = shapes.ToDictionary(s => s.Shape.Name, s => s.Calls);
        // Two ResNet blocks down with two convolutions each.
        Assert.Equal(7, calls["conv2d height 64 width 64 in 320 out 320"]);
        Assert.Equal(5, calls["attention heads 8 head_width 40 queries 4096 keys 4096"]);
        Assert.Equal(5, calls["attention batch 2 heads 8 head_width 40 queries 4096 keys 77"]);
        Assert.True(calls["fuse experts 3 pixels 4096 channels 320"] > 1);
        Assert.Equal(1, calls["fuse experts 3 pixels 4096 channels 4"]);
        // 25 points in all, one picture.
        Assert.Equal(25, shapes.Where(s => s.Shape.Op == "fuse" && s.Shape["batch"] == 1).Sum(s => s.Calls));
        Assert.Contains(shapes, s => s.Shape.Op == "linear" && s.Shape["geglu"] == 1);
    }

    [Theory]
    [InlineData("", "expected a JSON object")]
    [InlineData("[]", "expected a JSON object")]
    [InlineData("{\"op\": \"linear\", \"rows\": 1", "cannot be read")]
    [InlineData("{\"op\": \"matmul\"}", "expected an 'op' out of conv2d, linear")]
    [InlineData("{\"op\": null}", "expected an 'op' out of")]
    [InlineData("{\"op\": \"linear\", \"rows\": 1, \"in\": 2}", "linear needs the size 'out'")]
    [InlineData("{\"op\": \"linear\", \"rows\": 1, \"in\": 2, \"out\": 2, \"depth\": 1}", "'depth' is no size of linear")]
    [InlineData(
        "{\"op\": \"linear\", \"rows\": 1.5, \"in\": 2, \"out\": 2}",
        "'rows' is a whole number from 1 to 2147483647, not 1.5"
    )]
    [InlineData("{\"op\": \"linear\", \"rows\": \"1\", \"in\": 2, \"out\": 2}", "'rows' is a whole number")]
    [InlineData("{\"op\": \"linear\", \"rows\": 1, \"in\": 2, \"out\": 3, \"geglu\": true}", "'out' is even")]
    [InlineData("{\"op\": \"linear\", \"rows\": 1, \"in\": 2, \"out\": 4, \"geglu\": 1}", "'geglu' is true or false, not 1")]
    [InlineData("{\"op\": \"linear\", \"rows\": 2000000000, \"in\": 2000000000, \"out\": 4}", "at most 2147483647 are timed")]
    [InlineData("{\"op\": \"group_norm\", \"pixels\": 1, \"channels\": 33}", "33 channels cannot be split into 32 groups")]
    [InlineData("{\"op\": \"conv2d\", \"height\": 1, \"width\": 1, \"in\": 1, \"out\": 1, \"kernel\": 2}", "'kernel' is odd")]
    public void What_is_no_shape_is_said_with_its_line(string line, string expected)
    {
        AfaException error = Assert.Throws<AfaException>(() => KernelShape.Parse(line, "shapes.jsonl, line 3"));
        Assert.StartsWith("shapes.jsonl, line 3: ", error.Message);
        Assert.Contains(expected, error.Message);
    }

    [Theory]
    [InlineData(1, "--op takes conv2d", "kernels", "--op", "conv3d")]
    [InlineData(1, "expected a whole number from 1 to 1000000, but '2,5' came", "kernels", "--repeats", "2,5")]
    [InlineData(1, "expected a number from", "kernels", "--seconds", "nan")]
    [InlineData(1, "the shapes could not be read", "kernels", "--shapes", "/no/such/file")]
    [InlineData(1, "the report could not be read", "kernels", "--baseline", "/no/such/file")]
    [InlineData(1, "--what takes unet", "--what", "unets")]
    [InlineData(1, "MODEL is missing", "--what", "unet", "--peak-tflops", "1", "--peak-gbs", "1")]
    [InlineData(1, "no such file or folder", "unet", "/no/such/model", "--peak-tflops", "1", "--peak-gbs", "1")]
    [InlineData(1, "the report could not be read", "table", "/no/such/report")]
    public void Mistakes_are_one_sentence(int expectedCode, string expected, params string[] arguments)
    {
        (int code, _, string error) = InProcess.Run(["bench", .. arguments]);
        Assert.Equal(expectedCode, code);
        Assert.Contains(expected, error.ReplaceLineEndings(" "));
        Assert.DoesNotContain("   at ", error);
        Assert.DoesNotContain("unexpected", error);
    }

    [Theory]
    [InlineData("null")]
    [InlineData("[1]")]
    [InlineData("{")]
    [InlineData("{\"kind\": \"kernels\"}")]
    [InlineData("{\"kind\": \"unet\", \"kernels\": []}")]
    public void What_is_no_report_is_said(string text)
    {
        using var folder = new TemporaryFolder();
        folder.Write("report.json", text);
        Assert.Contains(
            "report.json: expected a report",
            Assert.Throws<AfaException>(() => KernelReport.Read(folder.File("report.json"))).Message
        );
        if (text[0] == '{' && text.Length > 1)
            return;
        Assert.Contains(
            "report.json: expected a report",
            Assert.Throws<AfaException>(() => ReportTable.Write([folder.File("report.json")])).Message
        );
    }

    [Fact]
    public void Networks_are_timed_and_their_reports_join_a_peers()
    {
        using var folder = new TemporaryFolder();
        string json = folder.File("ours.json");
        (int code, string text, string error) = InProcess.Run(
            "bench",
            tiny.Path,
            "--what",
            "unet,afa,vae,ratio,train",
            "--latent",
            "8",
            "--batch",
            "1",
            "--repeats",
            "1",
            "--threads",
            "1",
            "--precision",
            "f32",
            "--peak-tflops",
            "0.1",
            "--peak-gbs",
            "10",
            "--by-shape",
            "--json",
            json
        );
        Assert.True(code == 0, error);
        // What benchmarks/peers.sh reads the time from.
        Assert.Matches(@"unet_forward, 1 expert\(s\), 8x8 latents, batch 1, eager: median [0-9.]+ ms", text);
        Assert.Contains("training step, 3 experts", text);
        Assert.Contains("ratio: median", text);
        string same = """ "mode": "eager", "case": "unet_forward", "experts": 1, "batch": 1, "latent": 8 """;
        folder.Write("torch.json", $$"""[{ "peer": "torch f16", {{same}}, "ms": 1, "min": 1, "max": 1 }]""");
        (code, text, error) = InProcess.Run("bench", "table", json, folder.File("torch.json"));
        Assert.True(code == 0, error);
        Assert.Contains("| afa_forward | 3 | 1 | 8 x 8 | AfaNative f32, 1 threads | eager |", text);
        Assert.Contains("| torch f16 | eager |", text);
        Assert.Contains("| op | calls | ms |", text);
    }

    [Fact]
    public void The_benchmark_program_is_the_same_command()
    {
        using Process process = Process.Start(
            new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "AfaNative.Benchmarks.dll"), "--help"])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            }
        )!;
        string text = process.StandardOutput.ReadToEnd(),
            error = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, error);
        Assert.Equal("", error);
        Assert.Contains("--what", text);
        Assert.Contains("kernels", text);
        Assert.Equal(0, InProcess.Run("bench", "--help").Code);
        Assert.Equal(0, InProcess.Run("bench", "kernels", "--help").Code);
    }
}
