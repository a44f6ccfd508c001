using System.CommandLine;
using System.Globalization;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Files;
using AfaNative.Engine.Models;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Training;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Gpu;

namespace AfaNative.Tool.Commands;

/// <summary><c>afa-native train</c>: trains the aggregators of an ensemble, or a whole network of a single model.</summary>
internal static class TrainCommand
{
    public static Command Create()
    {
        var defaults = new TrainingOptions();
        var model = new Argument<string>("MODEL")
        {
            Description =
                "An AFA ensemble folder; its experts stay as they are, its aggregators are where training starts. With "
                + "--what vae or unet a diffusers folder of one model.",
        };
        var what = new Option<string>("--what")
        {
            Description = "sabw: the aggregators; unet: a model's U-Net, to make an expert; vae: a model's autoencoder.",
            DefaultValueFactory = _ => "sabw",
        };
        what.AcceptOnlyFromAmong("sabw", "unet", "vae");
        var scratch = new Option<bool>("--from-scratch")
        {
            Description = "--what vae|unet: start from random weights of the model's architecture.",
        };
        var text = new Option<bool>("--train-text-encoder") { Description = "--what unet: train the text encoder too." };
        var data = new Option<string>("--data")
        {
            Description =
                "JSON records {image_file, text}, an image folder with metadata.jsonl, or a folder of pictures with .txt "
                + "captions.",
            Required = true,
        };
        var output = new Option<string>("--out", "-o")
        {
            Description = "The run's folder: log, cache, checkpoints, and at the end model/ with the trained ensemble.",
            Required = true,
        };
        var resume = new Option<bool>("--resume") { Description = "Go on from the run's newest checkpoint." };
        var steps = new Option<int>("--steps") { Description = "Updates.", DefaultValueFactory = _ => defaults.Steps }.Within(
            1,
            Limits.Updates
        );
        var batch = new Option<int>("--batch-size")
        {
            Description = "Pictures of one forward pass.",
            DefaultValueFactory = _ => defaults.BatchSize,
        }.Within(1, Limits.Batch);
        var accumulate = new Option<int>("--accumulate")
        {
            Description = "Forward passes of one update.",
            DefaultValueFactory = _ => defaults.Accumulate,
        }.Within(1, 100000);
        var size = new Option<int?>("--size")
        {
            Description = "Edge of the square cut from every picture; what the model was made for when left out.",
        }.Within(Limits.LeastEdge, Limits.Edge);
        var rate = new Option<double>("--learning-rate", "--lr")
        {
            Description = "AdamW's learning rate.",
            DefaultValueFactory = _ => defaults.LearningRate,
        }.Within(0, 10);
        var decay = new Option<double>("--weight-decay")
        {
            Description = "AdamW's weight decay.",
            DefaultValueFactory = _ => defaults.WeightDecay,
        }.Within(0, 1);
        var clip = new Option<double>("--clip")
        {
            Description = "Largest gradient norm; 0 turns clipping off.",
            DefaultValueFactory = _ => defaults.ClipNorm,
        }.Within(0, 1e9);
        var schedule = new Option<string>("--schedule")
        {
            Description = "Learning rate after warm-up: constant, linear or cosine.",
            DefaultValueFactory = _ => "constant",
        };
        schedule.AcceptOnlyFromAmong("constant", "linear", "cosine");
        var warmup = new Option<int>("--warmup")
        {
            Description = "Updates over which the learning rate grows.",
            DefaultValueFactory = _ => defaults.WarmupSteps,
        }.Within(0, Limits.Updates);
        var dropout = new Option<double>("--text-dropout")
        {
            Description = "Chance that a batch goes without captions.",
            DefaultValueFactory = _ => defaults.TextDropout,
        }.Within(0, 1);
        var means = new Option<bool>("--posterior-means")
        {
            Description =
                "Learn from the means of the VAE's posteriors instead of samples: for autoencoders whose posteriors are wide.",
        };
        var seed = new Option<ulong>("--seed", "-s")
        {
            Description = "Decides everything that is random.",
            DefaultValueFactory = _ => defaults.Seed,
        };
        var holdout = new Option<int>("--holdout")
        {
            Description = "Pictures set aside for evaluation.",
            DefaultValueFactory = _ => defaults.Holdout,
        }.Within(0, 1000000);
        var evaluate = new Option<int>("--evaluate-every")
        {
            Description = "Updates between evaluations.",
            DefaultValueFactory = _ => defaults.EvaluateEvery,
        }.Within(1, Limits.Updates);
        var save = new Option<int>("--save-every")
        {
            Description = "Updates between checkpoints.",
            DefaultValueFactory = _ => defaults.SaveEvery,
        }.Within(1, Limits.Updates);
        var keep = new Option<int>("--keep")
        {
            Description = "Checkpoints kept.",
            DefaultValueFactory = _ => defaults.Keep,
        }.Within(1, 10000);
        var recompute = new Option<bool>("--recompute")
        {
            Description = "Keep fewer activations and compute them again on the way back: less memory, more time.",
        };
        var ema = new Option<double>("--ema")
        {
            Description = "Decay of a running mean of the weights for the trained model, such as 0.999; 0 turns it off.",
        }.Within(0, 1);
        Option<string> precision = Devices.TrainingPrecisionOption(),
            device = Devices.DeviceOption();
        Option<int> threads = Devices.ThreadsOption();
        var command = new Command("train", "Trains the aggregators of an ensemble, or the U-Net or VAE of a single model.")
        {
            model,
            what,
            scratch,
            text,
            data,
            output,
            resume,
            steps,
            batch,
            accumulate,
            size,
            rate,
            decay,
            clip,
            schedule,
            warmup,
            dropout,
            means,
            seed,
            holdout,
            evaluate,
            save,
            keep,
            ema,
            recompute,
            precision,
            device,
            threads,
            MemoryGuard.Force,
        };
        command.SetAction(
            (r, cancellation) =>
            {
                var options = new TrainingOptions
                {
                    Steps = r.GetValue(steps),
                    BatchSize = r.GetValue(batch),
                    Accumulate = r.GetValue(accumulate),
                    Size = r.GetValue(size) ?? NativeSize.Of(EnsembleFolder.Open(r.GetValue(model)!)),
                    LearningRate = r.GetValue(rate),
                    WeightDecay = r.GetValue(decay),
                    ClipNorm = r.GetValue(clip),
                    Schedule = Enum.Parse<LearningRateSchedule>(r.GetValue(schedule)!, ignoreCase: true),
                    WarmupSteps = r.GetValue(warmup),
                    TextDropout = r.GetValue(dropout),
                    PosteriorMeans = r.GetValue(means),
                    Seed = r.GetValue(seed),
                    Holdout = r.GetValue(holdout),
                    EvaluateEvery = r.GetValue(evaluate),
                    SaveEvery = r.GetValue(save),
                    Keep = r.GetValue(keep),
                    Ema = r.GetValue(ema),
                    Recompute = r.GetValue(recompute),
                };
                if (r.GetValue(what) is { } network and not "sabw")
                {
                    Option[] foreign =
                        network == "vae" ? [holdout, evaluate, keep, dropout, means, recompute] : [holdout, evaluate, keep];
                    if (foreign.FirstOrDefault(o => r.GetResult(o) is { Implicit: false }) is { } useless)
                    {
                        bool both = network == "vae" && (useless == dropout || useless == means || useless == recompute);
                        string takers = both ? "sabw and unet" : "sabw";
                        throw new AfaException($"{useless.Name} is nothing that --what {network} takes; it is for {takers}.");
                    }

                    if (r.GetValue(text) && network != "unet")
                        throw new AfaException("--train-text-encoder goes with --what unet.");
                    var setup = new NetworkTrainingSetup
                    {
                        Model = r.GetValue(model)!,
                        What = network == "vae" ? TrainedNetwork.Vae : TrainedNetwork.UNet,
                        Records = Records(r.GetValue(data)!),
                        Output = r.GetValue(output)!,
                        Options = options,
                        FromScratch = r.GetValue(scratch),
                        TrainText = r.GetValue(text),
                    };
                    return Task.Run(
                        () =>
                            RunNetwork(
                                setup,
                                r.GetValue(resume),
                                r.GetValue(precision)!,
                                r.GetValue(device)!,
                                r.GetValue(threads),
                                r.GetValue(MemoryGuard.Force),
                                cancellation
                            ),
                        cancellation
                    );
                }

                if (r.GetValue(scratch) || r.GetValue(text))
                    throw new AfaException("--from-scratch and --train-text-encoder go with --what unet or vae.");
                return Task.Run(
                    () =>
                        Run(
                            r.GetValue(model)!,
                            r.GetValue(data)!,
                            r.GetValue(output)!,
                            r.GetValue(resume),
                            options,
                            r.GetValue(precision)!,
                            r.GetValue(device)!,
                            r.GetValue(threads),
                            r.GetValue(MemoryGuard.Force),
                            cancellation
                        ),
                    cancellation
                );
            }
        );
        return command;
    }

    private static int Run(
        string model,
        string data,
        string output,
        bool resume,
        TrainingOptions options,
        string precision,
        string deviceName,
        int threads,
        bool force,
        CancellationToken cancellation
    )
    {
        options.Validate();
        EnsembleFolder folder = EnsembleFolder.Open(model);
        if (folder.Aggregators.Count == 0)
            throw new AfaException($"{model}: it has no aggregators to train.");
        using OutputLock held = Claims.Run(folder, output);
        ModelWarnings.SayScheduler(folder);
        int factor = VaeConfig.Load(folder.Vae).Downscale;
        if (options.Size < factor || options.Size % factor != 0)
            throw new AfaException($"--size takes a multiple of {factor}, not {options.Size}.");
        if (!resume && Directory.Exists(Path.Combine(output, "checkpoints")))
            throw new AfaException(
                $"{output} already holds a training run; --resume goes on with it, another --out starts a new one."
            );
        if (resume && !Directory.Exists(Path.Combine(output, "checkpoints")))
            Terminal.Warn($"{output}: there is no checkpoint to go on from; training starts from the beginning");
        using IDevice device = Devices.OpenForTraining(deviceName, threads, precision);
        // What can be told before hours of encoding.
        if (resume)
            AggregatorTrainer.RequireOptions(device, options, output);
        IReadOnlyList<TrainingRecord> records = Records(data);
        TrainingPlan plan = AggregatorTrainer.Plan(device, folder, options);
        Terminal.Note(plan.ToString());
        MemoryGuard.Check(
            plan.Total,
            device.FreeBytes,
            force,
            $"{(options.Recompute ? "" : "--recompute, ")}a smaller --batch-size or --size"
        );

        var cache = new LatentCache(Path.Combine(output, "cache"), folder, options.Size, options.Seed);
        var encoding = new ProgressLine("encoding", records.Count);
        // What is encoded once and learnt from ever after is worth float32.
        IReadOnlyList<EncodedRecord> encoded;
        string empty;
        using (IDevice? wide = precision == "f32" ? null : Devices.Open(deviceName, threads, "f32"))
        {
            encoded = cache.Encode(wide ?? device, records, (done, _) => encoding.Report(done), cancellation);
            empty = cache.EncodeCaption(wide ?? device, "", cancellation);
        }

        foreach ((string image, string reason) in cache.Skipped.Take(SkippedShown))
            Terminal.Note($"skipped {image}: {reason}");
        if (cache.Skipped.Count > 0)
            Terminal.Note($"{cache.Skipped.Count} of {records.Count} pictures were skipped");
        using var trainer = new AggregatorTrainer(device, folder, encoded, empty, options, output);
        Terminal.Note(
            string.Create(
                CultureInfo.InvariantCulture,
                $"{trainer.ParameterCount:N0} trained numbers in {folder.Aggregators.Count} aggregators of "
                    + $"{folder.UNets.Count} experts, {encoded.Count - options.Holdout} pictures, {options.Holdout} held out"
            )
        );
        int said = 0;
        Tell(() => { });
        if (resume && trainer.Resume())
            Terminal.Note($"going on after {trainer.Steps} updates");
        int first = trainer.Steps;
        var progress = new ProgressLine("update", options.Steps, first);
        var watch = System.Diagnostics.Stopwatch.StartNew();
        try
        {
            trainer.Train(
                s =>
                    Tell(() =>
                    {
                        int pictures = (s.Step - first) * options.BatchSize * options.Accumulate;
                        progress.Report(
                            s.Step,
                            string.Create(
                                CultureInfo.InvariantCulture,
                                $"loss {s.Loss:F4}, gradient {s.GradientNorm:F3}, "
                                    + $"{pictures / watch.Elapsed.TotalSeconds:F2} images/s, "
                                    + $"{MemoryPlan.Format(Environment.WorkingSet)}"
                            )
                        );
                    }),
                e => Tell(() => Report(e, folder.UNets.Count)),
                cancellation
            );
        }
        catch (OperationCanceledException)
        {
            Terminal.Note($"\nstopped and saved after {trainer.Steps} updates; --resume goes on");
            throw;
        }

        Tell(() => Terminal.Result(Path.Combine(output, "model")));
        return 0;

        // What the run's folder has to say comes first.
        void Tell(Action what)
        {
            for (; said < trainer.Warnings.Count; said++)
                Terminal.Warn(trainer.Warnings[said]);
            what();
        }
    }

    private static int RunNetwork(
        NetworkTrainingSetup setup,
        bool resume,
        string precision,
        string deviceName,
        int threads,
        bool force,
        CancellationToken cancellation
    )
    {
        string state = Path.Combine(setup.Output, "state.safetensors");
        using OutputLock held = Claims.Run(EnsembleFolder.Open(setup.Model), setup.Output);
        if (!resume && File.Exists(state))
            throw new AfaException(
                $"{setup.Output} already holds a training run; --resume goes on with it, another --out starts a new one."
            );
        if (resume && !File.Exists(state))
            Terminal.Warn($"{setup.Output}: there is no state to go on from; training starts from the beginning");
        if (setup.What == TrainedNetwork.UNet)
            ModelWarnings.SayScheduler(EnsembleFolder.Open(setup.Model));
        using IDevice device = Devices.OpenForTraining(deviceName, threads, precision);
        // What is encoded once and learnt from ever after is worth float32.
        using IDevice? encoder =
            precision == "f32" || setup.What == TrainedNetwork.Vae ? null : Devices.Open(deviceName, threads, "f32");
        int skipped = 0;
        ProgressLine? encoding = null,
            progress = null;
        int first = 0;
        double mean = 0;
        try
        {
            Terminal.Result(
                NetworkTraining.Run(
                    device,
                    setup with
                    {
                        Encoder = encoder,
                    },
                    new NetworkTrainingObserver
                    {
                        Warning = Terminal.Warn,
                        Skipped = (image, reason) =>
                        {
                            if (++skipped <= SkippedShown)
                                Terminal.Note($"skipped {image}: {reason}");
                            else if (skipped == SkippedShown + 1)
                                Terminal.Note("skipped more that are not listed");
                        },
                        Encoding = (done, of) => (encoding ??= new ProgressLine("encoding", of)).Report(done),
                        // Values, gradients, two moments and, if kept, a mean; activations come on top.
                        Start = count =>
                        {
                            long bytes = count * 4 * (setup.Options.Ema > 0 ? 6 : 5);
                            Terminal.Note(
                                string.Create(
                                    CultureInfo.InvariantCulture,
                                    $"{count:N0} trained numbers, {MemoryPlan.Format(bytes)} with gradients and "
                                        + $"optimizer; activations come on top"
                                )
                            );
                            MemoryGuard.Check(bytes, device.FreeBytes, force, "smaller networks");
                        },
                        Step = s =>
                        {
                            mean = mean == 0 ? s.Loss : mean + (s.Loss - mean) / Math.Min(s.Step, 100);
                            if (progress is null)
                                first = s.Step - 1;
                            (progress ??= new ProgressLine("update", setup.Options.Steps, first)).Report(
                                s.Step,
                                string.Create(CultureInfo.InvariantCulture, $"loss {mean:F5}, gradient {s.GradientNorm:F3}")
                            );
                        },
                    },
                    cancellation
                )
            );
        }
        catch (OperationCanceledException)
        {
            if (File.Exists(state))
                Terminal.Note("\nstopped and saved; --resume goes on");
            throw;
        }

        return 0;
    }

    // More would hide everything else.
    private const int SkippedShown = 10;

    private static IReadOnlyList<TrainingRecord> Records(string data)
    {
        TrainingData found = TrainingRecords.Read(data);
        foreach (string warning in found.Warnings)
            Terminal.Warn(warning);
        return found.Records;
    }

    private static void Report(TrainingEvaluation e, int experts)
    {
        double[] mean = [.. Enumerable.Range(0, experts).Select(n => e.Weights.Average(w => w[n]))];
        Terminal.Result(
            string.Create(
                CultureInfo.InvariantCulture,
                $"after {e.Step} updates: held-out loss {e.Loss:F5}; experts' mean weights "
                    + $"{string.Join(", ", mean.Select(m => m.ToString("P1", CultureInfo.InvariantCulture)))}; distance "
                    + $"from uniform {e.FromUniform.Average():F4}"
            )
        );
        for (int n = 0; n < experts; n++)
        {
            if (mean[n] < 0.02)
                Terminal.Warn(string.Create(CultureInfo.InvariantCulture, $"expert {n} takes part with {mean[n]:P1} only"));
        }
    }
}
