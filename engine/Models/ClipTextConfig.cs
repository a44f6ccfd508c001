using System.Text.Json;
using System.Text.Json.Serialization;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Models;

/// <summary>Architecture of a CLIP text encoder, as transformers' <c>text_encoder/config.json</c> states it.</summary>
public sealed record ClipTextConfig
{
    private static readonly ConfigKeys s_keys = new(
        ["CLIPTextModel", "CLIPTextModelWithProjection", "FlaxCLIPTextModel"],
        [
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "max_position_embeddings",
            "hidden_act",
            "layer_norm_eps",
            "eos_token_id",
        ],
        // The projection of the pooled text, which no picture of this family is made with; the tokenizer's ids, which its own
        // files state; and what only training does.
        [
            "projection_dim",
            "bos_token_id",
            "pad_token_id",
            "attention_dropout",
            "dropout",
            "initializer_factor",
            "initializer_range",
            "gradient_checkpointing",
        ],
        []
    );

    private static readonly ConfigKeys s_wholeKeys = new(
        ["CLIPModel"],
        ["text_config"],
        [
            "vision_config",
            "text_config_dict",
            "vision_config_dict",
            "projection_dim",
            "logit_scale_init_value",
            "initializer_factor",
        ],
        []
    );

    /// <summary>Size of the vocabulary.</summary>
    public int VocabularySize { get; init; } = 49408;

    /// <summary>Width.</summary>
    public int HiddenSize { get; init; } = 768;

    /// <summary>Width of the feed-forward layer.</summary>
    public int IntermediateSize { get; init; } = 3072;

    /// <summary>Layers.</summary>
    public int Layers { get; init; } = 12;

    /// <summary>Attention heads.</summary>
    public int Heads { get; init; } = 12;

    /// <summary>Longest sequence.</summary>
    public int MaxPositions { get; init; } = 77;

    /// <summary>Quick GELU (CLIP ViT-L) or GELU.</summary>
    public ActivationKind Activation { get; init; } = ActivationKind.QuickGelu;

    /// <summary>Epsilon of the layer norms.</summary>
    public float LayerNormEpsilon { get; init; } = 1e-5f;

    /// <summary>End of text; the legacy value 2 means "the largest id".</summary>
    public int EosTokenId { get; init; } = 2;

    /// <summary>Whole sentences about keys of the file that are not acted on.</summary>
    [JsonIgnore]
    public IReadOnlyList<string> Warnings { get; init; } = [];

    /// <summary>Reads <c>config.json</c> of a text encoder folder.</summary>
    public static ClipTextConfig Load(string folder)
    {
        using JsonFile file = JsonFile.Open(Path.Combine(folder, "config.json"));
        // A whole CLIP has its text half's settings in a part of their own.
        bool whole = file.Root.TryGetProperty("text_config", out JsonElement part) && part.ValueKind == JsonValueKind.Object;
        JsonFile json = whole ? file.Part("text_config") : file;
        if (file.String("model_type", "clip_text_model") is var type && type is not ("clip_text_model" or "clip"))
            throw file.Error($"'model_type' is \"{Printable.Shortened(type)}\"; Stable Diffusion 1.x has CLIP's text encoder");
        string activation = json.String("hidden_act", "quick_gelu");
        var config = new ClipTextConfig
        {
            Warnings = whole ? [.. s_wholeKeys.Check(file), .. s_keys.Check(json)] : s_keys.Check(json),
            VocabularySize = json.Int("vocab_size", 49408, 1, 1 << 24),
            HiddenSize = json.Int("hidden_size", whole ? 512 : 768, 1, 1 << 15),
            IntermediateSize = json.Int("intermediate_size", whole ? 2048 : 3072, 1, 1 << 17),
            Layers = json.Int("num_hidden_layers", 12, 1, 256),
            Heads = json.Int("num_attention_heads", whole ? 8 : 12, 1, 1 << 15),
            MaxPositions = json.Int("max_position_embeddings", 77, 3, 1 << 16),
            LayerNormEpsilon = json.Float("layer_norm_eps", 1e-5f, 1e-20f, 1),
            EosTokenId = json.Int("eos_token_id", 2, 0, int.MaxValue),
            Activation = activation switch
            {
                "quick_gelu" => ActivationKind.QuickGelu,
                "gelu" => ActivationKind.Gelu,
                _ => throw json.Error($"'hidden_act' is \"{activation}\"; expected quick_gelu or gelu"),
            },
        };
        json.MustDivide("num_attention_heads", config.Heads, [config.HiddenSize], "channels");
        return config;
    }
}
