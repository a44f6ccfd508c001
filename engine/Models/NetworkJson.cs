using System.Text.Json.Nodes;
using AfaNative.Engine.Checkpoints;

namespace AfaNative.Engine.Models;

/// <summary>Configurations of the networks as diffusers and transformers write them.</summary>
internal static class NetworkJson
{
    public static JsonObject UNet(UNetConfig c) =>
        new()
        {
            ["_class_name"] = "UNet2DConditionModel",
            ["act_fn"] = "silu",
            ["attention_head_dim"] = c.Heads.Distinct().Count() == 1 ? c.Heads[0] : ConfigJson.Array(c.Heads),
            ["block_out_channels"] = ConfigJson.Array(c.BlockOutChannels),
            ["cross_attention_dim"] = c.CrossAttentionDim,
            ["down_block_types"] = ConfigJson.Array(c.DownAttention.Select(a => a ? "CrossAttnDownBlock2D" : "DownBlock2D")),
            ["up_block_types"] = ConfigJson.Array(c.UpAttention.Select(a => a ? "CrossAttnUpBlock2D" : "UpBlock2D")),
            ["in_channels"] = c.InChannels,
            ["out_channels"] = c.OutChannels,
            ["layers_per_block"] =
                c.LayersPerBlock.Distinct().Count() == 1 ? c.LayersPerBlock[0] : ConfigJson.Array(c.LayersPerBlock),
            ["norm_eps"] = 1e-5,
            ["norm_num_groups"] = c.NormGroups,
            ["sample_size"] = c.SampleSize,
        };

    public static JsonObject Vae(VaeConfig c) =>
        new()
        {
            ["_class_name"] = "AutoencoderKL",
            ["act_fn"] = "silu",
            ["block_out_channels"] = ConfigJson.Array(c.BlockOutChannels),
            ["down_block_types"] = ConfigJson.Array(Enumerable.Repeat("DownEncoderBlock2D", c.BlockOutChannels.Count)),
            ["up_block_types"] = ConfigJson.Array(Enumerable.Repeat("UpDecoderBlock2D", c.BlockOutChannels.Count)),
            ["in_channels"] = c.ImageChannels,
            ["out_channels"] = c.ImageChannels,
            ["latent_channels"] = c.LatentChannels,
            ["layers_per_block"] = c.LayersPerBlock,
            ["norm_num_groups"] = c.NormGroups,
            ["scaling_factor"] = c.ScalingFactor,
        };

    public static JsonObject Text(ClipTextConfig c) =>
        new()
        {
            ["architectures"] = ConfigJson.Array(new[] { "CLIPTextModel" }),
            ["hidden_act"] = "quick_gelu",
            ["hidden_size"] = c.HiddenSize,
            ["intermediate_size"] = c.IntermediateSize,
            ["layer_norm_eps"] = 1e-5,
            ["max_position_embeddings"] = c.MaxPositions,
            ["num_attention_heads"] = c.Heads,
            ["num_hidden_layers"] = c.Layers,
            ["vocab_size"] = c.VocabularySize,
            ["eos_token_id"] = c.EosTokenId,
        };
}
