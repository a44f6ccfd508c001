using System.Text.Json;
using System.Text.Json.Nodes;
using AfaNative.Engine.Files;

namespace AfaNative.Engine.Checkpoints;

/// <summary>What a pipeline folder says of itself, as diffusers writes it.</summary>
internal static class ConfigJson
{
    public static void Save(string path, JsonObject json)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        WholeFile.WriteText(path, json.ToJsonString(new JsonSerializerOptions { WriteIndented = true }) + "\n");
    }

    internal static JsonArray Array<T>(IEnumerable<T> values) => [.. values.Select(v => (JsonNode?)JsonValue.Create(v))];

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
}
