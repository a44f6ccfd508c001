using System.Text.Json;
using System.Text.Json.Nodes;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;
using AfaNative.Engine.Models;
using AfaNative.Engine.Prompts;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Ensemble;

/// <summary>How an ensemble is put together.</summary>
public sealed record EnsembleOptions
{
    /// <summary>
    /// Model folder (diffusers layout) that brings tokenizer, schedule, configurations and whatever a single file lacks.
    /// </summary>
    public required string Base { get; init; }

    /// <summary>The experts: single-file checkpoints or model folders.</summary>
    public required IReadOnlyList<string> Experts { get; init; }

    /// <summary>VAE file, folder or checkpoint to use instead of the base's.</summary>
    public string? Vae { get; init; }

    /// <summary>Link to the experts' files instead of copying them.</summary>
    public bool Link { get; init; }

    /// <summary>Width of the aggregators, a multiple of 32 from <see cref="AggregatorWidth.Least"/> on.</summary>
    public int HiddenSize { get; init; } = 128;

    /// <summary>Transformer layers of an aggregator.</summary>
    public int Layers { get; init; } = 2;

    /// <summary>Attention heads of an aggregator.</summary>
    public int Heads { get; init; } = 8;

    /// <summary>Decides the aggregators' first weights; what they compute is an average whatever they are.</summary>
    public ulong Seed { get; init; }
}

/// <summary>
/// Assembles an ensemble in the AFA authors' layout from checkpoints, tensor by tensor: never more than one tensor in memory.
/// Aggregators start with a zero last
/// layer, so that the ensemble averages its experts' features until it is trained.
/// </summary>
public static class EnsembleBuilder
{
    /// <summary>Writes the ensemble; the folder appears whole or not at all.</summary>
    /// <param name="output">The folder to create.</param>
    /// <param name="options">What goes into it.</param>
    /// <param name="progress">Told what is being written.</param>
    /// <param name="cancellation">Stops it, leaving nothing.</param>
    /// <param name="warn">Told, in whole sentences, what the files hold that was not used.</param>
    /// <returns>What was found in each single file, or null for an expert that was a folder.</returns>
    /// <exception cref="AfaException">An expert does not fit the base, or something cannot be read or written.</exception>
    public static IReadOnlyList<SingleFileContents?> Create(
        string output,
        EnsembleOptions options,
        Action<string>? progress = null,
        CancellationToken cancellation = default,
        Action<string>? warn = null
    )
    {
        if (options.Experts.Count < 1)
            throw new AfaException("An ensemble needs at least one `expert`.");
        // One expert needs no aggregators.
        if (options.Experts.Count > 1)
            AggregatorWidth.Check(options.HiddenSize);
        if (options.Heads < 1 || options.HiddenSize % options.Heads != 0)
            throw new AfaException($"`heads` takes a divisor of `hidden-size` {options.HiddenSize}, not {options.Heads}.");
        if (options.Layers < 0)
            throw new AfaException($"`layers` takes 0 or more, not {options.Layers}.");
        PickleName.MustNotBe(output);
        using OutputLock held = OutputLock.Take(output);
        WholeFolder.MustBeFree(output);
        EnsembleFolder basis = EnsembleFolder.Open(options.Base);
        UNetConfig unet = UNetConfig.Load(basis.UNets[0]);
        ClipTextConfig text = ClipTextConfig.Load(basis.TextEncoders[0]);
        VaeConfig vae = VaeConfig.Load(basis.Vae);
        var contents = new SingleFileContents?[options.Experts.Count];
        EnsembleFolder[] experts =
        [
            .. options.Experts.Select(
                (e, i) =>
                    File.Exists(e) ? EnsembleFolder.OpenSingleFile(e, options.Base, out contents[i]!) : EnsembleFolder.Open(e)
            ),
        ];
        MustBeOutside(output, [basis, .. experts]);
        string chosenVae = options.Vae is null ? basis.Vae : basis.WithVae(options.Vae).Vae;
        // All is looked over before anything is written.
        HashSet<string> warnings = [];
        List<ParameterSpec> unetSpecs = Specs(p => new UNetModel(p, unet)),
            textSpecs = Specs(p => new ClipTextEncoder(p, text)),
            vaeSpecs = Specs(p => new VaeModel(p, vae));
        SharedSettings.Compare(basis, experts, warnings);
        foreach (EnsembleFolder expert in experts)
        {
            Check(expert.UNets[0], unetSpecs, null, warnings);
            Check(expert.TextEncoders[0], textSpecs, KnownExtras.IsIgnorable, warnings);
        }

        Check(chosenVae, vaeSpecs, null, warnings);
        foreach (string warning in warnings)
            warn?.Invoke(warning);
        WholeFolder.Write(
            output,
            temporary =>
            {
                CopyShared(basis, temporary, text.MaxPositions);
                Component(temporary, "vae", chosenVae, basis.Vae, "diffusion_pytorch_model", vaeSpecs);
                for (int e = 0; e < experts.Length; e++)
                {
                    Component(
                        temporary,
                        e == 0 ? "text_encoder" : $"additional_text_encoder_{e - 1}",
                        experts[e].TextEncoders[0],
                        basis.TextEncoders[0],
                        "model",
                        textSpecs
                    );
                    Component(
                        temporary,
                        e == 0 ? "unet" : $"additional_unet_{e - 1}",
                        experts[e].UNets[0],
                        basis.UNets[0],
                        "diffusion_pytorch_model",
                        unetSpecs
                    );
                }

                if (experts.Length > 1)
                    Aggregators(temporary, unet, options, experts.Length, progress, cancellation);
                FolderConsistency.Require(temporary, output);
            }
        );
        return contents;

        void Component(string folder, string name, string source, string config, string file, List<ParameterSpec> specs)
        {
            cancellation.ThrowIfCancellationRequested();
            progress?.Invoke(name);
            string to = Path.Combine(folder, name);
            Directory.CreateDirectory(to);
            File.Copy(Path.Combine(Directory.Exists(source) ? source : config, "config.json"), Path.Combine(to, "config.json"));
            if (options.Link)
            {
                foreach (
                    string weights in File.Exists(source)
                        ? [source]
                        : Directory
                            .EnumerateFiles(source)
                            .Where(f =>
                                !f.EndsWith("config.json", StringComparison.Ordinal) && !TemporaryName.IsOurs(Path.GetFileName(f))
                            )
                )
                {
                    File.CreateSymbolicLink(
                        Path.Combine(to, File.Exists(source) ? file + ".safetensors" : Path.GetFileName(weights)),
                        Path.GetFullPath(weights)
                    );
                }

                return;
            }

            using Checkpoint checkpoint = Open(source);
            SafetensorsWriter.Write(
                Path.Combine(to, file + ".safetensors"),
                Entries(checkpoint, specs, cancellation),
                new Dictionary<string, string> { ["format"] = "pt" }
            );
        }
    }

    /// <summary>
    /// A network's tensors of a checkpoint under diffusers' names and in its shapes, bytes as they are; float8 becomes float16,
    /// float64 float32.
    /// </summary>
    internal static List<TensorEntry> Entries(
        Checkpoint checkpoint,
        IEnumerable<ParameterSpec> specs,
        CancellationToken cancellation = default
    )
    {
        List<TensorEntry> entries = [];
        foreach (ParameterSpec spec in specs)
        {
            (SafetensorsFile owner, SafetensorsTensor found) = checkpoint.Get(spec);
            ElementType type = found.Type.IsWeight() ? found.Type : Float8.Held(owner, found);
            entries.Add(
                new TensorEntry(
                    spec.Name,
                    type,
                    [.. spec.Shape],
                    stream =>
                    {
                        cancellation.ThrowIfCancellationRequested();
                        FiniteWeights.Check(owner, found);
                        stream.Write(
                            type == found.Type
                                ? owner.Bytes(found)
                                : Kernels.MatrixMultiply.Widening.ToBytes(owner.ReadFloat32(found.Name), type)
                        );
                        owner.Release(found);
                    }
                )
            );
        }

        return entries;
    }

    /// <summary>Refuses to write a model into one of those it is made of, which stay as they are.</summary>
    /// <exception cref="AfaException">The output lies in one.</exception>
    internal static void MustBeOutside(string output, IEnumerable<EnsembleFolder> models)
    {
        if (models.FirstOrDefault(m => RealPath.IsInside(output, m.Path)) is { } around)
            throw new AfaException($"{output}: it lies in the model {around.Path}, which stays as it is; name another OUT.");
    }

    internal static List<ParameterSpec> Specs(Action<Parameters> build)
    {
        var list = new ParameterList();
        build(list);
        return [.. list.Specs];
    }

    private static Checkpoint Open(string path) => Checkpoint.Open(path, "diffusion_pytorch_model", "model");

    private static void Check(
        string path,
        IReadOnlyList<ParameterSpec> specs,
        Func<string, bool>? ignore,
        HashSet<string> warnings
    )
    {
        using Checkpoint checkpoint = Open(path);
        warnings.UnionWith(CheckpointParameters.Check(checkpoint, specs, ignore));
    }

    /// <summary>What a model has besides weights: tokenizer, schedule and index.</summary>
    internal static void CopyShared(EnsembleFolder from, string to, int positions)
    {
        TokenizerWriter.Copy(from.Tokenizer, Path.Combine(to, "tokenizer"), positions);
        WholeFolder.Copy(from.Scheduler, Path.Combine(to, "scheduler"));
        ModelIndex.Write(from.Path, to, ["unet", "text_encoder", "tokenizer", "vae", "scheduler"]);
    }

    private static void Aggregators(
        string folder,
        UNetConfig unet,
        EnsembleOptions options,
        int experts,
        Action<string>? progress,
        CancellationToken cancellation
    )
    {
        IReadOnlyList<int> channels = unet.AggregationChannels;
        var random = new RandomWeights(ElementType.Float32, options.Seed, cancellation);
        for (int k = 0; k < channels.Count; k++)
        {
            var config = new SabwConfig
            {
                InChannels = channels[k],
                HiddenSize = options.HiddenSize,
                NumExperts = experts,
                NumLayers = options.Layers,
                NumAttentionHeads = options.Heads,
                CrossAttentionDim = unet.CrossAttentionDim,
                TimeEmbeddingChannels = unet.TimeEmbeddingDim,
            };
            progress?.Invoke($"aggregator_{k}");
            string to = Path.Combine(folder, $"aggregator_{k}");
            Directory.CreateDirectory(to);
            WholeFile.WriteText(Path.Combine(to, "config.json"), config.ToJson().ToJsonString(s_indented) + "\n");
            List<ParameterSpec> specs = Specs(p => new Sabw(p, config));
            List<TensorEntry> entries =
            [
                .. random
                    .For($"aggregator_{k}", specs)
                    .Select(e =>
                        e.Name == "conv_out.weight"
                            ? TensorEntry.FromFloat32(e.Name, e.Shape, new float[e.Shape.Aggregate(1L, (a, b) => a * b)])
                            : e
                    ),
            ];
            SafetensorsWriter.Write(Path.Combine(to, "aggregator.safetensors"), entries);
        }

        WholeFile.WriteText(
            Path.Combine(folder, "model_config.json"),
            new JsonObject { ["num_models"] = experts, ["num_aggregators"] = channels.Count }.ToJsonString(s_indented) + "\n"
        );
    }

    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true };
}
