using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Diffusion;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Text;
using AfaNative.Engine.UNet;
using AfaNative.Engine.Vae;
using AfaNative.Kernels;
using AfaNative.Kernels.Devices;

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
    /// <summary>A diffusers folder of one model: architecture, tokenizer and noise schedule, and the weights that training starts from.</summary>
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
}

/// <summary>What a run tells while it goes on; every member may be null.</summary>
public sealed record NetworkTrainingObserver
{
    /// <summary>Told once what is trained: numbers trained.</summary>
    public Action<long>? Start { get; init; }

    /// <summary>Pictures encoded, of how many.</summary>
    public Action<int, int>? Encoding { get; init; }

    /// <summary>A picture that is left out, and why.</summary>
    public Action<string, string>? Skipped { get; init; }

    /// <summary>Every update.</summary>
    public Action<TrainingStep>? Step { get; init; }
}

/// <summary>Trains a VAE, or a U-Net with or without its text encoder, on a user's pictures. A run that was cut off goes on from its state.</summary>
public static class NetworkTraining
{
    /// <summary>Runs it to its end and returns the folder of the trained model: a copy of the one it started from, but for what was trained.</summary>
    /// <exception cref="AfaException">The model is an ensemble, no picture can be read, or what is in the output folder belongs to another run.</exception>
    public static string Run(IDevice device, NetworkTrainingSetup setup, NetworkTrainingObserver? observer = null, CancellationToken cancellation = default)
    {
        setup.Options.Validate();
        string result = Path.Combine(setup.Output, "model"), state = Path.Combine(setup.Output, "state.safetensors");
        WholeFolder.MustBeFree(result);
        EnsembleFolder folder = EnsembleFolder.Open(setup.Model);
        if (folder.UNets.Count > 1) throw new AfaException($"{setup.Model}: whole networks are trained one model at a time, this is an ensemble of {folder.UNets.Count}; train its experts' own folders.");
        VaeConfig vae = VaeConfig.Load(folder.Vae);
        if (setup.Options.Size < vae.Downscale || setup.Options.Size % vae.Downscale != 0) throw new AfaException($"--size takes a multiple of {vae.Downscale}, not {setup.Options.Size}.");
        var pictures = new FilePictures(Readable(setup, observer), setup.Options.Size, setup.Options.Seed);
        Directory.CreateDirectory(setup.Output);
        if (setup.What == TrainedNetwork.Vae)
        {
            using var trainer = new VaeTrainer(device, setup.Options, pictures, vae, setup.FromScratch ? null : folder.Vae);
            Train(trainer);
            WholeFolder.Write(result, to =>
            {
                CopyOthers(folder, to, "vae");
                string at = Path.Combine(to, "vae");
                File.Copy(Path.Combine(folder.Vae, "config.json"), Path.Combine(at, "config.json"));
                trainer.Write("vae", Path.Combine(at, "diffusion_pytorch_model.safetensors"), ElementType.Float32);
            });
            return result;
        }

        using (UNetTrainer trainer = OpenUNet(device, setup, folder, vae, pictures, observer, cancellation))
        {
            Train(trainer);
            WholeFolder.Write(result, to =>
            {
                CopyOthers(folder, to, setup.TrainText ? ["unet", "text_encoder"] : ["unet"]);
                File.Copy(Path.Combine(folder.UNets[0], "config.json"), Path.Combine(to, "unet", "config.json"));
                trainer.Write("unet", Path.Combine(to, "unet", "diffusion_pytorch_model.safetensors"), ElementType.Float32);
                if (!setup.TrainText) return;
                File.Copy(Path.Combine(folder.TextEncoders[0], "config.json"), Path.Combine(to, "text_encoder", "config.json"));
                trainer.Write("text_encoder", Path.Combine(to, "text_encoder", "model.safetensors"), ElementType.Float32);
            });
        }

        return result;

        void Train(NetworkTrainer trainer)
        {
            observer?.Start?.Invoke(trainer.ParameterCount);
            trainer.Run(state, observer?.Step, cancellation);
        }
    }

    private static UNetTrainer OpenUNet(IDevice device, NetworkTrainingSetup setup, EnsembleFolder folder, VaeConfig vaeConfig, FilePictures pictures, NetworkTrainingObserver? observer, CancellationToken cancellation)
    {
        int count = pictures.Count;
        LatentPool pool;
        (VaeModel vae, Layers.CheckpointParameters parameters) = DiffusionModel.ReadComponent(device, [folder.Vae], p => new VaeModel(p, vaeConfig));
        using (parameters)
        {
            pool = LatentPool.Encode(device, vae, pictures, 0, count, Path.Combine(setup.Output, "latents.safetensors"), done => observer?.Encoding?.Invoke(done, count), cancellation);
        }

        return new UNetTrainer(device, setup.Options, new UNetTrainingSetup
        {
            UNet = UNetConfig.Load(folder.UNets[0]),
            Text = ClipTextConfig.Load(folder.TextEncoders[0]),
            Tokenizer = ClipTokenizer.Load(folder.Tokenizer),
            Scheduler = SchedulerConfig.Load(folder.Scheduler),
            LatentScale = vaeConfig.ScalingFactor,
            UNetFrom = setup.FromScratch ? null : folder.UNets[0],
            TextFrom = setup is { FromScratch: true, TrainText: true } ? null : folder.TextEncoders[0],
            TrainText = setup.TrainText,
        }, pool);
    }

    // One broken file among thousands must not end a run.
    private static List<TrainingRecord> Readable(NetworkTrainingSetup setup, NetworkTrainingObserver? observer)
    {
        var good = new List<TrainingRecord>();
        foreach (TrainingRecord record in setup.Records)
        {
            try
            {
                LatentCache.Crop(File.ReadAllBytes(record.Image), setup.Options.Size, setup.Options.Seed);
                good.Add(record);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidDataException)
            {
                observer?.Skipped?.Invoke(record.Image, e.Message);
            }
        }

        return good.Count > 0 ? good : throw new AfaException($"None of the {setup.Records.Count} pictures can be read.");
    }

    private static void CopyOthers(EnsembleFolder folder, string to, params string[] trained)
    {
        foreach (string file in Directory.EnumerateFiles(folder.Path)) File.Copy(file, Path.Combine(to, Path.GetFileName(file)));
        foreach (string part in (string[])["unet", "text_encoder", "tokenizer", "vae", "scheduler"])
        {
            if (trained.Contains(part)) Directory.CreateDirectory(Path.Combine(to, part));
            else WholeFolder.Copy(Path.Combine(folder.Path, part), Path.Combine(to, part));
        }
    }
}
