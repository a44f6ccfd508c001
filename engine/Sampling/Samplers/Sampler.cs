using System.Globalization;
using AfaNative.Engine.Core;

namespace AfaNative.Engine.Sampling.Samplers;

/// <summary>
/// Goes from noise to latents, one evaluation of the denoiser after another. A sampler holds the history its method needs, so it
/// serves one run. What each computes is checked step by step against the
/// scheduler of the same name in diffusers 0.31.
/// </summary>
public abstract class Sampler
{
    /// <summary>A sampler over a schedule.</summary>
    /// <exception cref="AfaException">The number of steps does not fit the schedule.</exception>
    protected Sampler(NoiseSchedule schedule, int steps)
    {
        ArgumentNullException.ThrowIfNull(schedule);
        int trained = schedule.Config.NumTrainTimesteps;
        if (steps < 1 || steps > trained)
            throw new AfaException($"Expected 1 to {trained} sampling steps, the number of training steps, but {steps} came.");
        Schedule = schedule;
        Steps = steps;
    }

    /// <summary>The training schedule.</summary>
    protected NoiseSchedule Schedule { get; }

    /// <summary>What outputs stand for in samples signal * clean + sigma * noise.</summary>
    protected Prediction Prediction(float signal, float sigma) =>
        Sampling.Prediction.Of(Schedule.Config.PredictionType, signal, sigma);

    /// <summary>Steps asked for; some methods evaluate more often.</summary>
    protected int Steps { get; }

    /// <summary>Pictures in a sample, each of which thresholding bounds by itself.</summary>
    public int Pictures { get; set; } = 1;

    /// <summary>The training step of every evaluation, noisiest first; may lie between two.</summary>
    public abstract IReadOnlyList<double> Timesteps { get; }

    /// <summary>The training step of an evaluation, also where the network is told something else.</summary>
    public virtual double TrainingStep(int evaluation) => Timesteps[evaluation];

    /// <summary>Whether it bounds the clean sample where the schedule asks for thresholding.</summary>
    public virtual bool Thresholds => true;

    /// <summary>Standard deviation of the noise sampling starts from.</summary>
    public virtual float InitNoiseSigma => 1f;

    /// <summary>Whether the step after an evaluation adds fresh noise.</summary>
    public virtual bool NeedsNoise(int evaluation) => false;

    /// <summary>
    /// The evaluation that step <paramref name="step"/> (from 0) starts with, for a run that leaves out the steps before it.
    /// </summary>
    public virtual int Begin(int step) => step;

    /// <summary>A picture's latents with as much noise as evaluation <paramref name="evaluation"/> expects.</summary>
    public virtual void AddNoise(int evaluation, ReadOnlySpan<float> clean, ReadOnlySpan<float> noise, Span<float> noisy) =>
        Schedule.AddNoise(clean, noise, (int)Math.Round(Timesteps[evaluation]), noisy);

    /// <summary>What the denoiser is shown of a sample.</summary>
    public virtual void ScaleInput(int evaluation, ReadOnlySpan<float> sample, Span<float> input) => sample.CopyTo(input);

    /// <summary>
    /// Takes the sample on. <paramref name="noise"/> is standard normal where <see cref="NeedsNoise"/>, else not looked at.
    /// </summary>
    public abstract void Step(int evaluation, ReadOnlySpan<float> modelOutput, ReadOnlySpan<float> noise, Span<float> sample);

    /// <summary>An eta from 0 to 1.</summary>
    /// <exception cref="AfaException">It is not.</exception>
    protected static double InRange(double eta) =>
        eta is >= 0 and <= 1
            ? eta
            : throw new AfaException(
                string.Create(CultureInfo.InvariantCulture, $"Expected an eta from 0 to 1, but {eta} came.")
            );

    /// <summary>Refuses steps out of order of size.</summary>
    protected void Check(int evaluation, ReadOnlySpan<float> modelOutput, ReadOnlySpan<float> noise, ReadOnlySpan<float> sample)
    {
        if ((uint)evaluation >= (uint)Timesteps.Count)
            throw new ArgumentOutOfRangeException(
                nameof(evaluation),
                evaluation,
                $"Expected a step from 0 to {Timesteps.Count - 1}."
            );
        if (modelOutput.Length != sample.Length)
            throw new ArgumentException($"Expected a model output of {sample.Length} elements, but {modelOutput.Length} came.");
        if (NeedsNoise(evaluation) && noise.Length != sample.Length)
            throw new ArgumentException($"Expected noise of {sample.Length} elements, but {noise.Length} came.");
    }

    /// <summary>
    /// The clean samples that outputs stand for, bounded where the schedule asks for thresholding, or else, by methods that do,
    /// for clipping.
    /// </summary>
    protected float[] Clean(Prediction prediction, ReadOnlySpan<float> output, ReadOnlySpan<float> sample, bool clips = false)
    {
        SchedulerConfig config = Schedule.Config;
        var clean = new float[sample.Length];
        for (int i = 0; i < clean.Length; i++)
            clean[i] = prediction.Clean(sample[i], output[i]);
        if (config.Thresholding)
        {
            Threshold(clean);
        }
        else if (clips && config.ClipSample)
        {
            float bound = (float)config.ClipSampleRange;
            for (int i = 0; i < clean.Length; i++)
                clean[i] = Math.Clamp(clean[i], -bound, bound);
        }

        return clean;
    }

    /// <summary>Bounds every picture of a predicted clean sample by a quantile of its own, and divides by the bound.</summary>
    private void Threshold(Span<float> clean)
    {
        SchedulerConfig config = Schedule.Config;
        int each = clean.Length / Pictures;
        for (int from = 0; from < clean.Length; from += each)
        {
            Span<float> one = clean.Slice(from, each);
            var sorted = new float[each];
            for (int i = 0; i < each; i++)
                sorted[i] = Math.Abs(one[i]);
            Array.Sort(sorted);
            double at = config.ThresholdingRatio * (each - 1);
            int low = (int)at,
                high = Math.Min(low + 1, each - 1);
            double quantile = sorted[low] + (at - low) * (sorted[high] - sorted[low]);
            float bound = (float)Math.Min(Math.Max(quantile, 1), config.SampleMaxValue);
            for (int i = 0; i < each; i++)
                one[i] = Math.Clamp(one[i], -bound, bound) / bound;
        }
    }

    /// <summary>
    /// Whole training steps, spread as the schedule's file says or, where it says nothing, as is usual for the method. A single
    /// step starts at the last training step however they are spread; diffusers starts it at the first one where not "trailing",
    /// and draws noise.
    /// </summary>
    protected int[] Spread(TimestepSpacing usual)
    {
        SchedulerConfig config = Schedule.Config;
        int trained = config.NumTrainTimesteps,
            n = Steps;
        if (n == 1)
            return [trained - 1];
        int[] timesteps =
        [
            .. Enumerable
                .Range(0, n)
                .Select(k =>
                    (config.StatesSpacing ? config.TimestepSpacing : usual) switch
                    {
                        TimestepSpacing.Leading => (n - 1 - k) * (trained / n) + config.StepsOffset,
                        TimestepSpacing.Linspace => (int)Math.Round((n - 1 - k) * ((trained - 1) / (double)(n - 1))),
                        _ => (int)Math.Round(trained - k * (trained / (double)n)) - 1,
                    }
                ),
        ];
        if (timesteps[0] >= trained)
        {
            throw new AfaException(
                $"{n} steps, moved on by the schedule's steps_offset of {config.StepsOffset}, start at training step "
                    + $"{timesteps[0]}, the model has 0 to {trained - 1}: {n - 1} steps are enough."
            );
        }

        return timesteps;
    }
}
