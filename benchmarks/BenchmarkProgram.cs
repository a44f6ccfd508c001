using System.Globalization;
using System.Text.Json;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Layers;
using AfaNative.Engine.Tensors;
using AfaNative.Engine.UNet;
using AfaNative.Engine.Vae;
using AfaNative.Kernels;
using AfaNative.Kernels.Devices;
using AfaNative.Kernels.Devices.Ilgpu;
using AfaNative.Kernels.MatrixMultiply;

namespace AfaNative.Benchmarks;

/// <summary>Times whole networks on a device and says which ops the time went to.</summary>
internal static class BenchmarkProgram
{
    private const string Usage = """
        usage: benchmarks MODEL [--what unet,afa,vae,ratio,train|peak] [--device cpu] [--precision f32|f16|bf16] [--latent 64] [--batch 1] [--repeats 5] [--threads N]
                          [--json FILE] [--peak-tflops X] [--peak-gbs Y] [--by-shape]
               benchmarks table FILE.json...      joins reports, ours and torch_afa_bench.py's, into Markdown
        MODEL is a folder made by: afa-native synth OUT --preset sd15 --experts 3 --dtype f16
        Times are medians by the device's own clock. The roofline comes from the options, from a short list of known GPUs, or (CPU) is measured.
        """;

    private static readonly JsonSerializerOptions s_json = new() { WriteIndented = true, PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    private sealed record NetworkResult(string Case, int Experts, int Batch, int Latent, string Mode, double Ms, double Min, double Max, double BuffersGib, IReadOnlyList<OpRow>? Ops);

    private sealed record OpRow(string Name, int Calls, double Ms, double Tflops, double Gbs, double OfRoofline);

    private sealed record Report(string Device, string Hardware, string Storage, string Date, Roofline Roofline, List<NetworkResult> Cases);

    public static int Run(string[] args)
    {
        if (args.Length == 0)
        {
            Console.Error.WriteLine(Usage);
            return 1;
        }

        if (args[0] == "table")
        {
            Console.Write(ReportTable.Write(args[1..]));
            return 0;
        }

        string[] what = Option("--what", "unet").Split(',');
        int latent = Number("--latent", 64), batch = Number("--batch", 1), repeats = Number("--repeats", 5);
        string name = Option("--device", "cpu"), precision = Option("--precision", "f32");
        ElementType storage = precision switch { "f16" => ElementType.Float16, "bf16" => ElementType.BFloat16, _ => ElementType.Float32 };
        using IDevice raw = name switch
        {
            "cpu" => new CpuDevice(Number("--threads", 0), products: storage),
            "cpu-plain" => new CpuDevice(Number("--threads", 0), simd: RegisterTile.BestPlain, products: storage),
            _ => IlgpuDevice.Open(name, storage),
        };
        string hardware = raw is IlgpuDevice gpu ? gpu.Description : $"{((CpuDevice)raw).Pool.Threads} threads";
        Roofline roofline = Peak(raw, hardware, storage);
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{name} ({hardware}), {precision}; peak {roofline.Tflops:F3} TFLOP/s, {roofline.Gbs:F0} GB/s ({roofline.Source})"));
        if (what.Contains("peak")) return 0;
        using var device = new TimingDevice(raw, raw is CpuDevice ? 1 : 5) { ByShape = args.Contains("--by-shape") };
        EnsembleFolder folder = EnsembleFolder.Open(args[0]);
        var ops = new Ops(device);
        var report = new Report(name, hardware, precision, DateTime.UtcNow.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture), roofline, []);
        if (what.Contains("vae")) Vae();
        if (what.Contains("unet")) Network([folder.UNets[0]], []);
        if (what.Contains("afa")) Network(folder.UNets, folder.Aggregators);
        if (what.Contains("ratio")) Ratio();
        if (what.Contains("train")) TrainingBenchmark.Run(raw, folder, batch, latent, repeats, args.Contains("--recompute"));
        if (Option("--json", "") is { Length: > 0 } path) File.WriteAllText(path, JsonSerializer.Serialize(report, s_json));
        return 0;

        void Vae()
        {
            VaeConfig config = VaeConfig.Load(folder.Vae);
            (VaeModel vae, CheckpointParameters parameters) = DiffusionModel.ReadComponent(device, [folder.Vae], p => new VaeModel(p, config));
            using (parameters)
            {
                using TensorScope scope = ops.Scope();
                Tensor latents = Noise(new Shape(1, batch, latent, latent, config.LatentChannels));
                Time("vae_decode", 1, () =>
                {
                    using TensorScope inner = ops.Scope();
                    vae.Decode(ops, latents);
                });
            }
        }

        void Network(IReadOnlyList<string> unets, IReadOnlyList<string> sabws)
        {
            using TensorScope scope = ops.Scope();
            (Action run, List<IDisposable> owned) = Load(unets, sabws);
            Time(sabws.Count > 0 ? "afa_forward" : "unet_forward", unets.Count, run);
            foreach (IDisposable one in owned) one.Dispose();
        }

        // Evaluations of the ensemble, each between two of one U-Net: what disturbs the machine for longer than that disturbs both.
        void Ratio()
        {
            using TensorScope scope = ops.Scope();
            (Action one, List<IDisposable> owned) = Load([folder.UNets[0]], []);
            (Action all, List<IDisposable> others) = Load(folder.UNets, folder.Aggregators);
            double[] ones = new double[repeats + 1], alls = new double[repeats];
            Once(one);
            Once(all);
            ones[0] = Once(one);
            for (int i = 0; i < repeats; i++)
            {
                alls[i] = Once(all);
                ones[i + 1] = Once(one);
            }

            double[] ratios = [.. alls.Select((t, i) => 2 * t / (ones[i] + ones[i + 1])).Order()];
            Array.Sort(ones);
            Array.Sort(alls);
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"afa_forward, {folder.UNets.Count} experts, against unet_forward by turns, {latent}x{latent} latents, batch {batch}: {alls[repeats / 2]:F0} ({alls[0]:F0} to {alls[^1]:F0}) and {ones[(repeats + 1) / 2]:F0} ({ones[0]:F0} to {ones[^1]:F0}) ms; ratio: median {ratios[repeats / 2]:F3}, {ratios[0]:F3} to {ratios[^1]:F3}; of the fastest {alls[0] / ones[0]:F3}"));
            foreach (IDisposable item in owned.Concat(others)) item.Dispose();
        }

        (Action Run, List<IDisposable> Owned) Load(IReadOnlyList<string> unets, IReadOnlyList<string> sabws)
        {
            UNetConfig config = UNetConfig.Load(folder.UNets[0]);
            (UNetModel unet, CheckpointParameters weights) = DiffusionModel.ReadComponent(device, unets, p => new UNetModel(p, config));
            var owned = new List<IDisposable> { weights };
            var aggregators = new List<Sabw>();
            foreach (string path in sabws)
            {
                SabwConfig sabw = SabwConfig.Load(path);
                (Sabw aggregator, CheckpointParameters parameters) = DiffusionModel.ReadComponent(device, [path], p => new Sabw(p, sabw), null, "aggregator");
                aggregators.Add(aggregator);
                owned.Add(parameters);
            }

            var ensemble = new AfaEnsemble(unet, aggregators);
            Tensor text = Noise(new Shape(unets.Count, batch, 77, 1, config.CrossAttentionDim)), latents = Noise(new Shape(1, batch, latent, latent, config.InChannels));
            Tensor sinusoids = ops.TimestepEmbedding([.. Enumerable.Repeat(500f, batch)], config.BlockOutChannels[0]);
            return (Run, owned);

            void Run()
            {
                using TensorScope inner = ops.Scope();
                ensemble.Predict(ops, latents, sinusoids, text);
            }
        }

        Tensor Noise(Shape shape)
        {
            var values = new float[shape.Count];
            Kernels.Random.GaussianNoise.Fill(values, 1, 0);
            return ops.Upload(values, shape);
        }

        void Time(string title, int experts, Action run)
        {
            run();
            run();
            double[] eager = Measure(run);
            Print("eager", eager, null);
            if (device.Record(run) is { } recorded)
            {
                using (recorded)
                {
                    recorded.TryReplay();
                    Print("graph", Measure(() => recorded.TryReplay()), null);
                }
            }

            IReadOnlyList<OpTiming> timings = Profile(run);
            Console.WriteLine($"{"op",-40}{"calls",6}{"ms",10}{"share",8}{"TFLOP/s",10}{"GB/s",8}{"of roofline",13}");
            double total = timings.Sum(t => t.Seconds);
            foreach (OpTiming t in timings)
            {
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{t.Name,-40}{t.Calls,6}{t.Seconds * 1e3,10:F2}{t.Seconds / total,8:P1}{(t.Flops > 0 ? t.Tflops : 0),10:F3}{t.Gbs,8:F0}{t.OfRoofline(roofline),13:P0}"));
            }

            OpRow[] rows = [.. timings.Select(t => new OpRow(t.Name, t.Calls, t.Seconds * 1e3, t.Tflops, t.Gbs, t.OfRoofline(roofline)))];
            int last = report.Cases.Count - 1;
            report.Cases[last] = report.Cases[last] with { Ops = rows };

            void Print(string mode, double[] ms, OpRow[]? ops)
            {
                double gib = raw.AllocatedBytes / (double)(1L << 30);
                report.Cases.Add(new NetworkResult(title, experts, batch, latent, mode, ms[ms.Length / 2], ms[0], ms[^1], gib, ops));
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{title}, {experts} expert(s), {latent}x{latent} latents, batch {batch}, {mode}: median {ms[ms.Length / 2]:F2} ms, {ms[0]:F2} to {ms[^1]:F2} of {repeats}"));
            }
        }

        // Every op class at the median of its own times: one disturbed run spoils nothing.
        IReadOnlyList<OpTiming> Profile(Action run)
        {
            var seen = new List<OpTiming>();
            device.Timing = true;
            for (int i = 0; i < repeats; i++)
            {
                run();
                seen.AddRange(device.Collect());
            }

            device.Timing = false;
            return [.. seen.GroupBy(t => t.Name).Select(g => g.OrderBy(t => t.Seconds).ElementAt(g.Count() / 2)).OrderByDescending(t => t.Seconds)];
        }

        double[] Measure(Action run)
        {
            double[] ms = [.. Enumerable.Range(0, repeats).Select(_ => Once(run))];
            Array.Sort(ms);
            return ms;
        }

        double Once(Action run)
        {
            using IDeviceMarker start = raw.Mark();
            run();
            using IDeviceMarker end = raw.Mark();
            return end.SecondsSince(start) * 1e3;
        }

        Roofline Peak(IDevice of, string description, ElementType type)
        {
            double tflops = double.Parse(Option("--peak-tflops", "0"), CultureInfo.InvariantCulture), gbs = double.Parse(Option("--peak-gbs", "0"), CultureInfo.InvariantCulture);
            if (tflops > 0) return new Roofline(tflops, gbs, "as given");
            if (of is CpuDevice cpu) return new Roofline(PeakFma.Measure(cpu.Pool) / 1e3, 0, "measured fused multiply-adds");
            bool half = type != ElementType.Float32;
            // Dense tensor-core and float32 peaks and memory bandwidths of the vendor's data sheets.
            if (description.Contains("H200", StringComparison.Ordinal)) return new Roofline(half ? 989 : 67, 4800, "data sheet, SXM");
            if (description.Contains("H100", StringComparison.Ordinal)) return new Roofline(half ? 989 : 67, 3350, "data sheet, SXM");
            if (description.Contains("A100", StringComparison.Ordinal)) return new Roofline(half ? 312 : 19.5, 2039, "data sheet, 80 GB");
            return new Roofline(1, 0, "unknown device: name --peak-tflops and --peak-gbs");
        }

        int Number(string key, int otherwise) => int.Parse(Option(key, otherwise.ToString(CultureInfo.InvariantCulture)), CultureInfo.InvariantCulture);

        string Option(string key, string otherwise)
        {
            int at = Array.IndexOf(args, key);
            return at >= 0 && at + 1 < args.Length ? args[at + 1] : otherwise;
        }
    }
}
