using System.Text.Json.Nodes;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Files;
using AfaNative.Engine.Models;
using AfaNative.Engine.Prompts;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Synthesis;

/// <summary>What to synthesize.</summary>
public sealed record SyntheticOptions
{
    /// <summary>Number of experts; above 1 the folder holds aggregators too.</summary>
    public int Experts { get; init; } = 1;

    /// <summary>Stable Diffusion 1.5's sizes instead of tiny ones.</summary>
    public bool FullSize { get; init; }

    /// <summary>Storage type of the weights.</summary>
    public ElementType Type { get; init; } = ElementType.Float32;

    /// <summary>Same seed, same bytes.</summary>
    public ulong Seed { get; init; }

    /// <summary>Write each expert's weights into one file with original names instead of a folder; the same numbers.</summary>
    public bool SingleFile { get; init; }
}

/// <summary>
/// Writes models of random weights in the real formats, so that speed and memory can be tried without a download. What each file
/// must hold is asked
/// from the networks themselves.
/// </summary>
public static class SyntheticModel
{
    /// <summary>Writes a diffusers pipeline folder, with additional experts and aggregators in the AFA authors' layout.</summary>
    /// <param name="folder">Created; must not hold a model yet.</param>
    /// <param name="options">Size, experts, storage type, seed.</param>
    /// <param name="progress">Told each component's name.</param>
    /// <param name="cancellation">Looked at between tensors.</param>
    public static void Write(
        string folder,
        SyntheticOptions options,
        Action<string>? progress = null,
        CancellationToken cancellation = default
    )
    {
        if (options.Experts < 1)
            throw new AfaException($"An ensemble has at least one expert, got {options.Experts}.");
        if (!options.Type.IsWeight())
            throw new AfaException($"Weights are stored as float32, float16 or bfloat16, not {options.Type}.");
        PickleName.MustNotBe(folder);
        if (options.SingleFile)
        {
            WriteFiles(folder, options, progress, cancellation);
            return;
        }

        using OutputLock held = OutputLock.Take(folder);
        WholeFolder.MustBeFree(folder);
        WholeFolder.Write(folder, to => WriteFolder(to, folder, options, progress, cancellation));
    }

    private static void WriteFolder(
        string folder,
        string shown,
        SyntheticOptions options,
        Action<string>? progress,
        CancellationToken cancellation
    )
    {
        bool full = options.FullSize;
        (UNetConfig unet, VaeConfig vae, ClipTextConfig text) = Sizes(full);
        ConfigJson.Save(System.IO.Path.Combine(folder, "model_index.json"), ConfigJson.ModelIndex());
        TokenizerWriter.Write(System.IO.Path.Combine(folder, "tokenizer"), text.VocabularySize, text.MaxPositions);
        ConfigJson.Save(System.IO.Path.Combine(folder, "scheduler", "scheduler_config.json"), ConfigJson.Scheduler());
        var weights = new RandomWeights(options.Type, options.Seed, cancellation);
        Component("vae", "diffusion_pytorch_model", NetworkJson.Vae(vae), p => new VaeModel(p, vae));
        for (int e = 0; e < options.Experts; e++)
        {
            Component(
                e == 0 ? "text_encoder" : $"additional_text_encoder_{e - 1}",
                "model",
                NetworkJson.Text(text),
                p => new ClipTextEncoder(p, text)
            );
            Component(
                e == 0 ? "unet" : $"additional_unet_{e - 1}",
                "diffusion_pytorch_model",
                NetworkJson.UNet(unet),
                p => new UNetModel(p, unet)
            );
        }

        if (options.Experts > 1)
            Aggregators();
        FolderConsistency.Require(folder, shown);

        void Aggregators()
        {
            IReadOnlyList<int> channels = unet.AggregationChannels;
            for (int k = 0; k < channels.Count; k++)
            {
                var sabw = new SabwConfig
                {
                    InChannels = channels[k],
                    HiddenSize = full ? 128 : 32,
                    NumExperts = options.Experts,
                    NumLayers = full ? 2 : 1,
                    NumAttentionHeads = full ? 8 : 4,
                    CrossAttentionDim = unet.CrossAttentionDim,
                    TimeEmbeddingChannels = unet.TimeEmbeddingDim,
                };
                Component($"aggregator_{k}", "aggregator", sabw.ToJson(), p => new Sabw(p, sabw));
            }

            ConfigJson.Save(
                System.IO.Path.Combine(folder, "model_config.json"),
                new JsonObject { ["num_models"] = options.Experts, ["num_aggregators"] = channels.Count }
            );
        }

        void Component(string name, string file, JsonObject config, Action<Parameters> build)
        {
            cancellation.ThrowIfCancellationRequested();
            progress?.Invoke(name);
            var list = new ParameterList();
            build(list);
            string to = System.IO.Path.Combine(folder, name);
            ConfigJson.Save(System.IO.Path.Combine(to, "config.json"), config);
            SafetensorsWriter.Write(
                System.IO.Path.Combine(to, file + ".safetensors"),
                weights.For(name, list.Specs),
                new Dictionary<string, string> { ["format"] = "pt" }
            );
        }
    }

    private static (UNetConfig UNet, VaeConfig Vae, ClipTextConfig Text) Sizes(bool full)
    {
        var unet = new UNetConfig
        {
            BlockOutChannels = full ? [320, 640, 1280, 1280] : [32, 32, 64, 64],
            Heads = full ? [8, 8, 8, 8] : [4, 4, 4, 4],
            CrossAttentionDim = full ? 768 : 32,
            NormGroups = full ? 32 : 8,
            SampleSize = full ? 64 : 16,
        };
        var vae = new VaeConfig { BlockOutChannels = full ? [128, 256, 512, 512] : [16, 32, 32, 32], NormGroups = full ? 32 : 8 };
        var text = full
            ? new ClipTextConfig { VocabularySize = TokenizerWriter.FullVocabulary }
            : new ClipTextConfig
            {
                VocabularySize = TokenizerWriter.TinyVocabulary,
                HiddenSize = 32,
                IntermediateSize = 64,
                Layers = 2,
                Heads = 4,
            };
        return (unet, vae, text);
    }

    // OUT.safetensors, and OUT-1.safetensors, ... for more experts.
    private static void WriteFiles(
        string path,
        SyntheticOptions options,
        Action<string>? progress,
        CancellationToken cancellation
    )
    {
        if (!path.EndsWith(".safetensors", StringComparison.OrdinalIgnoreCase))
            throw new AfaException($"{path}: a single file's name ends in .safetensors.");
        (UNetConfig unet, VaeConfig vae, ClipTextConfig text) = Sizes(options.FullSize);
        var weights = new RandomWeights(options.Type, options.Seed, cancellation);
        using OutputLock held = OutputLock.Take(path);
        string[] files =
        [
            .. Enumerable
                .Range(0, options.Experts)
                .Select(e => e == 0 ? path : $"{path[..^".safetensors".Length]}-{e}.safetensors"),
        ];
        if (files.FirstOrDefault(System.IO.Path.Exists) is { } taken)
            throw new AfaException($"{taken}: the file exists; nothing was written.");
        int done = 0;
        try
        {
            for (; done < files.Length; done++)
                WriteFile(files[done], done);
        }
        catch
        {
            foreach (string file in files[..done])
                TemporaryName.Discard(file);
            throw;
        }

        void WriteFile(string file, int e)
        {
            progress?.Invoke(file);
            List<TensorEntry> entries = [];
            Add(e == 0 ? "unet" : $"additional_unet_{e - 1}", p => new UNetModel(p, unet));
            Add(e == 0 ? "text_encoder" : $"additional_text_encoder_{e - 1}", p => new ClipTextEncoder(p, text));
            Add("vae", p => new VaeModel(p, vae));
            SafetensorsWriter.WriteNew(file, entries, new Dictionary<string, string> { ["format"] = "pt" });

            void Add(string component, Action<Parameters> build)
            {
                var list = new ParameterList();
                build(list);
                foreach (TensorEntry entry in weights.For(component, list.Specs))
                    entries.Add(entry with { Name = OriginalNames.Of(entry.Name, vae.BlockOutChannels.Count) });
            }
        }
    }
}
