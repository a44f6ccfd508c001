using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Models;

/// <summary>Fuses the experts' maps at one aggregation point into one map that all experts continue from.</summary>
public interface IAggregation
{
    /// <summary>features [E, B, H, W, C] of point <paramref name="point"/> to [1, B, H, W, C].</summary>
    Tensor Aggregate(Ops ops, int point, Tensor features);
}

/// <summary>
/// The noise predictor of Stable Diffusion 1.x for E experts at once. With an <see cref="IAggregation"/> every block's E maps
/// become one, which every
/// expert's next block and every skip connection reads (AFA, ICLR 2025); without, E must be 1 or the experts run side by side.
/// </summary>
public sealed class UNetModel
{
    private readonly Linear _time1,
        _time2;
    private readonly Convolution _convIn,
        _convOut;
    private readonly List<DownBlock> _down = [];
    private readonly List<UpBlock> _up = [];
    private readonly ResnetBlock _mid1,
        _mid2;
    private readonly SpatialTransformer _midAttention;
    private readonly GroupNorm _normOut;

    /// <summary>Reads the network.</summary>
    public UNetModel(Parameters p, UNetConfig config)
    {
        Config = config;
        Experts = p.Experts;
        IReadOnlyList<int> channels = config.BlockOutChannels;
        int levels = channels.Count,
            time = config.TimeEmbeddingDim;
        // What every block is told, and the way in and out: hardly any work, so nothing is rounded there.
        Parameters exact = p.Exact();
        _time1 = exact.Linear("time_embedding.linear_1", channels[0], time);
        _time2 = exact.Linear("time_embedding.linear_2", time, time);
        _convIn = exact.Convolution("conv_in", config.InChannels, channels[0]);
        List<int> skips = [channels[0]];
        int current = channels[0];
        for (int i = 0; i < levels; i++)
        {
            var block = new DownBlock($"down_blocks.{i}");
            for (int j = 0; j < config.LayersPerBlock[i]; j++)
            {
                block.Layers.Add(Layer(p.Child(block.Name), j, current, channels[i], config.Heads[i], config.DownAttention[i]));
                current = channels[i];
                skips.Add(current);
            }

            if (i < levels - 1)
            {
                block.Downsampler = exact.Child(block.Name).Convolution("downsamplers.0.conv", current, current, stride: 2);
                skips.Add(current);
            }

            _down.Add(block);
        }

        Parameters mid = p.Child("mid_block");
        _mid1 = new ResnetBlock(mid.Child("resnets.0"), current, current, time, config.NormGroups, config.NormEpsilon);
        _midAttention = Transformer(mid.Child("attentions.0"), current, config.Heads[^1]);
        _mid2 = new ResnetBlock(mid.Child("resnets.1"), current, current, time, config.NormGroups, config.NormEpsilon);
        for (int i = 0; i < levels; i++)
        {
            int level = levels - 1 - i;
            var block = new UpBlock($"up_blocks.{i}");
            for (int j = 0; j <= config.LayersPerBlock[level]; j++)
            {
                block.Layers.Add(
                    Layer(
                        p.Child(block.Name),
                        j,
                        current + skips[^1],
                        channels[level],
                        config.Heads[level],
                        config.UpAttention[i]
                    )
                );
                skips.RemoveAt(skips.Count - 1);
                current = channels[level];
            }

            if (i < levels - 1)
                block.Upsampler = p.Child(block.Name).Convolution("upsamplers.0.conv", current, current);
            _up.Add(block);
        }

        _normOut = p.GroupNorm("conv_norm_out", current, config.NormGroups, config.NormEpsilon);
        _convOut = exact.Convolution("conv_out", current, config.OutChannels);

        UNetLayer Layer(Parameters block, int j, int inputs, int outputs, int heads, bool attention) =>
            new(
                new ResnetBlock(block.Child($"resnets.{j}"), inputs, outputs, time, config.NormGroups, config.NormEpsilon),
                attention ? Transformer(block.Child($"attentions.{j}"), outputs, heads) : null
            );

        SpatialTransformer Transformer(Parameters at, int width, int heads) =>
            new(
                at,
                width,
                heads,
                config.CrossAttentionDim,
                config.TransformerLayers,
                config.NormGroups,
                config.UseLinearProjection
            );
    }

    /// <summary>The architecture.</summary>
    public UNetConfig Config { get; }

    /// <summary>E.</summary>
    public int Experts { get; }

    /// <summary>Time embedding [E, B, 1, 1, T] of B time steps, before the SiLU every block applies.</summary>
    public Tensor EmbedTime(Ops ops, ReadOnlySpan<float> timesteps)
    {
        using TensorScope scope = ops.Scope();
        return scope.Keep(EmbedTime(ops, ops.TimestepEmbedding(timesteps, Config.BlockOutChannels[0])));
    }

    /// <summary>Time embedding [E, B, 1, 1, T] of B time steps' sinusoids [1, B, 1, 1, BlockOutChannels[0]].</summary>
    public Tensor EmbedTime(Ops ops, Tensor sinusoids)
    {
        using TensorScope scope = ops.Scope();
        ops.Observe("time_proj", sinusoids);
        return scope.Keep(ops.Observe("time_embedding", ops.Linear(ops.Linear(sinusoids, _time1, ActivationKind.Silu), _time2)));
    }

    /// <summary>
    /// Predicts the noise: latents [1, B, H, W, In], time embedding [E, B, 1, 1, T], text [E, B, tokens, 1, D] to [E, B, H, W,
    /// Out]
    /// ([1, ...] with an aggregation).
    /// </summary>
    public Tensor Forward(Ops ops, Tensor latents, Tensor time, Tensor context, IAggregation? aggregation = null)
    {
        using TensorScope scope = ops.Scope();
        int point = 0;
        Tensor silu = ops.Activate(time, ActivationKind.Silu);
        var skips = new Stack<Tensor>();
        Tensor h = Fuse(ops.Observe("conv_in", ops.Convolution(latents, _convIn)));
        skips.Push(h);
        foreach (DownBlock block in _down)
        {
            int skip = 0;
            foreach (UNetLayer layer in block.Layers)
            {
                h = Fuse(ops.Checkpointed(t => layer.Forward(ops, t[0], t[1], t[2]), h, silu, context));
                skips.Push(ops.Observe($"{block.Name}.res.{skip++}", h));
            }

            if (block.Downsampler is not null)
            {
                h = Fuse(ops.Observe(block.Name + ".downsamplers.0", ops.Convolution(h, block.Downsampler)));
                skips.Push(ops.Observe($"{block.Name}.res.{skip}", h));
            }

            ops.Observe(block.Name, h);
        }

        using (TensorScope middle = ops.Scope())
        {
            Tensor m = ops.Checkpointed(
                t => _mid2.Forward(ops, _midAttention.Forward(ops, _mid1.Forward(ops, t[0], t[1]), t[2]), t[1]),
                h,
                silu,
                context
            );
            h = middle.Keep(ops.Observe("mid_block", m));
        }

        h = Fuse(h);
        for (int i = 0; i < _up.Count; i++)
        {
            UpBlock block = _up[i];
            for (int j = 0; j < block.Layers.Count; j++)
            {
                bool lastLayer = j == block.Layers.Count - 1;
                using (TensorScope layer = ops.Scope())
                {
                    Tensor skip = skips.Pop();
                    Tensor joined = ops.Concat(h, skip);
                    h.Dispose();
                    skip.Dispose();
                    UNetLayer part = block.Layers[j];
                    h = ops.Checkpointed(t => part.Forward(ops, t[0], t[1], t[2]), joined, silu, context);
                    joined.Dispose();
                    if (lastLayer && block.Upsampler is not null)
                    {
                        // Odd sizes: the map grows to the next skip's size, which is twice its own or one less.
                        Tensor large = ops.UpsampleNearest(h, skips.Peek().Shape.Height, skips.Peek().Shape.Width);
                        h = ops.Observe(block.Name + ".upsamplers.0", ops.Convolution(large, block.Upsampler));
                    }

                    layer.Keep(h);
                }

                if (lastLayer)
                    ops.Observe(block.Name, h);
                // The very last layer is not fused: each expert finishes alone and the predictions are fused (point 24 of SD
                // 1.5).
                if (!(lastLayer && i == _up.Count - 1))
                    h = Fuse(h);
            }
        }

        if (ops.Observer is not null)
            ops.Observe("conv_norm_out", ops.GroupNorm(h, _normOut));
        Tensor predicted = ops.Observe("conv_out", ops.Convolution(ops.GroupNorm(h, _normOut, silu: true), _convOut));
        return scope.Keep(Fuse(predicted));

        Tensor Fuse(Tensor features)
        {
            if (aggregation is null)
                return features;
            Tensor fused = aggregation.Aggregate(ops, point++, features);
            features.Dispose();
            return fused;
        }
    }

    private sealed record UNetLayer(ResnetBlock Resnet, SpatialTransformer? Attention)
    {
        public Tensor Forward(Ops ops, Tensor x, Tensor siluTime, Tensor context)
        {
            Tensor h = Resnet.Forward(ops, x, siluTime);
            if (Attention is null)
                return h;
            Tensor attended = Attention.Forward(ops, h, context);
            h.Dispose();
            return attended;
        }
    }

    private sealed record DownBlock(string Name)
    {
        public List<UNetLayer> Layers { get; } = [];

        public Convolution? Downsampler { get; set; }
    }

    private sealed record UpBlock(string Name)
    {
        public List<UNetLayer> Layers { get; } = [];

        public Convolution? Upsampler { get; set; }
    }
}
