using System.Text.Json;
using System.Text.Json.Serialization;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;

namespace AfaNative.Engine.Models;

/// <summary>Architecture of a Stable Diffusion 1.x U-Net, as diffusers' <c>unet/config.json</c> states it.</summary>
public sealed record UNetConfig
{
    private static readonly ConfigKeys s_keys = new(
        ["UNet2DConditionModel", "UNet2DConditionAggregatorModel", "FlaxUNet2DConditionModel"],
        [
            "in_channels",
            "out_channels",
            "block_out_channels",
            "layers_per_block",
            "attention_head_dim",
            "num_attention_heads",
            "cross_attention_dim",
            "norm_num_groups",
            "norm_eps",
            "down_block_types",
            "up_block_types",
            "transformer_layers_per_block",
            "use_linear_projection",
            "sample_size",
            "class_embed_type",
            "addition_embed_type",
            "encoder_hid_dim_type",
            "time_cond_proj_dim",
            "num_class_embeds",
        ],
        // Widths of what is absent, precisions (attention is computed in float32 here), and what only training does.
        [
            "addition_embed_type_num_heads",
            "addition_time_embed_dim",
            "projection_class_embeddings_input_dim",
            "upcast_attention",
            "dropout",
            "use_memory_efficient_attention",
            "from_pt",
            "split_head_dim",
        ],
        [
            ("act_fn", "silu"),
            ("mid_block_type", "UNetMidBlock2DCrossAttn"),
            ("resnet_time_scale_shift", "default"),
            ("time_embedding_type", "positional"),
            ("flip_sin_to_cos", true),
            ("freq_shift", 0.0),
            ("center_input_sample", false),
            ("downsample_padding", 1.0),
            ("mid_block_scale_factor", 1.0),
            ("dual_cross_attention", false),
            ("only_cross_attention", false),
            ("mid_block_only_cross_attention", false),
            ("class_embeddings_concat", false),
            ("conv_in_kernel", 3.0),
            ("conv_out_kernel", 3.0),
            ("cross_attention_norm", null),
            ("encoder_hid_dim", null),
            ("resnet_out_scale_factor", 1.0),
            ("resnet_skip_time_act", false),
            ("time_embedding_act_fn", null),
            ("time_embedding_dim", null),
            ("timestep_post_act", null),
            ("attention_type", "default"),
            ("reverse_transformer_layers_per_block", null),
        ]
    );

    /// <summary>Channels of the latent.</summary>
    public int InChannels { get; init; } = 4;

    /// <summary>Channels of the prediction.</summary>
    public int OutChannels { get; init; } = 4;

    /// <summary>Channels of each level.</summary>
    public IReadOnlyList<int> BlockOutChannels { get; init; } = [320, 640, 1280, 1280];

    /// <summary>ResNet blocks of a down block; an up block has one more.</summary>
    public IReadOnlyList<int> LayersPerBlock { get; init; } = [2, 2, 2, 2];

    /// <summary>Attention heads of each level (diffusers calls this <c>attention_head_dim</c> in 1.x configs).</summary>
    public IReadOnlyList<int> Heads { get; init; } = [8, 8, 8, 8];

    /// <summary>Width of the text embedding.</summary>
    public int CrossAttentionDim { get; init; } = 768;

    /// <summary>Groups of every group norm.</summary>
    public int NormGroups { get; init; } = 32;

    /// <summary>Epsilon of the ResNet blocks' norms.</summary>
    public float NormEpsilon { get; init; } = 1e-5f;

    /// <summary>Which down blocks have transformers.</summary>
    public IReadOnlyList<bool> DownAttention { get; init; } = [true, true, true, false];

    /// <summary>Which up blocks have transformers.</summary>
    public IReadOnlyList<bool> UpAttention { get; init; } = [false, true, true, true];

    /// <summary>Transformer layers at each attention.</summary>
    public int TransformerLayers { get; init; } = 1;

    /// <summary>Projections of the transformer are stored as linear layers.</summary>
    public bool UseLinearProjection { get; init; }

    /// <summary>Latent size the model was trained at.</summary>
    public int SampleSize { get; init; } = 64;

    /// <summary>Whole sentences about keys of the file that are not acted on.</summary>
    [JsonIgnore]
    public IReadOnlyList<string> Warnings { get; init; } = [];

    /// <summary>Width of the time embedding: four times the first level.</summary>
    public int TimeEmbeddingDim => BlockOutChannels[0] * 4;

    /// <summary>Aggregation points AFA has in this U-Net: 25 for Stable Diffusion 1.5.</summary>
    public IReadOnlyList<int> AggregationChannels
    {
        get
        {
            List<int> channels = [BlockOutChannels[0]];
            for (int i = 0; i < BlockOutChannels.Count; i++)
            {
                int points = LayersPerBlock[i] + (i < BlockOutChannels.Count - 1 ? 1 : 0);
                channels.AddRange(Enumerable.Repeat(BlockOutChannels[i], points));
            }

            channels.Add(BlockOutChannels[^1]);
            for (int i = BlockOutChannels.Count - 1; i >= 0; i--)
                channels.AddRange(Enumerable.Repeat(BlockOutChannels[i], LayersPerBlock[i] + 1));
            channels[^1] = OutChannels;
            return channels;
        }
    }

    /// <summary>Reads <c>config.json</c> of a U-Net folder.</summary>
    public static UNetConfig Load(string folder)
    {
        using JsonFile json = JsonFile.Open(Path.Combine(folder, "config.json"));
        return FromJson(json.Root, json);
    }

    private static UNetConfig FromJson(JsonElement root, JsonFile file)
    {
        IReadOnlyList<string> warnings = s_keys.Check(file);
        int[] channels = file.Ints("block_out_channels", [320, 640, 1280, 1280], 8, 1, 1 << 15);
        int levels = channels.Length;
        string[] down = file.Strings(
            "down_block_types",
            ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"]
        );
        string[] up = file.Strings(
            "up_block_types",
            ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]
        );
        if (levels < 1 || down.Length != levels || up.Length != levels)
            throw file.Error($"expected as many down and up blocks as levels, got {down.Length}, {up.Length} and {levels}");
        string headsKey =
            root.TryGetProperty("num_attention_heads", out JsonElement heads) && heads.ValueKind != JsonValueKind.Null
                ? "num_attention_heads"
                : "attention_head_dim";
        foreach (
            string key in new[]
            {
                "class_embed_type",
                "addition_embed_type",
                "encoder_hid_dim_type",
                "time_cond_proj_dim",
                "num_class_embeds",
            }
        )
            file.RequireAbsent(key);
        var config = new UNetConfig
        {
            Warnings = warnings,
            InChannels = file.Int("in_channels", 4, 1, 1024),
            OutChannels = file.Int("out_channels", 4, 1, 1024),
            BlockOutChannels = channels,
            LayersPerBlock = Each("layers_per_block", 2, 64),
            Heads = Each(headsKey, 8, 1 << 15),
            CrossAttentionDim = file.Int("cross_attention_dim", 768, 1, 1 << 16),
            NormGroups = file.Int("norm_num_groups", 32, 1, 1 << 15),
            NormEpsilon = file.Float("norm_eps", 1e-5f, 1e-20f, 1),
            DownAttention = [.. down.Select(t => Attention(t, "Down"))],
            UpAttention = [.. up.Select(t => Attention(t, "Up"))],
            TransformerLayers = file.Int("transformer_layers_per_block", 1, 1, 64),
            UseLinearProjection = file.Bool("use_linear_projection", false),
            SampleSize = file.Int("sample_size", 64, 1, 1 << 16),
        };
        file.MustDivide("norm_num_groups", config.NormGroups, channels, "channels");
        for (int i = 0; i < levels; i++)
        {
            // The middle has the last level's heads.
            if (config.DownAttention[i] || config.UpAttention[levels - 1 - i] || i == levels - 1)
                file.MustDivide(headsKey, config.Heads[i], [channels[i]], "channels");
        }

        return config;

        int[] Each(string key, int otherwise, int most)
        {
            int[] values = file.Ints(key, [otherwise], 8, 1, most);
            if (values.Length == 1)
                values = [.. Enumerable.Repeat(values[0], levels)];
            return values.Length == levels
                ? values
                : throw file.Error($"'{key}' needs one positive number, or one for each of {levels} levels");
        }

        bool Attention(string type, string side) =>
            type == $"CrossAttn{side}Block2D"
            || (
                type == $"{side}Block2D"
                    ? false
                    : throw file.Error(
                        $"'{side.ToLowerInvariant()}_block_types' holds \"{Printable.Shortened(type)}\", a block that "
                            + $"Stable Diffusion 1.x does not have"
                    )
            );
    }
}
