using System.Globalization;
using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Checkpoints;

/// <summary>
/// What a LoRA does to one layer: a low-rank change delta W = scale * up down (Hu et al., LoRA, 2021), whole differences, or
/// both.
/// </summary>
/// <param name="Name">The layer as the file writes it.</param>
/// <param name="Component"><c>unet</c> or <c>text_encoder</c>; null where the layer's name decides.</param>
/// <param name="Stem">The layer's name without wrappings, dots as underscores.</param>
internal sealed record LoraLayer(string Name, string? Component, string Stem)
{
    /// <summary>Its tensors.</summary>
    public Dictionary<LoraPart, SafetensorsTensor> Parts { get; } = [];

    /// <summary>Rows of the down matrix; 1 without one.</summary>
    public long Rank => Parts.TryGetValue(LoraPart.Down, out SafetensorsTensor? down) ? down.Shape[0] : 1;

    /// <summary>What up times down is multiplied by; known once it is bound to a model.</summary>
    public double Scale { get; set; } = 1;
}

/// <summary>A LoRA file for the U-Net, the text encoder, or both; <see cref="LoraKey"/> knows the styles of names.</summary>
internal sealed class LoraFile : IDisposable
{
    private readonly SafetensorsFile _file;
    private readonly LoraMetadata? _metadata;
    private readonly Dictionary<string, LoraLayer> _layers = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Dictionary<string, LoraLayer>> _bound = new(StringComparer.Ordinal);
    private readonly List<string> _warnings = [];

    private LoraFile(SafetensorsFile file, LoraMetadata? metadata) => (_file, _metadata) = (file, metadata);

    /// <summary>Where it is.</summary>
    public string Path => _file.Path;

    /// <summary>Layers it changes.</summary>
    public int Count => _layers.Count;

    /// <summary>Whole sentences about what the file holds and is not used.</summary>
    public IReadOnlyList<string> Warnings => [.. _warnings, .. _metadata?.Warnings ?? []];

    /// <summary>A bound component's layers by their names in the model.</summary>
    internal IReadOnlyDictionary<string, LoraLayer> Bound(string component) => _bound[component];

    /// <summary>Opens a file.</summary>
    /// <exception cref="CheckpointException">It is no LoRA, or one for another kind of model.</exception>
    public static LoraFile Open(string path)
    {
        SafetensorsFile file = SafetensorsFile.Open(path);
        try
        {
            var lora = new LoraFile(file, LoraMetadata.Read(file));
            lora.Read();
            return lora;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Finds the file's layers among a component's, by either naming of them.</summary>
    /// <param name="component"><c>unet</c> or <c>text_encoder</c>.</param>
    /// <param name="tensors">The names of all its tensors, as diffusers has them.</param>
    /// <exception cref="CheckpointException">It was made for another base model, changes one layer twice, or holds what is no
    /// number.</exception>
    public void Bind(string component, IReadOnlyCollection<string> tensors)
    {
        var bound = new Dictionary<string, LoraLayer>(StringComparer.Ordinal);
        _bound[component] = bound;
        Dictionary<string, string> modules = Modules(component, tensors);
        HashSet<string> names = [.. tensors];
        List<LoraLayer> strangers = [];
        foreach (LoraLayer layer in _layers.Values.Where(l => (l.Component ?? "unet") == component))
        {
            if (!modules.TryGetValue(layer.Stem, out string? module))
            {
                strangers.Add(layer);
                continue;
            }

            if (!bound.TryAdd(module, layer))
                throw new CheckpointException(
                    $"{Path}: '{bound[module].Name}' and '{layer.Name}' are both the model's {module}; a file changes a "
                        + $"layer once."
                );
            if (
                layer.Parts.Keys.Any(p => p is LoraPart.UpBias or LoraPart.DiffBias or LoraPart.NormBias)
                && !names.Contains(module + ".bias")
            )
                throw new CheckpointException(
                    $"{Path}: {layer.Name} changes the layer's bias, but the model's {module} has none."
                );
            if (!layer.Parts.ContainsKey(LoraPart.Alpha))
                layer.Scale = _metadata?.Scale(component, module, layer.Rank) ?? 1;
            foreach (SafetensorsTensor tensor in layer.Parts.Values)
                FiniteWeights.Check(_file, tensor);
        }

        if (strangers.Count == 0)
            return;
        string made =
            _file.Metadata.TryGetValue("ss_base_model_version", out string? version)
            || _file.Metadata.TryGetValue("modelspec.architecture", out version)
                ? $" ({Printable.Shortened(version)}, it says)"
                : "";
        throw new CheckpointException(
            $"{Path}: {strangers.Count} of the {Count} layers this LoRA changes are not in the model's "
                + $"{component.Replace('_', ' ')} ({strangers[0].Name}); it was made for another base model{made}."
        );
    }

    /// <summary>
    /// Adds what the file changes of a component's tensor, times <paramref name="weight"/>, to its values; false when it changes
    /// nothing there.
    /// </summary>
    /// <param name="component"><c>unet</c> or <c>text_encoder</c>, bound before.</param>
    /// <param name="name">The tensor's diffusers name.</param>
    /// <param name="shape">Its shape in a file.</param>
    /// <param name="weight">1 as trained.</param>
    /// <param name="values">Its values.</param>
    /// <exception cref="CheckpointException">Shapes do not fit.</exception>
    public bool Add(string component, string name, IReadOnlyList<long> shape, double weight, Func<float[]> values)
    {
        int dot = name.LastIndexOf('.');
        return dot > 0
            && _bound.TryGetValue(component, out Dictionary<string, LoraLayer>? bound)
            && bound.TryGetValue(name[..dot], out LoraLayer? layer)
            && name[(dot + 1)..] switch
            {
                "weight" => new LoraChange(_file, layer).AddToWeight(shape, weight, values),
                "bias" => new LoraChange(_file, layer).AddToBias(weight, values),
                _ => false,
            };
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    // Both ways of flattening a layer's name, to the name.
    private static Dictionary<string, string> Modules(string component, IReadOnlyCollection<string> tensors)
    {
        var modules = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (string tensor in tensors)
        {
            int dot = tensor.LastIndexOf('.');
            if (dot < 0)
                continue;
            string module = tensor[..dot];
            modules[LoraKey.Plain(module)] = module;
            if (component != "unet")
                continue;
            string original = OriginalNames.Of(module + ".weight")["model.diffusion_model.".Length..];
            modules.TryAdd(LoraKey.Plain(original[..original.LastIndexOf('.')]), module);
        }

        return modules;
    }

    private void Read()
    {
        List<string> unused = [],
            bundled = [];
        foreach (SafetensorsTensor tensor in _file.Tensors.Values)
        {
            if (tensor.Name.StartsWith("bundle_emb.", StringComparison.Ordinal))
            {
                bundled.Add(tensor.Name.Split('.')[1]);
                continue;
            }

            if (LoraKey.Foreign(tensor.Name) is { } kind)
                throw new CheckpointException(
                    $"{Path}: {tensor.Name} belongs to {kind}, which this program does not know; LoRA, LoCon, DoRA, whole "
                        + $"differences and norms work."
                );
            if (LoraKey.Parse(tensor.Name) is not { } key)
            {
                unused.Add(tensor.Name);
                continue;
            }

            MustBeOfThisFamily(key);
            string id = $"{key.Component ?? "unet"}/{key.Stem}";
            if (!_layers.TryGetValue(id, out LoraLayer? layer))
                _layers[id] = layer = new LoraLayer(key.Layer, key.Component, key.Stem);
            if (!layer.Parts.TryAdd(key.Part, tensor))
                throw new CheckpointException(
                    $"{Path}: '{layer.Parts[key.Part].Name}' and '{tensor.Name}' are both the same part of one layer; a "
                        + $"file holds one adapter."
                );
            if (!tensor.Type.IsReadable() && (key.Part != LoraPart.Alpha || tensor.Type == ElementType.Opaque))
                throw new CheckpointException(
                    $"{Path}: {tensor.Name} holds {tensor.TypeName} instead of floating-point numbers."
                );
        }

        // An alpha without anything to multiply changes nothing.
        foreach ((string id, LoraLayer layer) in _layers.Where(l => l.Value.Parts.Keys.All(p => p == LoraPart.Alpha)).ToArray())
        {
            _layers.Remove(id);
            unused.Add(layer.Parts[LoraPart.Alpha].Name);
        }

        if (Count == 0)
            throw new CheckpointException(
                $"{Path}: it holds no LoRA layers (pairs of lora_down and lora_up, or lora_A and lora_B); it has "
                    + $"{_file.Tensors.Count} tensors{(_file.Tensors.Count > 0 ? $" such as {_file.Tensors.Keys.First()}" : "")}."
            );
        foreach (LoraLayer layer in _layers.Values)
            Check(layer);
        if (unused.Count > 0)
        {
            IEnumerable<string> some = unused.Order(StringComparer.Ordinal).Take(4).Select(n => Printable.Shortened(n, 100));
            _warnings.Add(
                $"{Path}: {unused.Count} of its {_file.Tensors.Count} tensors are of no kind this program knows and are "
                    + $"not used ({string.Join(", ", some)}{(unused.Count > 4 ? ", ..." : "")})."
            );
        }

        if (bundled.Count > 0)
            _warnings.Add(
                $"{Path}: the embeddings bundled with it "
                    + $"({string.Join(", ", bundled.Distinct().Take(8).Select(n => Printable.Shortened(n, 100)))}) are "
                    + $"not loaded; saved as files of their own they go with `embedding`."
            );
        WarnOfTrainersAlpha();
    }

    private void MustBeOfThisFamily(LoraKey key)
    {
        string name = LoraKey.Plain(key.Layer);
        if (
            name.StartsWith("lora_te2_", StringComparison.Ordinal) || name.StartsWith("text_encoder_2_", StringComparison.Ordinal)
        )
            throw new CheckpointException(
                $"{Path}: this LoRA was made for Stable Diffusion XL ({key.Layer}); this program runs Stable Diffusion 1.x."
            );
        if (
            name.Contains("single_transformer_blocks", StringComparison.Ordinal)
            || name.Contains("double_blocks", StringComparison.Ordinal)
            || name.StartsWith("transformer_", StringComparison.Ordinal)
        )
            throw new CheckpointException(
                $"{Path}: this LoRA was made for a diffusion transformer ({key.Layer}); this program runs Stable Diffusion 1.x."
            );
        if (key.Component is null && !(NetworkNames.IsUNetStem(key.Stem)))
            throw new CheckpointException(
                $"{Path}: '{key.Layer}' is neither of a U-Net nor of a text encoder as Stable Diffusion 1.x has them."
            );
    }

    private void Check(LoraLayer layer)
    {
        Dictionary<LoraPart, SafetensorsTensor> parts = layer.Parts;
        bool hasDown = parts.TryGetValue(LoraPart.Down, out SafetensorsTensor? down),
            hasUp = parts.TryGetValue(LoraPart.Up, out SafetensorsTensor? up);
        if (hasDown != hasUp)
            throw new CheckpointException($"{Path}: {(down ?? up)!.Name} has no {(hasDown ? "up" : "down")} matrix beside it.");
        if (
            !hasDown
            && parts.Keys.FirstOrDefault(p => p is LoraPart.Mid or LoraPart.UpBias, LoraPart.Alpha)
                is var lonely
                    and not LoraPart.Alpha
        )
            throw new CheckpointException($"{Path}: {parts[lonely].Name} has no down and up matrix beside it.");
        if (
            !hasDown
            && !parts.ContainsKey(LoraPart.Diff)
            && parts.Keys.FirstOrDefault(p => p is LoraPart.DoraScale or LoraPart.Magnitude, LoraPart.Alpha)
                is var length
                    and not LoraPart.Alpha
        )
            throw new CheckpointException($"{Path}: {parts[length].Name} has no change of the weight beside it.");
        if (hasDown)
        {
            if (down!.Shape.Length < 2 || up!.Shape.Length < 2)
                throw new CheckpointException(
                    $"{Path}: {layer.Name} is [{string.Join(", ", down.Shape)}] and [{string.Join(", ", up!.Shape)}] "
                        + $"instead of matrices."
                );
            if (down.ElementCount == 0 || up.ElementCount == 0)
                throw new CheckpointException(
                    $"{Path}: {layer.Name} has rank 0 or no values: [{string.Join(", ", down.Shape)}] and "
                        + $"[{string.Join(", ", up.Shape)}]."
                );
        }

        if (!parts.TryGetValue(LoraPart.Alpha, out SafetensorsTensor? alpha))
            return;
        if (alpha.ElementCount != 1)
            throw new CheckpointException(
                $"{Path}: {alpha.Name} should be one number, but is [{string.Join(", ", alpha.Shape)}]."
            );
        float value = _file.ReadFloat32(alpha.Name)[0];
        if (!float.IsFinite(value))
            throw new CheckpointException(
                string.Create(CultureInfo.InvariantCulture, $"{Path}: {alpha.Name} is {value}, which is no finite number.")
            );
        layer.Scale = value / (double)layer.Rank;
    }

    private void WarnOfTrainersAlpha()
    {
        if (
            _metadata is not null
            || _layers.Values.Any(l => l.Parts.ContainsKey(LoraPart.Alpha))
            || !_layers.Values.Any(l => l.Parts.ContainsKey(LoraPart.Down))
        )
            return;
        if (
            !_file.Metadata.TryGetValue("ss_network_alpha", out string? alpha)
            || !Numbers.TryDouble(alpha, out double value)
            || value == _layers.Values.First(l => l.Parts.ContainsKey(LoraPart.Down)).Rank
        )
            return;
        _warnings.Add(
            string.Create(
                CultureInfo.InvariantCulture,
                $"{Path}: its training notes an alpha of {value}, but no layer has one, so that its changes count as they "
                    + $"are; a weight of {value / _layers.Values.First(l => l.Parts.ContainsKey(LoraPart.Down)).Rank:G4} "
                    + $"would be alpha / rank."
            )
        );
    }
}
