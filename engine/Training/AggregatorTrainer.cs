using System.Globalization;
using System.Text.Json;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Files;
using AfaNative.Engine.Models;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Sampling;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Planning;
using AfaNative.Kernels.Random;

namespace AfaNative.Engine.Training;

/// <summary>
/// Trains an ensemble's aggregators on the diffusion loss with everything else frozen (AFA, ICLR 2025, section 3.3). All that is
/// random - order, noise, time
/// steps, dropped captions - is a function of the seed and the update's number, so a run that was stopped goes on as if it had
/// not been.
/// </summary>
public sealed class AggregatorTrainer : IDisposable
{
    private readonly IDevice _device;
    private readonly TrainingOptions _options;
    private readonly string _run,
        _fingerprint;
    private readonly RunIdentity _identity;
    private readonly EnsembleFolder _models;
    private readonly UNetModel _unet;
    private readonly CheckpointParameters _frozen;
    private readonly TrainedAggregators _trained;
    private readonly UpdateLoop _loop;
    private readonly Optimizer _optimizer;
    private readonly LossScale _lossScale;
    private readonly NoiseSchedule _schedule;
    private readonly float _scale;
    private readonly EncodedRecord[] _training,
        _heldOut;
    private readonly string _empty;
    private readonly List<string> _warnings = [];
    private ulong _epoch = ulong.MaxValue;
    private int[] _order = [];

    /// <summary>Loads the experts and aggregators; the data must be encoded already.</summary>
    public AggregatorTrainer(
        IDevice device,
        EnsembleFolder models,
        IReadOnlyList<EncodedRecord> data,
        string emptyCaption,
        TrainingOptions options,
        string run
    )
    {
        options.Validate();
        if (models.Aggregators.Count == 0)
            throw new AfaException($"{models.Path}: it has no aggregators to train.");
        TrainingRun.Check(models, run);
        if (data.Count <= options.Holdout)
            throw new AfaException(
                $"{data.Count} pictures are too few: {options.Holdout} are held out for evaluation, at least one more is needed."
            );
        (_device, _options, _run, _models, _empty) = (device, options, run, models, emptyCaption);
        EncodedRecord[] shuffled = [.. Shuffle.Order(options.Seed, ulong.MaxValue, data.Count).Select(i => data[i])];
        (_heldOut, _training) = (shuffled[..options.Holdout], shuffled[options.Holdout..]);
        SchedulerConfig scheduler = SchedulerConfig.Load(models.Scheduler);
        _schedule = new NoiseSchedule(scheduler);
        _scale = VaeConfig.Load(models.Vae).ScalingFactor;
        _warnings.AddRange([
            .. AggregatorWidth.Warnings(models.Aggregators.Select(SabwConfig.Load)),
            .. FolderConsistency
                .Problems(models.Path)
                .Select(p => $"{models.Path}: the trained ensemble will not load everywhere, as the one it starts from: {p}"),
            .. AuthorsLoader.Notes(scheduler),
        ]);
        var hashes = new ContentHashes(Path.Combine(run, "cache", LatentCache.HashFile));
        _identity = new RunIdentity()
            .Add(options, device.Storage, aggregators: true)
            .AddContents("pictures", data.Select(d => d.Content))
            .AddContents("captions", data.Select(d => d.Caption))
            .AddContents("VAE", ModelIdentity.Vae(models, hashes))
            .AddContents("text encoders or tokenizer", ModelIdentity.Text(models, hashes))
            .AddContents("U-Nets", ModelIdentity.UNets(models, hashes))
            .AddContents("aggregators to start from", ModelIdentity.Aggregators(models, hashes))
            .AddContents("noise schedule", ModelIdentity.Schedule(models));
        _fingerprint = _identity.ToString();
        UNetConfig config = UNetConfig.Load(models.UNets[0]);
        (_unet, _frozen) = DiffusionModel.ReadComponent(device, models.UNets, p => new UNetModel(p, config));
        try
        {
            _trained = TrainedAggregators.Load(device, models.Aggregators);
        }
        catch
        {
            _frozen.Dispose();
            throw;
        }

        _lossScale = new LossScale(device.Storage);
        _loop = new UpdateLoop(options, [.. _trained.Parameters.Select(p => p.Parameter)], _lossScale);
        _optimizer = _loop.Optimizer;
    }

    /// <summary>
    /// What training will need, from a step on a device that only counts: bytes of packed weights, of trained numbers (values,
    /// gradients and two moments),
    /// and of activations at the peak.
    /// </summary>
    public static TrainingPlan Plan(IDevice device, EnsembleFolder models, TrainingOptions options)
    {
        options.Validate();
        using var planning = new PlanningDevice(device);
        UNetConfig config = UNetConfig.Load(models.UNets[0]);
        VaeConfig vae = VaeConfig.Load(models.Vae);
        ClipTextConfig text = ClipTextConfig.Load(models.TextEncoders[0]);
        (UNetModel unet, CheckpointParameters frozen) = DiffusionModel.ReadComponent(
            planning,
            models.UNets,
            p => new UNetModel(p, config)
        );
        using CheckpointParameters owned = frozen;
        using TrainedAggregators trained = TrainedAggregators.Load(planning, models.Aggregators);
        planning.ResetPeak();
        var ops = new Ops(planning);
        int edge = options.Size / vae.Downscale;
        var shape = new Shape(1, options.BatchSize, edge, edge, config.InChannels);
        using (TensorScope scope = ops.Scope())
        {
            using var tape = new Tape(planning, trained.Parameters.Select(p => p.Parameter)) { Recompute = options.Recompute };
            ops.Tape = tape;
            Tensor predicted = new AfaEnsemble(unet, trained.Aggregators).Predict(
                ops,
                ops.Allocate(shape),
                new float[options.BatchSize],
                new Conditioning(ops.Allocate(new Shape(unet.Experts, options.BatchSize, text.MaxPositions, 1, text.HiddenSize)))
            );
            ops.Tape = null;
            tape.Backward((predicted, ops.Allocate(shape)));
        }

        return new TrainingPlan(
            planning.WeightBytes,
            16 * trained.Parameters.Sum(p => (long)p.Parameter.Values.Length),
            planning.Peak,
            device.WorkspaceBytes
        );
    }

    /// <summary>
    /// Whole sentences about what will not be as expected: aggregators that cannot see the time step, parts that would not load
    /// elsewhere, and loaders that take the schedule for another.
    /// </summary>
    public IReadOnlyList<string> Warnings => _warnings;

    /// <summary>Updates done.</summary>
    public int Steps => _optimizer.Steps;

    /// <summary>What the loss is multiplied by on the way back.</summary>
    public LossScale LossScale => _lossScale;

    /// <summary>Trained numbers.</summary>
    public long ParameterCount => _trained.Parameters.Sum(p => (long)p.Parameter.Values.Length);

    /// <summary>
    /// Refuses to go on with other options than the newest checkpoint's, before anything is encoded; data and models are compared
    /// by <see cref="Resume"/>. Nothing where there is no checkpoint.
    /// </summary>
    /// <exception cref="AfaException">They are others; the message says which.</exception>
    public static void RequireOptions(IDevice device, TrainingOptions options, string run)
    {
        if (TrainingCheckpoint.Newest(run) is { } newest)
            new RunIdentity()
                .Add(options, device.Storage, aggregators: true)
                .RequireOwn(newest, TrainingCheckpoint.Options(newest));
    }

    /// <summary>Goes on from the newest checkpoint of the run; false when there is none.</summary>
    public bool Resume()
    {
        if (TrainingCheckpoint.Newest(_run) is not { } newest)
            return false;
        TrainingCheckpoint.Load(newest, _trained, _optimizer, _lossScale, _identity);
        return true;
    }

    /// <summary>
    /// Trains until <see cref="TrainingOptions.Steps"/> updates are done; saves on the way, at the end, and when cancelled. The
    /// run's folder gets <c>log.jsonl</c>
    /// and, at the end, <c>model/</c>: the ensemble with the trained aggregators, everything else by link.
    /// </summary>
    public void Train(
        Action<TrainingUpdate>? onStep = null,
        Action<TrainingEvaluation>? onEvaluation = null,
        CancellationToken cancellation = default
    )
    {
        using OutputLock held = OutputLock.TakeFolder(_run);
        _warnings.AddRange(held.Warnings);
        TrainingRun.MayReplaceModel(_run);
        TrimLog();
        int saved = _optimizer.Steps;
        using var board = new TensorBoardWriter(Path.Combine(_run, "tensorboard"));
        try
        {
            if (_optimizer.Steps == 0)
                EvaluateAndLog();
            while (_optimizer.Steps < _options.Steps)
            {
                TrainingUpdate done = _loop.Next((number, scale) => Gradients((ulong)number, scale, cancellation));
                Log(
                    new
                    {
                        kind = "step",
                        step = done.Step,
                        loss = done.Loss,
                        gradient_norm = done.GradientNorm,
                        learning_rate = done.LearningRate,
                    }
                );
                board.Scalar("loss/train", done.Step, done.Loss);
                board.Scalar("gradient_norm", done.Step, done.GradientNorm);
                board.Scalar("learning_rate", done.Step, done.LearningRate);
                onStep?.Invoke(done);
                if (_optimizer.Steps % _options.EvaluateEvery == 0 || _optimizer.Steps == _options.Steps)
                    EvaluateAndLog();
                if (_optimizer.Steps % _options.SaveEvery == 0 && _optimizer.Steps < _options.Steps)
                {
                    TrainingCheckpoint.Save(_run, _models, _trained, _optimizer, _lossScale, _fingerprint, _options.Keep);
                    saved = _optimizer.Steps;
                }
            }
        }
        catch (OperationCanceledException)
        {
            if (_optimizer.Steps > saved)
                TrainingCheckpoint.Save(_run, _models, _trained, _optimizer, _lossScale, _fingerprint, _options.Keep);
            throw;
        }

        WriteModel(TrainingCheckpoint.Save(_run, _models, _trained, _optimizer, _lossScale, _fingerprint, _options.Keep));

        void EvaluateAndLog()
        {
            if (_heldOut.Length == 0)
                return;
            TrainingEvaluation evaluation = Evaluate(cancellation);
            Log(
                new
                {
                    kind = "evaluation",
                    step = evaluation.Step,
                    loss = evaluation.Loss,
                    weights = evaluation.Weights,
                    from_uniform = evaluation.FromUniform,
                }
            );
            board.Scalar("loss/held_out", evaluation.Step, evaluation.Loss);
            for (int n = 0; n < _unet.Experts; n++)
                board.Scalar($"expert_weight/{n}", evaluation.Step, evaluation.Weights.Average(w => w[n]));
            board.Scalar("distance_from_uniform", evaluation.Step, evaluation.FromUniform.Average());
            onEvaluation?.Invoke(evaluation);
        }
    }

    /// <summary>The held-out loss and how the experts share the work; the same noise and time steps every time.</summary>
    public TrainingEvaluation Evaluate(CancellationToken cancellation = default)
    {
        int points = _trained.Aggregators.Count,
            experts = _unet.Experts;
        var weights = new double[points][];
        var distance = new double[points];
        for (int k = 0; k < points; k++)
            weights[k] = new double[experts];
        double loss = 0;
        for (int i = 0; i < _heldOut.Length; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            int timestep = (int)((i + 0.5) * _schedule.AlphasCumprod.Count / _heldOut.Length);
            (float[] predicted, float[] target) = Forward(
                [_heldOut[i]],
                false,
                [timestep],
                ulong.MaxValue - (ulong)i,
                null,
                (point, maps, ops) =>
                {
                    float[] values = ops.Download(maps);
                    double pixels = (double)values.Length / experts;
                    for (int j = 0; j < values.Length; j++)
                    {
                        weights[point][j % experts] += values[j] / pixels / _heldOut.Length;
                        distance[point] += Math.Abs(values[j] - 1.0 / experts) / values.Length / _heldOut.Length;
                    }
                },
                cancellation
            );
            loss += Losses.MeanSquaredError(predicted, target) / (double)_heldOut.Length;
        }

        return new TrainingEvaluation(_optimizer.Steps, loss, weights, distance);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _trained.Dispose();
        _frozen.Dispose();
    }

    // The mean loss of a pass's pictures; its gradients, times the scale, are added to the parameters'.
    private double Gradients(ulong number, float scale, CancellationToken cancellation)
    {
        var batch = new EncodedRecord[_options.BatchSize];
        var timesteps = new int[batch.Length];
        (uint coin, _, _, _) = Philox.Block(_options.Seed, number, 1ul << 40);
        for (int i = 0; i < batch.Length; i++)
        {
            ulong position = number * (ulong)batch.Length + (ulong)i;
            ulong epoch = position / (ulong)_training.Length;
            if (epoch != _epoch)
                (_epoch, _order) = (epoch, Shuffle.Order(_options.Seed, epoch, _training.Length));
            batch[i] = _training[_order[(int)(position % (ulong)_training.Length)]];
            (uint word, _, _, _) = Philox.Block(_options.Seed, number, (1ul << 41) + (ulong)i);
            timesteps[i] = (int)((ulong)word * (ulong)_schedule.AlphasCumprod.Count >> 32);
        }

        bool dropText = coin < _options.TextDropout * 4294967296.0;
        (float[] predicted, float[] target) = Forward(batch, dropText, timesteps, number, scale, null, cancellation);
        return Losses.MeanSquaredError(predicted, target);
    }

    // One pass; with a scale also backwards.
    private (float[] Predicted, float[] Target) Forward(
        EncodedRecord[] batch,
        bool dropText,
        int[] timesteps,
        ulong number,
        float? scale,
        Action<int, Tensor, Ops>? onMaps,
        CancellationToken cancellation
    )
    {
        int[] dims = [];
        float[][] moments = [.. batch.Select(b => LatentCache.Read(b.Latents, out dims))];
        int channels = dims[0] / 2,
            per = channels * dims[1] * dims[2];
        var shape = new Shape(1, batch.Length, dims[1], dims[2], channels);
        float[] noisy = new float[batch.Length * per],
            noise = new float[noisy.Length],
            target = new float[noisy.Length],
            posterior = new float[noisy.Length],
            latents = new float[per];
        GaussianNoise.Fill(posterior, _options.Seed, 2 * number);
        GaussianNoise.Fill(noise, _options.Seed, 2 * number + 1);
        for (int b = 0; b < batch.Length; b++)
        {
            for (int i = 0; i < per; i++)
            {
                float deviation = _options.PosteriorMeans ? 0 : MathF.Exp(0.5f * Math.Clamp(moments[b][per + i], -30f, 20f));
                latents[i] = (moments[b][i] + deviation * posterior[b * per + i]) * _scale;
            }

            Span<float> n = noise.AsSpan(b * per, per);
            _schedule.AddNoise(latents, n, timesteps[b], noisy.AsSpan(b * per, per));
            _schedule.GetTarget(latents, n, timesteps[b], target.AsSpan(b * per, per));
        }

        var ops = new Ops(_device, cancellation);
        using TensorScope scope = ops.Scope();
        Tensor text = Text(ops, [.. batch.Select(b => dropText ? _empty : b.Text)]);
        using Tape? tape = scale is null
            ? null
            : new Tape(_device, _trained.Parameters.Select(p => p.Parameter)) { Recompute = _options.Recompute };
        ops.Tape = tape;
        Tensor predicted = new AfaEnsemble(_unet, _trained.Aggregators).Predict(
            ops,
            ops.UploadNchw(noisy, shape),
            [.. timesteps.Select(t => (float)t)],
            new Conditioning(text),
            onMaps is null ? null : (point, _, maps) => onMaps(point, maps, ops)
        );
        ops.Tape = null;
        float[] came = ops.DownloadNchw(predicted);
        tape?.Backward((predicted, ops.UploadNchw(Losses.MeanSquaredErrorGradient(came, target, scale!.Value), shape)));
        return (came, target);
    }

    // [N, T, D] of every picture to [N, B, T, 1, D].
    private static Tensor Text(Ops ops, string[] files)
    {
        int[] dims = [];
        float[][] hidden = [.. files.Select(f => LatentCache.Read(f, out dims))];
        int per = dims[1] * dims[2];
        var values = new float[dims[0] * files.Length * per];
        for (int n = 0; n < dims[0]; n++)
        {
            for (int b = 0; b < files.Length; b++)
                hidden[b].AsSpan(n * per, per).CopyTo(values.AsSpan((n * files.Length + b) * per, per));
        }

        return ops.Upload(values, new Shape(dims[0], files.Length, dims[1], 1, dims[2]));
    }

    private void Log(object entry) => JsonLines.Append(Path.Combine(_run, "log.jsonl"), JsonSerializer.Serialize(entry));

    // What a killed run logged after its last checkpoint happens again.
    private void TrimLog()
    {
        string path = Path.Combine(_run, "log.jsonl");
        if (!File.Exists(path))
            return;
        JsonLog<int> log = JsonLines.Read(path, e => e.GetProperty("step").GetInt32());
        if (log.Entries.Count == 0 && log.Damage.Count > (log.Torn ? 1 : 0))
            throw new AfaException($"{path}: it is no log of a training run, so it is not written over; name another `out`.");
        _warnings.AddRange(log.Damage);
        if (log.Damage.Count > 0 || _optimizer.Steps == 0 || log.Entries.Any(e => e.Value > _optimizer.Steps))
        {
            JsonLines.Rewrite(
                path,
                log.Entries.Where(e => _optimizer.Steps > 0 && e.Value <= _optimizer.Steps).Select(e => e.Text)
            );
        }
    }

    private void WriteModel(string checkpoint) =>
        TrainingRun.WriteModel(
            _run,
            to =>
            {
                foreach (string entry in Directory.EnumerateFileSystemEntries(_models.Path))
                {
                    string name = Path.GetFileName(entry),
                        target = Path.Combine(to, name);
                    if (name.StartsWith("aggregator_", StringComparison.Ordinal) || TemporaryName.IsOurs(name))
                        continue;
                    if (Directory.Exists(entry))
                        Directory.CreateSymbolicLink(target, Path.GetFullPath(entry));
                    else
                        File.Copy(entry, target);
                }

                foreach (string aggregator in Directory.EnumerateDirectories(checkpoint, "aggregator_*"))
                {
                    string target = Path.Combine(to, Path.GetFileName(aggregator));
                    Directory.CreateDirectory(target);
                    string weights = Path.Combine(aggregator, "aggregator.safetensors"),
                        means = Path.Combine(aggregator, TrainingCheckpoint.MeansFile);
                    File.Copy(Path.Combine(aggregator, "config.json"), Path.Combine(target, "config.json"));
                    File.Copy(File.Exists(means) ? means : weights, Path.Combine(target, "aggregator.safetensors"));
                }
            }
        );
}
