using AfaNative.Engine.Core;

namespace AfaNative.Engine.Sampling;

/// <summary>
/// How much signal and how much noise a sample holds at each training step, in float32 as the models were trained.
/// </summary>
public sealed class NoiseSchedule
{
    /// <summary>
    /// The share of the signal's power that stands for none (2^-24, as in diffusers): methods that divide by it start there.
    /// </summary>
    internal const float Least = 1f / (1 << 24);

    private readonly float[] _betas;
    private readonly float[] _alphasCumprod;

    /// <summary>Computes the schedule of a configuration.</summary>
    public NoiseSchedule(SchedulerConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        config.Validate("the scheduler configuration");
        Config = config;
        _betas = Betas(config);
        _alphasCumprod = new float[_betas.Length];
        // Each factor and each stored product is float32; the running product is kept in double between them.
        double product = 1;
        for (int t = 0; t < _betas.Length; t++)
        {
            product *= 1f - _betas[t];
            _alphasCumprod[t] = (float)product;
        }
    }

    /// <summary>The configuration the schedule came from.</summary>
    public SchedulerConfig Config { get; }

    /// <summary>Variance of the noise added at each training step.</summary>
    public IReadOnlyList<float> BetasByTimestep => _betas;

    /// <summary>Share of the signal's power left at each training step.</summary>
    public IReadOnlyList<float> AlphasCumprod => _alphasCumprod;

    /// <summary>The alpha that stands before training step 0.</summary>
    public float FinalAlphaCumprod => Config.SetAlphaToOne ? 1f : _alphasCumprod[0];

    /// <summary>noisy = sqrt(alpha) * original + sqrt(1 - alpha) * noise, at one training step.</summary>
    public void AddNoise(ReadOnlySpan<float> original, ReadOnlySpan<float> noise, int timestep, Span<float> noisy)
    {
        (float signal, float sigma) = Coefficients(timestep);
        Blend(original, noise, signal, sigma, noisy);
    }

    /// <summary>
    /// velocity = sqrt(alpha) * noise - sqrt(1 - alpha) * original: what a v-prediction model is trained to give.
    /// </summary>
    public void GetVelocity(ReadOnlySpan<float> original, ReadOnlySpan<float> noise, int timestep, Span<float> velocity)
    {
        (float signal, float sigma) = Coefficients(timestep);
        Blend(noise, original, signal, -sigma, velocity);
    }

    private static void Blend(ReadOnlySpan<float> a, ReadOnlySpan<float> b, float scaleA, float scaleB, Span<float> result)
    {
        if (a.Length != b.Length || a.Length != result.Length)
            throw new ArgumentException($"Expected spans of one length, but {a.Length}, {b.Length} and {result.Length} came.");
        for (int i = 0; i < result.Length; i++)
            result[i] = scaleA * a[i] + scaleB * b[i];
    }

    private (float Signal, float Sigma) Coefficients(int timestep)
    {
        if ((uint)timestep >= (uint)_alphasCumprod.Length)
            throw new ArgumentOutOfRangeException(
                nameof(timestep),
                timestep,
                $"Expected a timestep from 0 to {_alphasCumprod.Length - 1}."
            );
        float alpha = _alphasCumprod[timestep];
        return (MathF.Sqrt(alpha), MathF.Sqrt(1f - alpha));
    }

    private static float[] Betas(SchedulerConfig config)
    {
        float[] betas = config.TrainedBetas is { } given
            ? [.. given.Select(b => (float)b)]
            : config.BetaSchedule switch
            {
                BetaSchedule.SquaredCosine => SquaredCosine(config.NumTrainTimesteps),
                BetaSchedule.Sigmoid => Sigmoid(config),
                _ => Linear(config),
            };
        return config.ZeroTerminalSnr ? Rescaled(betas) : betas;
    }

    // The share of the signal's power falls as a squared cosine; no step takes more than 0.999 of it.
    private static float[] SquaredCosine(int count)
    {
        return
        [
            .. Enumerable
                .Range(0, count)
                .Select(t => (float)Math.Min(1 - Alpha((t + 1) / (double)count) / Alpha(t / (double)count), 0.999)),
        ];

        static double Alpha(double share) => Math.Pow(Math.Cos((share + 0.008) / 1.008 * Math.PI / 2), 2);
    }

    private static float[] Sigmoid(SchedulerConfig config)
    {
        int count = config.NumTrainTimesteps;
        double range = config.BetaEnd - config.BetaStart;
        return
        [
            .. Enumerable
                .Range(0, count)
                .Select(t => (float)(range / (1 + Math.Exp(6 - 12 * t / (count - 1.0))) + config.BetaStart)),
        ];
    }

    // Lin et al., Common diffusion noise schedules and sample steps are flawed (2023), algorithm 1: the signal's share is moved
    // and stretched so that the last is 0 and the first stays.
    private static float[] Rescaled(float[] betas)
    {
        var signal = new float[betas.Length];
        double product = 1;
        for (int t = 0; t < betas.Length; t++)
        {
            product *= 1f - betas[t];
            signal[t] = MathF.Sqrt((float)product);
        }

        float first = signal[0],
            last = signal[^1],
            stretch = first / (first - last);
        for (int t = 0; t < signal.Length; t++)
            signal[t] = (signal[t] - last) * stretch;
        var rescaled = new float[betas.Length];
        for (int t = 0; t < signal.Length; t++)
        {
            float alpha = signal[t] * signal[t],
                before = t == 0 ? 1 : signal[t - 1] * signal[t - 1];
            rescaled[t] = 1f - alpha / before;
        }

        return rescaled;
    }

    private static float[] Linear(SchedulerConfig config)
    {
        bool scaled = config.BetaSchedule == BetaSchedule.ScaledLinear;
        float start = (float)(scaled ? Math.Sqrt(config.BetaStart) : config.BetaStart);
        float end = (float)(scaled ? Math.Sqrt(config.BetaEnd) : config.BetaEnd);
        int count = config.NumTrainTimesteps;
        float step = (end - start) / (count - 1);
        float[] betas = new float[count];
        for (int t = 0; t < count; t++)
        {
            // From the nearer end, so that both ends are exact.
            float value = t < count / 2 ? start + step * t : end - step * (count - 1 - t);
            betas[t] = scaled ? value * value : value;
        }
        return betas;
    }

    /// <summary>
    /// What a network that is trained on a noisy sample has to predict: the noise, the velocity, or the sample itself.
    /// </summary>
    public void GetTarget(ReadOnlySpan<float> original, ReadOnlySpan<float> noise, int timestep, Span<float> target)
    {
        switch (Config.PredictionType)
        {
            case PredictionType.VPrediction:
                GetVelocity(original, noise, timestep, target);
                break;
            case PredictionType.Epsilon:
                noise.CopyTo(target);
                break;
            default:
                original.CopyTo(target);
                break;
        }
    }

    /// <summary>
    /// What the network takes the clean sample for: from what it was shown, signal * clean + sigma * noise at
    /// <paramref name="timestep"/>, and what it gave. A time step between two has the logarithm of sigma / signal between theirs.
    /// </summary>
    public void EstimateClean(ReadOnlySpan<float> shown, ReadOnlySpan<float> output, double timestep, Span<float> clean)
    {
        if (shown.Length != output.Length || shown.Length != clean.Length)
            throw new ArgumentException(
                $"Expected spans of one length, but {shown.Length}, {output.Length} and {clean.Length} came."
            );
        double at = Math.Clamp(timestep, 0, _alphasCumprod.Length - 1);
        int below = (int)at,
            above = Math.Min(below + 1, _alphasCumprod.Length - 1);
        double ratio = Math.Exp(LogRatio(below) + (at - below) * (LogRatio(above) - LogRatio(below)));
        float signal = (float)(1 / Math.Sqrt(1 + ratio * ratio)),
            sigma = (float)(ratio / Math.Sqrt(1 + ratio * ratio));
        var prediction = Prediction.Of(Config.PredictionType, signal, sigma);
        for (int i = 0; i < clean.Length; i++)
            clean[i] = prediction.Clean(shown[i], output[i]);

        // Where no signal is left the logarithm has no end.
        double LogRatio(int t) => 0.5 * Math.Log((1.0 - _alphasCumprod[t]) / Math.Max(_alphasCumprod[t], Least));
    }
}
