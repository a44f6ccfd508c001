using System.Text.Json;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Models;
using AfaNative.Engine.Prompts;
using AfaNative.Engine.Sampling;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Embedding;

namespace AfaNative.Engine.Ensemble;

/// <summary>
/// Everything text-to-image needs, loaded on a device: tokenizer, text encoders, the ensemble, the VAE and the noise schedule.
/// </summary>
public sealed class DiffusionModel : IDisposable
{
    private static readonly string[] s_weightNames = ["diffusion_pytorch_model", "model"];
    private readonly List<IDisposable> _owned = [];
    private readonly List<string> _warnings = [];

    private DiffusionModel(IDevice device, EnsembleFolder folder)
    {
        Device = device;
        Folder = folder;
    }

    /// <summary>Where the weights are.</summary>
    public IDevice Device { get; }

    /// <summary>Where they came from.</summary>
    public EnsembleFolder Folder { get; }

    /// <summary>The tokenizer of expert 0.</summary>
    public ClipTokenizer Tokenizer { get; private set; } = null!;

    /// <summary>The experts' text encoders, stacked.</summary>
    public ClipTextEncoder TextEncoder { get; private set; } = null!;

    /// <summary>The textual inversions prompts may name; the same for every expert.</summary>
    public EmbeddingSet Embeddings { get; private set; } = EmbeddingSet.None;

    /// <summary>The experts' U-Nets and their aggregators.</summary>
    public AfaEnsemble Ensemble { get; private set; } = null!;

    /// <summary>The VAE of expert 0.</summary>
    public VaeModel Vae { get; private set; } = null!;

    /// <summary>The noise schedule of expert 0.</summary>
    public SchedulerConfig Scheduler { get; private set; } = null!;

    /// <summary>
    /// Whole sentences about what was loaded and will not be as expected: of the schedule, the weights, the LoRAs and whatever
    /// else was read.
    /// </summary>
    public IReadOnlyList<string> Warnings => _warnings;

    /// <summary>
    /// Loads a model folder. <paramref name="expert"/> picks one expert to run alone, without aggregators.
    /// <paramref name="schedulerOverride"/> replaces the folder's noise schedule; <paramref name="progress"/> is told what is
    /// being loaded.
    /// </summary>
    /// <exception cref="CheckpointException">A file is missing, broken or does not fit.</exception>
    public static DiffusionModel Load(
        IDevice device,
        string path,
        int? expert = null,
        SchedulerConfig? schedulerOverride = null,
        Action<string>? progress = null,
        CancellationToken cancellation = default
    ) => Load(device, EnsembleFolder.Open(path), expert, schedulerOverride, progress, cancellation);

    /// <summary>As above, of a model whose parts were found already.</summary>
    public static DiffusionModel Load(
        IDevice device,
        EnsembleFolder folder,
        int? expert = null,
        SchedulerConfig? schedulerOverride = null,
        Action<string>? progress = null,
        CancellationToken cancellation = default,
        IReadOnlyList<LoraRequest>? loras = null,
        IReadOnlyList<EmbeddingRequest>? embeddings = null
    )
    {
        string path = folder.Path;
        foreach (LoraRequest lora in loras ?? [])
        {
            if (lora.Expert is { } wanted && wanted >= folder.UNets.Count)
                throw new AfaException($"{lora.Path} is for expert {wanted}, {path} has experts 0 to {folder.UNets.Count - 1}.");
        }

        if (expert is { } chosen)
        {
            if (chosen < 0 || chosen >= folder.UNets.Count)
                throw new AfaException($"{path}: expert {chosen} was asked for, it has experts 0 to {folder.UNets.Count - 1}.");
            if (loras?.FirstOrDefault(l => l.Expert is { } other && other != chosen) is { } idle)
            {
                throw new AfaException(
                    $"{idle.Path} is for expert {idle.Expert}, but expert {chosen} runs alone: the LoRA would have no effect."
                );
            }

            loras = loras?.Select(l => l with { Expert = null }).ToList();
            folder = folder with
            {
                UNets = [folder.UNets[chosen]],
                TextEncoders = [folder.TextEncoders[chosen]],
                Aggregators = [],
            };
        }

        var model = new DiffusionModel(device, folder);
        var files = new List<(LoraFile File, double Weight, int? Expert)>();
        try
        {
            foreach (LoraRequest lora in loras ?? [])
                files.Add((LoraFile.Open(lora.Path), lora.Weight, lora.Expert));
            // The small parts first: what is wrong with a folder shows before gigabytes are read.
            model.Tokenizer = ClipTokenizer.Load(folder.Tokenizer);
            model.Scheduler = schedulerOverride ?? SchedulerConfig.Load(folder.Scheduler);
            model._warnings.AddRange(model.Scheduler.Warnings.Concat(folder.Warnings));
            UNetConfig unetConfig = Common(
                [.. folder.UNets.Select(u => folder.Config(u, "unet"))],
                u => Told(UNetConfig.Load(u), c => c.Warnings)
            );
            ClipTextConfig textConfig = Common(
                [.. folder.TextEncoders.Select(t => folder.Config(t, "text_encoder"))],
                t => Told(ClipTextConfig.Load(t), c => c.Warnings)
            );
            if (model.Tokenizer.VocabularySize > textConfig.VocabularySize)
                throw new CheckpointException(
                    $"{folder.Tokenizer}: it knows {model.Tokenizer.VocabularySize} tokens, the text encoder has "
                        + $"{textConfig.VocabularySize} (vocab_size)."
                );
            if (model.Tokenizer.Within(textConfig.VocabularySize) is var within && within != model.Tokenizer)
            {
                string[] lost = [.. model.Tokenizer.Added.Except(within.Added).Select(t => $"'{Printable.Shortened(t.Text)}'")];
                model._warnings.Add(
                    $"{folder.Tokenizer}: the text encoder has {textConfig.VocabularySize} tokens and no row for what was added: "
                        + $"{string.Join(", ", lost.Take(8))}{(lost.Length > 8 ? $" and {lost.Length - 8} more" : "")}; "
                        + $"in prompts they are words like others."
                );
                model.Tokenizer = within;
            }

            if (textConfig.HiddenSize != unetConfig.CrossAttentionDim)
            {
                throw new CheckpointException(
                    $"{path}: the text encoder is {textConfig.HiddenSize} wide, the U-Net's cross-attention expects "
                        + $"{unetConfig.CrossAttentionDim}."
                );
            }

            if (embeddings is { Count: > 0 })
                model.Embeddings = EmbeddingSet.Load(embeddings, textConfig.HiddenSize, textConfig.MaxPositions - 2);
            if (folder.UNets.Count > 1 && folder.Aggregators.Count == 0 && !folder.Apart)
                throw new CheckpointException(
                    $"{path}: {folder.UNets.Count} experts but no aggregator folders; an ensemble needs aggregator_0 to "
                        + $"aggregator_{unetConfig.AggregationChannels.Count - 1}."
                );
            VaeConfig vaeConfig = Told(VaeConfig.Load(folder.Config(folder.Vae, "vae")), c => c.Warnings);
            if (vaeConfig.LatentChannels != unetConfig.InChannels)
                throw new CheckpointException(
                    $"{path}: the VAE has {vaeConfig.LatentChannels} latent channels, the U-Net expects {unetConfig.InChannels}."
                );
            model.Vae = Read([folder.Vae], "VAE", p => new VaeModel(p, vaeConfig));
            model.TextEncoder = Read(
                folder.TextEncoders,
                "text encoders",
                p => new ClipTextEncoder(p, textConfig),
                KnownExtras.IsIgnorable,
                new LoraSet("text_encoder", files)
            );
            var aggregators = new List<Sabw>();
            foreach (string aggregator in folder.Aggregators)
            {
                SabwConfig config = Told(SabwConfig.Load(aggregator), c => c.Warnings);
                aggregators.Add(
                    Read([aggregator], Path.GetFileName(aggregator), p => new Sabw(p, config), null, null, "aggregator")
                );
            }

            model._warnings.AddRange(AggregatorWidth.Warnings(aggregators.Select(a => a.Config)));
            UNetModel unet = Read(
                folder.UNets,
                folder.UNets.Count == 1 ? "U-Net" : $"{folder.UNets.Count} U-Nets",
                p => new UNetModel(p, unetConfig),
                null,
                new LoraSet("unet", files)
            );
            model.Ensemble = new AfaEnsemble(unet, aggregators);
            model._warnings.AddRange(files.SelectMany(f => f.File.Warnings).Distinct());
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
        finally
        {
            foreach ((LoraFile file, _, _) in files)
                file.Dispose();
        }

        TConfig Told<TConfig>(TConfig config, Func<TConfig, IReadOnlyList<string>> warnings)
        {
            model._warnings.AddRange(warnings(config).Except(model._warnings));
            return config;
        }

        TModel Read<TModel>(
            IReadOnlyList<string> folders,
            string what,
            Func<Parameters, TModel> build,
            Func<string, bool>? ignore = null,
            LoraSet? changes = null,
            params string[] names
        )
        {
            cancellation.ThrowIfCancellationRequested();
            progress?.Invoke(what);
            (TModel built, CheckpointParameters parameters) = ReadComponent(device, folders, build, ignore, changes, names);
            model._owned.Add(parameters);
            model._warnings.AddRange(parameters.Warnings.Except(model._warnings));
            return built;
        }
    }

    /// <summary>Runs another U-Net in the place of the loaded one; it stays the caller's.</summary>
    public void Replace(UNetModel unet)
    {
        if (unet.Experts != 1 || Ensemble.Experts != 1)
            throw new ArgumentException(
                $"only a single U-Net can be replaced, by one; here {Ensemble.Experts} by {unet.Experts}",
                nameof(unet)
            );
        Ensemble = new AfaEnsemble(unet, []);
    }

    /// <summary>Loads one component from one folder per expert.</summary>
    public static (TModel Model, CheckpointParameters Parameters) ReadComponent<TModel>(
        IDevice device,
        IReadOnlyList<string> folders,
        Func<Parameters, TModel> build,
        Func<string, bool>? ignore = null,
        params string[] names
    ) => ReadComponent(device, folders, build, ignore, null, names);

    private static (TModel Model, CheckpointParameters Parameters) ReadComponent<TModel>(
        IDevice device,
        IReadOnlyList<string> folders,
        Func<Parameters, TModel> build,
        Func<string, bool>? ignore,
        LoraSet? loras,
        string[] names
    )
    {
        var checkpoints = new List<Checkpoint>();
        try
        {
            foreach (string folder in folders)
                checkpoints.Add(Checkpoint.Open(folder, names.Length > 0 ? names : s_weightNames));
            return CheckpointParameters.Load(device, checkpoints, build, ignore, loras);
        }
        finally
        {
            foreach (Checkpoint checkpoint in checkpoints)
                checkpoint.Dispose();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (IDisposable owned in _owned)
            owned.Dispose();
        _owned.Clear();
    }

    /// <summary>The configuration all experts share.</summary>
    private static TConfig Common<TConfig>(IReadOnlyList<string> folders, Func<string, TConfig> load)
    {
        TConfig first = load(folders[0]);
        for (int i = 1; i < folders.Count; i++)
        {
            JsonElement a = JsonSerializer.SerializeToElement(first),
                b = JsonSerializer.SerializeToElement(load(folders[i]));
            foreach (JsonProperty property in a.EnumerateObject())
            {
                // Neither the size a model was trained at nor the legacy end-of-text id changes what is computed here.
                if (property.Name is nameof(UNetConfig.SampleSize) or nameof(ClipTextConfig.EosTokenId))
                    continue;
                string other = b.GetProperty(property.Name).GetRawText();
                if (other != property.Value.GetRawText())
                {
                    throw new CheckpointException(
                        $"{folders[i]}: experts must share an architecture, but {property.Name} is {other} here and "
                            + $"{property.Value.GetRawText()} in {folders[0]}."
                    );
                }
            }
        }

        return first;
    }
}
