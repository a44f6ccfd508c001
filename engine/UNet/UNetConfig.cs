using System.Text.Json;
using AfaNative.Engine.Checkpoints;

namespace AfaNative.Engine.UNet;

/// <summary>Architecture of a Stable Diffusion 1.x U-Net, as diffusers' <c>unet/config.json</c> states it.</summary>
public sealed record UNetConfig
{
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
            for (int i = BlockOutChannels.Count - 1; i >= 0; i--) channels.AddRange(Enumerable.Repeat(BlockOutChannels[i], LayersPerBlock[i] + 1));
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
        int[] channels = file.Ints("block_out_channels", [320, 640, 1280, 1280]);
        int levels = channels.Length;
        string[] down = file.Strings("down_block_types", ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"]);
        string[] up = file.Strings("up_block_types", ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]);
        if (levels < 1 || down.Length != levels || up.Length != levels) throw file.Error($"expected as many down and up blocks as levels, got {down.Length}, {up.Length} and {levels}");
        file.Require("act_fn", "silu");
        file.Require("mid_block_type", "UNetMidBlock2DCrossAttn");
        file.Require("resnet_time_scale_shift", "default");
        file.Require("time_embedding_type", "positional");
        foreach (string key in new[] { "class_embed_type", "addition_embed_type", "encoder_hid_dim_type", "time_cond_proj_dim", "num_class_embeds" }) file.RequireAbsent(key);
        return new UNetConfig
        {
            InChannels = file.Int("in_channels", 4),
            OutChannels = file.Int("out_channels", 4),
            BlockOutChannels = channels,
            LayersPerBlock = Each("layers_per_block", 2),
            Heads = Each(root.TryGetProperty("num_attention_heads", out JsonElement heads) && heads.ValueKind != JsonValueKind.Null ? "num_attention_heads" : "attention_head_dim", 8),
            CrossAttentionDim = file.Int("cross_attention_dim", 768),
            NormGroups = file.Int("norm_num_groups", 32),
            NormEpsilon = file.Float("norm_eps", 1e-5f),
            DownAttention = [.. down.Select(t => Attention(t, "Down"))],
            UpAttention = [.. up.Select(t => Attention(t, "Up"))],
            TransformerLayers = file.Int("transformer_layers_per_block", 1),
            UseLinearProjection = file.Bool("use_linear_projection", false),
            SampleSize = file.Int("sample_size", 64),
        };

        int[] Each(string key, int otherwise)
        {
            int[] values = file.Ints(key, [otherwise]);
            if (values.Length == 1) values = [.. Enumerable.Repeat(values[0], levels)];
            return values.Length == levels && values.All(v => v > 0) ? values : throw file.Error($"'{key}' needs one positive number, or one for each of {levels} levels");
        }

        bool Attention(string type, string side) => type == $"CrossAttn{side}Block2D" || (type == $"{side}Block2D" ? false : throw file.Error($"block type '{type}' is not one of Stable Diffusion 1.x"));
    }
}
