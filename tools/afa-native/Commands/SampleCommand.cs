using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Prompts;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Samplers;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Embedding;

namespace AfaNative.Tool.Commands;

/// <summary><c>afa-native sample</c>: draws pictures.</summary>
internal static class SampleCommand
{
    private sealed record Settings(
        string Model,
        GenerationOptions Options,
        int Count,
        int BatchSize,
        string Output,
        string? Maps,
        string Device,
        int Threads,
        string Precision,
        string? Budget,
        int? Expert,
        string? Base,
        string? Vae,
        IReadOnlyList<LoraRequest> Loras,
        PromptJobs? Jobs,
        string? Prompts,
        IReadOnlyList<EmbeddingRequest> Embeddings,
        SampleExtras Extras,
        bool Force
    )
    {
        public PictureSettings? From { get; init; }

        public StartPicture? Start { get; init; }

        /// <summary>LoRAs beside the prompts'.</summary>
        public IReadOnlyList<LoraRequest> GivenLoras { get; init; } = [];
    }

    public static Command Create()
    {
        var model = new Argument<string?>("MODEL")
        {
            Description =
                "An AFA ensemble folder, a plain diffusers folder, or a single-file checkpoint with --base. Left out: the "
                + "demo ensemble that comes with the program.",
            Arity = ArgumentArity.ZeroOrOne,
        };
        var prompt = new Option<string>("--prompt", "-p") { Description = "What the pictures show." }.MayBeEmpty();
        var prompts = new Option<string?>("--prompts")
        {
            Description =
                "A file of prompts instead: one a line, or a JSON object a line with settings of its own (prompt, "
                + "negative, seed, steps, guidance, sampler, width, height, clip_skip). Pictures that are there already "
                + "are skipped; --count is per prompt.",
        };
        var shard = new Option<string?>("--shard")
        {
            Description =
                "--prompts: only every n-th picture from the i-th on, as i/n; all shards together give the same files as "
                + "one run.",
        };
        var from = new Option<string?>("--from")
        {
            Description =
                "Takes prompt, seed and settings from a PNG drawn by this program or A1111; options given as well count more.",
        };
        var negative = new Option<string>("--negative", "-n")
        {
            Description = "What they should not show.",
            DefaultValueFactory = _ => "",
        }.MayBeEmpty();
        var syntax = new Option<string>("--prompt-syntax")
        {
            Description = "a1111: (words:1.2), [words], BREAK, any length; plain: the text as it stands, cut after 75 tokens.",
            DefaultValueFactory = _ => "a1111",
        };
        syntax.AcceptOnlyFromAmong("a1111", "plain");
        var steps = new Option<int?>("--steps")
        {
            Description = "Denoising steps; 50 when left out (20 for the demo ensemble).",
        }.Within(1, Limits.Steps);
        var guidance = new Option<float?>("--guidance", "--cfg-scale")
        {
            Description = "Classifier-free guidance; 1 turns it off; 7.5 when left out (4 for the demo ensemble).",
        }.Within(0, Limits.Guidance);
        Option<string?> sampler = SamplerOptions.Sampler();
        var noise = new Option<string>("--noise")
        {
            Description =
                "Whose random numbers seeds stand for: own (the same on every device), cpu (torch on the CPU) or "
                + "cuda-philox (torch on CUDA).",
            DefaultValueFactory = _ => "own",
        };
        noise.AcceptOnlyFromAmong("own", "cpu", "cuda-philox");
        Option<float?> eta = SamplerOptions.Eta();
        var seed = new Option<ulong?>("--seed", "-s")
        {
            Description =
                "Seed of the first picture; picture i has seed + i. Random when left out; 0 for --prompts and for plots, "
                + "so that they can be gone on with.",
        };
        var count = new Option<int>("--count", "-c") { Description = "Pictures to draw.", DefaultValueFactory = _ => 4 }.Within(
            1,
            Limits.Count
        );
        var batch = new Option<int>("--batch-size")
        {
            Description = "Pictures drawn at once; changes memory and speed, not the pictures.",
            DefaultValueFactory = _ => 1,
        }.Within(1, Limits.Batch);
        var width = new Option<int?>("--width", "-W")
        {
            Description = "Width in pixels; what the model was trained at when left out.",
        }.Within(Limits.LeastEdge, Limits.Edge);
        var height = new Option<int?>("--height", "-H")
        {
            Description = "Height in pixels; what the model was trained at when left out.",
        }.Within(Limits.LeastEdge, Limits.Edge);
        var clipSkip = new Option<int>("--clip-skip")
        {
            Description = "Text encoder layers to leave out (diffusers' counting: 1 is A1111's 2).",
        }.Within(0, Limits.ClipSkip);
        var init = new Option<string?>("--init-image")
        {
            Description =
                "A picture to start from; its size counts where --width and --height are left out, its proportion where "
                + "one of them is.",
        };
        var strength = new Option<double>("--strength")
        {
            Description = "--init-image: how much it is changed, 0 to 1.",
            DefaultValueFactory = _ => 0.75,
        }.Within(0, 1);
        var mask = new Option<string?>("--mask")
        {
            Description = "--init-image: a picture that is white where it is to be repainted; transparent is not.",
        };
        var tiling = new Option<string>("--vae-tiling")
        {
            Description = "Decode in tiles, which bounds memory: auto (pictures beyond 1024x1024), on or off.",
            DefaultValueFactory = _ => "auto",
        };
        tiling.AcceptOnlyFromAmong("auto", "on", "off");
        var start = new StartPictureOptions(init, mask, width, height);
        var extras = new SampleExtraOptions(sampler);
        var output = new Option<string>("--out", "-o")
        {
            Description = "Folder for the pictures.",
            DefaultValueFactory = _ => "out",
        };
        var maps = new Option<string?>("--attention-maps")
        {
            Description = "Folder for contact sheets that show which expert counts where.",
        };
        var expert = new Option<int?>("--expert") { Description = "Run this expert of an ensemble alone (0, 1, ...)." }.Within(
            0,
            1023
        );
        var fusion = new Option<string>("--fusion")
        {
            Description =
                "How the experts are joined: afa (by the aggregators), average (as afa, but all count the same "
                + "everywhere), mean (of their noise) or magic (MagicFusion: per pixel the most salient expert's noise).",
            DefaultValueFactory = _ => "afa",
        };
        fusion.AcceptOnlyFromAmong("afa", "average", "mean", "magic");
        var magicWeights = new Option<float[]?>("--magic-weights")
        {
            Description = "MagicFusion: one temperature weight per expert; 1 each when left out.",
            AllowMultipleArgumentsPerToken = true,
        }.Within(0, 1000);
        var magicSwitch = new Option<int>("--magic-switch")
        {
            Description = "MagicFusion: experts are blended above this time step, expert 0 goes on alone.",
            DefaultValueFactory = _ => 600,
        }.Within(0, Limits.Steps);
        var basis = new Option<string?>("--base")
        {
            Description = "Model folder that lends a single-file checkpoint its tokenizer, schedule and configuration.",
        };
        var loras = new Option<string[]>("--lora")
        {
            Description = "A LoRA as FILE, FILE:WEIGHT, FILE@EXPERT or FILE:WEIGHT@EXPERT; may be given several times.",
            AllowMultipleArgumentsPerToken = true,
        };
        var prompting = new PromptOptions();
        var vae = new Option<string?>("--vae")
        {
            Description = "Use this VAE instead: a folder, a VAE file, or a checkpoint with one baked in.",
        };
        Option<string> device = Devices.DeviceOption();
        Option<int> threads = Devices.ThreadsOption();
        Option<string> precision = Devices.PrecisionOption();
        var budget = new Option<string?>("--memory-budget")
        {
            Description =
                "Most memory to use, such as 6GiB; an accelerator keeps weights on the host where they do not fit. Left "
                + "out: what the device has free.",
        };
        var command = new Command("sample", "Draws pictures from a prompt.")
        {
            model,
            prompt,
            prompts,
            shard,
            from,
            negative,
            syntax,
            steps,
            sampler,
            noise,
            guidance,
            eta,
            seed,
            count,
            batch,
            width,
            height,
            clipSkip,
            init,
            strength,
            mask,
            start.Resize,
            start.Background,
            tiling,
            extras.Preview,
            extras.X,
            extras.Y,
            extras.Experts,
            ResultLines.Json,
            output,
            maps,
            expert,
            fusion,
            magicWeights,
            magicSwitch,
            basis,
            vae,
            loras,
            device,
            threads,
            precision,
            budget,
            MemoryGuard.Force,
        };
        prompting.AddTo(command);
        extras.Tensors.AddTo(command);
        command.SetAction(
            (r, cancellation) =>
            {
                PictureSettings? picture = PictureSettings.Read(r.GetValue(from));
                GenerationMetadata? old = picture?.Recorded;
                if (r.GetValue(prompt) is null && r.GetValue(prompts) is null && old is null)
                {
                    string taken =
                        r.GetValue(model) is { } words && !Path.Exists(words)
                            ? $" ('{Printable.Shortened(words)}' was taken for MODEL)"
                            : "";
                    throw new AfaException(
                        $"--prompt says what the pictures show; --prompts FILE and --from PICTURE do, too{taken}."
                    );
                }
                if (r.GetValue(prompts) is not null && (r.GetValue(prompt) is not null || old is not null))
                    throw new AfaException("--prompts brings the prompts: it does not go with --prompt or --from.");
                if (r.GetValue(shard) is not null && r.GetValue(prompts) is null)
                    throw new AfaException("--shard divides the pictures of --prompts; there are none.");
                if (r.GetValue(prompts) is not null && (r.GetValue(maps) is not null || r.GetValue(init) is not null))
                    throw new AfaException("--prompts does not go with --attention-maps or --init-image yet.");
                // One expert alone has nothing to be joined with.
                int? alone = r.GetValue(expert) ?? (Given(fusion) || Given(extras.Experts) ? null : old?.Expert);
                bool joined = old is not null && alone is null;
                SampleExtras more = extras.Read(r, joined ? old!.Experts : null, r.GetValue(prompts) is null);
                if (more.Plot is not null && (r.GetValue(prompts) is not null || r.GetValue(maps) is not null))
                    throw new AfaException("--x and --y do not go with --prompts or --attention-maps.");
                if (more.Plot is not null && r.GetResult(count) is { Implicit: false })
                    throw new AfaException(
                        "--x and --y draw one picture a cell, not --count of them; an axis can vary the seed."
                    );
                // A file of prompts or a plot can be gone on with only if seeds stay what they are.
                ulong first =
                    r.GetValue(seed)
                    ?? old?.Seed
                    ?? (r.GetValue(prompts) is not null || more.Plot is not null ? 0 : (ulong)Random.Shared.Next());
                int pictures = more.Plot is not null
                    ? 1
                    : Pick(count, old is null ? (r.GetValue(prompts) is null ? null : 1) : 1);
                if (more.Tensors.Latents is { } noisy && r.GetResult(count) is not { Implicit: false })
                    pictures = noisy.Count;
                if (old?.Latents is { } lost && more.Tensors.Latents is null)
                    Terminal.Warn(
                        $"the picture started from latents of its own ({lost}), not from its seed's: --latents FILE gives them"
                    );
                LoneOptions.Check(r, r.GetValue(init) is not null, "--init-image", strength);
                LoneOptions.Check(
                    r,
                    r.GetValue(fusion) == "magic"
                        || (joined && SampleExtras.FusionOf(old) == FusionMode.Magic)
                        || more.Plot?.Varies("fusion") == true,
                    "--fusion magic",
                    magicWeights,
                    magicSwitch
                );
                ModelDefaults defaults = ModelDefaults.Of(r.GetValue(model), r.GetValue(basis));
                StartPicture begin = start.Read(r, picture, defaults.Size);
                (int wide, int high) = (begin.Width, begin.Height);
                if (begin.Pixels is not null && old?.Hires is not null)
                    Terminal.Warn($"{picture!.Path}: the picture's second pass does not go with --init-image, and is left out");
                MemoryGuard.Check(
                    MemoryGuard.Pictures(wide, high, Math.Min(pictures, r.GetValue(batch))),
                    MemoryGuard.Machine,
                    r.GetValue(MemoryGuard.Force),
                    "smaller pictures or a smaller --batch-size"
                );
                var options = new GenerationOptions
                {
                    Prompt = r.GetValue(prompt) ?? old?.Prompt ?? "",
                    NegativePrompt =
                        r.GetResult(negative) is { Implicit: false } || old is null ? r.GetValue(negative)! : old.NegativePrompt,
                    Steps = r.GetValue(steps) ?? old?.Steps ?? defaults.Steps,
                    GuidanceScale = r.GetValue(guidance) ?? (float?)old?.CfgScale ?? defaults.Guidance,
                    Syntax =
                        (
                            r.GetResult(syntax) is { Implicit: false } || old is null
                                ? r.GetValue(syntax) == "plain"
                                : old.PlainPrompt
                        )
                            ? PromptSyntax.Plain
                            : PromptSyntax.Weighted,
                    Sampler =
                        r.GetValue(sampler) is null && picture is not null
                            ? picture.Sampler()
                            : SamplerOptions.Choose(
                                r.GetValue(sampler),
                                defaults.Model,
                                r.GetValue(basis),
                                r.GetValue(model) is not null
                            ),
                    Noise = (Given(noise) || picture is null ? r.GetValue(noise) : picture.Noise()) switch
                    {
                        "cpu" => NoiseSource.TorchCpu,
                        "cuda-philox" => NoiseSource.TorchCuda,
                        _ => NoiseSource.Own,
                    },
                    Eta = r.GetValue(eta) ?? (float?)old?.Eta,
                    Width = wide,
                    Height = high,
                    InitImage = begin.Pixels,
                    Strength = Pick(strength, old is { FromPicture: true } ? old.Strength : null),
                    TiledVae =
                        !Given(tiling) && old is not null
                            ? old.VaeTiling
                            : r.GetValue(tiling) switch
                            {
                                "on" => true,
                                "off" => false,
                                _ => null,
                            },
                    Mask = begin.Mask,
                    HighResolution = prompting.HighResolution(r, old, begin.Pixels is not null || r.GetValue(maps) is not null),
                    ClipSkip = Pick(clipSkip, old?.ClipSkip),
                    Fusion = joined && !Given(fusion) ? picture!.Fusion() : SampleExtras.ParseFusion(r.GetValue(fusion)!)!.Value,
                    Experts = more.Experts,
                    Magic = PictureSettings.Magic(
                        picture,
                        r.GetValue(magicWeights),
                        Given(magicSwitch) ? r.GetValue(magicSwitch) : null
                    ),
                    // The first alone: the others follow as they are drawn.
                    Seeds = [first],
                };
                Limits.CheckPrompt("--prompt", options.Prompt, options.Syntax);
                Limits.CheckPrompt("--negative", options.NegativePrompt, options.Syntax);
                PromptJobs? jobs = Jobs();
                PromptChecks.Say(options, jobs, defaults.Size);
                if (more.Plot?.Varies("fusion") != true)
                    picture?.SayIdle(options.Fusion);
                IReadOnlyList<LoraRequest> given = PictureSettings.Loras(
                    picture,
                    r.GetValue(loras) ?? [],
                    prompting.LoraFolder(r)
                );
                var settings = new Settings(
                    defaults.Model,
                    options,
                    pictures,
                    r.GetValue(batch),
                    r.GetValue(output)!,
                    r.GetValue(maps),
                    r.GetValue(device)!,
                    r.GetValue(threads),
                    r.GetValue(precision)!,
                    r.GetValue(budget),
                    alone,
                    r.GetValue(basis),
                    PictureSettings.Vae(picture, r.GetValue(vae), defaults.Model),
                    prompting.Loras(r, given, options, jobs),
                    jobs,
                    r.GetValue(prompts),
                    prompting.Embeddings(r),
                    more,
                    r.GetValue(MemoryGuard.Force)
                )
                {
                    From = picture,
                    Start = begin.Pixels is null ? null : begin,
                    GivenLoras = given,
                };
                return Task.Run(() => Run(settings, cancellation), cancellation);

                bool Given(Option option) => r.GetResult(option) is { Implicit: false };

                T Pick<T>(Option<T> option, T? otherwise)
                    where T : struct =>
                    r.GetResult(option) is { Implicit: false } || otherwise is null ? r.GetValue(option) : otherwise.Value;

                PromptJobs? Jobs()
                {
                    if (r.GetValue(prompts) is not { } file)
                        return null;
                    PromptJobs all = PromptBatch.Read(file, options, pictures, first);
                    return r.GetValue(shard) is { } part ? all.Shard(part) : all;
                }
            }
        );
        return command;
    }

    private static int Run(Settings settings, CancellationToken cancellation)
    {
        GenerationOptions all = settings.Options;
        OutputFolder.Check("--out", settings.Output);
        OutputFolder.Check("--attention-maps", settings.Maps);
        settings.Extras.Tensors.CheckOutputs();
        using IDevice device = Devices.Open(settings.Device, settings.Threads, settings.Precision);
        EnsembleFolder folder = Open(settings);
        CheckSteps(settings, folder);
        Plan(device, folder, settings);
        using DiffusionModel model = DiffusionModel.Load(
            device,
            folder,
            settings.Expert,
            progress: what => Terminal.Note($"loading {what}"),
            cancellation: cancellation,
            loras: settings.Loras,
            embeddings: settings.Embeddings
        );
        ModelWarnings.Say(model);
        ModelWarnings.SayRuns(
            model,
            settings.Jobs?.Lines.Select(l => l.Options with { Seeds = [0] })
                ?? settings.Extras.Plot?.Cells(all, "").Select(c => c.Options)
                ?? [all]
        );
        settings.Extras.Tensors.Prepare(model, all, settings.Count);
        if (settings.Maps is not null && model.Ensemble.AggregationPoints == 0)
            throw new AfaException($"{settings.Model}: --attention-maps needs an ensemble; a single model has no aggregators.");
        // An embedding that does not fit is named before the first picture is drawn.
        bool used = settings.Embeddings.Count == 0;
        foreach (GenerationOptions one in settings.Jobs?.Lines.Select(l => l.Options) ?? [all])
            used |= model.Embeddings.UsedBy(one.Syntax, one.Prompt, one.NegativePrompt).Count > 0;
        // A plot may bring the word.
        if (!used && settings.Extras.Plot is null)
            Terminal.Note("no prompt names an embedding of --embedding or --embedding-dir: none has an effect");
        settings.From?.CompareEmbeddings(
            model.Embeddings.UsedBy(all.Syntax, all.Prompt, all.NegativePrompt).Select(e => (e.Name, e.Hash()))
        );
        foreach (string text in all.Syntax == PromptSyntax.Plain ? (string[])[all.Prompt, all.NegativePrompt] : [])
        {
            if (PromptChunks.CutOff(model.Tokenizer, text, model.TextEncoder.Config.MaxPositions, model.Embeddings) is { } cut)
                Terminal.Warn(
                    $"the prompt is too long for --prompt-syntax plain; what is cut off: '{Printable.Shortened(cut, 200)}'"
                );
        }

        // Steps the model was not trained for are refused before a folder is made.
        if (settings.Jobs is null && settings.Extras.Plot is null)
            _ = new TextToImagePipeline(model).Evaluations(all);
        settings.Jobs?.Check(settings.Prompts!, o => new TextToImagePipeline(model).Evaluations(o));
        Directory.CreateDirectory(settings.Output);
        if (settings.Maps is not null)
            Directory.CreateDirectory(settings.Maps);
        using var hashing = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        Task<RunRecord> hashes = Task.Run(() => Record(settings, model, hashing.Token), hashing.Token);
        if (settings.Jobs is not null || settings.Extras.Plot is not null)
        {
            try
            {
                if (settings.Jobs is not null)
                    return RunJobs(settings, model, hashes, cancellation);
                settings.Extras.Plot!.Draw(
                    model,
                    all,
                    Identity(settings),
                    settings.Output,
                    settings.BatchSize,
                    settings.Extras,
                    o => Describe(o, o.Seeds[0], model, hashes.GetAwaiter().GetResult()),
                    cancellation
                );
                return 0;
            }
            finally
            {
                hashing.Cancel();
            }
        }

        var names = new PictureNames(settings.Output);
        var results = settings.Extras.Results;
        // The grid shows as many as one picture has room for; a picture alone needs none.
        int shown = (int)Math.Min(settings.Count, Math.Max(1, Limits.GridPixels / ((long)all.OutputWidth * all.OutputHeight)));
        var grid = new GridCanvas(all.OutputWidth, all.OutputHeight, shown);
        try
        {
            var pipeline = new TextToImagePipeline(model);
            using PreviewFile? preview = PreviewFile.Start(model, settings.Output, settings.Extras.Preview, cancellation);
            for (int done = 0; done < settings.Count; done += settings.BatchSize)
            {
                int batch = Math.Min(settings.BatchSize, settings.Count - done);
                GenerationOptions options = settings.Extras.Tensors.Start(
                    model,
                    all with
                    {
                        Seeds = [.. Enumerable.Range(0, batch).Select(i => all.Seeds[0] + (ulong)(done + i))],
                    },
                    settings.Count,
                    done
                );
                TensorRecorder? tensors = settings.Extras.Tensors.Record(model, options);
                int evaluations = pipeline.Evaluations(options);
                AttentionRecorder? recorder = settings.Maps is null ? null : new AttentionRecorder(model, evaluations, batch);
                string which = batch == 1 ? $"{done + 1}" : $"{done + 1}-{done + batch}";
                var progress = new ProgressLine($"picture {which} of {settings.Count}, step", evaluations);
                var observer = new GenerationObserver
                {
                    Step = (step, _) => progress.Report(step),
                    Aggregation = recorder is null ? null : recorder.Record,
                    Denoised = preview?.For(evaluations),
                };
                var watch = Stopwatch.StartNew();
                IReadOnlyList<float[]> images = pipeline.Generate(options, tensors?.Observe(observer) ?? observer, cancellation);
                for (int i = 0; i < batch; i++)
                {
                    RgbImage picture = RgbImage.FromFloat(images[i], options.OutputWidth, options.OutputHeight);
                    string path = names.Write(
                        options.Seeds[i],
                        picture,
                        Metadata(options, options.Seeds[i], model, hashes.GetAwaiter().GetResult())
                    );
                    string name = Path.GetFileNameWithoutExtension(path);
                    results.Write(
                        path,
                        () => SampleExtras.Describe(path, options with { Seeds = [options.Seeds[i]] }, watch.Elapsed / batch)
                    );
                    if (shown > 1 && grid.Added < shown)
                        grid.Add(picture);
                    foreach (string file in tensors?.Write(name, i) ?? [])
                        results.WriteBeside(file);
                    if (recorder is not null)
                        results.WriteBeside(
                            AttentionSheets.Write(settings.Maps!, name, model, options, picture, recorder.For(i))
                        );
                }
            }

            if (shown > 1)
            {
                string path = names.WriteGrid(
                    all.Seeds[0],
                    grid.Image,
                    Metadata(all, all.Seeds[0], model, hashes.GetAwaiter().GetResult())
                );
                results.WriteBeside(path);
            }

            if (shown < settings.Count)
                Terminal.Note(
                    shown > 1
                        ? $"the grid shows the first {shown} of {settings.Count} pictures"
                        : "pictures of this size are not put into a grid"
                );
            return 0;
        }
        finally
        {
            hashing.Cancel();
        }
    }

    // Pictures of a file of prompts; what is there is done, if it is the picture that would be drawn.
    private static int RunJobs(Settings settings, DiffusionModel model, Task<RunRecord> hashes, CancellationToken cancellation)
    {
        PromptJobs jobs = settings.Jobs!;
        var pipeline = new TextToImagePipeline(model);
        int open = jobs.Count(j => !IsThere(j));
        if (open < jobs.Count)
            Terminal.Note($"{jobs.Count - open} of {jobs.Count} pictures are there already");
        using PreviewFile? preview =
            open == 0 ? null : PreviewFile.Start(model, settings.Output, settings.Extras.Preview, cancellation);
        var progress = new ProgressLine("picture", open);
        int done = 0;
        foreach (IReadOnlyList<PromptJob> batch in PromptBatch.Batches(jobs.Where(j => !IsThere(j)), settings.BatchSize))
        {
            GenerationOptions options = batch[0].Options with
            {
                Prompts = [.. batch.Select(j => j.Options.Prompt)],
                Seeds = [.. batch.Select(j => j.Options.Seeds[0])],
            };
            var watch = Stopwatch.StartNew();
            IReadOnlyList<float[]> images = pipeline.Generate(
                options,
                preview is null ? null : new GenerationObserver { Denoised = preview.For(pipeline.Evaluations(options)) },
                cancellation
            );
            for (int i = 0; i < batch.Count; i++)
            {
                string path = Path.Combine(settings.Output, batch[i].Name + ".png");
                PictureNames.WriteOnce(
                    path,
                    RgbImage.FromFloat(images[i], options.OutputWidth, options.OutputHeight),
                    Metadata(batch[i].Options, batch[i].Options.Seeds[0], model, hashes.GetAwaiter().GetResult())
                );
                settings.Extras.Results.Write(
                    path,
                    () => SampleExtras.Describe(path, batch[i].Options, watch.Elapsed / batch.Count)
                );
            }

            progress.Report(done += batch.Count);
        }

        return 0;

        bool IsThere(PromptJob job) =>
            PictureNames.IsThere(
                Path.Combine(settings.Output, job.Name + ".png"),
                () => Metadata(job.Options, job.Options.Seeds[0], model, hashes.GetAwaiter().GetResult())
            );
    }

    // Steps the model was not trained for are refused before it is loaded.
    private static void CheckSteps(Settings settings, EnsembleFolder folder)
    {
        if (settings.Extras.Plot is not null || !File.Exists(Path.Combine(folder.Scheduler, SchedulerConfig.FileName)))
            return;
        var schedule = new NoiseSchedule(SchedulerConfig.Load(folder.Scheduler));
        if (settings.Jobs is null)
            Create(settings.Options);
        settings.Jobs?.Check(settings.Prompts!, Create);

        void Create(GenerationOptions o) => o.Sampler.Create(schedule, o.Steps, o.Eta);
    }

    private static EnsembleFolder Open(Settings settings)
    {
        bool file = File.Exists(settings.Model) && settings.Model.EndsWith(".safetensors", StringComparison.OrdinalIgnoreCase);
        if (!file && settings.Base is not null)
            throw new AfaException($"--base lends what a single file lacks, but {settings.Model} is none.");
        SingleFileContents? contents = null;
        EnsembleFolder folder = file
            ? EnsembleFolder.OpenSingleFile(settings.Model, settings.Base, out contents)
            : EnsembleFolder.Open(settings.Model);
        if (contents is not null)
            Terminal.Note($"{settings.Model}: {contents}");
        int experts = settings.Expert is null ? folder.UNets.Count : 1;
        bool aggregated = folder.Aggregators.Count > 0;
        if (settings.Extras.Plot is { } plot)
            plot.Check(settings.Options, experts, aggregated);
        else
            settings.Options.CheckFusion(experts, aggregated);
        if (settings.Options.Fusion is FusionMode.Mean or FusionMode.Magic)
        {
            if (settings.Maps is not null)
                throw new AfaException("--attention-maps shows the aggregators' weights; --fusion mean and magic have none.");
            // An axis may ask for them.
            if (settings.Extras.Plot is null)
                folder = folder.WithoutAggregators();
        }

        return settings.Vae is null ? folder : folder.WithVae(settings.Vae);
    }

    private static void Plan(IDevice device, EnsembleFolder folder, Settings settings)
    {
        int batch = settings.Jobs is null
            ? Math.Min(settings.BatchSize, settings.Count)
            : Math.Min(settings.BatchSize, settings.Jobs.Count);
        GenerationOptions most = settings.Jobs is null
            ? settings.Options
            : MemoryGuard.Largest(settings.Jobs.Lines.Select(l => l.Options));
        if (most.OutputWidth > Limits.Edge || most.OutputHeight > Limits.Edge)
            throw new AfaException(
                $"A picture has at most {Limits.Edge} pixels an edge, the second pass asks for "
                    + $"{most.OutputWidth}x{most.OutputHeight}."
            );
        long pictures = MemoryGuard.Pictures(most.OutputWidth, most.OutputHeight, batch);
        MemoryGuard.Check(pictures, MemoryGuard.Machine, settings.Force, "smaller pictures or a smaller --batch-size");
        MemoryPlan plan = MemoryPlan.For(device, folder, most with { Seeds = new ulong[Math.Max(1, batch)] }, settings.Expert);
        Terminal.Note(plan.ToString());
        long? budget = settings.Budget is null
            ? device.ResidentWeightLimit is null
                ? null
                : device.FreeBytes
            : MemoryPlan.Parse(settings.Budget);
        if (budget is { } allowed)
        {
            long streamed = plan.Fit(device, allowed);
            if (streamed > 0)
                Terminal.Note(
                    $"memory: {MemoryPlan.Format(streamed)} of the weights stay on the host and are copied in as they are used"
                );
        }
        else
        {
            MemoryGuard.Check(
                plan.Total + pictures,
                device.FreeBytes,
                settings.Force,
                "a smaller --batch-size, smaller pictures or fewer experts"
            );
        }
    }

    private static RunRecord Record(Settings settings, DiffusionModel model, CancellationToken cancellation)
    {
        RunRecord run = RunRecord.Of(model.Folder, settings.Loras, settings.GivenLoras, settings.Vae, cancellation) with
        {
            Expert = settings.Expert,
            Start = settings.Start,
            // The fact, not the wish: a processor without bfloat16 computes in float32.
            Precision = Devices.Computed(settings.Device, settings.Precision),
            Device = settings.Device,
        };
        settings.From?.Compare(run, File.Exists(settings.Model));
        return run;
    }

    // What decides how a picture looks and its settings do not say: where weights come from, and how they are computed with.
    private static string Identity(Settings s) =>
        string.Join(
            '\n',
            (string?[])
                [
                    Path.GetFullPath(s.Model),
                    s.Base,
                    s.Vae,
                    s.Expert?.ToString(CultureInfo.InvariantCulture),
                    s.Precision,
                    .. s.Loras.Select(l => l.ToString()),
                    .. s.Embeddings.Where(e => !e.Listed).Select(e => e.ToString()),
                ]
        );

    internal static string Metadata(GenerationOptions options, ulong seed, DiffusionModel? model, RunRecord? run) =>
        Describe(options, seed, model, run).ToParameters();

    private static GenerationMetadata Describe(GenerationOptions options, ulong seed, DiffusionModel? model, RunRecord? run) =>
        (run ?? RunRecord.None).Add(
            new()
            {
                Prompt = options.Prompt,
                NegativePrompt = options.NegativePrompt,
                Steps = options.Steps,
                Sampler = options.Sampler.Name,
                CfgScale = options.GuidanceScale,
                Seed = seed,
                Width = options.Width,
                Height = options.Height,
                Models = model is null
                    ? []
                    :
                    [
                        File.Exists(model.Folder.UNets[0])
                            ? Path.GetFileNameWithoutExtension(model.Folder.UNets[0])
                            : Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(model.Folder.Path))),
                    ],
                ClipSkip = options.ClipSkip,
                Eta =
                    options.Sampler.DefaultEta is { } usual && options.Eta is { } eta && eta != usual ? Math.Round(eta, 6) : null,
                Latents = LatentFile.HashOf(options, seed),
                Strength = options.InitImage is null ? options.HighResolution?.Strength : options.Strength,
                Hires = PromptOptions.Recorded(options.HighResolution),
                Noise = options.Noise switch
                {
                    NoiseSource.TorchCpu => "CPU",
                    NoiseSource.TorchCuda => "GPU",
                    _ => null,
                },
                PlainPrompt = options.Syntax == PromptSyntax.Plain,
                Fusion = SampleExtras.RecordedFusion(options.Fusion),
                Experts = options.Experts is null ? null : string.Join('+', options.Experts),
                TextInversions = model is null
                    ? []
                    :
                    [
                        .. model
                            .Embeddings.UsedBy(options.Syntax, options.Prompt, options.NegativePrompt)
                            .Select(e => (e.Name, e.Hash())),
                    ],
                Version = typeof(DiffusionModel)
                    .Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!
                    .InformationalVersion.Split('+')[0],
            },
            options
        );
}
