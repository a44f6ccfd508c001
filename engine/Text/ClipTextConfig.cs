using AfaNative.Engine.Checkpoints;
using AfaNative.Kernels.Activation;

namespace AfaNative.Engine.Text;

/// <summary>Architecture of a CLIP text encoder, as transformers' <c>text_encoder/config.json</c> states it.</summary>
public sealed record ClipTextConfig
{
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

    /// <summary>Reads <c>config.json</c> of a text encoder folder.</summary>
    public static ClipTextConfig Load(string folder)
    {
        using JsonFile json = JsonFile.Open(Path.Combine(folder, "config.json"));
        string activation = json.String("hidden_act", "quick_gelu");
        return new ClipTextConfig
        {
            VocabularySize = json.Int("vocab_size", 49408),
            HiddenSize = json.Int("hidden_size", 768),
            IntermediateSize = json.Int("intermediate_size", 3072),
            Layers = json.Int("num_hidden_layers", 12),
            Heads = json.Int("num_attention_heads", 12),
            MaxPositions = json.Int("max_position_embeddings", 77),
            LayerNormEpsilon = json.Float("layer_norm_eps", 1e-5f),
            EosTokenId = json.Int("eos_token_id", 2),
            Activation = activation switch
            {
                "quick_gelu" => ActivationKind.QuickGelu,
                "gelu" => ActivationKind.Gelu,
                _ => throw json.Error($"'hidden_act' is \"{activation}\"; expected quick_gelu or gelu"),
            },
        };
    }
}
