using System.CommandLine;
using System.Globalization;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Gpu;
using AfaNative.Tool.Bench;

namespace AfaNative.Tool.Commands;

/// <summary>
/// <c>afa-native bench</c>: how fast kernels and networks are here. <c>AfaNative.Benchmarks</c> is the same command as a program
/// of its own.
/// </summary>
internal static class BenchCommand
{
    private static readonly string[] s_networks = ["unet", "afa", "vae", "ratio", "train", "peak"];

    private static string Judged => $"kernels that are slower by {KernelComparison.Rule} are named, and the exit code is 1.";

    public static Command Create()
    {
        var command = new Command(
            "bench",
            "Times kernels and whole networks, by the device's own clock, beside what the hardware can do."
        )
        {
            Kernels(),
            Compare(),
            Table(),
        };
        foreach (string network in s_networks)
        {
            command.Add(
                Network(
                    new Command(
                        network,
                        network switch
                        {
                            "unet" => "Times one U-Net.",
                            "afa" => "Times the ensemble: all U-Nets and their aggregators.",
                            "vae" => "Times decoding.",
                            "ratio" => "Times the ensemble and one U-Net by turns.",
                            "train" => "Times a training step of the aggregators, part by part.",
                            _ => "Measures what the hardware can do; needs no model.",
                        }
                    ),
                    network
                )
            );
        }

        return Network(command, null);
    }

    private static Command Network(Command command, string? only)
    {
        var model = new Argument<string?>("MODEL")
        {
            Description = "A folder such as afa-native synth OUT --preset sd15 --experts 3 --dtype f16 makes.",
            Arity = ArgumentArity.ZeroOrOne,
        };
        Option<string> what = Text(
            "--what",
            "What to time: unet, afa, vae, ratio, train or peak, several joined by commas.",
            "unet"
        );
        Option<int> latent = BenchOptions.Whole("--latent", "Edge of the square latents.", 64, 1, 4096);
        Option<int> batch = BenchOptions.Whole("--batch", "Pictures at once.", 1, 1, 1024);
        Option<int> repeats = BenchOptions.Whole("--repeats", "Evaluations to measure.", 5, 1, 100_000);
        Option<bool> byShape = Flag("--by-shape", "Keep linear layers and convolutions of different sizes apart.");
        Option<bool> recompute = Flag("--recompute", "In training, compute activations again instead of keeping them.");
        Option<string?> json = File("--json", "Write what was measured of U-Net, ensemble and VAE to this file.");
        Option<string> device = Devices.DeviceOption(),
            precision = Devices.PrecisionOption();
        Option<int> threads = Devices.ThreadsOption();
        (Option<double?> tflops, Option<double?> gbs) = BenchOptions.Peaks();
        if (only != "peak")
            command.Add(model);
        if (only is null)
            command.Add(what);
        foreach (Option option in new Option[] { device, precision, threads, tflops, gbs })
            command.Add(option);
        if (only != "peak")
            foreach (Option option in new Option[] { latent, batch, repeats })
                command.Add(option);
        if (only is null or "unet" or "afa" or "vae")
            foreach (Option option in new Option[] { byShape, json })
                command.Add(option);
        if (only is null or "train")
            command.Add(recompute);
        command.SetAction(
            (r, cancellation) =>
                Task.Run(
                    () =>
                    {
                        string[] names = only is not null ? [only] : BenchOptions.Names("--what", r.GetValue(what)!, s_networks);
                        // Before anything is measured.
                        string? folder = r.GetValue(model);
                        if (folder is null && names is not ["peak"])
                            throw new AfaException(
                                "MODEL is missing: a folder such as afa-native synth makes; bench kernels and bench peak "
                                    + "need none."
                            );
                        if (
                            folder is not null
                            && names.FirstOrDefault(n => n is "afa" or "ratio") is { } joined
                            && EnsembleFolder.Open(folder).Aggregators.Count == 0
                        )
                            throw new AfaException(
                                $"{folder}: bench {joined} takes an ensemble with aggregators, and this is a single "
                                    + $"model; bench unet times it."
                            );
                        using IDevice raw = Devices.Open(r.GetValue(device)!, r.GetValue(threads), r.GetValue(precision)!);
                        Roofline roofline = Peak(
                            raw,
                            r.GetValue(device)!,
                            r.GetValue(precision)!,
                            r.GetValue(tflops),
                            r.GetValue(gbs)
                        );
                        string? path = r.GetValue(json);
                        if (path is not null && !names.Any(n => n is "unet" or "afa" or "vae"))
                        {
                            throw new AfaException("--json holds what unet, afa and vae measure; nothing of them was asked for.");
                        }

                        if (names is ["peak"])
                            return 0;
                        var options = new NetworkBenchmarkOptions(
                            r.GetValue(latent),
                            r.GetValue(batch),
                            r.GetValue(repeats),
                            r.GetValue(byShape),
                            r.GetValue(recompute)
                        );
                        var benchmark = new NetworkBenchmark(
                            raw,
                            r.GetValue(device)!,
                            r.GetValue(precision)!,
                            EnsembleFolder.Open(folder!),
                            roofline,
                            options,
                            cancellation
                        );
                        // In this order whatever the order of the names: reports stay alike.
                        if (names.Contains("vae"))
                            benchmark.Vae();
                        if (names.Contains("unet"))
                            benchmark.UNet();
                        if (names.Contains("afa"))
                            benchmark.Afa();
                        if (names.Contains("ratio"))
                            benchmark.Ratio();
                        if (names.Contains("train"))
                            benchmark.Train();
                        if (path is not null)
                            benchmark.Write(path);
                        return 0;
                    },
                    cancellation
                )
        );
        return command;
    }

    private static Command Kernels()
    {
        string known = string.Join(", ", KernelShape.Ops);
        Option<string> ops = Text("--op", $"Time only these, joined by commas: {known} (both norms).", "");
        Option<string> shapes = Text(
            "--shapes",
            "sd15: every op of that U-Net at 64 x 64 latents and of its aggregators, with 1 and 2 pictures; "
                + "or a file of shapes, a JSON object a line.",
            "sd15"
        );
        var weights = new Option<string>("--weights")
        {
            Description = "How weights are stored: f32, f16 or bf16.",
            DefaultValueFactory = _ => "f32",
        };
        weights.AcceptOnlyFromAmong("f32", "f16", "bf16");
        Option<int> repeats = BenchOptions.Whole("--repeats", "Times to measure of each kernel at most.", 50, 1, 1_000_000);
        Option<double> seconds = BenchOptions.Number(
            "--seconds",
            "Seconds to measure each kernel at most, but three times in any case.",
            0.5,
            0,
            86_400
        );
        Option<string?> json = File("--json", "Write what was measured to this file.");
        Option<string?> baseline = File("--baseline", $"Compare with what an earlier run wrote to this file: {Judged}");
        Option<string> device = Devices.DeviceOption(),
            precision = Devices.PrecisionOption();
        Option<int> threads = Devices.ThreadsOption();
        (Option<double?> tflops, Option<double?> gbs) = BenchOptions.Peaks();
        var command = new Command(
            "kernels",
            "Times kernels one by one: median, spread, TFLOP/s, GB/s and the share of the roofline."
        )
        {
            ops,
            shapes,
            device,
            precision,
            weights,
            threads,
            repeats,
            seconds,
            json,
            baseline,
            tflops,
            gbs,
        };
        command.SetAction(
            (r, cancellation) =>
                Task.Run(
                    () =>
                    {
                        string[] names = BenchOptions.Names("--op", r.GetValue(ops)!, KernelShape.Ops);
                        string list = r.GetValue(shapes)!,
                            deviceName = r.GetValue(device)!,
                            stored = r.GetValue(weights)!;
                        // Read first: a mistake in it is not to be found after minutes of measuring.
                        KernelReport? before = r.GetValue(baseline) is { } path ? KernelReport.Read(path) : null;
                        IReadOnlyList<CountedShape>? read = list == "sd15" ? null : StandardShapes.Read(list);
                        using IDevice raw = Devices.Open(deviceName, r.GetValue(threads), r.GetValue(precision)!);
                        IReadOnlyList<CountedShape> chosen =
                        [
                            .. (read ?? StandardShapes.StableDiffusion15(raw)).Where(s => Wanted(names, s.Shape.Op)),
                        ];
                        if (chosen.Count == 0)
                            throw new AfaException($"--op {r.GetValue(ops)}: {list} has no shape of it.");
                        Roofline roofline = Peak(raw, deviceName, r.GetValue(precision)!, r.GetValue(tflops), r.GetValue(gbs));
                        ElementType type = stored switch
                        {
                            "f16" => ElementType.Float16,
                            "bf16" => ElementType.BFloat16,
                            _ => ElementType.Float32,
                        };
                        var benchmark = new KernelBenchmark(raw, type, r.GetValue(repeats), r.GetValue(seconds));
                        var results = new List<KernelResult>();
                        Terminal.Result(KernelBenchmark.Head);
                        foreach (CountedShape shape in chosen)
                        {
                            cancellation.ThrowIfCancellationRequested();
                            results.Add(benchmark.Run(shape, roofline));
                            Terminal.Result(KernelBenchmark.Row(results[^1]));
                        }

                        string date = DateTime.UtcNow.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture);
                        var report = new KernelReport(
                            KernelReport.Kernel,
                            deviceName,
                            Roofline.Hardware(raw),
                            r.GetValue(precision)!,
                            stored,
                            date,
                            roofline,
                            results
                        );
                        if (r.GetValue(json) is { } file)
                            report.Write(file);
                        return before is null ? 0 : Judge(report, before, r.GetValue(baseline)!);
                    },
                    cancellation
                )
        );
        return command;
    }

    private static Command Compare()
    {
        var report = new Argument<string>("REPORT") { Description = "What bench kernels --json wrote." };
        var baseline = new Argument<string>("BASELINE") { Description = "What an earlier run wrote." };
        var command = new Command("compare", $"Compares two reports of bench kernels: {Judged}") { report, baseline };
        command.SetAction(r =>
            Judge(KernelReport.Read(r.GetValue(report)!), KernelReport.Read(r.GetValue(baseline)!), r.GetValue(baseline)!)
        );
        return command;
    }

    private static Command Table()
    {
        var files = new Argument<string[]>("FILE")
        {
            Description = "Reports of bench unet, afa and vae, and torch_afa_bench.py's.",
            Arity = ArgumentArity.OneOrMore,
        };
        var command = new Command("table", "Joins reports, ours and a PyTorch peer's, into Markdown.") { files };
        command.SetAction(r => Terminal.Result(ReportTable.Write(r.GetValue(files)!).TrimEnd('\n')));
        return command;
    }

    private static Option<string> Text(string name, string description, string otherwise) =>
        new(name) { Description = description, DefaultValueFactory = _ => otherwise };

    private static Option<string?> File(string name, string description) => new(name) { Description = description };

    private static Option<bool> Flag(string name, string description) => new(name) { Description = description };

    private static bool Wanted(string[] names, string op) =>
        names.Length == 0 || names.Contains(op) || (op is "group_norm" or "layer_norm" && names.Contains("norm"));

    private static Roofline Peak(IDevice raw, string device, string precision, double? tflops, double? gbs)
    {
        Roofline roofline = Roofline.Of(raw, tflops, gbs);
        string peak = string.Create(
            CultureInfo.InvariantCulture,
            $"peak {roofline.Tflops:F3} TFLOP/s, {roofline.Gbs:F0} GB/s ({roofline.Source})"
        );
        Terminal.Result($"{device} ({Roofline.Hardware(raw)}), {precision}; {peak}");
        return roofline;
    }

    private static int Judge(KernelReport report, KernelReport baseline, string path)
    {
        KernelComparison comparison = KernelComparison.Of(report, baseline, path);
        foreach (string name in comparison.Missing)
            Terminal.Note($"only in the baseline: {name}");
        foreach (string name in comparison.New)
            Terminal.Note($"not in the baseline: {name}");
        foreach (KernelChange c in comparison.Changes.Where(c => c.Slower || c.Faster))
        {
            string times = string.Create(
                CultureInfo.InvariantCulture,
                $"{c.IsMs:F4} ms, was {c.WasMs:F4} ({c.IsMs / c.WasMs:F2} x)"
            );
            Terminal.Result($"{(c.Slower ? "slower" : "faster")}: {c.Name}: {times}");
        }

        string[] slower = [.. comparison.Slower.Select(c => c.Name)];
        if (slower.Length > 0)
        {
            string names = string.Join("; ", slower);
            string count = $"{slower.Length} of {comparison.Changes.Count} kernels are slower than in {path}";
            throw new AfaException($"{count}, by {KernelComparison.Rule}: {names}.");
        }

        Terminal.Result($"none of {comparison.Changes.Count} kernels is slower than in {path}, by {KernelComparison.Rule}");
        return 0;
    }
}
