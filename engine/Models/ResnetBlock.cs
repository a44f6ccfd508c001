using AfaNative.Engine.Core;

namespace AfaNative.Engine.Models;

/// <summary>
/// ResNet block: norm, SiLU, 3x3 convolution, + time projection, norm, SiLU, 3x3 convolution, + input (through a 1x1 convolution
/// when widths differ).
/// Serves U-Net, VAE (no time) and SABW. Source: diffusers ResnetBlock2D.
/// </summary>
public sealed class ResnetBlock
{
    private readonly string _name;
    private readonly GroupNorm _norm1,
        _norm2;
    private readonly Convolution _conv1,
        _conv2;
    private readonly Linear? _time,
        _shortcut;

    /// <summary>Reads the block's layers; <paramref name="timeDim"/> 0 means no time embedding.</summary>
    public ResnetBlock(Parameters p, int inputs, int outputs, int timeDim, int groups, float epsilon)
    {
        _name = p.Prefix;
        _norm1 = p.GroupNorm("norm1", inputs, groups, epsilon);
        _conv1 = p.Convolution("conv1", inputs, outputs);
        _time = timeDim > 0 ? p.Exact().Linear("time_emb_proj", timeDim, outputs) : null;
        _norm2 = p.GroupNorm("norm2", outputs, groups, epsilon);
        _conv2 = p.Convolution("conv2", outputs, outputs);
        // All that follows is added to what the shortcut passes on: rounded, it was the largest error.
        _shortcut = inputs != outputs ? p.Exact().Pointwise("conv_shortcut", inputs, outputs) : null;
    }

    /// <summary>x [E or 1, B, H, W, In], SiLU of the time embedding [E, B, 1, 1, T] to [E, B, H, W, Out].</summary>
    public Tensor Forward(Ops ops, Tensor x, Tensor? siluTime)
    {
        using TensorScope scope = ops.Scope();
        Tensor normed = ops.GroupNorm(x, _norm1, silu: true);
        Tensor h = ops.Convolution(normed, _conv1, _time is null ? null : ops.Linear(siluTime!, _time));
        normed.Dispose();
        Tensor normed2 = ops.GroupNorm(h, _norm2, silu: true);
        h.Dispose();
        Tensor residual = _shortcut is null ? x : ops.Linear(x, _shortcut);
        return scope.Keep(ops.Observe(_name, ops.Convolution(normed2, _conv2, residual: residual)));
    }
}
