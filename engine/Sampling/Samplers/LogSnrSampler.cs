using AfaNative.Engine.Core;

namespace AfaNative.Engine.Sampling.Samplers;

/// <summary>
/// What DPM-Solver and UniPC share: they solve in the half log signal-to-noise ratio lambda, where the linear part of the flow is
/// exact, and predict the clean sample, or the noise.
/// </summary>
public abstract class LogSnrSampler : Sampler
{
    private readonly double[] _timesteps;

    /// <summary>Spreads the noise levels. A single step starts at the last training step, however they are spread.</summary>
    protected LogSnrSampler(NoiseSchedule schedule, int steps, SamplerSettings? settings)
        : base(schedule, steps)
    {
        settings ??= new SamplerSettings();
        SchedulerConfig config = schedule.Config;
        double[] all = SigmaSchedule.Trained(schedule);
        // Training steps that count: of these methods' cosine schedules the last ones hold next to no signal.
        int trained = all.Count(s => Lambda(s) >= settings.LambdaMin);
        if (trained < steps)
            throw new AfaException($"{steps} steps are more than the {trained} training steps that lambda_min_clipped leaves.");
        double end = settings.EndsAtLeast ? all[0] : 0;
        if (settings.Levels != NoiseLevels.Trained)
        {
            double least = settings.SigmaMin ?? all[0];
            double[] spread = settings.Levels.Spread(least, settings.SigmaMax ?? all[^1], steps);
            Sigmas = [.. spread, settings.EndsAtLeast ? least : 0];
            // As in diffusers: rounded to whole steps in these two ways, cut off in the others.
            bool rounded = settings.Levels.WholeSteps && config.BetaSchedule != BetaSchedule.SquaredCosine;
            _timesteps =
            [
                .. spread.Select(s =>
                    rounded ? Math.Round(SigmaSchedule.TimestepOf(all, s)) : SigmaSchedule.WholeTimestepOf(all, s)
                ),
            ];
            return;
        }

        // One step more than asked for, whose last is left out: sampling ends at noise 0, not at the first training step.
        _timesteps = (config.StatesSpacing ? config.TimestepSpacing : TimestepSpacing.Linspace) switch
        {
            _ when steps == 1 => [trained - 1],
            // Rounding would take some twice, which leaves these methods nothing to divide by.
            _ when steps == trained => [.. Enumerable.Range(0, steps).Select(k => (double)(trained - 1 - k))],
            TimestepSpacing.Linspace =>
            [
                .. Enumerable.Range(0, steps).Select(k => Math.Round((steps - k) * ((trained - 1) / (double)steps))),
            ],
            TimestepSpacing.Leading =>
            [
                .. Enumerable.Range(0, steps).Select(k => (double)((steps - k) * (trained / (steps + 1)) + config.StepsOffset)),
            ],
            _ => [.. Spread(TimestepSpacing.Trailing).Select(t => (double)Math.Min(t, trained - 1))],
        };
        Sigmas = [.. _timesteps.Select(t => SigmaSchedule.At(all, t)), end];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<double> Timesteps => _timesteps;

    /// <summary>The noise level of every evaluation, and what is left at the end: as a rule 0.</summary>
    protected double[] Sigmas { get; }

    /// <inheritdoc/>
    public override void AddNoise(int evaluation, ReadOnlySpan<float> clean, ReadOnlySpan<float> noise, Span<float> noisy)
    {
        float signal = (float)Signal(Sigmas[evaluation]),
            share = (float)Noise(Sigmas[evaluation]);
        for (int i = 0; i < noisy.Length; i++)
            noisy[i] = signal * clean[i] + share * noise[i];
    }

    /// <summary>Share of the clean sample at a noise level.</summary>
    protected static double Signal(double sigma) => 1 / Math.Sqrt(sigma * sigma + 1);

    /// <summary>Share of the noise at a noise level.</summary>
    protected static double Noise(double sigma) => sigma * Signal(sigma);

    /// <summary>lambda = log(signal / noise); infinite at noise 0.</summary>
    protected static double Lambda(double sigma) => -Math.Log(sigma);

    /// <summary>The clean sample a model's output stands for.</summary>
    protected float[] Clean(double sigma, ReadOnlySpan<float> output, ReadOnlySpan<float> sample) =>
        Clean(Prediction(sigma), output, sample);

    /// <summary>The noise a model's output stands for; with thresholding, what a bounded clean sample leaves.</summary>
    protected float[] Epsilon(double sigma, ReadOnlySpan<float> output, ReadOnlySpan<float> sample)
    {
        Prediction prediction = Prediction(sigma);
        float[]? clean = Schedule.Config.Thresholding ? Clean(prediction, output, sample) : null;
        var epsilon = new float[sample.Length];
        for (int i = 0; i < epsilon.Length; i++)
            epsilon[i] = clean is null ? prediction.Noise(sample[i], output[i]) : prediction.NoiseOf(sample[i], clean[i]);
        return epsilon;
    }

    private Prediction Prediction(double sigma) => Prediction((float)Signal(sigma), (float)Noise(sigma));

    /// <summary>e^x - 1 without losing digits near 0.</summary>
    protected static double Expm1(double x) => Math.Abs(x) < 1e-5 ? x + x * x / 2 : Math.Exp(x) - 1;
}
