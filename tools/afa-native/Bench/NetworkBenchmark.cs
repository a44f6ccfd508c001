using System.Globalization;
using System.Text.Json;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Files;
using AfaNative.Engine.Models;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Cpu;

namespace AfaNative.Tool.Bench;

/// <summary>How whole networks are to be timed.</summary>
/// <param name="Latent">Edge of the square latents.</param>
/// <param name="Batch">Pictures at once.</param>
/// <param name="Repeats">Evaluations measured.</param>
/// <param name="ByShape">Keep linear layers and convolutions of different sizes apart.</param>
/// <param name="Recompute">In training: compute activations again instead of keeping them.</param>
internal sealed record NetworkBenchmarkOptions(int Latent, int Batch, int Repeats, bool ByShape, bool Recompute);

/// <summary>Times whole networks on a device and says which ops the time went to.</summary>
internal sealed class NetworkBenchmark
{
    private static readonly JsonSerializerOptions s_json = new()
    {
        WriteIndented = true,
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
    };

    private readonly IDevice _raw;
    private readonly TimingDevice _device;
    private readonly EnsembleFolder _folder;
    private readonly NetworkBenchmarkOptions _options;
    private readonly Ops _ops;
    private readonly Report _report;

    /// <param name="raw">The device itself.</param>
    /// <param name="name">What was written after --device.</param>
    /// <param name="precision">What was written after --precision.</param>
    /// <param name="folder">The model.</param>
    /// <param name="roofline">What the device can do.</param>
    /// <param name="options">How to measure.</param>
    /// <param name="cancellation">Looked at before every op.</param>
    public NetworkBenchmark(
        IDevice raw,
        string name,
        string precision,
        EnsembleFolder folder,
        Roofline roofline,
        NetworkBenchmarkOptions options,
        CancellationToken cancellation
    )
    {
        (_raw, _folder, _options) = (raw, folder, options);
        _device = new TimingDevice(raw, raw is CpuDevice ? 1 : 5) { ByShape = options.ByShape };
        _ops = new Ops(_device, cancellation);
        string date = DateTime.UtcNow.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture);
        _report = new Report(name, Roofline.Hardware(raw), precision, date, roofline, []);
    }

    private sealed record NetworkResult(
        string Case,
        int Experts,
        int Batch,
        int Latent,
        string Mode,
        double Ms,
        double Min,
        double Max,
        double BuffersGib,
        IReadOnlyList<OpRow>? Ops
    );

    private sealed record OpRow(string Name, int Calls, double Ms, double Tflops, double Gbs, double OfRoofline);

    private sealed record Report(
        string Device,
        string Hardware,
        string Storage,
        string Date,
        Roofline Roofline,
        List<NetworkResult> Cases
    );

    /// <summary>Writes what was measured of U-Net, ensemble and VAE, whole or not at all.</summary>
    public void Write(string path) => WholeFile.WriteText(path, JsonSerializer.Serialize(_report, s_json) + "\n");

    /// <summary>Decoding latents.</summary>
    public void Vae()
    {
        VaeConfig config = VaeConfig.Load(_folder.Vae);
        (VaeModel vae, CheckpointParameters parameters) = DiffusionModel.ReadComponent(
            _device,
            [_folder.Vae],
            p => new VaeModel(p, config)
        );
        using (parameters)
        {
            using TensorScope scope = _ops.Scope();
            Tensor latents = Noise(new Shape(1, _options.Batch, _options.Latent, _options.Latent, config.LatentChannels));
            Time(
                "vae_decode",
                1,
                () =>
                {
                    using TensorScope inner = _ops.Scope();
                    vae.Decode(_ops, latents);
                }
            );
        }
    }

    /// <summary>One U-Net.</summary>
    public void UNet() => Network([_folder.UNets[0]], []);

    /// <summary>The ensemble: all U-Nets and their aggregators.</summary>
    public void Afa() => Network(_folder.UNets, _folder.Aggregators);

    /// <summary>
    /// Evaluations of the ensemble, each between two of one U-Net: what disturbs the machine for longer than that disturbs both.
    /// </summary>
    public void Ratio()
    {
        int repeats = _options.Repeats;
        using TensorScope scope = _ops.Scope();
        (Action one, List<IDisposable> owned) = Load([_folder.UNets[0]], []);
        (Action all, List<IDisposable> others) = Load(_folder.UNets, _folder.Aggregators);
        double[] ones = new double[repeats + 1],
            alls = new double[repeats];
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
        double middle = ones[(repeats + 1) / 2];
        Terminal.Result(
            $"afa_forward, {_folder.UNets.Count} experts, against unet_forward by turns, {Size}: "
                + FormattableString.Invariant($"{alls[repeats / 2]:F0} ({alls[0]:F0} to {alls[^1]:F0}) and ")
                + FormattableString.Invariant($"{middle:F0} ({ones[0]:F0} to {ones[^1]:F0}) ms; ")
                + FormattableString.Invariant($"ratio: median {ratios[repeats / 2]:F3}, {ratios[0]:F3} to {ratios[^1]:F3}; ")
                + FormattableString.Invariant($"of the fastest {alls[0] / ones[0]:F3}")
        );
        foreach (IDisposable item in owned.Concat(others))
            item.Dispose();
    }

    /// <summary>A step of training the aggregators.</summary>
    public void Train() => TrainingBenchmark.Run(_raw, _folder, _options);

    private string Size =>
        string.Create(CultureInfo.InvariantCulture, $"{_options.Latent}x{_options.Latent} latents, batch {_options.Batch}");

    private void Network(IReadOnlyList<string> unets, IReadOnlyList<string> sabws)
    {
        using TensorScope scope = _ops.Scope();
        (Action run, List<IDisposable> owned) = Load(unets, sabws);
        Time(sabws.Count > 0 ? "afa_forward" : "unet_forward", unets.Count, run);
        foreach (IDisposable one in owned)
            one.Dispose();
    }

    private (Action Run, List<IDisposable> Owned) Load(IReadOnlyList<string> unets, IReadOnlyList<string> sabws)
    {
        UNetConfig config = UNetConfig.Load(_folder.UNets[0]);
        (UNetModel unet, CheckpointParameters weights) = DiffusionModel.ReadComponent(
            _device,
            unets,
            p => new UNetModel(p, config)
        );
        var owned = new List<IDisposable> { weights };
        var aggregators = new List<Sabw>();
        foreach (string path in sabws)
        {
            SabwConfig sabw = SabwConfig.Load(path);
            (Sabw aggregator, CheckpointParameters parameters) = DiffusionModel.ReadComponent(
                _device,
                [path],
                p => new Sabw(p, sabw),
                null,
                "aggregator"
            );
            aggregators.Add(aggregator);
            owned.Add(parameters);
        }

        var ensemble = new AfaEnsemble(unet, aggregators);
        Tensor text = Noise(new Shape(unets.Count, _options.Batch, 77, 1, config.CrossAttentionDim));
        Tensor latents = Noise(new Shape(1, _options.Batch, _options.Latent, _options.Latent, config.InChannels));
        Tensor sinusoids = _ops.TimestepEmbedding([.. Enumerable.Repeat(500f, _options.Batch)], config.BlockOutChannels[0]);
        return (Run, owned);

        void Run()
        {
            using TensorScope inner = _ops.Scope();
            ensemble.Predict(_ops, latents, sinusoids, new Conditioning(text));
        }
    }

    private Tensor Noise(Shape shape)
    {
        var values = new float[shape.Count];
        Kernels.Random.GaussianNoise.Fill(values, 1, 0);
        return _ops.Upload(values, shape);
    }

    private void Time(string title, int experts, Action run)
    {
        run();
        run();
        double[] eager = Measure(run);
        Print("eager", eager);
        if (_device.Record(run) is { } recorded)
        {
            using (recorded)
            {
                recorded.TryReplay();
                Print("graph", Measure(() => recorded.TryReplay()));
            }
        }

        IReadOnlyList<OpTiming> timings = Profile(run);
        Roofline roofline = _report.Roofline;
        Terminal.Result($"{"op", -40}{"calls", 6}{"ms", 10}{"share", 8}{"TFLOP/s", 10}{"GB/s", 8}{"of roofline", 13}");
        double total = timings.Sum(t => t.Seconds);
        foreach (OpTiming t in timings)
        {
            double tflops = t.Flops > 0 ? t.Tflops : 0;
            Terminal.Result(
                FormattableString.Invariant($"{t.Name, -40}{t.Calls, 6}{t.Seconds * 1e3, 10:F2}{t.Seconds / total, 8:P1}")
                    + FormattableString.Invariant($"{tflops, 10:F3}{t.Gbs, 8:F0}{t.OfRoofline(roofline), 13:P0}")
            );
        }

        OpRow[] rows =
        [
            .. timings.Select(t => new OpRow(t.Name, t.Calls, t.Seconds * 1e3, t.Tflops, t.Gbs, t.OfRoofline(roofline))),
        ];
        _report.Cases[^1] = _report.Cases[^1] with { Ops = rows };

        void Print(string mode, double[] ms)
        {
            double gib = _raw.AllocatedBytes / (double)(1L << 30),
                median = ms[ms.Length / 2];
            _report.Cases.Add(
                new NetworkResult(title, experts, _options.Batch, _options.Latent, mode, median, ms[0], ms[^1], gib, null)
            );
            Terminal.Result(
                $"{title}, {experts} expert(s), {Size}, {mode}: "
                    + FormattableString.Invariant($"median {median:F2} ms, {ms[0]:F2} to {ms[^1]:F2} of {_options.Repeats}")
            );
        }
    }

    // Every op class at the median of its own times: one disturbed run spoils nothing.
    private IReadOnlyList<OpTiming> Profile(Action run)
    {
        var seen = new List<OpTiming>();
        _device.Timing = true;
        for (int i = 0; i < _options.Repeats; i++)
        {
            run();
            seen.AddRange(_device.Collect());
        }

        _device.Timing = false;
        return
        [
            .. seen.GroupBy(t => t.Name)
                .Select(g => g.OrderBy(t => t.Seconds).ElementAt(g.Count() / 2))
                .OrderByDescending(t => t.Seconds),
        ];
    }

    private double[] Measure(Action run)
    {
        double[] ms = [.. Enumerable.Range(0, _options.Repeats).Select(_ => Once(run))];
        Array.Sort(ms);
        return ms;
    }

    private double Once(Action run)
    {
        using IDeviceMarker start = _raw.Mark();
        run();
        using IDeviceMarker end = _raw.Mark();
        return end.SecondsSince(start) * 1e3;
    }
}
