namespace AfaNative.Engine.Pipeline;

/// <summary>How several experts become one picture.</summary>
public enum FusionMode
{
    /// <summary>AFA: features are fused inside the U-Nets after every block, by the aggregators.</summary>
    Afa,

    /// <summary>
    /// Fused inside the U-Nets like AFA, but every expert counts the same everywhere: an ensemble whose aggregators were never
    /// trained.
    /// </summary>
    Average,

    /// <summary>The mean of the experts' guided noise predictions.</summary>
    Mean,

    /// <summary>MagicFusion: at every pixel the noise of the expert to which it is most salient.</summary>
    Magic,
}

/// <summary>MagicFusion's settings.</summary>
public sealed record MagicFusionOptions
{
    /// <summary>Temperature weight of every expert's saliency; null means 1 for all.</summary>
    public IReadOnlyList<float>? Weights { get; init; }

    /// <summary>Time step between the two phases: above it experts are blended, from it on expert 0 goes alone.</summary>
    public int SwitchTimestep { get; init; } = 600;

    /// <summary>The other way round: expert 0 alone first (the original's mode 1, with 850 there).</summary>
    public bool BlendLast { get; init; }
}
