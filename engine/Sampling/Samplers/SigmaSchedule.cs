namespace AfaNative.Engine.Sampling.Samplers;

/// <summary>
/// Noise levels sigma = sqrt((1 - alpha) / alpha) of a sampling run, as k-diffusion counts noise (Karras et al., Elucidating the
/// design space of diffusion-based generative models, 2022).
/// </summary>
internal static class SigmaSchedule
{
    private const double Rho = 7;

    /// <summary>Of every training step; one without signal counts as 2^-24 of it.</summary>
    public static double[] Trained(NoiseSchedule schedule) =>
        [
            .. schedule
                .AlphasCumprod.Select(a => Math.Max(a, NoiseSchedule.Least))
                .Select(a => (double)(float)Math.Sqrt((1 - (double)a) / a)),
        ];

    /// <summary>By quantiles of a beta distribution, from <paramref name="most"/> down to <paramref name="least"/>.</summary>
    public static double[] Beta(double least, double most, int count) =>
        [.. Shares(count).Select(s => (double)(float)(least + BetaDistribution.Quantile(1 - s, 0.6, 0.6) * (most - least)))];

    /// <summary>Evenly in the logarithm.</summary>
    public static double[] Exponential(double least, double most, int count) =>
        [.. Shares(count).Select(s => (double)(float)Math.Exp(Math.Log(most) + s * (Math.Log(least) - Math.Log(most))))];

    private static IEnumerable<double> Shares(int count) =>
        Enumerable.Range(0, count).Select(i => count == 1 ? 0 : i / (count - 1.0));

    /// <summary>Between two training steps by linear interpolation.</summary>
    public static double At(double[] trained, double timestep)
    {
        int low = Math.Clamp((int)Math.Floor(timestep), 0, trained.Length - 1),
            high = Math.Min(low + 1, trained.Length - 1);
        return (float)(trained[low] + (timestep - low) * (trained[high] - trained[low]));
    }

    /// <summary>The training step of a noise level, interpolated in its logarithm.</summary>
    public static double TimestepOf(double[] trained, double sigma)
    {
        double log = Math.Log(Math.Max(sigma, 1e-10));
        int low = Below(trained, s => Math.Log(s) <= log);
        double a = Math.Log(trained[low]),
            b = Math.Log(trained[low + 1]);
        return low + Math.Clamp((a - log) / (a - b), 0, 1);
    }

    /// <summary>
    /// The last whole training step below a noise level, from logarithms in float32 as in diffusers: they decide where a level is
    /// a step's own.
    /// </summary>
    public static double WholeTimestepOf(double[] trained, double sigma)
    {
        double log = Math.Log(Math.Max(sigma, 1e-10));
        int low = Below(trained, s => MathF.Log((float)s) <= log);
        double a = MathF.Log((float)trained[low]),
            b = MathF.Log((float)trained[low + 1]);
        return Math.Floor(low + Math.Clamp((a - log) / (a - b), 0, 1));
    }

    /// <summary>
    /// The schedule of Karras et al. (equation 5) from <paramref name="most"/> down to <paramref name="least"/>.
    /// </summary>
    public static double[] Karras(double least, double most, int count)
    {
        double low = Math.Pow(least, 1 / Rho),
            high = Math.Pow(most, 1 / Rho);
        return
        [
            .. Enumerable
                .Range(0, count)
                .Select(i => (double)(float)Math.Pow(high + (count == 1 ? 0 : i / (count - 1.0)) * (low - high), Rho)),
        ];
    }

    // The last of the rising levels, but for the very last, that are all below another.
    private static int Below(double[] trained, Func<double, bool> below)
    {
        int low = 0,
            high = trained.Length - 2;
        while (low < high)
        {
            int middle = (low + high + 1) / 2;
            if (below(trained[middle]))
                low = middle;
            else
                high = middle - 1;
        }

        return low;
    }
}
