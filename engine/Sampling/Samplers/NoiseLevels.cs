namespace AfaNative.Engine.Sampling.Samplers;

/// <summary>
/// How a sampler spreads noise levels, chosen apart from the method that goes through them. Every method spreads them as it is
/// trained; those of several noise levels take the others as well (<see cref="SamplerMethod.Levels"/>).
/// </summary>
public sealed class NoiseLevels
{
    private readonly Func<double, double, int, double[]>? _spread;

    private NoiseLevels(string id, string name, string about, string key, Func<double, double, int, double[]>? spread)
    {
        (Id, Name, About, Key, _spread) = (id, name, about, key, spread);
    }

    /// <summary>At training steps, as the schedule says.</summary>
    public static NoiseLevels Trained { get; } =
        new("trained", "Trained", "at training steps, as the model's schedule says", "", null);

    /// <summary>As Karras et al. (2022, equation 5) do.</summary>
    public static NoiseLevels Karras { get; } =
        new("karras", "Karras", "denser towards little noise (Karras et al. 2022)", "use_karras_sigmas", SigmaSchedule.Karras)
        {
            InNames = true,
            WholeSteps = true,
        };

    /// <summary>Evenly in their logarithm.</summary>
    public static NoiseLevels Exponential { get; } =
        new("exponential", "Exponential", "evenly in their logarithm", "use_exponential_sigmas", SigmaSchedule.Exponential);

    /// <summary>By quantiles of a beta distribution of 0.6 and 0.6 (Lee et al., Beta sampling is all you need, 2024).</summary>
    public static NoiseLevels Beta { get; } =
        new("beta", "Beta", "denser towards both ends (Lee et al. 2024)", "use_beta_sigmas", SigmaSchedule.Beta);

    /// <summary>Evenly in the half log signal-to-noise ratio, at whole training steps (Lu et al. 2022).</summary>
    public static NoiseLevels Lambda { get; } =
        new(
            "lambda",
            "Lambda",
            "evenly in the half log signal-to-noise ratio, at whole training steps (Lu et al. 2022)",
            "use_lu_lambdas",
            SigmaSchedule.Exponential
        )
        {
            WholeSteps = true,
        };

    /// <summary>All there are.</summary>
    public static IReadOnlyList<NoiseLevels> All { get; } = [Trained, Karras, Lambda, Exponential, Beta];

    /// <summary>Their name in lower case, as it stands behind a sampler's id.</summary>
    public string Id { get; }

    /// <summary>As A1111 writes them behind a sampler's name.</summary>
    public string Name { get; }

    /// <summary>What they are, in a few words.</summary>
    public string About { get; }

    /// <summary>The key of diffusers' schedulers that chooses them; empty: none does.</summary>
    public string Key { get; }

    /// <summary>Whether samplers are named after them; else the key stands in brackets behind the name.</summary>
    internal bool InNames { get; private init; }

    /// <summary>Whether DPM-Solver and UniPC tell the network the nearest whole training step; else the one below.</summary>
    internal bool WholeSteps { get; private init; }

    /// <summary>
    /// Noise levels from <paramref name="most"/> down to <paramref name="least"/>; a single one is the most. Of trained levels
    /// there are none.
    /// </summary>
    internal double[] Spread(double least, double most, int count) =>
        _spread?.Invoke(least, most, count) ?? throw new InvalidOperationException("Trained noise levels lie at training steps.");

    /// <inheritdoc/>
    public override string ToString() => Name;
}
