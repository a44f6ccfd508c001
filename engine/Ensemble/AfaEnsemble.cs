using AfaNative.Engine.Core;
using AfaNative.Engine.Models;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Ensemble;

/// <summary>
/// N U-Nets that act as one: after every block their maps are fused and all continue from the fused one (AFA, ICLR 2025). With no
/// aggregators and
/// one expert it is an ordinary diffusion model; with no aggregators and several they predict side by side.
/// </summary>
public sealed class AfaEnsemble
{
    private readonly UNetModel _unet;
    private readonly IReadOnlyList<Sabw> _aggregators;

    /// <summary>Joins a stacked U-Net with one aggregator for each of its points, in order.</summary>
    public AfaEnsemble(UNetModel unet, IReadOnlyList<Sabw> aggregators)
    {
        IReadOnlyList<int> channels = unet.Config.AggregationChannels;
        if (aggregators.Count != 0 && aggregators.Count != channels.Count)
            throw new AfaException(
                $"This U-Net has {channels.Count} aggregation points, but {aggregators.Count} aggregators were given."
            );
        for (int k = 0; k < aggregators.Count; k++)
        {
            SabwConfig c = aggregators[k].Config;
            if (
                c.NumExperts != unet.Experts
                || c.InChannels != channels[k]
                || c.CrossAttentionDim != unet.Config.CrossAttentionDim
                || c.TimeEmbeddingChannels != unet.Config.TimeEmbeddingDim
            )
            {
                throw new AfaException(
                    $"aggregator_{k} is made for {c.NumExperts} experts of {c.InChannels} channels, text width "
                        + $"{c.CrossAttentionDim} and time width {c.TimeEmbeddingChannels}; "
                        + $"this ensemble has {unet.Experts} experts, {channels[k]} channels there, text width "
                        + $"{unet.Config.CrossAttentionDim} and time width {unet.Config.TimeEmbeddingDim}."
                );
            }
        }

        _unet = unet;
        _aggregators = aggregators;
    }

    /// <summary>Number of experts N.</summary>
    public int Experts => _unet.Experts;

    /// <summary>Number of aggregation points, 0 for a plain model.</summary>
    public int AggregationPoints => _aggregators.Count;

    /// <summary>The experts' common architecture.</summary>
    public UNetConfig Config => _unet.Config;

    /// <summary>
    /// The same experts without aggregators, on the same weights: they predict side by side, for fusing their noise.
    /// </summary>
    public AfaEnsemble Apart() => _aggregators.Count == 0 ? this : new AfaEnsemble(_unet, []);

    /// <summary>
    /// Predicts the noise [1, B, H, W, C] (without aggregators [N, B, H, W, C]) in latents [1, B, H, W, C] at B time steps for
    /// hidden states [N, B, tokens, 1, D] of a text.
    /// <paramref name="onAggregate"/> is told each point's index, fused map [1, B, H, W, C] and weights [1, B, H, W, N];
    /// <paramref name="subset"/> says who takes part.
    /// </summary>
    public Tensor Predict(
        Ops ops,
        Tensor latents,
        ReadOnlySpan<float> timesteps,
        Conditioning conditioning,
        Action<int, Tensor, Tensor>? onAggregate = null,
        ExpertSubset? subset = null
    )
    {
        using TensorScope scope = ops.Scope();
        return scope.Keep(
            Predict(ops, latents, ops.TimestepEmbedding(timesteps, Config.BlockOutChannels[0]), conditioning, onAggregate, subset)
        );
    }

    /// <summary>As above, for time steps given by their sinusoids [1, B, 1, 1, BlockOutChannels[0]].</summary>
    public Tensor Predict(
        Ops ops,
        Tensor latents,
        Tensor sinusoids,
        Conditioning conditioning,
        Action<int, Tensor, Tensor>? onAggregate = null,
        ExpertSubset? subset = null
    )
    {
        using TensorScope scope = ops.Scope();
        Tensor text = conditioning.HiddenStates;
        Tensor time = _unet.EmbedTime(ops, sinusoids);
        if (_aggregators.Count == 0)
            return scope.Keep(_unet.Forward(ops, latents, time, text));
        Tensor meanTime = ops.Activate(ops.MeanOverExperts(time), ActivationKind.Silu);
        var aggregation = new Aggregation(_aggregators, meanTime, ops.MeanOverExperts(text), onAggregate, subset);
        return scope.Keep(_unet.Forward(ops, latents, time, text, aggregation));
    }

    private sealed class Aggregation(
        IReadOnlyList<Sabw> aggregators,
        Tensor siluTime,
        Tensor context,
        Action<int, Tensor, Tensor>? onAggregate,
        ExpertSubset? subset
    ) : IAggregation
    {
        public Tensor Aggregate(Ops ops, int point, Tensor features)
        {
            (Tensor fused, Tensor? maps) = aggregators[point]
                .Forward(ops, features, siluTime, context, onAggregate is not null, subset);
            if (maps is not null)
            {
                onAggregate!(point, fused, maps);
                maps.Dispose();
            }

            return fused;
        }
    }
}
