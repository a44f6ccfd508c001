using System.Globalization;
using System.Text.RegularExpressions;

namespace AfaNative.Engine.Checkpoints;

/// <summary>
/// The original (CompVis) tensor names of Stable Diffusion 1.x single-file checkpoints and what diffusers calls them. Names of
/// the three networks
/// do not collide, so one table serves a whole file.
/// </summary>
public static partial class OriginalNames
{
    private const string UNet = "model.diffusion_model.",
        Vae = "first_stage_model.",
        Text = "cond_stage_model.transformer.";

    private static readonly (string Original, string Diffusers)[] s_resnet =
    [
        ("in_layers.0", "norm1"),
        ("in_layers.2", "conv1"),
        ("emb_layers.1", "time_emb_proj"),
        ("out_layers.0", "norm2"),
        ("out_layers.3", "conv2"),
        ("skip_connection", "conv_shortcut"),
    ];

    private static readonly (string Original, string Diffusers)[] s_vaeAttention =
    [
        ("norm.", "group_norm."),
        ("q.", "to_q."),
        ("k.", "to_k."),
        ("v.", "to_v."),
        ("proj_out.", "to_out.0."),
    ];

    /// <summary>True for the names of a file in the original layout, with U-Net or of a VAE alone.</summary>
    public static bool Recognises(IEnumerable<string> names) =>
        names.Any(n =>
            n.StartsWith(UNet, StringComparison.Ordinal)
            || n.StartsWith(Vae, StringComparison.Ordinal)
            || n.StartsWith(Text, StringComparison.Ordinal)
            || n.StartsWith("decoder.up.", StringComparison.Ordinal)
        );

    /// <summary>
    /// diffusers' name of every tensor of the three networks, to the file's name; what is left out belongs to none.
    /// </summary>
    public static IReadOnlyDictionary<string, string> Map(IReadOnlyCollection<string> names)
    {
        var present = names as IReadOnlySet<string> ?? names.ToHashSet(StringComparer.Ordinal);
        // Layers of a down block: the first down-sampler follows conv_in and that many blocks.
        int layers = 2,
            levels = 0;
        for (int i = 1; i < 64; i++)
        {
            if (present.Contains($"{UNet}input_blocks.{i.ToString(CultureInfo.InvariantCulture)}.0.op.weight"))
            {
                layers = Math.Max(1, i - 1);
                break;
            }
        }

        foreach (string name in names)
        {
            Match m = DecoderLevel().Match(name);
            if (m.Success)
                levels = Math.Max(levels, Number(m, 1) + 1);
        }

        var map = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (string name in names)
        {
            if (Translate(name, layers, levels) is { } diffusers)
                map.TryAdd(diffusers, name);
        }

        return map;
    }

    /// <summary>
    /// The original name of a tensor of a U-Net with two layers a block, of a VAE of <paramref name="levels"/> levels or of a
    /// text encoder.
    /// </summary>
    public static string Of(string name, int levels = 4)
    {
        string[] parts = name.Split('.');
        string rest = string.Join('.', parts.Skip(4)),
            tail = parts[^1];
        int Index(int part) => int.Parse(parts[part], CultureInfo.InvariantCulture);
        return parts[0] switch
        {
            "text_model" => Text + name,
            "quant_conv" or "post_quant_conv" => Vae + name,
            "encoder" or "decoder" => Vae + OfVae(parts, levels),
            "conv_in" => $"{UNet}input_blocks.0.0.{tail}",
            "conv_norm_out" => $"{UNet}out.0.{tail}",
            "conv_out" => $"{UNet}out.2.{tail}",
            "time_embedding" => $"{UNet}time_embed.{(parts[1] == "linear_1" ? 0 : 2)}.{tail}",
            "mid_block" when parts[1] == "attentions" => $"{UNet}middle_block.1.{string.Join('.', parts.Skip(3))}",
            "mid_block" => $"{UNet}middle_block.{2 * Index(2)}.{OfResnet(parts[3])}.{tail}",
            "down_blocks" when parts[2] == "downsamplers" => $"{UNet}input_blocks.{3 * Index(1) + 3}.0.op.{tail}",
            "down_blocks" when parts[2] == "attentions" => $"{UNet}input_blocks.{3 * Index(1) + Index(3) + 1}.1.{rest}",
            "down_blocks" => $"{UNet}input_blocks.{3 * Index(1) + Index(3) + 1}.0.{OfResnet(parts[4])}.{tail}",
            // The lowest level has no attention, so its up-sampler comes second instead of third.
            "up_blocks" when parts[2] == "upsamplers" =>
                $"{UNet}output_blocks.{3 * Index(1) + 2}.{(Index(1) == 0 ? 1 : 2)}.conv.{tail}",
            "up_blocks" when parts[2] == "attentions" => $"{UNet}output_blocks.{3 * Index(1) + Index(3)}.1.{rest}",
            "up_blocks" => $"{UNet}output_blocks.{3 * Index(1) + Index(3)}.0.{OfResnet(parts[4])}.{tail}",
            _ => throw new ArgumentException($"'{name}' is not a tensor of a Stable Diffusion 1.x model"),
        };
    }

    private static string OfResnet(string name) => s_resnet.First(r => r.Diffusers == name).Original;

    private static string OfVae(string[] parts, int levels)
    {
        string side = parts[0],
            tail = parts[^1],
            layer = parts[^2] == "conv_shortcut" ? "nin_shortcut" : parts[^2];
        if (parts.Length == 3)
            return $"{side}.{(layer == "conv_norm_out" ? "norm_out" : layer)}.{tail}";
        if (parts[1] == "mid_block")
        {
            if (parts[2] == "resnets")
                return $"{side}.mid.block_{(parts[3] == "0" ? 1 : 2)}.{layer}.{tail}";
            string inner = string.Join('.', parts[4..^1]) + ".";
            return $"{side}.mid.attn_1.{s_vaeAttention.First(a => a.Diffusers == inner).Original}{tail}";
        }

        int level = int.Parse(parts[2], CultureInfo.InvariantCulture);
        string prefix = side == "encoder" ? $"encoder.down.{level}" : $"decoder.up.{levels - 1 - level}";
        return parts[3] switch
        {
            "downsamplers" => $"{prefix}.downsample.conv.{tail}",
            "upsamplers" => $"{prefix}.upsample.conv.{tail}",
            _ => $"{prefix}.block.{parts[4]}.{layer}.{tail}",
        };
    }

    /// <summary>diffusers' name of one tensor, or null when it belongs to no network.</summary>
    private static string? Translate(string name, int layers, int levels)
    {
        if (name.StartsWith(UNet, StringComparison.Ordinal))
            return TranslateUNet(name[UNet.Length..], layers);
        if (name.StartsWith(Vae, StringComparison.Ordinal))
            return TranslateVae(name[Vae.Length..], levels);
        if (name.StartsWith(Text, StringComparison.Ordinal))
        {
            string rest = name[Text.Length..];
            if (rest.EndsWith("position_ids", StringComparison.Ordinal))
                return null;
            // Newer text encoders leave the outer module out.
            return rest.StartsWith("text_model.", StringComparison.Ordinal) ? rest : "text_model." + rest;
        }

        return
            name.StartsWith("encoder.", StringComparison.Ordinal)
            || name.StartsWith("decoder.", StringComparison.Ordinal)
            || name.StartsWith("quant_conv.", StringComparison.Ordinal)
            || name.StartsWith("post_quant_conv.", StringComparison.Ordinal)
            ? TranslateVae(name, levels)
            : null;
    }

    private static string? TranslateUNet(string name, int layers)
    {
        Match m = Block().Match(name);
        if (m.Success)
        {
            string side = m.Groups[1].Value,
                rest = m.Groups[4].Value;
            int block = Number(m, 2),
                module = Number(m, 3);
            bool down = side == "input_blocks";
            if (down && block == 0)
                return "conv_in." + rest;
            int at = down ? block - 1 : block,
                level = at / (layers + 1),
                layer = at - level * (layers + 1);
            string prefix = $"{(down ? "down" : "up")}_blocks.{level.ToString(CultureInfo.InvariantCulture)}.";
            string index = layer.ToString(CultureInfo.InvariantCulture);
            if (down && rest.StartsWith("op.", StringComparison.Ordinal))
                return $"{prefix}downsamplers.0.conv.{rest[3..]}";
            if (!down && module > 0 && rest.StartsWith("conv.", StringComparison.Ordinal))
                return $"{prefix}upsamplers.0.{rest}";
            return module == 0 ? Resnet($"{prefix}resnets.{index}.", rest) : $"{prefix}attentions.{index}.{rest}";
        }

        m = MiddleBlock().Match(name);
        if (m.Success)
        {
            int module = Number(m, 1);
            return module == 1
                ? "mid_block.attentions.0." + m.Groups[2].Value
                : Resnet($"mid_block.resnets.{(module / 2).ToString(CultureInfo.InvariantCulture)}.", m.Groups[2].Value);
        }

        foreach (
            (string original, string diffusers) in ((string, string)[])
                [
                    ("time_embed.0.", "time_embedding.linear_1."),
                    ("time_embed.2.", "time_embedding.linear_2."),
                    ("out.0.", "conv_norm_out."),
                    ("out.2.", "conv_out."),
                ]
        )
        {
            if (name.StartsWith(original, StringComparison.Ordinal))
                return diffusers + name[original.Length..];
        }

        return null;
    }

    private static string? Resnet(string prefix, string rest)
    {
        foreach ((string original, string diffusers) in s_resnet)
        {
            if (rest.StartsWith(original + ".", StringComparison.Ordinal))
                return prefix + diffusers + rest[original.Length..];
        }

        return null;
    }

    private static string? TranslateVae(string name, int levels)
    {
        Match m = VaeBlock().Match(name);
        if (m.Success)
        {
            bool encoder = m.Groups[1].Value == "encoder";
            int level = encoder ? Number(m, 2) : levels - 1 - Number(m, 2);
            string prefix =
                    $"{m.Groups[1].Value}.{(encoder ? "down" : "up")}_blocks.{level.ToString(CultureInfo.InvariantCulture)}.",
                rest = m.Groups[3].Value;
            if (rest.StartsWith("downsample.", StringComparison.Ordinal))
                return $"{prefix}downsamplers.0.{rest["downsample.".Length..]}";
            if (rest.StartsWith("upsample.", StringComparison.Ordinal))
                return $"{prefix}upsamplers.0.{rest["upsample.".Length..]}";
            return rest.StartsWith("block.", StringComparison.Ordinal)
                ? $"{prefix}resnets.{rest["block.".Length..].Replace("nin_shortcut", "conv_shortcut", StringComparison.Ordinal)}"
                : null;
        }

        m = VaeMiddle().Match(name);
        if (m.Success)
        {
            string prefix = m.Groups[1].Value + ".mid_block.",
                rest = m.Groups[3].Value;
            if (m.Groups[2].Value is "block_1" or "block_2")
            {
                string resnet = m.Groups[2].Value == "block_1" ? "0" : "1";
                return $"{prefix}resnets.{resnet}.{rest.Replace("nin_shortcut", "conv_shortcut", StringComparison.Ordinal)}";
            }

            foreach ((string original, string diffusers) in s_vaeAttention)
            {
                if (rest.StartsWith(original, StringComparison.Ordinal))
                    return $"{prefix}attentions.0.{diffusers}{rest[original.Length..]}";
            }

            return null;
        }

        return name.Replace(".norm_out.", ".conv_norm_out.", StringComparison.Ordinal) is var plain && VaeEnds().IsMatch(plain)
            ? plain
            : null;
    }

    private static int Number(Match match, int group) => int.Parse(match.Groups[group].ValueSpan, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"^(input_blocks|output_blocks)\.(\d{1,3})\.(\d)\.(.+)$")]
    private static partial Regex Block();

    [GeneratedRegex(@"^middle_block\.([012])\.(.+)$")]
    private static partial Regex MiddleBlock();

    [GeneratedRegex(@"^(?:first_stage_model\.)?decoder\.up\.(\d)\.")]
    private static partial Regex DecoderLevel();

    [GeneratedRegex(@"^(encoder|decoder)\.(?:down|up)\.(\d)\.(.+)$")]
    private static partial Regex VaeBlock();

    [GeneratedRegex(@"^(encoder|decoder)\.mid\.(block_1|block_2|attn_1)\.(.+)$")]
    private static partial Regex VaeMiddle();

    [GeneratedRegex(@"^((encoder|decoder)\.(conv_in|conv_out|conv_norm_out)|quant_conv|post_quant_conv)\.(weight|bias)$")]
    private static partial Regex VaeEnds();
}
