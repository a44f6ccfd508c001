using AfaNative.Engine.Core;
using AfaNative.Engine.Prompts;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Models;

/// <summary>
/// CLIP's text transformer for E experts at once. Source: transformers CLIPTextModel. Causal mask only, no padding mask.
/// </summary>
public sealed class ClipTextEncoder
{
    private readonly Embedding _tokens,
        _positions;
    private readonly ClipTextLayer[] _layers;
    private readonly LayerNorm _finalNorm;

    /// <summary>Reads the encoder.</summary>
    public ClipTextEncoder(Parameters p, ClipTextConfig config)
    {
        Config = config;
        // Run once a picture: rounding would save nothing.
        Parameters text = p.Child("text_model").Exact();
        _tokens = text.Embedding("embeddings.token_embedding", config.VocabularySize, config.HiddenSize);
        _positions = text.Embedding("embeddings.position_embedding", config.MaxPositions, config.HiddenSize);
        _layers =
        [
            .. Enumerable
                .Range(0, config.Layers)
                .Select(i => new ClipTextLayer(
                    text.Child($"encoder.layers.{i}"),
                    config.HiddenSize,
                    config.IntermediateSize,
                    config.Heads,
                    config.Activation,
                    config.LayerNormEpsilon
                )),
        ];
        _finalNorm = text.LayerNorm("final_layer_norm", config.HiddenSize, config.LayerNormEpsilon);
    }

    /// <summary>The architecture.</summary>
    public ClipTextConfig Config { get; }

    /// <summary>
    /// Hidden states [E, B, length, 1, D] of ids [B, length], with the final norm; <paramref name="clipSkip"/> leaves out that
    /// many last layers (diffusers' counting), <paramref name="vectors"/> take the place of tokens' embeddings.
    /// </summary>
    public Tensor Encode(Ops ops, ReadOnlySpan<int> ids, int length, int clipSkip = 0, IReadOnlyList<TokenVector>? vectors = null)
    {
        if (clipSkip < 0 || clipSkip >= _layers.Length)
            throw new AfaException($"clip skip {clipSkip} is out of range: this text encoder has {_layers.Length} layers.");
        using TensorScope scope = ops.Scope();
        Tensor h = ops.TokenEmbedding(ids, length, _tokens, _positions);
        if (vectors is { Count: > 0 })
            h = Replace(ops, h, length, vectors);
        ops.Observe("hidden.0", h);
        for (int i = 0; i < _layers.Length - clipSkip; i++)
            h = ops.Observe($"hidden.{i + 1}", _layers[i].Forward(ops, h));
        return scope.Keep(ops.LayerNorm(h, _finalNorm));
    }

    // The vectors go as a table of their own through the op all tokens went through: they meet the same positions with the same
    // rounding on every device.
    private Tensor Replace(Ops ops, Tensor h, int length, IReadOnlyList<TokenVector> vectors)
    {
        int experts = h.Shape.Experts,
            tokens = h.Shape.Batch * length,
            width = Config.HiddenSize;
        var table = new float[experts * vectors.Count * width];
        var rows = new int[tokens];
        for (int i = 0; i < vectors.Count; i++)
        {
            if (vectors[i].Vector.Length != width)
                throw new AfaException(
                    $"{_tokens.Name}: a vector of {vectors[i].Vector.Length} values was to take a token's place, this "
                        + $"text encoder takes {width}."
                );
            rows[vectors[i].Position] = i;
            for (int e = 0; e < experts; e++)
                vectors[i].Vector.CopyTo(table, (e * vectors.Count + i) * width);
        }

        using TensorScope scope = ops.Scope();
        Tensor uploaded = ops.Upload(table, new Shape(experts, 1, vectors.Count, 1, width));
        float[] replaced = ops.Download(
                ops.TokenEmbedding(
                    rows,
                    length,
                    new Embedding(_tokens.Name, uploaded.Buffer, experts, vectors.Count, width),
                    _positions
                )
            ),
            all = ops.Download(h);
        foreach (TokenVector vector in vectors)
        {
            for (int e = 0; e < experts; e++)
                Array.Copy(replaced, (e * tokens + vector.Position) * width, all, (e * tokens + vector.Position) * width, width);
        }

        return scope.Keep(ops.Upload(all, h.Shape));
    }

    /// <summary>Position of each sequence's end-of-text token, whose hidden state is the pooled output.</summary>
    public int[] PooledPositions(ReadOnlySpan<int> ids, int length)
    {
        var positions = new int[ids.Length / length];
        for (int b = 0; b < positions.Length; b++)
        {
            ReadOnlySpan<int> row = ids.Slice(b * length, length);
            if (Config.EosTokenId == 2)
            {
                for (int i = 1; i < length; i++)
                {
                    if (row[i] > row[positions[b]])
                        positions[b] = i;
                }
            }
            else
            {
                positions[b] = Math.Max(0, row.IndexOf(Config.EosTokenId));
            }
        }

        return positions;
    }
}

/// <summary>One layer of CLIP's text transformer. Source: transformers CLIPEncoderLayer.</summary>
public sealed class ClipTextLayer
{
    private readonly LayerNorm _norm1,
        _norm2;
    private readonly Linear _q,
        _k,
        _v,
        _out,
        _fc1,
        _fc2;
    private readonly int _heads;
    private readonly ActivationKind _activation;

    /// <summary>Reads the layer.</summary>
    public ClipTextLayer(Parameters p, int width, int intermediate, int heads, ActivationKind activation, float epsilon)
    {
        if (width % heads != 0)
            throw new AfaException($"{p.Prefix}: {width} channels cannot be split into {heads} heads");
        _heads = heads;
        _activation = activation;
        _norm1 = p.LayerNorm("layer_norm1", width, epsilon);
        _q = p.Linear("self_attn.q_proj", width, width);
        _k = p.Linear("self_attn.k_proj", width, width);
        _v = p.Linear("self_attn.v_proj", width, width);
        _out = p.Linear("self_attn.out_proj", width, width);
        _norm2 = p.LayerNorm("layer_norm2", width, epsilon);
        _fc1 = p.Linear("mlp.fc1", width, intermediate);
        _fc2 = p.Linear("mlp.fc2", intermediate, width);
    }

    /// <summary>x [E, B, T, 1, D] to the same shape.</summary>
    public Tensor Forward(Ops ops, Tensor x)
    {
        using TensorScope scope = ops.Scope();
        Tensor h = ops.LayerNorm(x, _norm1);
        Tensor attended = ops.Attention(
            ops.Linear(h, _q),
            ops.Linear(h, _k),
            ops.Linear(h, _v),
            _heads,
            causal: true,
            exact: _q.Weights.Shape.Exact
        );
        x = ops.Linear(attended, _out, residual: x);
        return scope.Keep(ops.Linear(ops.Linear(ops.LayerNorm(x, _norm2), _fc1, _activation), _fc2, residual: x));
    }
}
