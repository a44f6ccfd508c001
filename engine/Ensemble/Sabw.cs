using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;
using AfaNative.Engine.Models;

namespace AfaNative.Engine.Ensemble;

/// <summary>Shape of one aggregator, as <c>aggregator_k/config.json</c> states it.</summary>
public sealed record SabwConfig
{
    private static readonly ConfigKeys s_keys = new(
        ["SABW"],
        ["in_channels", "hidden_size", "num_experts", "num_layers", "num_attn_heads", "cross_attn_dim", "temb_channels"],
        [],
        []
    );

    /// <summary>Channels of one expert's map at this point.</summary>
    public required int InChannels { get; init; }

    /// <summary>Width of the aggregator, a multiple of 32.</summary>
    public int HiddenSize { get; init; } = 128;

    /// <summary>N.</summary>
    public required int NumExperts { get; init; }

    /// <summary>Transformer blocks; published aggregators have 2.</summary>
    public int NumLayers { get; init; } = 2;

    /// <summary>Attention heads.</summary>
    public int NumAttentionHeads { get; init; } = 8;

    /// <summary>Width of the text embedding.</summary>
    public int CrossAttentionDim { get; init; } = 768;

    /// <summary>Width of the U-Nets' time embedding.</summary>
    public int TimeEmbeddingChannels { get; init; } = 1280;

    /// <summary>Whole sentences about keys of the file that are not acted on.</summary>
    [System.Text.Json.Serialization.JsonIgnore]
    public IReadOnlyList<string> Warnings { get; init; } = [];

    /// <summary>Reads <c>config.json</c> of an aggregator folder.</summary>
    public static SabwConfig Load(string folder)
    {
        using JsonFile json = JsonFile.Open(Path.Combine(folder, "config.json"));
        var config = new SabwConfig
        {
            Warnings = s_keys.Check(json),
            InChannels = json.Int("in_channels", null, 1, 1 << 15),
            HiddenSize = json.Int("hidden_size", 128, 1, 1 << 15),
            NumExperts = json.Int("num_experts", null, 1, 1024),
            NumLayers = json.Int("num_layers", 2, 0, 64),
            NumAttentionHeads = json.Int("num_attn_heads", 8, 1, 1 << 15),
            CrossAttentionDim = json.Int("cross_attn_dim", 768, 1, 1 << 16),
            TimeEmbeddingChannels = json.Int("temb_channels", 1280, 1, 1 << 17),
        };
        if (config.HiddenSize < 32 || config.HiddenSize % 32 != 0)
            throw json.Error($"'hidden_size' is {config.HiddenSize}; an aggregator's width is a multiple of 32");
        json.MustDivide("num_attn_heads", config.NumAttentionHeads, [config.HiddenSize], "channels");
        return config;
    }

    /// <summary>As <c>config.json</c> states it.</summary>
    public System.Text.Json.Nodes.JsonObject ToJson() =>
        new()
        {
            ["in_channels"] = InChannels,
            ["hidden_size"] = HiddenSize,
            ["num_experts"] = NumExperts,
            ["num_layers"] = NumLayers,
            ["num_attn_heads"] = NumAttentionHeads,
            ["cross_attn_dim"] = CrossAttentionDim,
            ["temb_channels"] = TimeEmbeddingChannels,
        };
}

/// <summary>
/// Spatial-aware block-wise aggregator (SABW; AFA, ICLR 2025, section 3): from the N maps, the mean time embedding and the mean
/// text, per-pixel weights
/// of the experts, and with them one map. Names and shapes follow the authors' checkpoints.
/// </summary>
public sealed class Sabw
{
    private readonly Linear _convIn,
        _convOut;
    private readonly ResnetBlock _resnet;
    private readonly SpatialTransformer _transformer;

    /// <summary>Reads the aggregator.</summary>
    public Sabw(Parameters p, SabwConfig config)
    {
        Config = config;
        int hidden = config.HiddenSize;
        // A few hundredths of the work decide everywhere which expert counts: rounding is not worth it.
        p = p.Exact();
        _convIn = p.Pointwise("conv_in", config.NumExperts * config.InChannels, hidden);
        _resnet = new ResnetBlock(p.Child("res_block"), hidden, hidden, config.TimeEmbeddingChannels, 32, 1e-6f);
        _transformer = new SpatialTransformer(
            p.Child("transformer"),
            hidden,
            config.NumAttentionHeads,
            config.CrossAttentionDim,
            config.NumLayers,
            32
        );
        _convOut = p.Pointwise("conv_out", hidden, config.NumExperts, bias: false);
    }

    /// <summary>The aggregator's shape.</summary>
    public SabwConfig Config { get; }

    /// <summary>
    /// features [N, B, H, W, C], SiLU of the mean time embedding [1, B, 1, 1, T], mean text [1, B, tokens, 1, D] to the fused map
    /// [1, B, H, W, C]
    /// and, if wanted, the weights [1, B, H, W, N]. <paramref name="subset"/> says which experts take part; null: all.
    /// </summary>
    public (Tensor Fused, Tensor? Maps) Forward(
        Ops ops,
        Tensor features,
        Tensor siluTime,
        Tensor context,
        bool wantMaps,
        ExpertSubset? subset = null
    )
    {
        using TensorScope scope = ops.Scope();
        Tensor logits = subset is { Uniform: true }
            ? subset.Bias(ops, features.Shape with { Experts = 1, Channels = features.Shape.Experts })
            : Logits();
        (Tensor fused, Tensor? maps) = ops.FuseExperts(features, logits, wantMaps);
        if (maps is not null)
            scope.Keep(maps);
        return (scope.Keep(fused), maps);

        Tensor Logits()
        {
            Tensor h = ops.Linear(ops.ExpertsToChannels(features), _convIn);
            h = ops.Linear(_transformer.Forward(ops, _resnet.Forward(ops, h, siluTime), context), _convOut);
            return subset is null ? h : subset.Apply(ops, h);
        }
    }
}
