using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Files;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Models;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Prompts;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Training;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Tool.Commands;

/// <summary>
/// <c>merge --mode auto</c>: block weights found by a search that scores merged models, by their denoising error or by a program
/// that looks at their pictures.
/// </summary>
internal sealed class AutoMerge
{
    private readonly Option<int> _trials = new Option<int>("--trials")
    {
        Description = "auto: merged models to score.",
        DefaultValueFactory = _ => 60,
    }.Within(1, 1000000);
    private readonly Option<string> _resolution = new("--resolution")
    {
        Description = "auto: a weight per model, per levels of resolution (9) or per blocks (25).",
        DefaultValueFactory = _ => "levels",
    };
    private readonly Option<string?> _data = new("--data")
    {
        Description = "auto: pictures with captions, as train takes them; the score is minus the denoising error on them.",
    };
    private readonly Option<string?> _scorer = new("--scorer")
    {
        Description =
            "auto: a command that gets a folder of pictures (0.png, 1.png ... and prompts.txt) as its last argument and "
            + "prints a number; higher is better.",
    };
    private readonly Option<string?> _prompts = new("--prompts")
    {
        Description = "auto with --scorer: a prompt per line, a picture each.",
    };
    private readonly Option<string?> _log = new("--log")
    {
        Description = "auto: file of trials (JSON lines); a search continues where its log ends. Default: OUT.trials.jsonl.",
    };
    private readonly Option<int> _pictures = new Option<int>("--pictures")
    {
        Description = "auto with --data: pictures to look at.",
        DefaultValueFactory = _ => 16,
    }.Within(1, 100000);
    private readonly Option<int?> _size = new Option<int?>("--size")
    {
        Description = "auto: edge of the pictures in pixels; what the first model was made for when left out.",
    }.Within(Limits.LeastEdge, Limits.Edge);
    private readonly Option<int> _steps = new Option<int>("--steps")
    {
        Description = "auto with --scorer: sampling steps.",
        DefaultValueFactory = _ => 20,
    }.Within(1, Limits.Steps);
    private readonly Option<string> _cache = new("--cache")
    {
        Description = "auto with --data: folder for encoded pictures and captions.",
        DefaultValueFactory = _ => "merge-cache",
    };
    private readonly Option<ulong> _seed = new("--seed", "-s") { Description = "auto: decides proposals, noise and pictures." };
    private readonly Option<string> _device = Devices.DeviceOption();
    private readonly Option<int> _threads = Devices.ThreadsOption();
    private readonly Option<string> _precision = Devices.PrecisionOption();

    public static AutoMerge AddTo(Command command)
    {
        var search = new AutoMerge();
        search._resolution.AcceptOnlyFromAmong("model", "levels", "blocks");
        foreach (
            Option option in (Option[])
                [
                    search._trials,
                    search._resolution,
                    search._data,
                    search._pictures,
                    search._scorer,
                    search._prompts,
                    search._steps,
                    search._size,
                    search._log,
                    search._cache,
                    search._seed,
                    search._device,
                    search._threads,
                    search._precision,
                ]
        )
            command.Options.Add(option);
        return search;
    }

    /// <summary>Refuses what a mode, or a way of scoring, would ignore.</summary>
    public void CheckLone(ParseResult r, bool searching)
    {
        LoneOptions.Check(
            r,
            searching,
            "--mode auto",
            _trials,
            _resolution,
            _data,
            _scorer,
            _prompts,
            _log,
            _pictures,
            _size,
            _steps,
            _cache,
            _seed,
            _device,
            _threads,
            _precision
        );
        if (!searching)
            return;
        LoneOptions.Check(r, LoneOptions.Given(r, _data), "--data", _pictures, _cache);
        LoneOptions.Check(r, LoneOptions.Given(r, _scorer), "--scorer", _prompts, _steps);
    }

    public void Run(ParseResult r, string output, string[] paths, string? basis, CancellationToken cancellation)
    {
        string? data = r.GetValue(_data),
            scorer = r.GetValue(_scorer),
            prompts = r.GetValue(_prompts);
        if ((data is null) == (scorer is null))
            throw new AfaException("--mode auto takes what scores a model: either --data or --scorer.");
        if ((scorer is null) != (prompts is null))
            throw new AfaException("--scorer and --prompts go together.");
        // Known before the search, not after it.
        ModelMerge.MustBeFree(output);
        if (paths.Length < 2)
            throw new AfaException("A merge needs at least two models.");
        string basePath =
            basis
            ?? paths.FirstOrDefault(Directory.Exists)
            ?? throw new AfaException(
                "All models are single files: name a model folder (diffusers layout) with --base for their configuration."
            );
        EnsembleFolder[] models =
        [
            .. paths.Select(m => File.Exists(m) ? EnsembleFolder.OpenSingleFile(m, basePath) : EnsembleFolder.Open(m)),
        ];
        var first = EnsembleFolder.Open(basePath);
        UNetConfig config = UNetConfig.Load(first.UNets[0]);
        using IDevice device = Devices.Open(r.GetValue(_device)!, r.GetValue(_threads), r.GetValue(_precision)!);
        Checkpoint[] unets = [.. models.Select(m => Checkpoint.Open(m.UNets[0], "diffusion_pytorch_model", "model"))];
        try
        {
            var list = new ParameterList();
            _ = new UNetModel(list, config);
            foreach (string warning in unets.SelectMany(u => CheckpointParameters.Check(u, list.Specs)).Distinct())
                Terminal.Warn(warning);
            EnsembleFolder alone = models[0] with
            {
                UNets = [models[0].UNets[0]],
                TextEncoders = [models[0].TextEncoders[0]],
                Aggregators = [],
            };
            using Scorer score = data is not null
                ? new DataScorer(device, alone, data, r, this, cancellation)
                : new PictureScorer(device, alone, scorer!, prompts!, r, this, cancellation);
            string log = r.GetValue(_log) ?? Path.TrimEndingDirectorySeparator(output) + ".trials.jsonl";
            var options = new BlockWeightSearchOptions
            {
                Models = paths.Length,
                Trials = r.GetValue(_trials),
                Seed = r.GetValue(_seed),
                Resolution = Enum.Parse<SearchResolution>(r.GetValue(_resolution)!, ignoreCase: true),
                Subject =
                    $"{string.Join(", ", paths)} "
                    + $"({FileHash.Short(models.SelectMany(m => FileHash.WeightFiles(m.UNets[0])), cancellation)}); "
                    + $"{score.Subject}",
            };
            var progress = new ProgressLine("trial", options.Trials);
            SearchTrial best = BlockWeightSearch.Run(
                options,
                blocks =>
                {
                    (UNetModel unet, MergedParameters parameters) = ModelMerge.LoadUNet(device, unets, config, blocks);
                    using (parameters)
                        return score.Of(unet);
                },
                log,
                trial => progress.Report(trial.Trial + 1),
                cancellation,
                Terminal.Warn
            );
            IEnumerable<string> shares = best.Blocks.Select(b => b.Average().ToString("P0", CultureInfo.InvariantCulture));
            Terminal.Note(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"best of {options.Trials}: trial {best.Trial}, score {best.Score:G6}; shares of the models over all "
                        + $"blocks: {string.Join(", ", shares)} "
                        + $"(all trials: {log})"
                )
            );
            ModelMerge.Write(
                output,
                new MergeOptions
                {
                    Models = paths,
                    Blocks = best.Blocks,
                    Text = [.. paths.Select((_, i) => i == 0 ? 1.0 : 0)],
                    Base = basis,
                },
                cancellation: cancellation
            );
        }
        finally
        {
            foreach (Checkpoint checkpoint in unets)
                checkpoint.Dispose();
        }
    }

    private abstract class Scorer : IDisposable
    {
        public abstract string Subject { get; }

        public abstract double Of(UNetModel unet);

        public virtual void Dispose() { }
    }

    private sealed class DataScorer : Scorer
    {
        private static readonly int[] s_timesteps = [100, 300, 500, 700, 900];
        private readonly IReadOnlyList<EncodedRecord> _records;
        private readonly NoiseSchedule _schedule;
        private readonly float _scale;
        private readonly ulong _seed;
        private readonly Ops _ops;

        public DataScorer(
            IDevice device,
            EnsembleFolder model,
            string data,
            ParseResult r,
            AutoMerge options,
            CancellationToken cancellation
        )
        {
            int pictures = r.GetValue(options._pictures),
                size = r.GetValue(options._size) ?? NativeSize.Of(model);
            _seed = r.GetValue(options._seed);
            TrainingData found = TrainingRecords.Read(data);
            foreach (string warning in found.Warnings)
                Terminal.Warn(warning);
            IReadOnlyList<TrainingRecord> records = [.. found.Records.Take(pictures)];
            var cache = new LatentCache(r.GetValue(options._cache)!, model, size, _seed);
            var encoding = new ProgressLine("encoding", records.Count);
            _records = cache.Encode(device, records, (done, _) => encoding.Report(done), cancellation);
            foreach ((string image, string reason) in cache.Skipped)
                Terminal.Note($"skipped {image}: {reason}");
            if (_records.Count == 0)
                throw new AfaException($"{data}: no picture could be read.");
            ModelWarnings.SayScheduler(model);
            _schedule = new NoiseSchedule(SchedulerConfig.Load(model.Scheduler));
            _scale = VaeConfig.Load(model.Config(model.Vae, "vae")).ScalingFactor;
            _ops = new Ops(device, cancellation);
            // Trials of other pictures are no trials of these.
            string contents = Convert.ToHexStringLower(
                Sha256.HashData(
                    System.Text.Encoding.UTF8.GetBytes(string.Join('\n', _records.Select(x => x.Content + x.Caption)))
                )
            )[..10];
            Subject = string.Create(
                CultureInfo.InvariantCulture,
                $"denoising error on {_records.Count} pictures of {data} at {size} pixels, contents {contents}"
            );
        }

        public override string Subject { get; }

        public override double Of(UNetModel unet) =>
            -DenoisingError.Measure(_ops, unet, _schedule, _scale, _records, s_timesteps, _seed).Average();
    }

    private sealed class PictureScorer : Scorer
    {
        private readonly DiffusionModel _model;
        private readonly string _command,
            _folder;
        private readonly string[] _prompts;
        private readonly int _size,
            _steps;
        private readonly ulong _seed;
        private readonly CancellationToken _cancellation;

        public PictureScorer(
            IDevice device,
            EnsembleFolder model,
            string command,
            string prompts,
            ParseResult r,
            AutoMerge options,
            CancellationToken cancellation
        )
        {
            (_command, _size, _steps, _seed, _cancellation) = (
                command,
                r.GetValue(options._size) ?? NativeSize.Of(model),
                r.GetValue(options._steps),
                r.GetValue(options._seed),
                cancellation
            );
            _prompts =
            [
                .. TextFile
                    .Read(prompts, "a file of prompts", 1 << 20)
                    .ReplaceLineEndings("\n")
                    .Split('\n')
                    .Where(l => l.Trim().Length > 0),
            ];
            foreach (string one in _prompts)
                Limits.CheckPrompt($"{prompts}: a prompt", one, PromptSyntax.Plain);
            if (_prompts.Length == 0)
                throw new AfaException($"{prompts}: it holds no prompt.");
            _model = DiffusionModel.Load(device, model, cancellation: cancellation);
            _folder = Directory.CreateTempSubdirectory("afa-merge-").FullName;
            Subject = string.Create(
                CultureInfo.InvariantCulture,
                $"'{command}' on {_prompts.Length} pictures for {prompts} at {_size} pixels, {_steps} steps"
            );
        }

        public override string Subject { get; }

        public override double Of(UNetModel unet)
        {
            _model.Replace(unet);
            var pipeline = new TextToImagePipeline(_model);
            for (int i = 0; i < _prompts.Length; i++)
            {
                var options = new GenerationOptions
                {
                    Prompt = _prompts[i],
                    Steps = _steps,
                    Width = _size,
                    Height = _size,
                    Seeds = [_seed + (ulong)i],
                };
                PngFile.Write(
                    Path.Combine(_folder, string.Create(CultureInfo.InvariantCulture, $"{i}.png")),
                    RgbImage.FromFloat(pipeline.Generate(options, null, _cancellation)[0], _size, _size),
                    null
                );
            }

            WholeFile.WriteText(Path.Combine(_folder, "prompts.txt"), string.Concat(_prompts.Select(p => p + "\n")));
            return Ask();
        }

        public override void Dispose()
        {
            _model.Dispose();
            Directory.Delete(_folder, recursive: true);
        }

        private double Ask()
        {
            string[] words = _command.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (words.Length == 0)
                throw new AfaException("--scorer is empty.");
            var start = new ProcessStartInfo(words[0]) { RedirectStandardOutput = true, UseShellExecute = false };
            foreach (string word in words.Skip(1).Append(_folder))
                start.ArgumentList.Add(word);
            try
            {
                using Process process = Process.Start(start)!;
                using CancellationTokenRegistration stop = _cancellation.Register(() => process.Kill(entireProcessTree: true));
                string text = process.StandardOutput.ReadToEnd();
                process.WaitForExit();
                _cancellation.ThrowIfCancellationRequested();
                string last =
                    text.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).LastOrDefault()
                    ?? "";
                if (process.ExitCode != 0)
                    throw new AfaException($"--scorer '{_command}' ended with code {process.ExitCode}.");
                return Numbers.TryDouble(last, out double score)
                    ? score
                    : throw new AfaException($"--scorer '{_command}': its last line '{Printable.Shortened(last)}' is no number.");
            }
            catch (System.ComponentModel.Win32Exception e)
            {
                throw new AfaException($"--scorer '{_command}' could not be started: {e.Message}", e);
            }
        }
    }
}
