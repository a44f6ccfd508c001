using AfaNative.Engine.Core;

namespace AfaNative.Engine.Models;

/// <summary>
/// Spatial transformer: group norm, projection in, transformer blocks over the map's pixels, projection out, + input. Source:
/// diffusers Transformer2DModel.
/// </summary>
public sealed class SpatialTransformer
{
    private readonly string _name;
    private readonly GroupNorm _norm;
    private readonly Linear _projIn,
        _projOut;
    private readonly TransformerBlock[] _blocks;

    /// <summary>Reads the transformer's layers.</summary>
    public SpatialTransformer(
        Parameters p,
        int channels,
        int heads,
        int contextDim,
        int layers,
        int groups,
        bool linearProjection = false
    )
    {
        if (channels % heads != 0)
            throw new AfaException($"{p.Prefix}: {channels} channels cannot be split into {heads} heads");
        _name = p.Prefix;
        _norm = p.GroupNorm("norm", channels, groups, 1e-6f);
        _projIn = linearProjection ? p.Linear("proj_in", channels, channels) : p.Pointwise("proj_in", channels, channels);
        _blocks =
        [
            .. Enumerable
                .Range(0, layers)
                .Select(i => new TransformerBlock(p.Child($"transformer_blocks.{i}"), channels, heads, contextDim)),
        ];
        _projOut = linearProjection ? p.Linear("proj_out", channels, channels) : p.Pointwise("proj_out", channels, channels);
    }

    /// <summary>x [E or 1, B, H, W, C], context [E, B, T, 1, D] to [E, B, H, W, C].</summary>
    public Tensor Forward(Ops ops, Tensor x, Tensor context)
    {
        using TensorScope scope = ops.Scope();
        Tensor normed = ops.GroupNorm(x, _norm);
        Tensor h = ops.Linear(normed, _projIn);
        normed.Dispose();
        foreach (TransformerBlock block in _blocks)
            h = block.Forward(ops, h, context);
        return scope.Keep(ops.Observe(_name, ops.Linear(h, _projOut, residual: x)));
    }
}

/// <summary>
/// Self-attention, cross-attention and a GEGLU feed-forward, each after a layer norm and added to its input. Source: diffusers
/// BasicTransformerBlock.
/// </summary>
public sealed class TransformerBlock
{
    private readonly LayerNorm _norm1,
        _norm2,
        _norm3;
    private readonly AttentionLayer _self,
        _cross;
    private readonly FeedForward _feedForward;

    /// <summary>Reads the block's layers.</summary>
    public TransformerBlock(Parameters p, int channels, int heads, int contextDim)
    {
        _norm1 = p.LayerNorm("norm1", channels);
        _self = new AttentionLayer(p.Child("attn1"), channels, channels, heads, channels / heads);
        _norm2 = p.LayerNorm("norm2", channels);
        _cross = new AttentionLayer(p.Child("attn2"), channels, contextDim, heads, channels / heads, text: true);
        _norm3 = p.LayerNorm("norm3", channels);
        _feedForward = new FeedForward(p.Child("ff"), channels);
    }

    /// <summary>x [E, B, T.., C], context [E, B, T', 1, D] to x's shape.</summary>
    public Tensor Forward(Ops ops, Tensor x, Tensor context)
    {
        using TensorScope scope = ops.Scope();
        x = _self.Forward(ops, ops.LayerNorm(x, _norm1), null, residual: x);
        x = _cross.Forward(ops, ops.LayerNorm(x, _norm2), context, residual: x);
        return scope.Keep(_feedForward.Forward(ops, ops.LayerNorm(x, _norm3), residual: x));
    }
}

/// <summary>Multi-head attention without query, key and value biases. Source: diffusers Attention.</summary>
public sealed class AttentionLayer
{
    private readonly Linear _q,
        _k,
        _v,
        _out;
    private readonly int _heads;

    /// <summary>
    /// Reads the layer; keys and values are made from <paramref name="contextDim"/> channels. Those of a <paramref name="text"/>,
    /// few as they are, are never rounded.
    /// </summary>
    public AttentionLayer(Parameters p, int channels, int contextDim, int heads, int headWidth, bool text = false)
    {
        Parameters keys = text ? p.Exact() : p;
        _heads = heads;
        int inner = heads * headWidth;
        _q = p.Linear("to_q", channels, inner, bias: false);
        _k = keys.Linear("to_k", contextDim, inner, bias: false);
        _v = keys.Linear("to_v", contextDim, inner, bias: false);
        _out = p.Linear("to_out.0", inner, channels);
    }

    /// <summary>Attends from x to <paramref name="context"/> (x itself when null), adds <paramref name="residual"/>.</summary>
    public Tensor Forward(Ops ops, Tensor x, Tensor? context, Tensor? residual)
    {
        using TensorScope scope = ops.Scope();
        Tensor attended = ops.Attention(
            ops.Linear(x, _q),
            ops.Linear(context ?? x, _k),
            ops.Linear(context ?? x, _v),
            _heads,
            exact: _q.Weights.Shape.Exact
        );
        return scope.Keep(ops.Linear(attended, _out, residual: residual));
    }
}

/// <summary>
/// Linear to twice four times the width, value times gelu(gate), linear back. Source: diffusers FeedForward with GEGLU.
/// </summary>
public sealed class FeedForward
{
    private readonly Linear _in,
        _out;

    /// <summary>Reads the two layers.</summary>
    public FeedForward(Parameters p, int channels, int multiple = 4)
    {
        _in = p.Linear("net.0.proj", channels, 2 * multiple * channels, geglu: true);
        _out = p.Linear("net.2", multiple * channels, channels);
    }

    /// <summary>x [E, B, T.., C] to the same shape, plus <paramref name="residual"/>.</summary>
    public Tensor Forward(Ops ops, Tensor x, Tensor? residual)
    {
        using TensorScope scope = ops.Scope();
        return scope.Keep(ops.Linear(ops.Linear(x, _in), _out, residual: residual));
    }
}
