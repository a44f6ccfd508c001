using AfaNative.Engine.Core;

namespace AfaNative.Engine.Checkpoints;

/// <summary>What a single-file checkpoint holds, by its keys.</summary>
/// <param name="UNet">Tensors of the U-Net.</param>
/// <param name="Vae">Tensors of the VAE; 0 when none is baked in.</param>
/// <param name="Text">Tensors of the text encoder.</param>
/// <param name="Ema">Running means of the U-Net's weights, which are not used.</param>
/// <param name="Ignored">Other keys that belong to no network: schedules, position ids, strays.</param>
public sealed record SingleFileContents(int UNet, int Vae, int Text, int Ema, IReadOnlyList<string> Ignored)
{
    /// <inheritdoc/>
    public override string ToString() =>
        $"U-Net {UNet} tensors, VAE {(Vae > 0 ? $"{Vae}" : "none")}, text encoder {(Text > 0 ? $"{Text}" : "none")}"
        + (Ema > 0 ? $", {Ema} EMA copies not used" : "")
        + (
            Ignored.Count > 0
                ? $", {Ignored.Count} other keys not used "
                    + $"({string.Join(", ", Ignored.Take(3))}{(Ignored.Count > 3 ? ", ..." : "")})"
                : ""
        );
}

/// <summary>Recognises Stable Diffusion 1.x checkpoints in one file, and names what is something else.</summary>
public static class SingleFile
{
    /// <summary>What a file in the original layout holds.</summary>
    /// <exception cref="CheckpointException">It is another kind of file; the message says which.</exception>
    public static SingleFileContents Describe(string path)
    {
        using Checkpoint checkpoint = Checkpoint.OpenFile(path);
        return Describe(checkpoint);
    }

    /// <summary>As above, of an open file.</summary>
    public static SingleFileContents Describe(Checkpoint checkpoint)
    {
        Refuse(checkpoint);
        IReadOnlyCollection<string> names = checkpoint.FileNames;
        int unet = 0,
            vae = 0,
            text = 0;
        // Other networks have layers of the same names; the time embedding is a U-Net's, the token table a text encoder's.
        bool hasUNet = checkpoint.TryGet("time_embedding.linear_1.weight", out _, out _),
            hasText = checkpoint.TryGet("text_model.embeddings.token_embedding.weight", out _, out _);
        var used = new HashSet<string>(StringComparer.Ordinal);
        foreach (string name in checkpoint.Names)
        {
            switch (NetworkNames.Of(name))
            {
                case NetworkNames.Network.UNet when hasUNet || checkpoint.IsOriginal:
                    unet++;
                    break;
                case NetworkNames.Network.Vae:
                    vae++;
                    break;
                case NetworkNames.Network.Text when hasText || checkpoint.IsOriginal:
                    if (KnownExtras.IsIgnorable(name))
                        continue;
                    text++;
                    break;
                default:
                    continue;
            }

            checkpoint.TryGet(name, out _, out SafetensorsTensor? tensor);
            used.Add(tensor!.Name);
        }

        if (used.Count == 0)
            throw new CheckpointException(
                $"{checkpoint.Description}: expected a Stable Diffusion 1.x checkpoint, or a U-Net, VAE or text encoder "
                    + $"of one, with the original key names (model.diffusion_model...) or diffusers', but it has none of them."
            );
        int ema = names.Count(n => n.StartsWith("model_ema.", StringComparison.Ordinal));
        return new SingleFileContents(
            unet,
            vae,
            text,
            ema,
            [
                .. names
                    .Where(n => !used.Contains(n) && !n.StartsWith("model_ema.", StringComparison.Ordinal))
                    .Order(StringComparer.Ordinal),
            ]
        );
    }

    /// <summary>Throws where the keys are those of a kind of file this engine does not read.</summary>
    public static void Refuse(Checkpoint checkpoint)
    {
        string? kind = Foreign(checkpoint);
        if (kind is not null)
            throw new CheckpointException(
                $"{checkpoint.Description}: expected a Stable Diffusion 1.x checkpoint, but this is {kind}."
            );
    }

    /// <summary>What a file of another kind is, or null.</summary>
    public static string? Foreign(Checkpoint checkpoint)
    {
        IReadOnlyCollection<string> names = checkpoint.FileNames;
        bool Any(string part) => names.Any(n => n.Contains(part, StringComparison.Ordinal));
        bool Starts(string prefix) => names.Any(n => n.StartsWith(prefix, StringComparison.Ordinal));
        if (
            Any("lora_up.")
            || Any("lora_down.")
            || Any(".lora_A.")
            || Any(".lora_B.")
            || Any(".lora.up.")
            || Any("hada_w1_a")
            || Any("lokr_w1")
        )
            return "a LoRA, which changes a model but is none";
        if (
            names.Contains("emb_params")
            || names.Contains("string_to_param")
            || names.Contains("clip_l")
            || names.Contains("clip_g")
        )
            return "a textual-inversion embedding";
        if (Starts("control_model.") || Any("controlnet_cond_embedding."))
            return "a ControlNet";
        if (Starts("conditioner.embedders.") || Any("add_embedding.linear_1."))
            return "a Stable Diffusion XL checkpoint; only 1.x is supported";
        if (Starts("cond_stage_model.model."))
            return "a Stable Diffusion 2.x checkpoint (OpenCLIP text encoder); only 1.x is supported";
        if (
            Starts("model.diffusion_model.joint_blocks.")
            || Starts("model.diffusion_model.double_blocks.")
            || Starts("double_blocks.")
        )
            return "a transformer model (Stable Diffusion 3 or Flux); only Stable Diffusion 1.x is supported";
        if (Any("motion_modules."))
            return "a motion module or a model with some (AnimateDiff); only plain text-to-image models are supported";
        if (
            checkpoint.TryGet("time_embedding.linear_1.weight", out _, out _)
            && checkpoint.TryGet("conv_in.weight", out _, out SafetensorsTensor? first)
            && first.Shape.Length == 4
            && first.Shape[1] != 4
        )
        {
            return first.Shape[1] switch
            {
                9 => "an inpainting checkpoint (9 input channels); only text-to-image models with 4 are supported",
                8 => "an instruct-pix2pix checkpoint (8 input channels); only text-to-image models with 4 are supported",
                _ => $"a model of {first.Shape[1]} input channels; only 4 are supported",
            };
        }

        if (
            checkpoint.TryGet(
                "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight",
                out _,
                out SafetensorsTensor? key
            )
            && key.Shape.Length == 2
            && key.Shape[1] is 1024
        )
            return "a Stable Diffusion 2.x U-Net (text width 1024); only 1.x is supported";
        return null;
    }
}
