using System.Globalization;
using System.Text.Json.Nodes;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Files;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Models;
using AfaNative.Engine.Prompts;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Training;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Demo;

/// <summary>Sizes and lengths of the demo's training.</summary>
public sealed record DemoOptions
{
    /// <summary>Edge of a picture.</summary>
    public int Size { get; init; } = 64;

    /// <summary>The VAE's levels.</summary>
    public IReadOnlyList<int> VaeChannels { get; init; } = [32, 32, 64, 64];

    /// <summary>Channels of a latent: an eighth of 64 pixels is too coarse a grid for Stable Diffusion's four.</summary>
    public int LatentChannels { get; init; } = 16;

    /// <summary>
    /// Weight of the divergence in the VAE's loss: it keeps latents smooth and empties channels that are not needed, so that
    /// small errors of a U-Net stay small.
    /// </summary>
    public float Divergence { get; init; } = 1e-3f;

    /// <summary>The U-Net's levels.</summary>
    public IReadOnlyList<int> UNetChannels { get; init; } = [64, 64];

    /// <summary>Width of the text encoder.</summary>
    public int TextWidth { get; init; } = 64;

    /// <summary>Width of the aggregators.</summary>
    public int AggregatorWidth { get; init; } = 64;

    /// <summary>Updates of the VAE.</summary>
    public int VaeSteps { get; init; } = 2600;

    /// <summary>Updates of the decoder alone that follow, with noise in its latents.</summary>
    public int DecoderSteps { get; init; } = 1000;

    /// <summary>Deviation of that noise, as a share of the latents'.</summary>
    public double DecoderNoise { get; init; } = 0.3;

    /// <summary>Updates of the base.</summary>
    public int BaseSteps { get; init; } = 8000;

    /// <summary>Updates of each expert.</summary>
    public int ExpertSteps { get; init; } = 4000;

    /// <summary>Updates of the aggregators.</summary>
    public int AggregatorSteps { get; init; } = 2400;

    /// <summary>Pictures in an update of the VAE.</summary>
    public int VaeBatch { get; init; } = 8;

    /// <summary>Pictures in an update of a U-Net.</summary>
    public int Batch { get; init; } = 32;

    /// <summary>Pictures in an update of the aggregators.</summary>
    public int AggregatorBatch { get; init; } = 24;

    /// <summary>Encoded pictures that U-Nets see again and again.</summary>
    public int Pool { get; init; } = 24576;

    /// <summary>Encoded pictures that aggregators see.</summary>
    public int AggregatorPool { get; init; } = 4096;

    /// <summary>Everything follows from it.</summary>
    public ulong Seed { get; init; } = 1;

    /// <summary>All of the chain in a minute or two, to test it: nothing useful is learnt.</summary>
    public static DemoOptions Miniature { get; } =
        new()
        {
            Size = 32,
            VaeChannels = [16, 16, 16, 16],
            UNetChannels = [32, 32],
            TextWidth = 32,
            VaeSteps = 12,
            DecoderSteps = 4,
            BaseSteps = 12,
            ExpertSteps = 4,
            AggregatorSteps = 4,
            Batch = 4,
            VaeBatch = 2,
            AggregatorBatch = 2,
            Pool = 32,
            AggregatorPool = 8,
        };
}

/// <summary>What a stage tells while it runs.</summary>
/// <param name="Preparing">Told how many pictures of how many are encoded.</param>
/// <param name="Step">Told every update, and how many there will be.</param>
public sealed record DemoProgress(Action<int, int>? Preparing = null, Action<TrainingUpdate, int>? Step = null);

/// <summary>
/// Trains the demo ensemble from nothing but seeds: VAE, base (U-Net and text encoder together), three experts fine-tuned from it
/// on one family of shapes each, and the aggregators. A stage's result is a
/// folder the next one starts from; a stage cut off goes on where its last saved state is.
/// </summary>
public sealed class DemoTraining(IDevice device, string folder, DemoOptions options)
{
    /// <summary>In the order they need each other.</summary>
    public static IReadOnlyList<string> Stages { get; } = ["vae", "base", "expert-0", "expert-1", "expert-2", "sabw"];

    /// <summary>The folder a stage makes.</summary>
    public string Result(string stage) => Path.Combine(folder, stage);

    /// <summary>A stage's folder is there, so it is done.</summary>
    public bool IsDone(string stage) => Directory.Exists(Result(stage));

    /// <summary>
    /// Takes the autoencoder and the experts of a trained ensemble as the results of the stages that make them, where there are
    /// none yet: only the aggregators are left to train. The base stays out.
    /// </summary>
    /// <exception cref="AfaException">It is no ensemble of as many experts as there are families of shapes.</exception>
    public void Adopt(string ensemble)
    {
        EnsembleFolder from = EnsembleFolder.Open(ensemble);
        if (from.UNets.Count != Scene.Families)
        {
            throw new AfaException(
                $"{ensemble}: an ensemble of {Scene.Families} experts was expected, one for each family of shapes, but it "
                    + $"has {from.UNets.Count}."
            );
        }

        Directory.CreateDirectory(folder);
        if (!IsDone("vae"))
            WholeFolder.Write(Result("vae"), to => WholeFolder.Copy(from.Vae, to));
        for (int n = 0; n < Scene.Families; n++)
        {
            if (IsDone($"expert-{n}"))
                continue;
            int expert = n;
            WholeFolder.Write(
                Result($"expert-{n}"),
                to =>
                {
                    ConfigJson.Save(Path.Combine(to, "model_index.json"), ConfigJson.ModelIndex());
                    WholeFolder.Copy(from.Scheduler, Path.Combine(to, "scheduler"));
                    WholeFolder.Copy(from.Tokenizer, Path.Combine(to, "tokenizer"));
                    WholeFolder.Copy(from.Vae, Path.Combine(to, "vae"));
                    WholeFolder.Copy(from.UNets[expert], Path.Combine(to, "unet"));
                    WholeFolder.Copy(from.TextEncoders[expert], Path.Combine(to, "text_encoder"));
                }
            );
        }
    }

    /// <summary>Runs a stage to its end.</summary>
    /// <exception cref="AfaException">An earlier stage's result is missing.</exception>
    public void Run(string stage, DemoProgress? progress = null, CancellationToken cancellation = default)
    {
        if (IsDone(stage))
            return;
        int index = Stages.ToList().IndexOf(stage);
        if (index < 0)
            throw new AfaException($"'{stage}' is no stage; there are {string.Join(", ", Stages)}.");
        // Experts bring all that aggregators need; the base is only what they were made from.
        string[] needed =
            stage == "sabw" ? [.. Stages.Take(index).Where(s => s != "base")] : [.. Stages.Take(Math.Min(index, 2))];
        if (needed.FirstOrDefault(s => !IsDone(s)) is { } missing)
            throw new AfaException($"Stage {stage} starts from the result of stage {missing}, which is not in {folder}.");
        using OutputLock held = OutputLock.TakeFolder(folder);
        if (stage == "vae")
            TrainVae(progress, cancellation);
        else if (stage == "sabw")
            TrainAggregators(progress, cancellation);
        else
            TrainUNet(stage, progress, cancellation);
    }

    // Noise prediction weighs what a picture shows while there is much noise little (a twelfth at step 700): in few updates it
    // learns colours and places, and no shapes (Salimans and Ho, 2022).
    private const string Prediction = "v_prediction";

    // The longest caption of the grammar has fifteen words; each is one token.
    private const int TextPositions = 20;

    private string State(string stage) => Path.Combine(folder, stage + ".state.safetensors");

    private TrainingOptions Options(int steps, int batch, double rate, int warmup) =>
        new()
        {
            Steps = steps,
            BatchSize = batch,
            LearningRate = rate,
            WarmupSteps = Math.Min(warmup, steps / 4),
            Schedule = LearningRateSchedule.Cosine,
            Ema = 0.999,
            Beta2 = 0.99,
            SaveEvery = 250,
            Seed = options.Seed,
            TextDropout = 0.1,
            PosteriorMeans = true,
        };

    private VaeConfig Vae =>
        new()
        {
            BlockOutChannels = options.VaeChannels,
            LayersPerBlock = 1,
            NormGroups = 8,
            LatentChannels = options.LatentChannels,
        };

    private UNetConfig UNet =>
        new()
        {
            InChannels = options.LatentChannels,
            OutChannels = options.LatentChannels,
            BlockOutChannels = options.UNetChannels,
            LayersPerBlock = [.. options.UNetChannels.Select(_ => 1)],
            Heads = [.. options.UNetChannels.Select(_ => 4)],
            DownAttention = [.. options.UNetChannels.Select((_, i) => i < options.UNetChannels.Count - 1)],
            UpAttention = [.. options.UNetChannels.Select((_, i) => i > 0)],
            CrossAttentionDim = options.TextWidth,
            NormGroups = 8,
            SampleSize = options.Size / 8,
        };

    private void TrainVae(DemoProgress? progress, CancellationToken cancellation)
    {
        TrainingOptions training = Options(options.VaeSteps, options.VaeBatch, 8e-4, 100) with { WeightDecay = 0 };
        var pictures = new ScenePictures(SceneDistribution.All, options.Size, options.Seed);
        string first = Path.Combine(folder, "vae-first");
        TrainingOptions second = training with
        {
            Steps = options.DecoderSteps,
            Ema = 0,
            LearningRate = training.LearningRate / 2,
            WarmupSteps = Math.Min(50, options.DecoderSteps / 4),
        };
        int all = training.Steps + second.Steps;
        if (!Directory.Exists(first))
        {
            using var trainer = new VaeTrainer(device, training, pictures, Vae, divergence: options.Divergence);
            trainer.Run(State("vae"), step => progress?.Step?.Invoke(step, all), cancellation);
            WholeFolder.Write(
                first,
                to => trainer.Write("vae", Path.Combine(to, "diffusion_pytorch_model.safetensors"), ElementType.Float32)
            );
        }

        // The latents of the weights as written, brought to deviation 1, are what U-Nets see.
        double deviation;
        using (var written = new VaeTrainer(device, training, pictures, Vae, first))
            deviation = written.LatentDeviation(Math.Min(64, options.Pool));
        using var decoder = new VaeTrainer(
            device,
            second,
            pictures,
            Vae,
            first,
            latentNoise: (float)(options.DecoderNoise * deviation)
        );
        decoder.Identity.AddContents("VAE to start from", new ContentHashes().OfWeights(first));
        decoder.Run(
            State("decoder"),
            step => progress?.Step?.Invoke(step with { Step = training.Steps + step.Step }, all),
            cancellation
        );
        WholeFolder.Write(
            Result("vae"),
            to =>
            {
                decoder.Write("vae", Path.Combine(to, "diffusion_pytorch_model.safetensors"), ElementType.Float32);
                ConfigJson.Save(
                    Path.Combine(to, "config.json"),
                    NetworkJson.Vae(Vae with { ScalingFactor = (float)(1 / deviation) })
                );
            }
        );
    }

    private void TrainUNet(string stage, DemoProgress? progress, CancellationToken cancellation)
    {
        bool first = stage == "base";
        VaeConfig vaeConfig = VaeConfig.Load(Result("vae"));
        string tokens = Path.Combine(folder, "tokenizer");
        int vocabulary = SceneTokenizer.Write(tokens, TextPositions);
        var text = new ClipTextConfig
        {
            VocabularySize = vocabulary,
            HiddenSize = options.TextWidth,
            IntermediateSize = 2 * options.TextWidth,
            Layers = 2,
            Heads = 4,
            MaxPositions = TextPositions,
        };
        int family = first ? -1 : int.Parse(stage.AsSpan(stage.Length - 1), CultureInfo.InvariantCulture);
        TrainingOptions training = first
            ? Options(options.BaseSteps, options.Batch, 8e-4, 200)
            : Options(options.ExpertSteps, options.Batch, 6e-4, 50);
        var setup = new UNetTrainingSetup
        {
            UNet = UNet,
            Text = text,
            Tokenizer = ClipTokenizer.Load(tokens),
            Scheduler = Scheduler(),
            LatentScale = vaeConfig.ScalingFactor,
            TrainText = first,
            UNetFrom = first ? null : Path.Combine(Result("base"), "unet"),
            TextFrom = first ? null : Path.Combine(Result("base"), "text_encoder"),
        };
        var hashes = new ContentHashes();
        RunIdentity encoded = new RunIdentity().AddContents(
            "VAE",
            hashes.OfWeights(Result("vae")),
            vaeConfig.ScalingFactor.ToString("R", CultureInfo.InvariantCulture)
        );
        LatentPool pool;
        (VaeModel vae, CheckpointParameters parameters) = DiffusionModel.ReadComponent(
            device,
            [Result("vae")],
            p => new VaeModel(p, vaeConfig)
        );
        using (parameters)
        {
            // A third for an expert: its world is smaller.
            int count = first ? options.Pool : options.Pool / 3;
            ulong seed = options.Seed + 1 + (ulong)(family + 1);
            var pictures = new ScenePictures(
                first ? SceneDistribution.All : SceneDistribution.OfFamily(family),
                options.Size,
                seed
            );
            encoded.Add("scenes", $"{stage}, {count} of seed {seed}, {options.Size} pixels");
            pool = LatentPool.Encode(
                device,
                vae,
                pictures,
                0,
                count,
                Path.Combine(folder, stage + ".latents.safetensors"),
                encoded.Copy(),
                done => progress?.Preparing?.Invoke(done, count),
                cancellation
            );
        }

        using var trainer = new UNetTrainer(device, training, setup, pool);
        foreach (
            (string what, string? from) in new[]
            {
                ("U-Net to start from", setup.UNetFrom),
                ("text encoder to start from", setup.TextFrom),
            }
        )
        {
            if (from is not null)
                trainer.Identity.AddContents(what, hashes.OfWeights(from));
        }

        trainer.Identity.AddContents("encoded pictures", encoded.ToString());
        trainer.Run(State(stage), step => progress?.Step?.Invoke(step, training.Steps), cancellation);
        WholeFolder.Write(
            Result(stage),
            to =>
            {
                ConfigJson.Save(Path.Combine(to, "model_index.json"), ConfigJson.ModelIndex());
                ConfigJson.Save(Path.Combine(to, "scheduler", "scheduler_config.json"), ConfigJson.Scheduler(Prediction));
                WholeFolder.Copy(tokens, Path.Combine(to, "tokenizer"));
                WholeFolder.Copy(Result("vae"), Path.Combine(to, "vae"));
                ConfigJson.Save(Path.Combine(to, "unet", "config.json"), NetworkJson.UNet(UNet));
                trainer.Write("unet", Path.Combine(to, "unet", "diffusion_pytorch_model.safetensors"), ElementType.Float32);
                if (first)
                {
                    ConfigJson.Save(Path.Combine(to, "text_encoder", "config.json"), NetworkJson.Text(text));
                    trainer.Write("text_encoder", Path.Combine(to, "text_encoder", "model.safetensors"), ElementType.Float32);
                }
                else
                {
                    WholeFolder.Copy(Path.Combine(Result("base"), "text_encoder"), Path.Combine(to, "text_encoder"));
                }

                FolderConsistency.Require(to, Result(stage));
            }
        );
    }

    private void TrainAggregators(DemoProgress? progress, CancellationToken cancellation)
    {
        string start = Path.Combine(folder, "average"),
            run = Path.Combine(folder, "sabw.run"),
            data = Path.Combine(folder, "sabw.data");
        if (!Directory.Exists(start))
        {
            EnsembleBuilder.Create(
                start,
                new EnsembleOptions
                {
                    Base = Result("expert-0"),
                    Experts = [.. Enumerable.Range(0, Scene.Families).Select(n => Result($"expert-{n}"))],
                    HiddenSize = options.AggregatorWidth,
                    Layers = 1,
                    Heads = 4,
                    Seed = options.Seed,
                },
                cancellation: cancellation
            );
        }

        EnsembleFolder ensemble = EnsembleFolder.Open(start);
        var pictures = new ScenePictures(SceneDistribution.All with { TwoObjects = 0.75 }, options.Size, options.Seed + 100);
        TrainingRecord[] records =
        [
            .. Enumerable.Range(0, options.AggregatorPool).Select(i => Picture(pictures, i, Path.Combine(data, "pictures"))),
        ];
        var cache = new LatentCache(Path.Combine(data, "encoded"), ensemble, options.Size, options.Seed);
        IReadOnlyList<EncodedRecord> encoded = cache.Encode(device, records, progress?.Preparing, cancellation);
        string empty = cache.EncodeCaption(device, "", cancellation);
        TrainingOptions training = Options(options.AggregatorSteps, options.AggregatorBatch, 6e-4, 50) with
        {
            Size = options.Size,
            Ema = 0.995,
            Holdout = Math.Min(64, options.AggregatorPool / 4),
            EvaluateEvery = Math.Max(1, Math.Min(250, options.AggregatorSteps / 2)),
            Keep = 1,
        };
        using (var trainer = new AggregatorTrainer(device, ensemble, encoded, empty, training, run))
        {
            trainer.Resume();
            trainer.Train(step => progress?.Step?.Invoke(step, training.Steps), null, cancellation);
        }

        WholeFolder.Write(
            Result("sabw"),
            to =>
            {
                Narrow(Path.Combine(run, "model"), to);
                WholeFile.WriteText(Path.Combine(to, "README.md"), DemoCard.Text(options, !IsDone("base")));
                FolderConsistency.Require(to, Result("sabw"));
            }
        );
    }

    private static TrainingRecord Picture(ScenePictures pictures, int index, string folder)
    {
        string path = Path.Combine(folder, index.ToString("D5", CultureInfo.InvariantCulture) + ".png");
        (float[] pixels, string caption) = pictures.Get(index);
        if (!File.Exists(path))
        {
            Directory.CreateDirectory(folder);
            PngFile.Write(path, RgbImage.FromFloat([.. pixels.Select(v => (v + 1) / 2)], pictures.Size, pictures.Size), null);
        }

        return new TrainingRecord(path, caption);
    }

    // The whole ensemble in float16: what is shipped.
    private static void Narrow(string from, string to)
    {
        foreach (string file in Directory.EnumerateFiles(from))
            File.Copy(file, Path.Combine(to, Path.GetFileName(file)));
        foreach (string part in Directory.EnumerateDirectories(from))
        {
            string target = Path.Combine(to, Path.GetFileName(part));
            Directory.CreateDirectory(target);
            foreach (string file in Directory.EnumerateFiles(part))
            {
                string copy = Path.Combine(target, Path.GetFileName(file));
                if (!file.EndsWith(".safetensors", StringComparison.Ordinal))
                {
                    File.Copy(file, copy);
                    continue;
                }

                using SafetensorsFile source = SafetensorsFile.Open(file);
                SafetensorsWriter.Write(
                    copy,
                    [
                        .. source
                            .Tensors.Values.OrderBy(t => t.Name, StringComparer.Ordinal)
                            .Select(t => new TensorEntry(
                                t.Name,
                                ElementType.Float16,
                                [.. t.Shape],
                                stream =>
                                    stream.Write(
                                        Kernels.MatrixMultiply.Widening.ToBytes(source.ReadFloat32(t.Name), ElementType.Float16)
                                    )
                            )),
                    ],
                    new Dictionary<string, string> { ["format"] = "pt" }
                );
            }
        }
    }

    private SchedulerConfig Scheduler()
    {
        string at = Path.Combine(folder, "scheduler");
        ConfigJson.Save(Path.Combine(at, "scheduler_config.json"), ConfigJson.Scheduler(Prediction));
        return SchedulerConfig.Load(at);
    }
}
