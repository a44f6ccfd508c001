using System.Text.Json;
using System.Text.Json.Nodes;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Text;
using AfaNative.Engine.UNet;
using AfaNative.Engine.Vae;

namespace AfaNative.Engine.Synthesis;

/// <summary>Configurations of the networks as diffusers and transformers write them.</summary>
internal static class ConfigJson
{
    public static void Save(string path, JsonObject json)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        WholeFile.WriteText(path, json.ToJsonString(new JsonSerializerOptions { WriteIndented = true }) + "\n");
    }

    private static JsonArray Array<T>(IEnumerable<T> values) => [.. values.Select(v => (JsonNode?)JsonValue.Create(v))];

    public static JsonObject ModelIndex() =>
        new()
        {
            ["_class_name"] = "StableDiffusionPipeline",
            ["_diffusers_version"] = "0.31.0",
            ["requires_safety_checker"] = false,
            ["safety_checker"] = Array(new string?[] { null, null }),
            ["feature_extractor"] = Array(new string?[] { null, null }),
            ["scheduler"] = Array(new[] { "diffusers", "DDIMScheduler" }),
            ["text_encoder"] = Array(new[] { "transformers", "CLIPTextModel" }),
            ["tokenizer"] = Array(new[] { "transformers", "CLIPTokenizer" }),
            ["unet"] = Array(new[] { "diffusers", "UNet2DConditionModel" }),
            ["vae"] = Array(new[] { "diffusers", "AutoencoderKL" }),
        };

    public static JsonObject Scheduler(string prediction = "epsilon") =>
        new()
        {
            ["_class_name"] = "DDIMScheduler",
            ["beta_start"] = 0.00085,
            ["beta_end"] = 0.012,
            ["beta_schedule"] = "scaled_linear",
            ["num_train_timesteps"] = 1000,
            ["clip_sample"] = false,
            ["set_alpha_to_one"] = false,
            ["steps_offset"] = 1,
            ["prediction_type"] = prediction,
            ["timestep_spacing"] = "leading",
        };

    public static JsonObject UNet(UNetConfig c) =>
        new()
        {
            ["_class_name"] = "UNet2DConditionModel",
            ["act_fn"] = "silu",
            ["attention_head_dim"] = c.Heads.Distinct().Count() == 1 ? c.Heads[0] : Array(c.Heads),
            ["block_out_channels"] = Array(c.BlockOutChannels),
            ["cross_attention_dim"] = c.CrossAttentionDim,
            ["down_block_types"] = Array(c.DownAttention.Select(a => a ? "CrossAttnDownBlock2D" : "DownBlock2D")),
            ["up_block_types"] = Array(c.UpAttention.Select(a => a ? "CrossAttnUpBlock2D" : "UpBlock2D")),
            ["in_channels"] = c.InChannels,
            ["out_channels"] = c.OutChannels,
            ["layers_per_block"] = c.LayersPerBlock.Distinct().Count() == 1 ? c.LayersPerBlock[0] : Array(c.LayersPerBlock),
            ["norm_eps"] = 1e-5,
            ["norm_num_groups"] = c.NormGroups,
            ["sample_size"] = c.SampleSize,
        };

    public static JsonObject Vae(VaeConfig c) =>
        new()
        {
            ["_class_name"] = "AutoencoderKL",
            ["act_fn"] = "silu",
            ["block_out_channels"] = Array(c.BlockOutChannels),
            ["down_block_types"] = Array(Enumerable.Repeat("DownEncoderBlock2D", c.BlockOutChannels.Count)),
            ["up_block_types"] = Array(Enumerable.Repeat("UpDecoderBlock2D", c.BlockOutChannels.Count)),
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
            ["architectures"] = Array(new[] { "CLIPTextModel" }),
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
