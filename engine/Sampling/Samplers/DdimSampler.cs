namespace AfaNative.Engine.Sampling.Samplers;

/// <summary>
/// DDIM (Song et al. 2020): deterministic with eta 0, and as noisy as ancestral sampling with eta 1. It runs on float32
/// latents in place.
/// </summary>
public sealed class DdimSampler : Sampler
{
    private readonly int[] _timesteps;
    private readonly double _eta;

    /// <summary>A sampler of <paramref name="steps"/> steps over a schedule.</summary>
    public DdimSampler(NoiseSchedule schedule, int steps, double eta)
        : base(schedule, steps)
    {
        _eta = InRange(eta);
        _timesteps = Spread(TimestepSpacing.Leading);
    }

    /// <inheritdoc/>
    public override IReadOnlyList<double> Timesteps => [.. _timesteps.Select(t => (double)t)];

    /// <inheritdoc/>
    public override bool NeedsNoise(int evaluation) => _eta > 0;

    /// <inheritdoc/>
    public override void Step(int evaluation, ReadOnlySpan<float> modelOutput, ReadOnlySpan<float> noise, Span<float> sample)
    {
        Check(evaluation, modelOutput, noise, sample);
        int timestep = _timesteps[evaluation];
        int previous = timestep - Schedule.Config.NumTrainTimesteps / _timesteps.Length;
        float alpha = Schedule.AlphasCumprod[timestep];
        float alphaPrevious = previous >= 0 ? Schedule.AlphasCumprod[previous] : Schedule.FinalAlphaCumprod;
        float beta = 1f - alpha;
        float variance = (1f - alphaPrevious) / beta * (1f - alpha / alphaPrevious);
        float deviation = (float)_eta * MathF.Sqrt(MathF.Max(variance, 0f));
        float signal = MathF.Sqrt(alpha);
        float sigma = MathF.Sqrt(beta);
        float signalPrevious = MathF.Sqrt(alphaPrevious);
        float direction = MathF.Sqrt(MathF.Max(1f - alphaPrevious - deviation * deviation, 0f));
        Prediction prediction = Prediction(signal, sigma);
        float[] clean = Clean(prediction, modelOutput, sample, clips: true);
        for (int i = 0; i < sample.Length; i++)
        {
            float x = sample[i];
            float next = signalPrevious * clean[i] + direction * prediction.Noise(x, modelOutput[i]);
            sample[i] = deviation > 0f ? next + deviation * noise[i] : next;
        }
    }
}
