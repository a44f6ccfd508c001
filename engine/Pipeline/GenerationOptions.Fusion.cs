using System.Globalization;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Sampling.Guidance;

namespace AfaNative.Engine.Pipeline;

public sealed partial record GenerationOptions
{
    /// <summary>
    /// How much of the contrast that guidance adds is taken back, 0 to 1: the guided prediction is brought to the standard
    /// deviation of the prompted one (diffusers' <c>guidance_rescale</c>; Lin et al. 2024, section 3.4).
    /// </summary>
    public float GuidanceRescale { get; init; }

    /// <summary>Whether experts predict side by side, to be joined by their predictions.</summary>
    internal bool Apart => Fusion is FusionMode.Mean or FusionMode.Magic;

    /// <summary>Refuses a fusion, and experts to take part, that a model or the other settings do not allow.</summary>
    /// <param name="experts">Experts of the model that is run.</param>
    /// <param name="aggregated">Whether it has aggregators.</param>
    /// <exception cref="AfaException">They do not fit.</exception>
    public void CheckFusion(int experts, bool aggregated)
    {
        string fusion = Fusion.ToString().ToLowerInvariant();
        if (experts == 1 && (Fusion != FusionMode.Afa || Experts is not null))
            throw new AfaException(
                $"The settings fusion ({fusion}) and experts join several experts; this run has one, which takes fusion afa and "
                    + "all experts."
            );
        if (experts > 1 && !aggregated && !Apart)
            throw new AfaException(
                $"{experts} experts without aggregators take a fusion of their predictions (mean or magic), not {fusion}."
            );
        if (Experts is { } members)
            ExpertSubset.Check(experts, members);
        if (Fusion != FusionMode.Magic)
            return;
        if (!(GuidanceScale > 1))
            throw new AfaException(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"MagicFusion compares predictions with and without the prompt: it needs a guidance above 1, not "
                        + $"{GuidanceScale}."
                )
            );
        if (Magic.Weights is { } weights && weights.Count != experts)
            throw new AfaException($"MagicFusion takes a weight for each of {experts} experts, but {weights.Count} came.");
    }

    /// <summary>What makes one prediction of all, for a model of more than one expert or of one.</summary>
    internal IGuidance CreateGuidance()
    {
        // A scale of 1 is the prompt's prediction alone, which saves asking for the other.
        var guided = new ClassifierFreeGuidance(GuidanceScale, GuidanceRescale);
        IGuidance each = GuidanceScale > 1 ? guided : new NoGuidance();
        return Fusion switch
        {
            FusionMode.Mean => new MeanGuidance(each),
            FusionMode.Magic => new MagicFusion(guided, MagicWeights(), Magic.SwitchTimestep, Magic.BlendLast),
            _ => each,
        };
    }

    // Of those that take part, in their order.
    private IReadOnlyList<float>? MagicWeights() =>
        Magic.Weights is { } all && Experts is { } chosen ? [.. chosen.Select(e => all[e])] : Magic.Weights;
}
