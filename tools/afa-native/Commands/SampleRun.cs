using System.Diagnostics;
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

/// <summary>Loads the model of a run of <c>sample</c>, and draws.</summary>
internal static class SampleRun
{
    /// <summary>Draws what is asked for; the exit code.</summary>
    /// <exception cref="AfaException">It cannot be drawn.</exception>
    public static int Run(SampleRequest request, CancellationToken cancellation)
    {
        GenerationOptions all = request.Options;
        OutputFolder.Check("--out", request.Output);
        OutputFolder.Check("--attention-maps", request.Maps);
        request.Extras.Tensors.CheckOutputs();
        using IDevice device = Devices.Open(request.Device.Name, request.Device.Threads, request.Device.Precision);
        EnsembleFolder folder = Open(request);
        CheckSteps(request, folder);
        Plan(device, folder, request);
        using DiffusionModel model = DiffusionModel.Load(
            device,
            folder,
            request.Expert,
            progress: what => Terminal.Note($"loading {what}"),
            cancellation: cancellation,
            loras: request.Loras,
            embeddings: request.Embeddings
        );
        ModelWarnings.Say(model);
        ModelWarnings.SayRuns(model, request.Runs);
        request.Extras.Tensors.Prepare(model, all, request.Count);
        if (request.Maps is not null && model.Ensemble.AggregationPoints == 0)
            throw new AfaException($"{request.Model}: --attention-maps needs an ensemble; a single model has no aggregators.");
        // An embedding that does not fit is named before the first picture is drawn.
        bool used = request.Embeddings.Count == 0;
        foreach (GenerationOptions one in request.Jobs?.Lines.Select(l => l.Options) ?? [all])
            used |= model.Embeddings.UsedBy(one.Syntax, one.Prompt, one.NegativePrompt).Count > 0;
        // A plot may bring the word.
        if (!used && request.Extras.Plot is null)
            Terminal.Note("no prompt names an embedding of --embedding or --embedding-dir: none has an effect");
        request.From?.CompareEmbeddings(
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
        if (request.Jobs is null && request.Extras.Plot is null)
            _ = new TextToImagePipeline(model).Evaluations(all);
        request.Jobs?.Check(request.Prompts!, o => new TextToImagePipeline(model).Evaluations(o));
        Directory.CreateDirectory(request.Output);
        if (request.Maps is not null)
            Directory.CreateDirectory(request.Maps);
        using var hashing = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        Task<RunRecord> hashes = Task.Run(() => SampleRecord.Of(request, model, hashing.Token), hashing.Token);
        if (request.Jobs is not null || request.Extras.Plot is not null)
        {
            try
            {
                if (request.Jobs is not null)
                    return RunJobs(request, model, hashes, cancellation);
                request.Extras.Plot!.Draw(
                    model,
                    all,
                    SampleRecord.Identity(request),
                    request.Output,
                    request.BatchSize,
                    request.Extras,
                    o => SampleRecord.Describe(o, o.Seeds[0], model, hashes.GetAwaiter().GetResult()),
                    cancellation
                );
                return 0;
            }
            finally
            {
                hashing.Cancel();
            }
        }

        var names = new PictureNames(request.Output);
        var results = request.Extras.Results;
        // The grid shows as many as one picture has room for; a picture alone needs none.
        int shown = (int)Math.Min(request.Count, Math.Max(1, Limits.GridPixels / ((long)all.OutputWidth * all.OutputHeight)));
        var grid = new GridCanvas(all.OutputWidth, all.OutputHeight, shown);
        try
        {
            var pipeline = new TextToImagePipeline(model);
            using PreviewFile? preview = PreviewFile.Start(model, request.Output, request.Extras.Preview, cancellation);
            for (int done = 0; done < request.Count; done += request.BatchSize)
            {
                int batch = Math.Min(request.BatchSize, request.Count - done);
                GenerationOptions options = request.Extras.Tensors.Start(
                    model,
                    all with
                    {
                        Seeds = [.. Enumerable.Range(0, batch).Select(i => all.Seeds[0] + (ulong)(done + i))],
                    },
                    request.Count,
                    done
                );
                TensorRecorder? tensors = request.Extras.Tensors.Record(model, options);
                int evaluations = pipeline.Evaluations(options);
                AttentionRecorder? recorder = request.Maps is null ? null : new AttentionRecorder(model, evaluations, batch);
                string which = batch == 1 ? $"{done + 1}" : $"{done + 1}-{done + batch}";
                var progress = new ProgressLine($"picture {which} of {request.Count}, step", evaluations);
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
                        SampleRecord.Text(options, options.Seeds[i], model, hashes.GetAwaiter().GetResult())
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
                        results.WriteBeside(AttentionSheets.Write(request.Maps!, name, model, options, picture, recorder.For(i)));
                }
            }

            if (shown > 1)
            {
                string path = names.WriteGrid(
                    all.Seeds[0],
                    grid.Image,
                    SampleRecord.Text(all, all.Seeds[0], model, hashes.GetAwaiter().GetResult())
                );
                results.WriteBeside(path);
            }

            if (shown < request.Count)
                Terminal.Note(
                    shown > 1
                        ? $"the grid shows the first {shown} of {request.Count} pictures"
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
    private static int RunJobs(
        SampleRequest request,
        DiffusionModel model,
        Task<RunRecord> hashes,
        CancellationToken cancellation
    )
    {
        PromptJobs jobs = request.Jobs!;
        var pipeline = new TextToImagePipeline(model);
        int open = jobs.Count(j => !IsThere(j));
        if (open < jobs.Count)
            Terminal.Note($"{jobs.Count - open} of {jobs.Count} pictures are there already");
        using PreviewFile? preview =
            open == 0 ? null : PreviewFile.Start(model, request.Output, request.Extras.Preview, cancellation);
        var progress = new ProgressLine("picture", open);
        int done = 0;
        foreach (IReadOnlyList<PromptJob> batch in PromptBatch.Batches(jobs.Where(j => !IsThere(j)), request.BatchSize))
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
                string path = Path.Combine(request.Output, batch[i].Name + ".png");
                PictureNames.WriteOnce(
                    path,
                    RgbImage.FromFloat(images[i], options.OutputWidth, options.OutputHeight),
                    SampleRecord.Text(batch[i].Options, batch[i].Options.Seeds[0], model, hashes.GetAwaiter().GetResult())
                );
                request.Extras.Results.Write(
                    path,
                    () => SampleExtras.Describe(path, batch[i].Options, watch.Elapsed / batch.Count)
                );
            }

            progress.Report(done += batch.Count);
        }

        return 0;

        bool IsThere(PromptJob job) =>
            PictureNames.IsThere(
                Path.Combine(request.Output, job.Name + ".png"),
                () => SampleRecord.Text(job.Options, job.Options.Seeds[0], model, hashes.GetAwaiter().GetResult())
            );
    }

    // Steps the model was not trained for are refused before it is loaded.
    private static void CheckSteps(SampleRequest request, EnsembleFolder folder)
    {
        if (request.Extras.Plot is not null || !File.Exists(Path.Combine(folder.Scheduler, SchedulerConfig.FileName)))
            return;
        var schedule = new NoiseSchedule(SchedulerConfig.Load(folder.Scheduler));
        if (request.Jobs is null)
            Create(request.Options);
        request.Jobs?.Check(request.Prompts!, Create);

        void Create(GenerationOptions o) => o.Sampler.Create(schedule, o.Steps, o.Eta);
    }

    private static EnsembleFolder Open(SampleRequest request)
    {
        bool file = File.Exists(request.Model) && request.Model.EndsWith(".safetensors", StringComparison.OrdinalIgnoreCase);
        if (!file && request.Base is not null)
            throw new AfaException($"--base lends what a single file lacks, but {request.Model} is none.");
        SingleFileContents? contents = null;
        EnsembleFolder folder = file
            ? EnsembleFolder.OpenSingleFile(request.Model, request.Base, out contents)
            : EnsembleFolder.Open(request.Model);
        if (contents is not null)
            Terminal.Note($"{request.Model}: {contents}");
        int experts = request.Expert is null ? folder.UNets.Count : 1;
        bool aggregated = folder.Aggregators.Count > 0;
        if (request.Extras.Plot is { } plot)
            plot.Check(request.Options, experts, aggregated);
        else if (request.Jobs is { } jobs)
            jobs.Check(request.Prompts!, o => o.CheckFusion(experts, aggregated));
        else
            request.Options.CheckFusion(experts, aggregated);
        IEnumerable<GenerationOptions> runs = request.Jobs?.Lines.Select(l => l.Options) ?? [request.Options];
        bool noise = runs.All(o => o.Fusion is FusionMode.Mean or FusionMode.Magic);
        if (noise && request.Maps is not null)
            throw new AfaException("--attention-maps shows the aggregators' weights; --fusion mean and magic have none.");
        // An axis may ask for them.
        if (noise && request.Extras.Plot is null)
            folder = folder.WithoutAggregators();

        return request.Vae is null ? folder : folder.WithVae(request.Vae);
    }

    private static void Plan(IDevice device, EnsembleFolder folder, SampleRequest request)
    {
        int batch = request.Jobs is null
            ? Math.Min(request.BatchSize, request.Count)
            : Math.Min(request.BatchSize, request.Jobs.Count);
        GenerationOptions most = request.Jobs is null
            ? request.Options
            : MemoryGuard.Largest(request.Jobs.Lines.Select(l => l.Options));
        if (most.OutputWidth > Limits.Edge || most.OutputHeight > Limits.Edge)
            throw new AfaException(
                $"A picture has at most {Limits.Edge} pixels an edge, the second pass asks for "
                    + $"{most.OutputWidth}x{most.OutputHeight}."
            );
        long pictures = MemoryGuard.Pictures(most.OutputWidth, most.OutputHeight, batch);
        MemoryGuard.Check(pictures, MemoryGuard.Machine, request.Force, "smaller pictures or a smaller --batch-size");
        MemoryPlan plan = MemoryPlan.For(device, folder, most with { Seeds = new ulong[Math.Max(1, batch)] }, request.Expert);
        Terminal.Note(plan.ToString());
        long? budget = request.Budget is null
            ? device.ResidentWeightLimit is null
                ? null
                : device.FreeBytes
            : MemoryPlan.Parse(request.Budget);
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
                request.Force,
                "a smaller --batch-size, smaller pictures or fewer experts"
            );
        }
    }
}
