using AfaNative.Engine.Core;

namespace AfaNative.Engine.Models;

/// <summary>The autoencoder between pictures and latents. Source: diffusers AutoencoderKL.</summary>
public sealed class VaeModel
{
    private const float Epsilon = 1e-6f;

    private readonly Encoder _encoder;
    private readonly Decoder _decoder;
    private readonly Linear _quantize,
        _postQuantize;

    /// <summary>Reads encoder and decoder.</summary>
    public VaeModel(Parameters p, VaeConfig config)
    {
        Config = config;
        _encoder = new Encoder(p.Child("encoder"), config);
        _decoder = new Decoder(p.Child("decoder"), config);
        _quantize = p.Pointwise("quant_conv", 2 * config.LatentChannels, 2 * config.LatentChannels);
        _postQuantize = p.Pointwise("post_quant_conv", config.LatentChannels, config.LatentChannels);
    }

    /// <summary>The architecture.</summary>
    public VaeConfig Config { get; }

    /// <summary>
    /// Picture in -1..1 [1, B, H, W, 3] to moments [1, B, h, w, 2 * latent]: means, then log variances (not yet clamped to
    /// -30..20).
    /// </summary>
    public Tensor Encode(Ops ops, Tensor image)
    {
        using TensorScope scope = ops.Scope();
        return scope.Keep(ops.Linear(_encoder.Forward(ops, image), _quantize));
    }

    /// <summary>Unscaled latent [1, B, h, w, 4] to a picture around -1..1 [1, B, H, W, 3].</summary>
    public Tensor Decode(Ops ops, Tensor latent)
    {
        using TensorScope scope = ops.Scope();
        return scope.Keep(_decoder.Forward(ops, ops.Linear(latent, _postQuantize)));
    }

    private sealed class Encoder
    {
        private readonly Convolution _convIn,
            _convOut;
        private readonly List<(string Name, ResnetBlock[] Resnets, Convolution? Down)> _levels = [];
        private readonly MidBlock _mid;
        private readonly GroupNorm _norm;

        public Encoder(Parameters p, VaeConfig config)
        {
            int current = config.BlockOutChannels[0],
                levels = config.BlockOutChannels.Count;
            _convIn = p.Convolution("conv_in", config.ImageChannels, current);
            for (int i = 0; i < levels; i++)
            {
                Parameters block = p.Child($"down_blocks.{i}");
                int outputs = config.BlockOutChannels[i];
                var resnets = new ResnetBlock[config.LayersPerBlock];
                for (int j = 0; j < resnets.Length; j++)
                {
                    resnets[j] = new ResnetBlock(block.Child($"resnets.{j}"), current, outputs, 0, config.NormGroups, Epsilon);
                    current = outputs;
                }

                _levels.Add(
                    (
                        block.Prefix,
                        resnets,
                        i < levels - 1
                            ? block.Convolution("downsamplers.0.conv", current, current, stride: 2, padding: Padding.BottomRight)
                            : null
                    )
                );
            }

            _mid = new MidBlock(p.Child("mid_block"), current, config.NormGroups);
            _norm = p.GroupNorm("conv_norm_out", current, config.NormGroups, Epsilon);
            _convOut = p.Convolution("conv_out", current, 2 * config.LatentChannels);
        }

        public Tensor Forward(Ops ops, Tensor image)
        {
            using TensorScope scope = ops.Scope();
            Tensor h = ops.Observe(_convIn.Name, ops.Convolution(image, _convIn));
            foreach ((string name, ResnetBlock[] resnets, Convolution? down) in _levels)
            {
                foreach (ResnetBlock resnet in resnets)
                    h = Replace(h, resnet.Forward(ops, h, null));
                if (down is not null)
                    h = Replace(h, ops.Convolution(h, down));
                ops.Observe(name, h);
            }

            h = Replace(h, _mid.Forward(ops, h));
            return scope.Keep(Finish(ops, h, _norm, _convOut));
        }
    }

    private sealed class Decoder
    {
        private readonly Convolution _convIn,
            _convOut;
        private readonly List<(string Name, ResnetBlock[] Resnets, Convolution? Up)> _levels = [];
        private readonly MidBlock _mid;
        private readonly GroupNorm _norm;

        public Decoder(Parameters p, VaeConfig config)
        {
            int levels = config.BlockOutChannels.Count,
                current = config.BlockOutChannels[^1];
            _convIn = p.Convolution("conv_in", config.LatentChannels, current);
            _mid = new MidBlock(p.Child("mid_block"), current, config.NormGroups);
            for (int i = 0; i < levels; i++)
            {
                Parameters block = p.Child($"up_blocks.{i}");
                int outputs = config.BlockOutChannels[levels - 1 - i];
                var resnets = new ResnetBlock[config.LayersPerBlock + 1];
                for (int j = 0; j < resnets.Length; j++)
                {
                    resnets[j] = new ResnetBlock(block.Child($"resnets.{j}"), current, outputs, 0, config.NormGroups, Epsilon);
                    current = outputs;
                }

                _levels.Add(
                    (block.Prefix, resnets, i < levels - 1 ? block.Convolution("upsamplers.0.conv", current, current) : null)
                );
            }

            _norm = p.GroupNorm("conv_norm_out", current, config.NormGroups, Epsilon);
            _convOut = p.Convolution("conv_out", current, config.ImageChannels);
        }

        public Tensor Forward(Ops ops, Tensor latent)
        {
            using TensorScope scope = ops.Scope();
            Tensor h = ops.Observe(_convIn.Name, ops.Convolution(latent, _convIn));
            h = Replace(h, _mid.Forward(ops, h));
            foreach ((string name, ResnetBlock[] resnets, Convolution? up) in _levels)
            {
                foreach (ResnetBlock resnet in resnets)
                    h = Replace(h, resnet.Forward(ops, h, null));
                if (up is not null)
                {
                    h = Replace(h, ops.UpsampleNearest(h, 2 * h.Shape.Height, 2 * h.Shape.Width));
                    h = Replace(h, ops.Convolution(h, up));
                }

                ops.Observe(name, h);
            }

            return scope.Keep(Finish(ops, h, _norm, _convOut));
        }
    }

    private sealed class MidBlock
    {
        private readonly string _name;
        private readonly ResnetBlock _first,
            _second;
        private readonly GroupNorm _norm;
        private readonly Linear _q,
            _k,
            _v,
            _out;

        public MidBlock(Parameters p, int channels, int groups)
        {
            _name = p.Prefix;
            _first = new ResnetBlock(p.Child("resnets.0"), channels, channels, 0, groups, Epsilon);
            Parameters attention = p.Child("attentions.0");
            _norm = attention.GroupNorm("group_norm", channels, groups, Epsilon);
            _q = attention.Linear("to_q", channels, channels, alias: "query");
            _k = attention.Linear("to_k", channels, channels, alias: "key");
            _v = attention.Linear("to_v", channels, channels, alias: "value");
            _out = attention.Linear("to_out.0", channels, channels, alias: "proj_attn");
            _second = new ResnetBlock(p.Child("resnets.1"), channels, channels, 0, groups, Epsilon);
        }

        public Tensor Forward(Ops ops, Tensor x)
        {
            using TensorScope scope = ops.Scope();
            Tensor h = _first.Forward(ops, x, null);
            Tensor normed = ops.GroupNorm(h, _norm);
            Tensor attended = ops.Attention(ops.Linear(normed, _q), ops.Linear(normed, _k), ops.Linear(normed, _v), heads: 1);
            h = ops.Observe(_name + ".attentions.0", ops.Linear(attended, _out, residual: h));
            return scope.Keep(ops.Observe(_name, _second.Forward(ops, h, null)));
        }
    }

    private static Tensor Finish(Ops ops, Tensor h, GroupNorm norm, Convolution convOut)
    {
        if (ops.Observer is not null)
            ops.Observe(norm.Name, ops.GroupNorm(h, norm));
        Tensor normed = ops.GroupNorm(h, norm, silu: true);
        h.Dispose();
        return ops.Observe(convOut.Name, ops.Convolution(normed, convOut));
    }

    // A full-size map is 134 MB at 512 x 512: each is freed as soon as its successor exists.
    private static Tensor Replace(Tensor old, Tensor next)
    {
        old.Dispose();
        return next;
    }
}
