using System.Text.Json.Serialization;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Files;

namespace AfaNative.Engine.Models;

/// <summary>Architecture of the autoencoder, as diffusers' <c>vae/config.json</c> states it.</summary>
public sealed record VaeConfig
{
    private static readonly ConfigKeys s_keys = new(
        ["AutoencoderKL", "FlaxAutoencoderKL"],
        [
            "in_channels",
            "latent_channels",
            "block_out_channels",
            "layers_per_block",
            "norm_num_groups",
            "scaling_factor",
            "down_block_types",
            "up_block_types",
        ],
        // The size it was trained at, and a precision: this VAE runs in float32 wherever float16 would overflow.
        ["sample_size", "force_upcast"],
        [
            ("act_fn", "silu"),
            ("out_channels", 3.0),
            ("use_quant_conv", true),
            ("use_post_quant_conv", true),
            ("mid_block_add_attention", true),
            ("shift_factor", 0.0),
            ("latents_mean", null),
            ("latents_std", null),
        ]
    );

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

    /// <summary>Whole sentences about keys of the file that are not acted on.</summary>
    [JsonIgnore]
    public IReadOnlyList<string> Warnings { get; init; } = [];

    /// <summary>Image pixels per latent pixel.</summary>
    public int Downscale => 1 << (BlockOutChannels.Count - 1);

    /// <summary>Reads <c>config.json</c> of a VAE folder.</summary>
    public static VaeConfig Load(string folder)
    {
        using JsonFile json = JsonFile.Open(Path.Combine(folder, "config.json"));
        IReadOnlyList<string> warnings = s_keys.Check(json);
        foreach (string type in json.Strings("down_block_types", []))
        {
            if (type != "DownEncoderBlock2D")
                throw json.Error($"down block type '{type}' is not supported; Stable Diffusion's VAE uses DownEncoderBlock2D");
        }

        foreach (string type in json.Strings("up_block_types", []))
        {
            if (type != "UpDecoderBlock2D")
                throw json.Error($"up block type '{type}' is not supported; Stable Diffusion's VAE uses UpDecoderBlock2D");
        }

        var config = new VaeConfig
        {
            Warnings = warnings,
            ImageChannels = json.Int("in_channels", 3, 3, 3),
            LatentChannels = json.Int("latent_channels", 4, 1, 1024),
            BlockOutChannels = json.Ints("block_out_channels", [128, 256, 512, 512], 8, 1, 1 << 15),
            LayersPerBlock = json.Int("layers_per_block", 2, 1, 64),
            NormGroups = json.Int("norm_num_groups", 32, 1, 1 << 15),
            ScalingFactor = json.Float("scaling_factor", 0.18215f, 1e-6f, 1e6f),
        };
        foreach (string key in (string[])["down_block_types", "up_block_types"])
        {
            // Where the file is silent about both, there are as many as levels.
            if (json.Has(key) && json.Strings(key, []).Length != config.BlockOutChannels.Count)
                throw json.Error(
                    $"'{key}' holds {json.Strings(key, []).Length} blocks for {config.BlockOutChannels.Count} levels"
                );
        }

        json.MustDivide("norm_num_groups", config.NormGroups, config.BlockOutChannels, "channels");
        return config;
    }
}
