using AfaNative.Engine.Checkpoints;

namespace AfaNative.Engine.Vae;

/// <summary>Architecture of the autoencoder, as diffusers' <c>vae/config.json</c> states it.</summary>
public sealed record VaeConfig
{
    /// <summary>Colour channels.</summary>
    public int ImageChannels { get; init; } = 3;

    /// <summary>Channels of the latent.</summary>
    public int LatentChannels { get; init; } = 4;

    /// <summary>Channels of each level; each level but the last halves the size.</summary>
    public IReadOnlyList<int> BlockOutChannels { get; init; } = [128, 256, 512, 512];

    /// <summary>ResNet blocks of an encoder level; a decoder level has one more.</summary>
    public int LayersPerBlock { get; init; } = 2;

    /// <summary>Groups of every group norm.</summary>
    public int NormGroups { get; init; } = 32;

    /// <summary>Latents the U-Net sees are the encoder's times this.</summary>
    public float ScalingFactor { get; init; } = 0.18215f;

    /// <summary>Image pixels per latent pixel.</summary>
    public int Downscale => 1 << (BlockOutChannels.Count - 1);

    /// <summary>Reads <c>config.json</c> of a VAE folder.</summary>
    public static VaeConfig Load(string folder)
    {
        using JsonFile json = JsonFile.Open(Path.Combine(folder, "config.json"));
        json.Require("act_fn", "silu");
        foreach (string type in json.Strings("down_block_types", []))
        {
            if (type != "DownEncoderBlock2D") throw json.Error($"down block type '{type}' is not supported; Stable Diffusion's VAE uses DownEncoderBlock2D");
        }

        foreach (string type in json.Strings("up_block_types", []))
        {
            if (type != "UpDecoderBlock2D") throw json.Error($"up block type '{type}' is not supported; Stable Diffusion's VAE uses UpDecoderBlock2D");
        }

        return new VaeConfig
        {
            ImageChannels = json.Int("in_channels", 3),
            LatentChannels = json.Int("latent_channels", 4),
            BlockOutChannels = json.Ints("block_out_channels", [128, 256, 512, 512]),
            LayersPerBlock = json.Int("layers_per_block", 2),
            NormGroups = json.Int("norm_num_groups", 32),
            ScalingFactor = json.Float("scaling_factor", 0.18215f),
        };
    }
}
