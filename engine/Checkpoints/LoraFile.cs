using System.Globalization;

namespace AfaNative.Engine.Checkpoints;

/// <summary>A low-rank change of a layer: delta W = alpha / rank * up down (Hu et al., LoRA, 2021).</summary>
/// <param name="Name">The layer as the file writes it.</param>
/// <param name="Down">[rank, in] or [rank, in, k, k].</param>
/// <param name="Up">[out, rank] or [out, rank, 1, 1].</param>
/// <param name="Alpha">The rank where the file does not say.</param>
internal sealed record LoraLayer(string Name, SafetensorsTensor Down, SafetensorsTensor Up, float Alpha);

/// <summary>
/// A LoRA file for the U-Net, the text encoder, or both, in kohya's style (<c>lora_unet_mid_block_..._to_q.lora_down.weight</c>) or that of diffusers and PEFT
/// (<c>unet.mid_block...to_q.lora_A.weight</c>, <c>.lora.down.weight</c>, <c>.lora_linear_layer.down.weight</c>).
/// </summary>
internal sealed class LoraFile : IDisposable
{
    private static readonly (string Down, string Up)[] s_pairs =
        [(".lora_down.weight", ".lora_up.weight"), (".lora_A.weight", ".lora_B.weight"), (".lora_A.default.weight", ".lora_B.default.weight"), (".lora.down.weight", ".lora.up.weight"), ("_lora.down.weight", "_lora.up.weight"), (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight")];

    private readonly SafetensorsFile _file;
    private readonly Dictionary<string, LoraLayer> _unet = [], _text = [];

    private LoraFile(string path, SafetensorsFile file) => (Path, _file) = (path, file);

    /// <summary>Where it is.</summary>
    public string Path { get; }

    /// <summary>Layers it changes.</summary>
    public int Count => _unet.Count + _text.Count;

    /// <summary>Opens a file.</summary>
    /// <exception cref="CheckpointException">It is no LoRA, or one for another kind of model.</exception>
    public static LoraFile Open(string path)
    {
        SafetensorsFile file = SafetensorsFile.Open(path);
        try
        {
            var lora = new LoraFile(path, file);
            lora.Read();
            return lora;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>The change of a component's tensor by its diffusers name, or null.</summary>
    public LoraLayer? For(string component, string tensor)
    {
        if (!tensor.EndsWith(".weight", StringComparison.Ordinal)) return null;
        return (component == "unet" ? _unet : _text).GetValueOrDefault(Plain(tensor[..^".weight".Length]));
    }

    /// <summary>Refuses a file that changes layers the component does not have.</summary>
    /// <exception cref="CheckpointException">It was made for another base model.</exception>
    public void MustFit(string component, IEnumerable<string> tensors)
    {
        HashSet<string> known = [.. tensors.Where(t => t.EndsWith(".weight", StringComparison.Ordinal)).Select(t => Plain(t[..^".weight".Length]))];
        LoraLayer[] strangers = [.. (component == "unet" ? _unet : _text).Where(l => !known.Contains(l.Key)).Select(l => l.Value)];
        if (strangers.Length > 0) throw new CheckpointException($"{Path}: {strangers.Length} of the {Count} layers this LoRA changes are not in the model's {component.Replace('_', ' ')} ({strangers[0].Name}); it was made for another base model.");
    }

    /// <summary>Adds a layer's change, times <paramref name="weight"/>, to a weight [out, in * k * k].</summary>
    /// <exception cref="CheckpointException">Shapes do not fit.</exception>
    public void Add(LoraLayer layer, double weight, IReadOnlyList<long> shape, float[] values)
    {
        long rank = layer.Down.Shape[0], outputs = shape[0], inputs = values.Length / outputs;
        if (layer.Up.Shape[0] != outputs || layer.Up.Shape[1] != rank || layer.Down.ElementCount != rank * inputs || layer.Up.ElementCount != outputs * rank)
        {
            throw new CheckpointException($"{Path}: {layer.Name} changes a layer of [{layer.Up.Shape[0]}, {layer.Down.ElementCount / rank}], the model's is [{outputs}, {inputs}]; the LoRA was made for another base model.");
        }

        float[] down = _file.ReadFloat32(layer.Down.Name), up = _file.ReadFloat32(layer.Up.Name);
        double scale = weight * layer.Alpha / rank;
        Parallel.For(0, (int)outputs, o =>
        {
            var sums = new double[inputs];
            for (int r = 0; r < rank; r++)
            {
                double u = up[o * rank + r];
                for (int i = 0; i < sums.Length; i++) sums[i] += u * down[r * inputs + i];
            }

            for (int i = 0; i < sums.Length; i++) values[o * inputs + i] = (float)(values[o * inputs + i] + scale * sums[i]);
        });
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    // Dots and underscores are the same: kohya writes only the latter.
    private static string Plain(string name) => name.Replace('.', '_');

    private void Read()
    {
        foreach (SafetensorsTensor tensor in _file.Tensors.Values)
        {
            if (tensor.Name.Contains(".hada_", StringComparison.Ordinal) || tensor.Name.Contains(".lokr_", StringComparison.Ordinal) || tensor.Name.Contains("dora_scale", StringComparison.Ordinal) || tensor.Name.Contains(".lora_mid.", StringComparison.Ordinal))
            {
                throw new CheckpointException($"{Path}: {tensor.Name} belongs to LoHa, LoKr, DoRA or a factored convolution, which this program does not know; plain LoRA files work.");
            }

            foreach ((string downName, string upName) in s_pairs)
            {
                if (!tensor.Name.EndsWith(downName, StringComparison.Ordinal)) continue;
                string layer = tensor.Name[..^downName.Length];
                if (!_file.Tensors.TryGetValue(layer + upName, out SafetensorsTensor? up)) throw new CheckpointException($"{Path}: {tensor.Name} has no {layer + upName} beside it.");
                if (tensor.Shape.Length < 2 || up.Shape.Length < 2) throw new CheckpointException($"{Path}: {layer} is [{string.Join(", ", tensor.Shape)}] and [{string.Join(", ", up.Shape)}] instead of matrices.");
                float alpha = _file.Tensors.TryGetValue(layer + ".alpha", out SafetensorsTensor? a) && a.ElementCount == 1 ? _file.ReadFloat32(a.Name)[0] : tensor.Shape[0];
                Place(new LoraLayer(layer, tensor, up, alpha));
                break;
            }
        }

        if (Count == 0) throw new CheckpointException($"{Path}: it holds no LoRA layers (pairs of lora_down and lora_up, or lora_A and lora_B); it has {_file.Tensors.Count} tensors{(_file.Tensors.Count > 0 ? $" such as {_file.Tensors.Keys.First()}" : "")}.");
    }

    private void Place(LoraLayer layer)
    {
        string name = Plain(layer.Name);
        if (name.StartsWith("lora_te1_", StringComparison.Ordinal) || name.StartsWith("lora_te2_", StringComparison.Ordinal) || name.StartsWith("text_encoder_2_", StringComparison.Ordinal)) throw new CheckpointException($"{Path}: this LoRA was made for Stable Diffusion XL ({layer.Name}); this program runs Stable Diffusion 1.x.");
        if (name.Contains("single_transformer_blocks", StringComparison.Ordinal) || name.Contains("double_blocks", StringComparison.Ordinal) || name.StartsWith("transformer_", StringComparison.Ordinal)) throw new CheckpointException($"{Path}: this LoRA was made for a diffusion transformer ({layer.Name}); this program runs Stable Diffusion 1.x.");
        foreach ((string prefix, Dictionary<string, LoraLayer> layers) in ((string, Dictionary<string, LoraLayer>)[])[("lora_unet_", _unet), ("unet_", _unet), ("lora_te_", _text), ("text_encoder_", _text)])
        {
            if (!name.StartsWith(prefix, StringComparison.Ordinal)) continue;
            // Older files of diffusers name the attention's processor in between and leave out the list its output projection is in.
            string inner = name[prefix.Length..].Replace("_processor_", "_", StringComparison.Ordinal);
            layers[inner.EndsWith("_to_out", StringComparison.Ordinal) ? inner + "_0" : inner] = layer;
            return;
        }

        throw new CheckpointException($"{Path}: '{layer.Name}' is neither of a U-Net nor of a text encoder as Stable Diffusion 1.x has them.");
    }
}

/// <summary>A LoRA to load: file, weight, and which expert gets it.</summary>
/// <param name="Path">A safetensors file.</param>
/// <param name="Weight">1 as trained.</param>
/// <param name="Expert">One expert, or null for all.</param>
public sealed record LoraRequest(string Path, double Weight = 1, int? Expert = null)
{
    /// <summary><c>file</c>, <c>file:weight</c>, <c>file@expert</c> or <c>file:weight@expert</c>.</summary>
    /// <exception cref="AfaException">Weight or expert are no numbers.</exception>
    public static LoraRequest Parse(string text)
    {
        string rest = text;
        int? expert = null;
        double weight = 1;
        int at = rest.LastIndexOf('@');
        if (at > 0 && int.TryParse(rest.AsSpan(at + 1), NumberStyles.None, CultureInfo.InvariantCulture, out int number)) (expert, rest) = (number, rest[..at]);
        int colon = rest.LastIndexOf(':');
        if (colon > 0 && double.TryParse(rest.AsSpan(colon + 1), NumberStyles.Float, CultureInfo.InvariantCulture, out double value)) (weight, rest) = (value, rest[..colon]);
        if (!double.IsFinite(weight)) throw new AfaException($"--lora {text}: the weight {weight} is no finite number.");
        return new LoraRequest(rest, weight, expert);
    }
}
