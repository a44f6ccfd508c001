using System.Globalization;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Files;
using AfaNative.Engine.Models;
using AfaNative.Engine.Prompts;
using AfaNative.Engine.Sampling;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Training;

/// <summary>Networks of a model that are trained as a whole.</summary>
public enum TrainedNetwork
{
    /// <summary>The autoencoder.</summary>
    Vae,

    /// <summary>The U-Net, with its text encoder if wanted.</summary>
    UNet,
}

/// <summary>What is trained, on what, and where the result goes.</summary>
public sealed record NetworkTrainingSetup
{
    /// <summary>
    /// A diffusers folder of one model: architecture, tokenizer and noise schedule, and the weights that training starts from.
    /// </summary>
    public required string Model { get; init; }

    /// <summary>Which of its networks.</summary>
    public required TrainedNetwork What { get; init; }

    /// <summary>Captioned pictures.</summary>
    public required IReadOnlyList<TrainingRecord> Records { get; init; }

    /// <summary>Folder of the run: <c>state.safetensors</c>, encoded pictures, and at the end <c>model/</c>.</summary>
    public required string Output { get; init; }

    /// <summary>How.</summary>
    public required TrainingOptions Options { get; init; }

    /// <summary>Start from random weights instead of the model's.</summary>
    public bool FromScratch { get; init; }

    /// <summary>Train the text encoder along with the U-Net.</summary>
    public bool TrainText { get; init; }

    /// <summary>Where pictures are encoded for a U-Net: float32, where the device that trains has less. Null: there.</summary>
    public IDevice? Encoder { get; init; }
}

/// <summary>What a run tells while it goes on; every member may be null.</summary>
public sealed record NetworkTrainingObserver
{
    /// <summary>Told once what is trained: numbers trained.</summary>
    public Action<long>? Start { get; init; }

    /// <summary>Pictures encoded, of how many.</summary>
    public Action<int, int>? Encoding { get; init; }

    /// <summary>Whole sentences about what will not be as expected.</summary>
    public Action<string>? Warning { get; init; }

    /// <summary>A picture that is left out, and why.</summary>
    public Action<string, string>? Skipped { get; init; }

    /// <summary>Every update.</summary>
    public Action<TrainingUpdate>? Step { get; init; }
}

/// <summary>
/// Trains a VAE, or a U-Net with or without its text encoder, on a user's pictures. A run that was cut off goes on from its
/// state.
/// </summary>
public static class NetworkTraining
{
    /// <summary>
    /// Runs it to its end and returns the folder of the trained model: a copy of the one it started from, but for what was
    /// trained.
    /// </summary>
    /// <exception cref="AfaException">The model is an ensemble, no picture can be read, or what is in the output folder belongs
    /// to another run.</exception>
    public static string Run(
        IDevice device,
        NetworkTrainingSetup setup,
        NetworkTrainingObserver? observer = null,
        CancellationToken cancellation = default
    )
    {
        setup.Options.Validate();
        string result = Path.Combine(setup.Output, "model"),
            state = Path.Combine(setup.Output, "state.safetensors");
        EnsembleFolder folder = EnsembleFolder.Open(setup.Model);
        TrainingRun.Check(folder, setup.Output);
        using OutputLock held = OutputLock.TakeFolder(setup.Output);
        TrainingRun.MayReplaceModel(setup.Output);
        if (folder.UNets.Count > 1)
            throw new AfaException(
                $"{setup.Model}: whole networks are trained one model at a time, this is an ensemble of "
                    + $"{folder.UNets.Count}; train its experts' own folders."
            );
        VaeConfig vae = VaeConfig.Load(folder.Vae);
        if (setup.Options.Size < vae.Downscale || setup.Options.Size % vae.Downscale != 0)
            throw new AfaException($"`size` takes a multiple of {vae.Downscale}, not {setup.Options.Size}.");
        foreach (string problem in FolderConsistency.Problems(setup.Model))
            observer?.Warning?.Invoke(
                $"{setup.Model}: the trained model will not load everywhere, as the one it starts from: {problem}"
            );
        // What can be told before every picture was read.
        NetworkTrainer.RequireOwn(state, new RunIdentity().Add(setup.Options, device.Storage, aggregators: false));
        (List<TrainingRecord> records, RunIdentity data) = Readable(setup, observer);
        RunIdentity identity = Identify(device, setup, folder, data);
        NetworkTrainer.RequireSame(state, identity);
        var pictures = new FilePictures(records, setup.Options.Size, setup.Options.Seed);
        Directory.CreateDirectory(setup.Output);
        if (setup.What == TrainedNetwork.Vae)
        {
            using var trainer = new VaeTrainer(device, setup.Options, pictures, vae, setup.FromScratch ? null : folder.Vae);
            Train(trainer);
            TrainingRun.WriteModel(
                setup.Output,
                to =>
                {
                    CopyOthers(folder, to, "vae");
                    string at = Path.Combine(to, "vae");
                    File.Copy(Path.Combine(folder.Vae, "config.json"), Path.Combine(at, "config.json"));
                    trainer.Write("vae", Path.Combine(at, "diffusion_pytorch_model.safetensors"), ElementType.Float32);
                }
            );
            return result;
        }

        using (UNetTrainer trainer = OpenUNet(device, setup, folder, vae, pictures, data, observer, cancellation))
        {
            Train(trainer);
            TrainingRun.WriteModel(
                setup.Output,
                to =>
                {
                    CopyOthers(folder, to, setup.TrainText ? ["unet", "text_encoder"] : ["unet"]);
                    File.Copy(Path.Combine(folder.UNets[0], "config.json"), Path.Combine(to, "unet", "config.json"));
                    trainer.Write("unet", Path.Combine(to, "unet", "diffusion_pytorch_model.safetensors"), ElementType.Float32);
                    if (!setup.TrainText)
                        return;
                    File.Copy(
                        Path.Combine(folder.TextEncoders[0], "config.json"),
                        Path.Combine(to, "text_encoder", "config.json")
                    );
                    trainer.Write("text_encoder", Path.Combine(to, "text_encoder", "model.safetensors"), ElementType.Float32);
                }
            );
        }

        return result;

        void Train(NetworkTrainer trainer)
        {
            trainer.Identity = identity;
            observer?.Start?.Invoke(trainer.ParameterCount);
            trainer.Run(state, observer?.Step, cancellation);
        }
    }

    private static UNetTrainer OpenUNet(
        IDevice device,
        NetworkTrainingSetup setup,
        EnsembleFolder folder,
        VaeConfig vaeConfig,
        FilePictures pictures,
        RunIdentity data,
        NetworkTrainingObserver? observer,
        CancellationToken cancellation
    )
    {
        int count = pictures.Count;
        LatentPool pool;
        IDevice encoder = setup.Encoder ?? device;
        RunIdentity encoded = data.Copy()
            .AddContents("VAE", ModelIdentity.Vae(folder, Hashes(setup)))
            .Add("--size", setup.Options.Size.ToString(CultureInfo.InvariantCulture))
            .Add("--seed", setup.Options.Seed.ToString(CultureInfo.InvariantCulture))
            .Add("--precision", encoder.Storage.ToString());
        (VaeModel vae, CheckpointParameters parameters) = DiffusionModel.ReadComponent(
            encoder,
            [folder.Vae],
            p => new VaeModel(p, vaeConfig)
        );
        using (parameters)
        {
            pool = LatentPool.Encode(
                encoder,
                vae,
                pictures,
                0,
                count,
                Path.Combine(setup.Output, "latents.safetensors"),
                encoded,
                done => observer?.Encoding?.Invoke(done, count),
                cancellation
            );
        }

        return new UNetTrainer(
            device,
            setup.Options,
            new UNetTrainingSetup
            {
                UNet = UNetConfig.Load(folder.UNets[0]),
                Text = ClipTextConfig.Load(folder.TextEncoders[0]),
                Tokenizer = ClipTokenizer.Load(folder.Tokenizer),
                Scheduler = SchedulerConfig.Load(folder.Scheduler),
                LatentScale = vaeConfig.ScalingFactor,
                UNetFrom = setup.FromScratch ? null : folder.UNets[0],
                TextFrom = setup is { FromScratch: true, TrainText: true } ? null : folder.TextEncoders[0],
                TrainText = setup.TrainText,
            },
            pool
        );
    }

    // All that the outcome depends on; what is read twice is hashed once.
    private static RunIdentity Identify(IDevice device, NetworkTrainingSetup setup, EnsembleFolder folder, RunIdentity data)
    {
        ContentHashes hashes = Hashes(setup);
        RunIdentity identity = data.Copy()
            .Add("--what", setup.What.ToString().ToLowerInvariant())
            .Add("--from-scratch", setup.FromScratch ? "true" : "false")
            .Add("--train-text-encoder", setup.TrainText ? "true" : "false")
            .Add(setup.Options, device.Storage, aggregators: false)
            .AddContents(
                "VAE",
                ModelIdentity.Vae(folder, hashes, weights: setup.What == TrainedNetwork.UNet || !setup.FromScratch)
            );
        if (setup.What == TrainedNetwork.Vae)
            return identity;
        return identity
            .AddContents(
                "text encoder or tokenizer",
                ModelIdentity.Text(folder, hashes, weights: setup is not { FromScratch: true, TrainText: true })
            )
            .AddContents("U-Net", ModelIdentity.UNets(folder, hashes, weights: !setup.FromScratch))
            .AddContents("noise schedule", ModelIdentity.Schedule(folder));
    }

    private static ContentHashes Hashes(NetworkTrainingSetup setup) => new(Path.Combine(setup.Output, LatentCache.HashFile));

    // One broken file among thousands must not end a run.
    private static (List<TrainingRecord> Records, RunIdentity Identity) Readable(
        NetworkTrainingSetup setup,
        NetworkTrainingObserver? observer
    )
    {
        var good = new List<TrainingRecord>();
        var contents = new List<string>();
        string first = "";
        foreach (TrainingRecord record in setup.Records)
        {
            try
            {
                byte[] bytes = TrainingPicture.Bytes(record.Image);
                TrainingPicture.Crop(bytes, setup.Options.Size, setup.Options.Seed);
                contents.Add(Convert.ToHexString(Sha256.HashData(bytes)));
                good.Add(record);
            }
            catch (Exception e)
                when (e is AfaException or IOException or UnauthorizedAccessException or InvalidDataException or ArgumentException
                )
            {
                string reason = LatentCache.Reason(record.Image, e);
                if (first.Length == 0)
                    first = $"; {record.Image}: {reason}";
                observer?.Skipped?.Invoke(record.Image, reason);
            }
        }

        if (good.Count == 0)
            throw new AfaException($"None of the {setup.Records.Count} pictures can be read{first}.");
        var identity = new RunIdentity().AddContents("pictures", contents);
        // A VAE never sees what pictures are said to show.
        return (
            good,
            setup.What == TrainedNetwork.Vae ? identity : identity.AddContents("captions", good.Select(r => r.Caption))
        );
    }

    private static void CopyOthers(EnsembleFolder folder, string to, params string[] trained)
    {
        foreach (string file in Directory.EnumerateFiles(folder.Path))
            File.Copy(file, Path.Combine(to, Path.GetFileName(file)));
        foreach (string part in (string[])["unet", "text_encoder", "tokenizer", "vae", "scheduler"])
        {
            if (trained.Contains(part))
                Directory.CreateDirectory(Path.Combine(to, part));
            else
                WholeFolder.Copy(Path.Combine(folder.Path, part), Path.Combine(to, part));
        }
    }
}
