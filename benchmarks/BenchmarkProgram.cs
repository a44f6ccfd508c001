using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Layers;
using AfaNative.Engine.Tensors;
using AfaNative.Engine.UNet;
using AfaNative.Engine.Vae;
using AfaNative.Kernels.Devices;

namespace AfaNative.Benchmarks;

/// <summary>Times whole networks on the CPU and says which ops the time went to.</summary>
internal static class BenchmarkProgram
{
    private const string Usage = """
        usage: benchmarks MODEL [--what unet|vae|afa|peak] [--latent 64] [--batch 1] [--repeats 5] [--threads N]
        MODEL is a folder made by: afa-native synth OUT --preset sd15 --experts 3 --dtype f16
        """;

    public static int Run(string[] args)
    {
        if (args.Length == 0)
        {
            Console.Error.WriteLine(Usage);
            return 1;
        }

        string what = Option("--what", "unet");
        int latent = int.Parse(Option("--latent", "64")), batch = int.Parse(Option("--batch", "1")), repeats = int.Parse(Option("--repeats", "5")), threads = int.Parse(Option("--threads", "0"));
        using var cpu = new CpuDevice(threads);
        double peak = PeakFma.Measure(cpu.Pool);
        Console.WriteLine($"{cpu.Pool.Threads} threads, measured FMA peak {peak:F0} GFLOP/s");
        if (what == "peak") return 0;
        using var device = new TimingDevice(cpu);
        EnsembleFolder folder = EnsembleFolder.Open(args[0]);
        var ops = new Ops(device);
        if (what == "vae")
        {
            VaeConfig config = VaeConfig.Load(folder.Vae);
            (VaeModel vae, CheckpointParameters parameters) = DiffusionModel.ReadComponent(device, [folder.Vae], p => new VaeModel(p, config));
            using (parameters)
            {
                Time($"VAE decode to {latent * config.Downscale}x{latent * config.Downscale}", () =>
                {
                    using TensorScope scope = ops.Scope();
                    vae.Decode(ops, Noise(new Shape(1, batch, latent, latent, config.LatentChannels)));
                });
            }

            return 0;
        }

        UNetConfig unetConfig = UNetConfig.Load(folder.UNets[0]);
        IReadOnlyList<string> unets = what == "afa" ? folder.UNets : [folder.UNets[0]];
        (UNetModel unet, CheckpointParameters weights) = DiffusionModel.ReadComponent(device, unets, p => new UNetModel(p, unetConfig));
        var aggregators = new List<Sabw>();
        foreach (string path in what == "afa" ? folder.Aggregators : [])
        {
            SabwConfig sabw = SabwConfig.Load(path);
            aggregators.Add(DiffusionModel.ReadComponent(device, [path], p => new Sabw(p, sabw), null, "aggregator").Model);
        }

        var ensemble = new AfaEnsemble(unet, aggregators);
        using (weights)
        {
            float[] timesteps = [.. Enumerable.Repeat(500f, batch)];
            Time($"{(what == "afa" ? $"AFA of {unets.Count}" : "U-Net")} at {latent}x{latent} latents, batch {batch}", () =>
            {
                using TensorScope scope = ops.Scope();
                Tensor text = Noise(new Shape(unets.Count, batch, 77, 1, unetConfig.CrossAttentionDim));
                ensemble.Predict(ops, Noise(new Shape(1, batch, latent, latent, unetConfig.InChannels)), timesteps, text);
            });
        }

        return 0;

        Tensor Noise(Shape shape)
        {
            var values = new float[shape.Count];
            Kernels.Random.GaussianNoise.Fill(values, 1, 0);
            return ops.Upload(values, shape);
        }

        void Time(string name, Action run)
        {
            run();
            run();
            var seconds = new List<double>();
            device.Reset();
            for (int i = 0; i < repeats; i++)
            {
                var watch = System.Diagnostics.Stopwatch.StartNew();
                run();
                seconds.Add(watch.Elapsed.TotalSeconds);
            }

            seconds.Sort();
            Console.WriteLine($"{name}: median {seconds[seconds.Count / 2]:F3} s, fastest {seconds[0]:F3} s of {repeats}");
            device.Report(repeats, peak);
        }

        string Option(string key, string otherwise)
        {
            int at = Array.IndexOf(args, key);
            return at >= 0 && at + 1 < args.Length ? args[at + 1] : otherwise;
        }
    }
}
