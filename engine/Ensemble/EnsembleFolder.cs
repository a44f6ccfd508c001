using System.Text.RegularExpressions;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;

namespace AfaNative.Engine.Ensemble;

/// <summary>
/// The folders of a model on disk: a diffusers pipeline for expert 0 and, in the AFA authors' layout, <c>additional_unet_i</c>,
/// <c>additional_text_encoder_i</c> and <c>aggregator_k</c> beside it. Class names in <c>model_index.json</c> are ignored: the
/// folders decide.
/// </summary>
public sealed partial record EnsembleFolder
{
    private static readonly ConfigKeys s_modelKeys = new(["AFA"], ["num_models", "num_aggregators"], [], []);

    /// <summary>The model's folder.</summary>
    public required string Path { get; init; }

    /// <summary>One U-Net folder per expert.</summary>
    public required IReadOnlyList<string> UNets { get; init; }

    /// <summary>One text encoder folder per expert.</summary>
    public required IReadOnlyList<string> TextEncoders { get; init; }

    /// <summary>Aggregator folders in order; none for a plain model.</summary>
    public required IReadOnlyList<string> Aggregators { get; init; }

    /// <summary>The VAE, shared by all experts: a folder, or a file that holds one.</summary>
    public string Vae
    {
        get => field ?? System.IO.Path.Combine(Path, "vae");
        init;
    }

    /// <summary>The tokenizer, shared by all experts.</summary>
    public string Tokenizer => System.IO.Path.Combine(Path, "tokenizer");

    /// <summary>The noise schedule.</summary>
    public string Scheduler => System.IO.Path.Combine(Path, "scheduler");

    /// <summary>The experts are meant to run side by side, without aggregators.</summary>
    public bool Apart { get; private init; }

    /// <summary>Whole sentences about what the folder's own files say and is not acted on.</summary>
    public IReadOnlyList<string> Warnings { get; private init; } = [];

    /// <summary>The same experts without aggregators, for fusing their noise.</summary>
    public EnsembleFolder WithoutAggregators() => this with { Aggregators = [], Apart = true };

    /// <summary>
    /// Where the configuration of a component lies: its own folder, or, for weights in a single file, the base model's of that
    /// name.
    /// </summary>
    public string Config(string component, string name) =>
        File.Exists(component) ? System.IO.Path.Combine(Path, name) : component;

    /// <summary>
    /// A single-file checkpoint on a base model: weights from the file, tokenizer, schedule and configurations (and the networks
    /// the file lacks: a U-Net or a text encoder may
    /// come alone) from the base folder.
    /// </summary>
    /// <exception cref="CheckpointException">The file is no Stable Diffusion 1.x checkpoint, or the base no model
    /// folder.</exception>
    public static EnsembleFolder OpenSingleFile(string file, string? basePath) => OpenSingleFile(file, basePath, out _);

    /// <summary>As above; says what the file holds.</summary>
    public static EnsembleFolder OpenSingleFile(string file, string? basePath, out SingleFileContents contents)
    {
        contents = SingleFile.Describe(file);
        if (basePath is null)
            throw new CheckpointException(
                $"{file}: a single file brings no tokenizer and no configuration; name a model folder (diffusers layout) "
                    + $"that has them with `base` DIR."
            );
        EnsembleFolder model = Open(basePath);
        if (contents.UNet == 0 && contents.Text == 0)
            throw new CheckpointException($"{file}: expected a model, but it holds no U-Net; a VAE alone goes with `vae`.");
        return model with
        {
            UNets = [contents.UNet > 0 ? file : model.UNets[0]],
            TextEncoders = [contents.Text > 0 ? file : model.TextEncoders[0]],
            Aggregators = [],
            Vae = contents.Vae > 0 ? file : model.Vae,
        };
    }

    /// <summary>The same model with another VAE: a component folder, a VAE file or a checkpoint that has one baked in.</summary>
    /// <exception cref="CheckpointException">It holds none.</exception>
    public EnsembleFolder WithVae(string vae)
    {
        string inside = System.IO.Path.Combine(vae, "vae");
        if (Directory.Exists(inside) && !File.Exists(System.IO.Path.Combine(vae, "config.json")))
            throw new CheckpointException($"{vae}: expected a VAE, but it is a whole model's folder; its VAE is {inside}.");
        using Checkpoint checkpoint = Checkpoint.Open(vae, "diffusion_pytorch_model");
        if (!checkpoint.TryGet("decoder.conv_in.weight", out _, out _))
            throw new CheckpointException(
                $"{vae}: expected a VAE or a checkpoint with one baked in, but there is no decoder in it."
            );
        return this with { Vae = vae };
    }

    /// <summary>Looks a model folder over.</summary>
    /// <exception cref="CheckpointException">It is not a diffusers pipeline, or experts and aggregators do not add
    /// up.</exception>
    public static EnsembleFolder Open(string path)
    {
        if (File.Exists(path))
        {
            throw new CheckpointException(
                path.EndsWith(".safetensors", StringComparison.OrdinalIgnoreCase)
                    ? $"{path}: expected a model folder (diffusers layout), got a single file; `base` DIR lends it what a "
                        + $"folder has besides weights."
                    : $"{path}: expected a model folder (diffusers layout with safetensors weights), got a file; pickles "
                        + $"(.ckpt, .bin) can run code when opened and are not read: convert with diffusers' "
                        + $"save_pretrained(dir, safe_serialization=True)."
            );
        }

        if (!Directory.Exists(path))
            throw new CheckpointException($"{path}: no such file or folder.");
        if (!Directory.Exists(System.IO.Path.Combine(path, "unet")))
        {
            throw new CheckpointException(
                $"{path}: expected a diffusers pipeline folder with unet/, text_encoder/, tokenizer/, vae/ and "
                    + $"scheduler/, but there is no unet/."
            );
        }

        List<string> unets = [System.IO.Path.Combine(path, "unet"), .. Numbered("additional_unet")];
        List<string> texts = [System.IO.Path.Combine(path, "text_encoder"), .. Numbered("additional_text_encoder")];
        List<string> aggregators = Numbered("aggregator");
        if (texts.Count != unets.Count)
            throw new CheckpointException(
                $"{path}: {unets.Count} U-Nets but {texts.Count} text encoders; every expert brings one of each."
            );
        List<string> warnings = [.. ModelIndex.Warnings(path)];
        warnings.AddRange(OtherParts(path, warnings));
        string config = System.IO.Path.Combine(path, "model_config.json");
        if (RegularFile.Kind(config) != FileKind.Missing)
        {
            using JsonFile json = JsonFile.Open(config);
            warnings.AddRange(s_modelKeys.Check(json));
            int models = json.Int("num_models", unets.Count),
                points = json.Int("num_aggregators", aggregators.Count);
            if (models != unets.Count || points != aggregators.Count)
            {
                throw json.Error(
                    $"it announces {models} models and {points} aggregators, the folder holds {unets.Count} and "
                        + $"{aggregators.Count}"
                );
            }
        }

        return new EnsembleFolder
        {
            Path = path,
            UNets = unets,
            TextEncoders = texts,
            Aggregators = aggregators,
            Warnings = warnings,
        };

        List<string> Numbered(string name)
        {
            List<string> found = [];
            while (Directory.Exists(System.IO.Path.Combine(path, $"{name}_{found.Count}")))
                found.Add(System.IO.Path.Combine(path, $"{name}_{found.Count}"));
            int present = Directory
                .EnumerateDirectories(path, name + "_*")
                .Count(d => int.TryParse(System.IO.Path.GetFileName(d).AsSpan(name.Length + 1), out _));
            if (present != found.Count)
                throw new CheckpointException(
                    $"{path}: {name} folders are not numbered 0..{present - 1}: {name}_{found.Count} is missing."
                );
            return found;
        }
    }

    // Folders of other pipelines' parts, and of parts that experts share here; what else lies in a folder is nobody's part.
    private static IEnumerable<string> OtherParts(string path, IReadOnlyList<string> said)
    {
        string[] found =
        [
            .. Directory
                .EnumerateDirectories(path)
                .Select(d => System.IO.Path.GetFileName(d))
                .Where(n => OtherPart().IsMatch(n) && !said.Any(s => s.Contains($"'{n}'", StringComparison.Ordinal)))
                .Order(StringComparer.Ordinal),
        ];
        if (found.Length > 0)
            yield return $"{path}: not used by this program: {string.Join(", ", found.Select(n => Printable.Shortened(n)))} "
                + "(all experts share one VAE, tokenizer and scheduler).";
        foreach (string adapted in (string[])["unet", "text_encoder"])
        {
            string file = System.IO.Path.Combine(path, adapted, "adapter_config.json");
            if (File.Exists(file))
                yield return $"{file}: a PEFT adapter beside the weights is not applied; `lora` FILE applies one.";
        }
    }

    [GeneratedRegex(
        @"^(additional_(?!unet_\d+$|text_encoder_\d+$).+|(multi_?)?controlnet.*|.*_adapter|adapter.*|transformer.*|prior.*"
            + @"|(text_encoder|tokenizer|unet|vae)_\d+)$",
        RegexOptions.CultureInvariant
    )]
    private static partial Regex OtherPart();
}
