namespace AfaNative.Engine.Diffusion;

/// <summary>
/// DDIM (Song et al. 2020): deterministic with eta 0, and as noisy as ancestral sampling with eta 1. It runs on float32
/// latents in place.
/// </summary>
public sealed class DdimSampler
{
    private readonly NoiseSchedule _schedule;
    private readonly int[] _timesteps;
    private readonly double _eta;

    /// <summary>A sampler of <paramref name="steps"/> steps over a schedule.</summary>
    public DdimSampler(NoiseSchedule schedule, int steps, double eta)
    {
        ArgumentNullException.ThrowIfNull(schedule);
        int trained = schedule.Config.NumTrainTimesteps;
        if (steps < 1 || steps > trained)
            throw new AfaException($"Expected 1 to {trained} sampling steps, the number of training steps, but {steps} came.");
        if (!(eta >= 0 && eta <= 1))
            throw new AfaException($"Expected an eta from 0 to 1, but {eta} came.");
        _schedule = schedule;
        _eta = eta;
        _timesteps = Spread(schedule.Config, steps);
        if (_timesteps[0] >= trained)
            throw new AfaException($"Expected timesteps below {trained}, but {steps} steps with a steps_offset of {schedule.Config.StepsOffset} reach {_timesteps[0]}.");
    }

    /// <summary>The training steps the sampler visits, noisiest first.</summary>
    public IReadOnlyList<int> Timesteps => _timesteps;

    /// <summary>Standard deviation of the noise sampling starts from.</summary>
    public float InitNoiseSigma => 1f;

    /// <summary>Whether <see cref="Step"/> needs fresh noise.</summary>
    public bool NeedsNoise => _eta > 0;

    /// <summary>
    /// Takes the sample from timestep <paramref name="stepIndex"/> to the next. <paramref name="noise"/> is standard normal,
    /// and empty when eta is 0.
    /// </summary>
    public void Step(int stepIndex, ReadOnlySpan<float> modelOutput, ReadOnlySpan<float> noise, Span<float> sampleInPlace)
    {
        if ((uint)stepIndex >= (uint)_timesteps.Length)
            throw new ArgumentOutOfRangeException(nameof(stepIndex), stepIndex, $"Expected a step from 0 to {_timesteps.Length - 1}.");
        if (modelOutput.Length != sampleInPlace.Length)
            throw new ArgumentException($"Expected a model output of {sampleInPlace.Length} elements, but {modelOutput.Length} came.");
        if (_eta > 0 && noise.Length != sampleInPlace.Length)
            throw new ArgumentException($"Expected noise of {sampleInPlace.Length} elements, but {noise.Length} came.");

        SchedulerConfig config = _schedule.Config;
        int timestep = _timesteps[stepIndex];
        int previous = timestep - config.NumTrainTimesteps / _timesteps.Length;
        float alpha = _schedule.AlphasCumprod[timestep];
        float alphaPrevious = previous >= 0 ? _schedule.AlphasCumprod[previous] : _schedule.FinalAlphaCumprod;
        float beta = 1f - alpha;
        float variance = (1f - alphaPrevious) / beta * (1f - alpha / alphaPrevious);
        float deviation = (float)_eta * MathF.Sqrt(MathF.Max(variance, 0f));
        float signal = MathF.Sqrt(alpha);
        float sigma = MathF.Sqrt(beta);
        float signalPrevious = MathF.Sqrt(alphaPrevious);
        float direction = MathF.Sqrt(MathF.Max(1f - alphaPrevious - deviation * deviation, 0f));
        float clip = config.ClipSample ? (float)config.ClipSampleRange : float.PositiveInfinity;

        for (int i = 0; i < sampleInPlace.Length; i++)
        {
            float x = sampleInPlace[i];
            float output = modelOutput[i];
            (float clean, float epsilon) = config.PredictionType switch
            {
                PredictionType.Epsilon => ((x - sigma * output) / signal, output),
                PredictionType.VPrediction => (signal * x - sigma * output, signal * output + sigma * x),
                _ => (output, (x - signal * output) / sigma),
            };
            clean = Math.Clamp(clean, -clip, clip);
            float next = signalPrevious * clean + direction * epsilon;
            sampleInPlace[i] = deviation > 0f ? next + deviation * noise[i] : next;
        }
    }

    private static int[] Spread(SchedulerConfig config, int steps)
    {
        int trained = config.NumTrainTimesteps;
        int[] timesteps = new int[steps];
        for (int k = 0; k < steps; k++)
        {
            timesteps[k] = config.TimestepSpacing switch
            {
                TimestepSpacing.Leading => (steps - 1 - k) * (trained / steps) + config.StepsOffset,
                TimestepSpacing.Linspace => steps == 1 ? 0 : (int)Math.Round((steps - 1 - k) * ((trained - 1) / (double)(steps - 1))),
                _ => (int)Math.Round(trained - k * (trained / (double)steps)) - 1,
            };
        }
        return timesteps;
    }
}
