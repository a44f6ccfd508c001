namespace AfaNative.Engine.Diffusion.Samplers;

/// <summary>Ancestral sampling of denoising diffusion (Ho et al. 2020, with the small variance of equation 7).</summary>
public sealed class DdpmSampler : Sampler
{
    private readonly int[] _timesteps;

    /// <summary>A sampler over a schedule.</summary>
    public DdpmSampler(NoiseSchedule schedule, int steps) : base(schedule, steps) => _timesteps = Spread(TimestepSpacing.Leading);

    /// <inheritdoc/>
    public override IReadOnlyList<double> Timesteps => [.. _timesteps.Select(t => (double)t)];

    /// <inheritdoc/>
    public override bool NeedsNoise(int evaluation) => _timesteps[evaluation] > 0;

    /// <inheritdoc/>
    public override void Step(int evaluation, ReadOnlySpan<float> modelOutput, ReadOnlySpan<float> noise, Span<float> sample)
    {
        Check(evaluation, modelOutput, noise, sample);
        SchedulerConfig config = Schedule.Config;
        int timestep = _timesteps[evaluation], previous = timestep - config.NumTrainTimesteps / Steps;
        double alpha = Schedule.AlphasCumprod[timestep], before = previous >= 0 ? Schedule.AlphasCumprod[previous] : 1, ratio = alpha / before;
        float signal = (float)Math.Sqrt(alpha), sigma = (float)Math.Sqrt(1 - alpha), clip = config.ClipSample ? (float)config.ClipSampleRange : float.PositiveInfinity;
        float ofClean = (float)(Math.Sqrt(before) * (1 - ratio) / (1 - alpha)), ofSample = (float)(Math.Sqrt(ratio) * (1 - before) / (1 - alpha));
        float deviation = timestep > 0 ? (float)Math.Sqrt(Math.Max((1 - before) / (1 - alpha) * (1 - ratio), 1e-20)) : 0;
        for (int i = 0; i < sample.Length; i++)
        {
            float x = sample[i], output = modelOutput[i], clean = config.PredictionType switch
            {
                PredictionType.Epsilon => (x - sigma * output) / signal,
                PredictionType.VPrediction => signal * x - sigma * output,
                _ => output,
            };
            sample[i] = ofClean * Math.Clamp(clean, -clip, clip) + ofSample * x + (deviation > 0 ? deviation * noise[i] : 0);
        }
    }
}

/// <summary>Pseudo numerical methods, the linear multistep kind (PLMS; Liu et al. 2022, equations 9 and 12): one evaluation more than steps.</summary>
public sealed class PndmSampler : Sampler
{
    private int[] _timesteps;
    private readonly List<float[]> _outputs = [];
    private float[]? _start;

    /// <summary>A sampler over a schedule.</summary>
    public PndmSampler(NoiseSchedule schedule, int steps) : base(schedule, steps)
    {
        int[] spread = Spread(TimestepSpacing.Leading);
        // The second step is taken twice: the first time there is no history to extrapolate from.
        _timesteps = WithSecondTwice(spread);
    }

    /// <inheritdoc/>
    public override int Begin(int step)
    {
        if (step > 0) _timesteps = WithSecondTwice(Spread(TimestepSpacing.Leading)[step..]);
        return 0;
    }

    private static int[] WithSecondTwice(int[] timesteps) => timesteps.Length < 2 ? timesteps : [timesteps[0], timesteps[1], .. timesteps[1..]];

    /// <inheritdoc/>
    public override IReadOnlyList<double> Timesteps => [.. _timesteps.Select(t => (double)t)];

    /// <inheritdoc/>
    public override void Step(int evaluation, ReadOnlySpan<float> modelOutput, ReadOnlySpan<float> noise, Span<float> sample)
    {
        Check(evaluation, modelOutput, noise, sample);
        int stride = Schedule.Config.NumTrainTimesteps / Steps, timestep = _timesteps[evaluation], previous = timestep - stride;
        var output = new float[sample.Length];
        if (evaluation == 1)
        {
            (previous, timestep) = (timestep, timestep + stride);
            for (int i = 0; i < output.Length; i++) output[i] = (modelOutput[i] + _outputs[0][i]) / 2;
            _start!.CopyTo(sample);
        }
        else
        {
            _outputs.Insert(0, modelOutput.ToArray());
            if (_outputs.Count > 4) _outputs.RemoveAt(4);
            if (evaluation == 0) _start = sample.ToArray();
            float[] weights = _outputs.Count switch { 1 => [1], 2 => [3 / 2f, -1 / 2f], 3 => [23 / 12f, -16 / 12f, 5 / 12f], _ => [55 / 24f, -59 / 24f, 37 / 24f, -9 / 24f] };
            for (int j = 0; j < weights.Length; j++)
            {
                for (int i = 0; i < output.Length; i++) output[i] += weights[j] * _outputs[j][i];
            }
        }

        double alpha = Schedule.AlphasCumprod[Math.Min(timestep, Schedule.Config.NumTrainTimesteps - 1)], before = previous >= 0 ? Schedule.AlphasCumprod[previous] : Schedule.FinalAlphaCumprod;
        float signal = (float)Math.Sqrt(alpha), sigma = (float)Math.Sqrt(1 - alpha), ofSample = (float)Math.Sqrt(before / alpha);
        float ofOutput = (float)((before - alpha) / (alpha * Math.Sqrt(1 - before) + Math.Sqrt(alpha * (1 - alpha) * before)));
        for (int i = 0; i < output.Length; i++)
        {
            float epsilon = Schedule.Config.PredictionType switch
            {
                PredictionType.Epsilon => output[i],
                PredictionType.VPrediction => signal * output[i] + sigma * sample[i],
                _ => (sample[i] - signal * output[i]) / sigma,
            };
            sample[i] = ofSample * sample[i] - ofOutput * epsilon;
        }
    }
}

/// <summary>Multistep sampling of consistency models distilled from latent diffusion (Luo et al., Latent consistency models, 2023): a few steps, for models or LoRAs made for it.</summary>
public sealed class LcmSampler : Sampler
{
    private const int OriginalSteps = 50;
    private const double SigmaData = 0.5, TimestepScaling = 10;
    private readonly int[] _timesteps;

    /// <summary>A sampler over a schedule.</summary>
    public LcmSampler(NoiseSchedule schedule, int steps) : base(schedule, steps)
    {
        if (steps > OriginalSteps) throw new AfaException($"LCM takes at most {OriginalSteps} steps, and is meant for 4 to 8; {steps} came.");
        int stride = schedule.Config.NumTrainTimesteps / OriginalSteps;
        _timesteps = [.. Enumerable.Range(0, steps).Select(k => (OriginalSteps - (int)Math.Floor((double)k * OriginalSteps / steps)) * stride - 1)];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<double> Timesteps => [.. _timesteps.Select(t => (double)t)];

    /// <inheritdoc/>
    public override bool NeedsNoise(int evaluation) => evaluation < _timesteps.Length - 1;

    /// <inheritdoc/>
    public override void Step(int evaluation, ReadOnlySpan<float> modelOutput, ReadOnlySpan<float> noise, Span<float> sample)
    {
        Check(evaluation, modelOutput, noise, sample);
        SchedulerConfig config = Schedule.Config;
        int timestep = _timesteps[evaluation];
        double alpha = Schedule.AlphasCumprod[timestep], before = evaluation < _timesteps.Length - 1 ? Schedule.AlphasCumprod[_timesteps[evaluation + 1]] : 1, scaled = timestep * TimestepScaling;
        float skip = (float)(SigmaData * SigmaData / (scaled * scaled + SigmaData * SigmaData)), pass = (float)(scaled / Math.Sqrt(scaled * scaled + SigmaData * SigmaData));
        float signal = (float)Math.Sqrt(alpha), sigma = (float)Math.Sqrt(1 - alpha), signalBefore = (float)Math.Sqrt(before), sigmaBefore = (float)Math.Sqrt(1 - before), clip = config.ClipSample ? (float)config.ClipSampleRange : float.PositiveInfinity;
        for (int i = 0; i < sample.Length; i++)
        {
            float x = sample[i], output = modelOutput[i], clean = config.PredictionType switch
            {
                PredictionType.Epsilon => (x - sigma * output) / signal,
                PredictionType.VPrediction => signal * x - sigma * output,
                _ => output,
            };
            float denoised = pass * Math.Clamp(clean, -clip, clip) + skip * x;
            sample[i] = NeedsNoise(evaluation) ? signalBefore * denoised + sigmaBefore * noise[i] : denoised;
        }
    }
}
