using AfaNative.Engine.Core;

namespace AfaNative.Engine.Sampling.Samplers;

/// <summary>Ancestral sampling of denoising diffusion (Ho et al. 2020, with the small variance of equation 7).</summary>
public sealed class DdpmSampler : Sampler
{
    private readonly int[] _timesteps;
    private readonly bool _large;

    /// <summary>A sampler over a schedule.</summary>
    public DdpmSampler(NoiseSchedule schedule, int steps, SamplerSettings? settings = null)
        : base(schedule, steps)
    {
        _timesteps = Spread(TimestepSpacing.Leading);
        _large = settings?.LargeVariance ?? false;
    }

    /// <inheritdoc/>
    public override IReadOnlyList<double> Timesteps => [.. _timesteps.Select(t => (double)t)];

    /// <inheritdoc/>
    public override bool NeedsNoise(int evaluation) => _timesteps[evaluation] > 0;

    /// <inheritdoc/>
    public override void Step(int evaluation, ReadOnlySpan<float> modelOutput, ReadOnlySpan<float> noise, Span<float> sample)
    {
        Check(evaluation, modelOutput, noise, sample);
        int timestep = _timesteps[evaluation],
            previous = Previous(evaluation);
        double alpha = Schedule.AlphasCumprod[timestep],
            before = previous >= 0 ? Schedule.AlphasCumprod[previous] : 1,
            ratio = alpha / before;
        float signal = (float)Math.Sqrt(alpha),
            sigma = (float)Math.Sqrt(1 - alpha);
        float ofClean = (float)(Math.Sqrt(before) * (1 - ratio) / (1 - alpha)),
            ofSample = (float)(Math.Sqrt(ratio) * (1 - before) / (1 - alpha));
        double variance = _large ? 1 - ratio : (1 - before) / (1 - alpha) * (1 - ratio);
        float deviation = timestep > 0 ? (float)Math.Sqrt(Math.Max(variance, 1e-20)) : 0;
        float[] clean = Clean(Prediction(signal, sigma), modelOutput, sample, clips: true);
        for (int i = 0; i < sample.Length; i++)
        {
            float x = sample[i];
            sample[i] = ofClean * clean[i] + ofSample * x + (deviation > 0 ? deviation * noise[i] : 0);
        }
    }

    // Steps of other spacings are not all of one length.
    private int Previous(int evaluation)
    {
        SchedulerConfig config = Schedule.Config;
        if (!config.StatesSpacing || config.TimestepSpacing == TimestepSpacing.Leading)
        {
            return _timesteps[evaluation] - config.NumTrainTimesteps / Steps;
        }
        return evaluation + 1 < _timesteps.Length ? _timesteps[evaluation + 1] : -1;
    }
}

/// <summary>
/// Multistep sampling of consistency models distilled from latent diffusion (Luo et al., Latent consistency models, 2023): a few
/// steps, for models or LoRAs made for it.
/// </summary>
public sealed class LcmSampler : Sampler
{
    private const double SigmaData = 0.5;
    private readonly int[] _timesteps;
    private readonly double _scaling;

    /// <summary>A sampler over a schedule.</summary>
    /// <exception cref="AfaException">There are more steps than those it was distilled from.</exception>
    public LcmSampler(NoiseSchedule schedule, int steps, SamplerSettings? settings = null)
        : base(schedule, steps)
    {
        settings ??= new SamplerSettings();
        int original = settings.OriginalSteps,
            trained = schedule.Config.NumTrainTimesteps;
        if (original > trained)
        {
            throw new AfaException(
                $"LCM was distilled from {original} steps (original_inference_steps), the schedule has {trained}."
            );
        }
        if (steps > original)
        {
            throw new AfaException($"LCM takes at most {original} steps, and is meant for 4 to 8; {steps} came.");
        }
        _scaling = settings.TimestepScaling;
        int stride = trained / original;
        _timesteps =
        [
            .. Enumerable.Range(0, steps).Select(k => (original - (int)Math.Floor((double)k * original / steps)) * stride - 1),
        ];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<double> Timesteps => [.. _timesteps.Select(t => (double)t)];

    /// <inheritdoc/>
    public override bool NeedsNoise(int evaluation) => evaluation < _timesteps.Length - 1;

    /// <inheritdoc/>
    public override void Step(int evaluation, ReadOnlySpan<float> modelOutput, ReadOnlySpan<float> noise, Span<float> sample)
    {
        Check(evaluation, modelOutput, noise, sample);
        int timestep = _timesteps[evaluation];
        double alpha = Schedule.AlphasCumprod[timestep],
            before = evaluation < _timesteps.Length - 1 ? Schedule.AlphasCumprod[_timesteps[evaluation + 1]] : 1,
            scaled = timestep * _scaling;
        float skip = (float)(SigmaData * SigmaData / (scaled * scaled + SigmaData * SigmaData)),
            pass = (float)(scaled / Math.Sqrt(scaled * scaled + SigmaData * SigmaData));
        float signal = (float)Math.Sqrt(alpha),
            sigma = (float)Math.Sqrt(1 - alpha),
            signalBefore = (float)Math.Sqrt(before),
            sigmaBefore = (float)Math.Sqrt(1 - before);
        float[] clean = Clean(Prediction(signal, sigma), modelOutput, sample, clips: true);
        for (int i = 0; i < sample.Length; i++)
        {
            float denoised = pass * clean[i] + skip * sample[i];
            sample[i] = NeedsNoise(evaluation) ? signalBefore * denoised + sigmaBefore * noise[i] : denoised;
        }
    }
}
