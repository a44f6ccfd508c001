using System.Text.RegularExpressions;

namespace AfaNative.Engine.Checkpoints;

/// <summary>What a tensor of a LoRA file is to its layer.</summary>
internal enum LoraPart
{
    /// <summary>[rank, in] or [rank, in, k, k].</summary>
    Down,

    /// <summary>[out, rank] or [out, rank, 1, 1].</summary>
    Up,

    /// <summary>[rank, rank, k, k] between the two (a factored convolution).</summary>
    Mid,

    /// <summary>Added to the layer's bias, times alpha / rank (PEFT's <c>lora_B.bias</c>).</summary>
    UpBias,

    /// <summary>One number: the change is multiplied by alpha / rank.</summary>
    Alpha,

    /// <summary>Lengths of the changed weight's rows [out, 1...] or columns [1, in...] (DoRA).</summary>
    DoraScale,

    /// <summary>Lengths of the changed weight's rows, [out] or [1, out, 1, 1] (DoRA as PEFT writes it).</summary>
    Magnitude,

    /// <summary>Added to the weight.</summary>
    Diff,

    /// <summary>Added to the bias.</summary>
    DiffBias,

    /// <summary>Added to a norm's weight.</summary>
    NormWeight,

    /// <summary>Added to a norm's bias.</summary>
    NormBias,
}

/// <summary>
/// The names of a LoRA's tensors, in every style: kohya's with flattened diffusers or original names (<c>lora_unet_...,
/// lora_te_..., lora_te1_...</c>), LyCORIS' own
/// (<c>lycoris_...</c>), those of diffusers (<c>unet....lora_A.weight</c>, <c>.lora.down.weight</c>,
/// <c>processor.to_q_lora.down.weight</c>,
/// <c>.lora_linear_layer.down.weight</c>, with or without <c>unet.</c>) and PEFT's
/// (<c>base_model.model....lora_A.default.weight</c>).
/// </summary>
/// <param name="Layer">The layer as the file writes it.</param>
/// <param name="Part">What the tensor is to it.</param>
/// <param name="Component"><c>unet</c> or <c>text_encoder</c>; null where the style leaves it to the layer's name.</param>
/// <param name="Stem">The layer's name without wrappings, dots as underscores.</param>
internal sealed partial record LoraKey(string Layer, LoraPart Part, string? Component, string Stem)
{
    private static readonly (string Suffix, LoraPart Part)[] s_suffixes =
    [
        (".lora_down.weight", LoraPart.Down),
        (".lora_up.weight", LoraPart.Up),
        (".lora_mid.weight", LoraPart.Mid),
        (".lora.down.weight", LoraPart.Down),
        (".lora.up.weight", LoraPart.Up),
        ("_lora.down.weight", LoraPart.Down),
        ("_lora.up.weight", LoraPart.Up),
        (".lora_linear_layer.down.weight", LoraPart.Down),
        (".lora_linear_layer.up.weight", LoraPart.Up),
        (".lora.alpha", LoraPart.Alpha),
        ("_lora.alpha", LoraPart.Alpha),
        (".lora_linear_layer.alpha", LoraPart.Alpha),
        (".alpha", LoraPart.Alpha),
        (".dora_scale", LoraPart.DoraScale),
        (".diff", LoraPart.Diff),
        (".diff_b", LoraPart.DiffBias),
        (".w_norm", LoraPart.NormWeight),
        (".b_norm", LoraPart.NormBias),
    ];

    // Longest first, so that no prefix hides another.
    private static readonly (string Prefix, string? Component)[] s_prefixes =
    [
        ("text_encoders.clip_l.transformer.", "text_encoder"),
        ("model.diffusion_model.", "unet"),
        ("diffusion_model.", "unet"),
        ("base_model.model.", null),
        ("text_encoder.", "text_encoder"),
        ("lora_unet_", "unet"),
        ("lora_te1_", "text_encoder"),
        ("lora_te_", "text_encoder"),
        ("lycoris_", null),
        ("unet.", "unet"),
    ];

    /// <summary>Reads a name; null where it is none of a LoRA's.</summary>
    public static LoraKey? Parse(string name)
    {
        if (Peft().Match(name) is { Success: true } peft)
        {
            bool bias = peft.Groups["tail"].Value == "bias";
            LoraPart? part = peft.Groups["kind"].Value switch
            {
                "lora_A" when !bias => LoraPart.Down,
                "lora_B" => bias ? LoraPart.UpBias : LoraPart.Up,
                "lora_magnitude_vector" when !bias => LoraPart.Magnitude,
                _ => null,
            };
            return part is { } known ? Of(name[..peft.Index], known) : null;
        }

        foreach ((string suffix, LoraPart part) in s_suffixes)
        {
            if (name.EndsWith(suffix, StringComparison.Ordinal))
                return Of(name[..^suffix.Length], part);
        }

        return null;
    }

    /// <summary>The kind of adapter a tensor belongs to that this program does not know, or null.</summary>
    public static string? Foreign(string name) =>
        OtherKinds().Match(name) is not { Success: true } found
            ? null
            : found.Groups[1].Value switch
            {
                var kind when kind.StartsWith("hada", StringComparison.Ordinal) => "LoHa",
                var kind when kind.StartsWith("lokr", StringComparison.Ordinal) => "LoKr",
                var kind
                    when kind.StartsWith("oft", StringComparison.Ordinal)
                        || kind.StartsWith("boft", StringComparison.Ordinal)
                        || kind == "rescale" => "OFT or BOFT",
                var kind
                    when kind.StartsWith("on_input", StringComparison.Ordinal)
                        || kind.StartsWith("ia3", StringComparison.Ordinal) => "(IA)3",
                var kind when kind.StartsWith("vera", StringComparison.Ordinal) => "VeRA",
                "set_weight" => "replaced weights",
                "scale_weight" or "scale_input" => "weights with scales of their own",
                var kind when kind.StartsWith("lora_embedding", StringComparison.Ordinal) => "an embedding's LoRA",
                _ => "GLoRA",
            };

    /// <summary>Dots and underscores are the same: kohya writes only the latter.</summary>
    public static string Plain(string name) => name.Replace('.', '_');

    private static LoraKey Of(string layer, LoraPart part)
    {
        string rest = layer;
        string? component = null;
        for (bool again = true; again; )
        {
            again = false;
            foreach ((string prefix, string? of) in s_prefixes)
            {
                if (!rest.StartsWith(prefix, StringComparison.Ordinal))
                    continue;
                (rest, component, again) = (rest[prefix.Length..], of ?? component, true);
                break;
            }
        }

        // Older files of diffusers name the attention's processor in between and leave out the list its output projection is in.
        string stem = Plain(rest).Replace("_processor_", "_", StringComparison.Ordinal);
        if (stem.EndsWith("_to_out", StringComparison.Ordinal))
            stem += "_0";
        bool text =
            component == "text_encoder"
            || (
                component is null
                && (
                    stem.StartsWith("text_model_", StringComparison.Ordinal)
                    || stem.StartsWith("encoder_layers_", StringComparison.Ordinal)
                )
            );
        if (text)
        {
            // As if CLIP's attention had the U-Net's names.
            foreach (
                (string theirs, string ours) in ((string, string)[])
                    [
                        ("_self_attn_to_q", "_self_attn_q_proj"),
                        ("_self_attn_to_k", "_self_attn_k_proj"),
                        ("_self_attn_to_v", "_self_attn_v_proj"),
                        ("_self_attn_to_out_0", "_self_attn_out_proj"),
                    ]
            )
            {
                if (stem.EndsWith(theirs, StringComparison.Ordinal))
                    stem = stem[..^theirs.Length] + ours;
            }

            if (stem.StartsWith("encoder_layers_", StringComparison.Ordinal))
                stem = "text_model_" + stem;
        }

        return new LoraKey(layer, part, component ?? (text ? "text_encoder" : null), stem);
    }

    [GeneratedRegex(
        @"\.(?<kind>lora_A|lora_B|lora_magnitude_vector)(?:\.(?!weight$|bias$|scale_)[^.]+)?(?:\.(?<tail>weight|bias))?$"
    )]
    private static partial Regex Peft();

    [GeneratedRegex(
        @"\.(hada_[wt][12](?:_[ab])?|lokr_[wt][12](?:_[ab])?|oft_blocks|oft_diag|oft_R|boft_[a-zA-Z]+"
            + @"|rescale|on_input|ia3_l|vera_lambda_[bd]|set_weight|scale_weight|scale_input"
            + @"|lora_embedding_[AB]|[ab][12]\.weight)(?:\.|$)"
    )]
    private static partial Regex OtherKinds();
}
