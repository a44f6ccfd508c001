using System.CommandLine;
using System.Globalization;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Training;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Tool.Commands;

/// <summary><c>afa-native screen</c>: whether training aggregators for these experts can pay.</summary>
internal static class ScreenCommand
{
    public static Command Create()
    {
        var experts = new Option<string[]>("--experts")
        {
            Description = "Plain diffusers folders, one per expert, or one ensemble folder.",
            Required = true,
            AllowMultipleArgumentsPerToken = true,
        };
        var data = new Option<string>("--data") { Description = "Pictures with captions, as train takes them.", Required = true };
        var size = new Option<int?>("--size")
        {
            Description = "Edge of the square cut from every picture; what the models were made for when left out.",
        }.Within(Limits.LeastEdge, Limits.Edge);
        var pictures = new Option<int>("--pictures")
        {
            Description = "Pictures to look at.",
            DefaultValueFactory = _ => 16,
        }.Within(1, 100000);
        var draws = new Option<int>("--draws")
        {
            Description = "Noise draws of every picture and time step; an even number of at least 4.",
            DefaultValueFactory = _ => 4,
        }.Within(4, 10000);
        var steps = new Option<int>("--timesteps")
        {
            Description = "Time steps, evenly spaced.",
            DefaultValueFactory = _ => 5,
        }.Within(1, 1000);
        var cache = new Option<string>("--cache")
        {
            Description = "Folder for encoded pictures and captions.",
            DefaultValueFactory = _ => "screen-cache",
        };
        var seed = new Option<ulong>("--seed", "-s") { Description = "Decides crops and noise." };
        Option<string> device = Devices.DeviceOption();
        Option<int> threads = Devices.ThreadsOption();
        var command = new Command(
            "screen",
            "Finds out whether experts complement each other, before aggregators are trained for them."
        )
        {
            experts,
            data,
            size,
            pictures,
            draws,
            steps,
            cache,
            seed,
            device,
            threads,
            MemoryGuard.Force,
        };
        command.SetAction(
            (r, cancellation) =>
                Task.Run(
                    () =>
                        Run(
                            r.GetValue(experts)!,
                            r.GetValue(data)!,
                            r.GetValue(size),
                            r.GetValue(pictures),
                            r.GetValue(draws),
                            r.GetValue(steps),
                            r.GetValue(cache)!,
                            r.GetValue(seed),
                            r.GetValue(device)!,
                            r.GetValue(threads),
                            r.GetValue(MemoryGuard.Force),
                            cancellation
                        ),
                    cancellation
                )
        );
        return command;
    }

    private static int Run(
        string[] paths,
        string data,
        int? wantedSize,
        int pictures,
        int draws,
        int steps,
        string cacheFolder,
        ulong seed,
        string deviceName,
        int threads,
        bool force,
        CancellationToken cancellation
    )
    {
        EnsembleFolder[] folders = [.. paths.Select(EnsembleFolder.Open)];
        EnsembleFolder models =
            folders.Length == 1
                ? folders[0]
                : folders[0] with
                {
                    UNets = [.. folders.Select(f => f.UNets[0])],
                    TextEncoders = [.. folders.Select(f => f.TextEncoders[0])],
                    Aggregators = [],
                };
        ModelWarnings.SayScheduler(models);
        int size = wantedSize ?? NativeSize.Of(models),
            factor = VaeConfig.Load(models.Vae).Downscale;
        if (size < factor || size > 16384 || size % factor != 0)
            throw new AfaException($"--size takes a multiple of {factor} up to 16384, not {size}.");
        TrainingData found = TrainingRecords.Read(data);
        foreach (string warning in found.Warnings)
            Terminal.Warn(warning);
        IReadOnlyList<TrainingRecord> records = found.Records;
        using IDevice device = Devices.Open(deviceName, threads, "f32");
        // One picture of the run, without guidance.
        var one = new GenerationOptions
        {
            Prompt = "",
            Width = size,
            Height = size,
            GuidanceScale = 1,
            Seeds = [0],
            Fusion = FusionMode.Mean,
        };
        MemoryPlan plan = MemoryPlan.For(
            device,
            models.UNets.Count > 1 ? models.WithoutAggregators() : models,
            models.UNets.Count > 1 ? one : one with { Fusion = FusionMode.Afa }
        );
        MemoryGuard.Check(plan.Total, device.FreeBytes, force, "a smaller --size or fewer experts");
        var cache = new LatentCache(cacheFolder, models, size, seed);
        var encoding = new ProgressLine("encoding", Math.Min(pictures, records.Count));
        IReadOnlyList<EncodedRecord> encoded = cache.Encode(
            device,
            [.. records.Take(pictures)],
            (done, _) => encoding.Report(done),
            cancellation
        );
        foreach ((string image, string reason) in cache.Skipped)
            Terminal.Note($"skipped {image}: {reason}");
        int[] timesteps = [.. Enumerable.Range(0, steps).Select(i => (int)((i + 0.5) * 1000 / steps))];
        var progress = new ProgressLine("screening", encoded.Count * steps);
        ScreeningResult result = ExpertScreening.Run(
            device,
            models,
            encoded,
            timesteps,
            draws,
            seed,
            (done, _) => progress.Report(done),
            cancellation
        );
        Terminal.Result(
            $"{"time step", 9}  {string.Join("  ", Enumerable.Range(0, models.UNets.Count).Select(n => $"expert {n}"))}   "
                + $"   mean    routed    oracle  agreement (by chance)"
        );
        foreach (ScreeningStep s in result.Steps)
        {
            Terminal.Result(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{s.Timestep, 9}  "
                        + $"{string.Join("  ", s.Errors.Select(e => e.ToString("F5", CultureInfo.InvariantCulture).PadLeft(8)))} "
                        + $" {s.Mean, 8:F5}  {s.Routed, 8:F5}  {s.Oracle, 8:F5}  {s.Agreement, 8:P1}  ({s.Chance:P1})"
                )
            );
        }

        Terminal.Result(
            string.Create(
                CultureInfo.InvariantCulture,
                $"routing by place saves {result.Gain:P2} of the best single expert's error (standard error "
                    + $"{result.StandardError:P2} over {encoded.Count} pictures)"
            )
        );
        string threshold = ScreeningResult.Threshold.ToString("P1", CultureInfo.InvariantCulture);
        Terminal.Result(
            result.WorthTraining
                ? $"verdict: worth training. Winners carry over to noise they were not chosen on, by more than "
                    + $"{threshold} and twice the standard error."
                : $"verdict: little to learn. An aggregator needs experts whose advantage depends on place or prompt; "
                    + $"here choosing by place saves no more than {threshold} or twice the standard error."
        );
        return 0;
    }
}
