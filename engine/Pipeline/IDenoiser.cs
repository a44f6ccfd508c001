using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Engine.Sampling.Guidance;

namespace AfaNative.Engine.Pipeline;

/// <summary>
/// Predicts at one evaluation after another of a run what its noisy latents hold. It is made for latents of one size.
/// </summary>
public interface IDenoiser : IDisposable
{
    /// <summary>Experts whose predictions come apart; 1 where they act as one.</summary>
    int Experts { get; }

    /// <summary>Predictions [Experts][B, C, h, w], of what the schedule's prediction type says.</summary>
    /// <param name="latents">Latents [B, C, h, w], as the network is shown them.</param>
    /// <param name="time">The time step the network is told, of all of them.</param>
    /// <param name="conditioning">What the network is told of the picture, for B latents.</param>
    float[] Predict(ReadOnlySpan<float> latents, float time, Conditioning conditioning);
}

/// <summary>The denoisers that an ensemble makes.</summary>
internal static class Denoiser
{
    /// <summary>
    /// The one that options ask for: an ensemble that acts as one, some of its experts, or its experts apart. Its tensors live in
    /// the current scope of <paramref name="ops"/>.
    /// </summary>
    /// <param name="ensemble">The experts.</param>
    /// <param name="ops">On the ensemble's device.</param>
    /// <param name="options">Fusion and experts.</param>
    /// <param name="latents">The latents' size; shown once for every condition.</param>
    /// <param name="conditions">Conditions they are shown under.</param>
    /// <param name="onAggregate">Told each aggregation point's index, fused map and weights; null: nobody is.</param>
    public static IDenoiser Create(
        AfaEnsemble ensemble,
        Ops ops,
        GenerationOptions options,
        LatentShape latents,
        int conditions,
        Action<int, Tensor, Tensor>? onAggregate
    )
    {
        var shape = new Shape(1, conditions * latents.Count, latents.Height, latents.Width, latents.Channels);
        if (options.Apart)
            return new ApartDenoiser(ensemble, ops, shape, options.Experts);
        bool plain = options.Experts is null && options.Fusion == FusionMode.Afa;
        ExpertSubset? subset = plain
            ? null
            : new ExpertSubset(ensemble.Experts, options.Experts, uniform: options.Fusion == FusionMode.Average);
        return new EnsembleDenoiser(ensemble, ops, shape, subset, onAggregate);
    }
}
