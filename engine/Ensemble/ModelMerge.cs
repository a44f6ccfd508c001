using System.Globalization;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;
using AfaNative.Engine.Models;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.MatrixMultiply;

namespace AfaNative.Engine.Ensemble;

/// <summary>What becomes of the models.</summary>
public sealed record MergeOptions
{
    /// <summary>Single-file checkpoints or model folders.</summary>
    public required IReadOnlyList<string> Models { get; init; }

    /// <summary>One weight per model for the U-Net's blocks [models][25] (<see cref="BlockWeights"/>).</summary>
    public required double[][] Blocks { get; init; }

    /// <summary>One weight per model for the text encoder.</summary>
    public required double[] Text { get; init; }

    /// <summary>
    /// Model folder that lends single files what they lack; the VAE is always from here, or from the first model when left out.
    /// </summary>
    public string? Base { get; init; }

    /// <summary>The same weights everywhere: sum w_n theta_n, divided by the weights' sum.</summary>
    public static MergeOptions Weighted(IReadOnlyList<string> models, IReadOnlyList<double> weights)
    {
        double[] shares = Normalize(models.Count, weights);
        return new()
        {
            Models = models,
            Blocks = [.. shares.Select(w => Enumerable.Repeat(w, BlockWeights.Count).ToArray())],
            Text = shares,
        };
    }

    /// <summary>
    /// Merge block weighted: (1 - alpha) A + alpha B with an alpha per block and one for the text encoder. More than two models
    /// take a vector each, which
    /// are divided by their sum block by block.
    /// </summary>
    public static MergeOptions BlockWeighted(
        IReadOnlyList<string> models,
        IReadOnlyList<double[]> blocks,
        IReadOnlyList<double> text
    )
    {
        if (blocks.Count == 1 && models.Count == 2)
        {
            foreach (double weight in blocks[0].Concat(text))
                MustBeSensible("A block weight", weight);
            return new()
            {
                Models = models,
                Blocks =
                [
                    [.. blocks[0].Select(a => 1 - a)],
                    blocks[0],
                ],
                Text =
                    text.Count == 1
                        ? [1 - text[0], text[0]]
                        : throw new AfaException($"Two models take one weight for the text encoder, {text.Count} came."),
            };
        }

        if (blocks.Count != models.Count)
            throw new AfaException(
                $"{models.Count} models take {(models.Count == 2 ? "one or two lists" : models.Count + " lists")} of "
                    + $"block weights, {blocks.Count} came."
            );
        var shares = new double[models.Count][];
        for (int n = 0; n < shares.Length; n++)
            shares[n] = new double[BlockWeights.Count];
        for (int k = 0; k < BlockWeights.Count; k++)
        {
            double[] block = Normalize(models.Count, [.. blocks.Select(b => b[k])]);
            for (int n = 0; n < shares.Length; n++)
                shares[n][k] = block[n];
        }

        return new()
        {
            Models = models,
            Blocks = shares,
            Text = Normalize(models.Count, text),
        };
    }

    /// <summary>A + multiplier (B - C): what B learnt beyond C, given to A.</summary>
    public static MergeOptions AddDifference(string a, string b, string c, double multiplier)
    {
        MustBeSensible("The multiplier", multiplier);
        double[] weights = [1, multiplier, -multiplier];
        return new()
        {
            Models = [a, b, c],
            Blocks = [.. weights.Select(w => Enumerable.Repeat(w, BlockWeights.Count).ToArray())],
            Text = weights,
        };
    }

    private static double[] Normalize(int count, IReadOnlyList<double> weights)
    {
        if (weights.Count != count)
            throw new AfaException($"{count} models take {count} weights, {weights.Count} came.");
        double sum = weights.Sum();
        foreach (double weight in weights)
            MustBeSensible("A weight", weight);
        if (!double.IsFinite(sum) || Math.Abs(sum) < 1e-9)
            throw new AfaException(
                string.Create(CultureInfo.InvariantCulture, $"Weights that add up to {sum} cannot be divided by their sum.")
            );
        return Math.Abs(sum - 1) < 1e-12 ? [.. weights] : [.. weights.Select(w => w / sum)];
    }

    // Far beyond what any merge uses; what overflows in spite of it is found in the sums.
    private static void MustBeSensible(string what, double value)
    {
        if (!double.IsFinite(value) || Math.Abs(value) > 1000)
            throw new AfaException(
                string.Create(CultureInfo.InvariantCulture, $"{what} of a merge is a number from -1000 to 1000, not {value}.")
            );
    }
}

/// <summary>Static merges of models (the paper's baselines), tensor by tensor: memory holds one tensor of each model.</summary>
public static class ModelMerge
{
    /// <summary>
    /// Writes the merged model: a single file with original names when <paramref name="output"/> ends in .safetensors, else a
    /// folder in diffusers layout.
    /// Storage types are the first model's (float16 for its float8 tensors, float32 for float64). Values that are not finite, in
    /// the models or in the sums, are refused.
    /// </summary>
    /// <param name="output">The file or folder to create.</param>
    /// <param name="options">What is merged, and how.</param>
    /// <param name="progress">Told what is being written.</param>
    /// <param name="cancellation">Stops it, leaving nothing.</param>
    /// <param name="warn">Told, in whole sentences, what the files hold that was not used.</param>
    /// <exception cref="AfaException">Models do not fit each other, or something cannot be read or written.</exception>
    public static void Write(
        string output,
        MergeOptions options,
        Action<string>? progress = null,
        CancellationToken cancellation = default,
        Action<string>? warn = null
    )
    {
        if (options.Models.Count < 2)
            throw new AfaException("A merge needs at least two models.");
        PickleName.MustNotBe(output);
        using OutputLock held = OutputLock.Take(output);
        bool single = IsSingleFile(output);
        MustBeFree(output);
        string basePath =
            options.Base
            ?? options.Models.FirstOrDefault(Directory.Exists)
            ?? throw new AfaException(
                "All models are single files: name a model folder (diffusers layout) with `base` for their configuration."
            );
        EnsembleFolder basis = EnsembleFolder.Open(basePath);
        EnsembleFolder[] models =
        [
            .. options.Models.Select(m => File.Exists(m) ? EnsembleFolder.OpenSingleFile(m, basePath) : EnsembleFolder.Open(m)),
        ];
        EnsembleBuilder.MustBeOutside(output, [basis, .. models]);
        UNetConfig unet = UNetConfig.Load(basis.UNets[0]);
        ClipTextConfig text = ClipTextConfig.Load(basis.TextEncoders[0]);
        VaeConfig vae = VaeConfig.Load(basis.Vae);
        string vaePath = options.Base is not null ? basis.Vae : models[0].Vae;
        var open = new List<Checkpoint>();
        HashSet<string> warnings = [];
        SharedSettings.Compare(basis, models, warnings);
        try
        {
            List<TensorEntry> unets = Merged(
                [.. models.Select(m => m.UNets[0])],
                EnsembleBuilder.Specs(p => new UNetModel(p, unet)),
                name =>
                {
                    int block = BlockWeights.IndexOf(name);
                    return [.. options.Blocks.Select(b => b[block])];
                },
                null
            );
            List<TensorEntry> texts = Merged(
                [.. models.Select(m => m.TextEncoders[0])],
                EnsembleBuilder.Specs(p => new ClipTextEncoder(p, text)),
                _ => options.Text,
                KnownExtras.IsIgnorable
            );
            Checkpoint vaeFile = Open(vaePath);
            List<ParameterSpec> vaeSpecs = EnsembleBuilder.Specs(p => new VaeModel(p, vae));
            warnings.UnionWith(CheckpointParameters.Check(vaeFile, vaeSpecs));
            foreach (string warning in warnings)
                warn?.Invoke(warning);
            List<TensorEntry> vaes = EnsembleBuilder.Entries(vaeFile, vaeSpecs, cancellation);
            if (single)
            {
                progress?.Invoke(output);
                List<TensorEntry> all =
                [
                    .. unets
                        .Concat(texts)
                        .Concat(vaes)
                        .Select(e => e with { Name = OriginalNames.Of(e.Name, vae.BlockOutChannels.Count) }),
                ];
                SafetensorsWriter.WriteNew(output, all, new Dictionary<string, string> { ["format"] = "pt" });
                return;
            }

            WriteFolder(
                output,
                basis,
                [
                    ("unet", "diffusion_pytorch_model", unets),
                    ("text_encoder", "model", texts),
                    ("vae", "diffusion_pytorch_model", vaes),
                ],
                progress
            );
        }
        finally
        {
            foreach (Checkpoint checkpoint in open)
                checkpoint.Dispose();
        }

        Checkpoint Open(string path)
        {
            Checkpoint checkpoint = Checkpoint.Open(path, "diffusion_pytorch_model", "model");
            open.Add(checkpoint);
            return checkpoint;
        }

        List<TensorEntry> Merged(
            string[] paths,
            List<ParameterSpec> specs,
            Func<string, double[]> weights,
            Func<string, bool>? ignore
        )
        {
            Checkpoint[] checkpoints = [.. paths.Select(Open)];
            foreach (Checkpoint checkpoint in checkpoints)
                warnings.UnionWith(CheckpointParameters.Check(checkpoint, specs, ignore));
            return [.. specs.Select(spec => Entry(checkpoints, spec, weights(spec.Name), cancellation))];
        }
    }

    /// <summary>Refuses an output that is there already.</summary>
    /// <exception cref="AfaException">It is a file, or a folder that holds something.</exception>
    public static void MustBeFree(string output)
    {
        if (IsSingleFile(output) && Path.Exists(output))
            throw new AfaException($"{output}: it exists; nothing was written.");
        if (!IsSingleFile(output))
            WholeFolder.MustBeFree(output);
    }

    private static bool IsSingleFile(string output) => output.EndsWith(".safetensors", StringComparison.OrdinalIgnoreCase);

    /// <summary>The merged U-Net on a device, without writing anything; dispose of the parameters when done.</summary>
    /// <exception cref="AfaException">Models do not fit each other.</exception>
    public static (UNetModel UNet, MergedParameters Parameters) LoadUNet(
        IDevice device,
        IReadOnlyList<Checkpoint> unets,
        UNetConfig config,
        double[][] blocks
    ) =>
        MergedParameters.Load(
            device,
            unets,
            name =>
            {
                int block = BlockWeights.IndexOf(name);
                return [.. blocks.Select(b => b[block])];
            },
            p => new UNetModel(p, config)
        );

    private static TensorEntry Entry(
        Checkpoint[] checkpoints,
        ParameterSpec spec,
        double[] weights,
        CancellationToken cancellation
    )
    {
        var mix = new TensorMix(checkpoints, spec, weights);
        ElementType type = mix.Type;
        return new TensorEntry(
            spec.Name,
            type,
            [.. spec.Shape],
            stream =>
            {
                const int Block = 1 << 20;
                var values = new float[(int)Math.Min(Block, mix.Count)];
                for (long first = 0; first < mix.Count; first += Block)
                {
                    cancellation.ThrowIfCancellationRequested();
                    Span<float> part = values.AsSpan(0, (int)Math.Min(Block, mix.Count - first));
                    mix.Read(first, part);
                    stream.Write(Widening.ToBytes(part, type));
                }

                mix.Release();
            }
        );
    }

    private static void WriteFolder(
        string output,
        EnsembleFolder basis,
        (string Name, string File, List<TensorEntry> Entries)[] components,
        Action<string>? progress
    ) =>
        WholeFolder.Write(
            output,
            folder =>
            {
                EnsembleBuilder.CopyShared(basis, folder, ClipTextConfig.Load(basis.TextEncoders[0]).MaxPositions);
                foreach ((string name, string file, List<TensorEntry> entries) in components)
                {
                    progress?.Invoke(name);
                    string to = Path.Combine(folder, name);
                    Directory.CreateDirectory(to);
                    File.Copy(Path.Combine(basis.Path, name, "config.json"), Path.Combine(to, "config.json"));
                    SafetensorsWriter.Write(
                        Path.Combine(to, file + ".safetensors"),
                        entries,
                        new Dictionary<string, string> { ["format"] = "pt" }
                    );
                }

                FolderConsistency.Require(folder, output);
            }
        );
}
