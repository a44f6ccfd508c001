namespace AfaNative.Engine.Sampling.Samplers;

/// <summary>
/// What the methods of k-diffusion share: samples x = clean + sigma * noise, shown to the denoiser divided by sqrt(sigma^2 + 1).
/// </summary>
public abstract class SigmaSampler : Sampler
{
    private readonly double[] _timesteps,
        _trainingSteps;
    private readonly bool _fromTop;

    /// <summary>
    /// Spreads the noise levels; <paramref name="twice"/> evaluates twice at all but the first. A single step starts at the
    /// highest level, however they are spread; diffusers starts it at the lowest one where steps are spread evenly ("linspace",
    /// these methods' default).
    /// </summary>
    protected SigmaSampler(NoiseSchedule schedule, int steps, SamplerSettings? settings, bool twice = false)
        : base(schedule, steps)
    {
        settings ??= new SamplerSettings();
        SchedulerConfig config = schedule.Config;
        double[] trained = SigmaSchedule.Trained(schedule);
        TimestepSpacing spacing = config.StatesSpacing ? config.TimestepSpacing : TimestepSpacing.Linspace;
        int last = config.NumTrainTimesteps - 1;
        double[] timesteps =
            spacing == TimestepSpacing.Linspace && steps > 1
                ? [.. Enumerable.Range(0, steps).Select(k => (double)(float)((steps - 1 - k) * (last / (double)(steps - 1))))]
                : [.. Spread(spacing).Select(t => (double)t)];
        double[] sigmas = [.. timesteps.Select(t => SigmaSchedule.At(trained, t))];
        double end = settings.EndsAtLeast ? trained[0] : 0;
        if (settings.LogLinear)
            sigmas = SigmaSchedule.Exponential(trained[0], trained[^1], steps + 1);
        if (settings.LogLinear && settings.Levels == NoiseLevels.Trained)
        {
            // One more than steps, so that the last step ends at the lowest level and not at none.
            (end, sigmas) = (sigmas[^1], sigmas[..^1]);
        }
        else if (settings.Levels != NoiseLevels.Trained)
        {
            sigmas = settings.Levels.Spread(settings.SigmaMin ?? sigmas[^1], settings.SigmaMax ?? sigmas[0], steps);
            timesteps = [.. sigmas.Select(s => (double)(float)SigmaSchedule.TimestepOf(trained, s))];
        }

        _fromTop = spacing != TimestepSpacing.Leading;
        Sigmas = [.. sigmas, end];
        if (twice)
        {
            Sigmas = [Sigmas[0], .. Sigmas[1..^1].SelectMany(s => (double[])[s, s]), end];
            timesteps = [timesteps[0], .. timesteps[1..].SelectMany(t => (double[])[t, t])];
        }

        _trainingSteps = timesteps;
        bool continuous = settings.Continuous && config.PredictionType == PredictionType.VPrediction;
        _timesteps = continuous ? [.. Sigmas.Take(timesteps.Length).Select(s => (double)(float)(0.25 * Math.Log(s)))] : timesteps;
    }

    /// <summary>The noise level of every evaluation, and what is left at the end: as a rule 0.</summary>
    protected double[] Sigmas { get; }

    /// <inheritdoc/>
    public override IReadOnlyList<double> Timesteps => _timesteps;

    /// <inheritdoc/>
    public override double TrainingStep(int evaluation) => _trainingSteps[evaluation];

    /// <inheritdoc/>
    public override bool Thresholds => false;

    /// <inheritdoc/>
    public override float InitNoiseSigma => (float)(_fromTop ? Sigmas.Max() : Math.Sqrt(Sigmas.Max() * Sigmas.Max() + 1));

    /// <inheritdoc/>
    public override void AddNoise(int evaluation, ReadOnlySpan<float> clean, ReadOnlySpan<float> noise, Span<float> noisy)
    {
        float sigma = (float)Sigmas[evaluation];
        for (int i = 0; i < noisy.Length; i++)
            noisy[i] = clean[i] + sigma * noise[i];
    }

    /// <inheritdoc/>
    public override void ScaleInput(int evaluation, ReadOnlySpan<float> sample, Span<float> input)
    {
        float divisor = (float)Math.Sqrt(Sigmas[evaluation] * Sigmas[evaluation] + 1);
        for (int i = 0; i < input.Length; i++)
            input[i] = sample[i] / divisor;
    }

    /// <summary>The slope d = (x - clean) / sigma at a noise level, which is the noise.</summary>
    protected void Slope(double sigma, ReadOnlySpan<float> output, ReadOnlySpan<float> sample, Span<float> slope)
    {
        var prediction = Sampling.Prediction.OfUnscaled(Schedule.Config.PredictionType, sigma);
        for (int i = 0; i < slope.Length; i++)
            slope[i] = prediction.Noise(sample[i], output[i]);
    }
}

/// <summary>Euler's method on the probability flow (Karras et al. 2022, algorithm 2 without churn).</summary>
public sealed class EulerSampler(NoiseSchedule schedule, int steps, SamplerSettings? settings = null)
    : SigmaSampler(schedule, steps, settings)
{
    /// <inheritdoc/>
    public override void Step(int evaluation, ReadOnlySpan<float> modelOutput, ReadOnlySpan<float> noise, Span<float> sample)
    {
        Check(evaluation, modelOutput, noise, sample);
        var slope = new float[sample.Length];
        Slope(Sigmas[evaluation], modelOutput, sample, slope);
        float step = (float)(Sigmas[evaluation + 1] - Sigmas[evaluation]);
        for (int i = 0; i < slope.Length; i++)
            sample[i] += slope[i] * step;
    }
}

/// <summary>
/// Euler's method with part of the noise renewed at every step (k-diffusion's ancestral sampling): <paramref name="eta"/> of as
/// much as keeps the noise's variance right. With 1 it is diffusers' method, with 0 Euler's.
/// </summary>
public sealed class EulerAncestralSampler(NoiseSchedule schedule, int steps, SamplerSettings? settings = null, double eta = 1)
    : SigmaSampler(schedule, steps, settings)
{
    private readonly double _eta = InRange(eta);

    /// <inheritdoc/>
    public override bool NeedsNoise(int evaluation) => _eta > 0;

    /// <inheritdoc/>
    public override void Step(int evaluation, ReadOnlySpan<float> modelOutput, ReadOnlySpan<float> noise, Span<float> sample)
    {
        Check(evaluation, modelOutput, noise, sample);
        double from = Sigmas[evaluation],
            to = Sigmas[evaluation + 1],
            all = Math.Sqrt(to * to * (from * from - to * to) / (from * from));
        double up = Math.Min(to, _eta * all),
            down = Math.Sqrt(to * to - up * up);
        var slope = new float[sample.Length];
        Slope(from, modelOutput, sample, slope);
        float step = (float)(down - from),
            renewed = (float)up;
        if (_eta == 0)
        {
            for (int i = 0; i < slope.Length; i++)
                sample[i] += slope[i] * step;
            return;
        }

        for (int i = 0; i < slope.Length; i++)
            sample[i] += slope[i] * step + noise[i] * renewed;
    }
}

/// <summary>
/// Heun's method: a step of Euler's, then again with the mean of the slopes at both ends (Karras et al. 2022, algorithm 2); two
/// evaluations a step but the last.
/// </summary>
public sealed class HeunSampler(NoiseSchedule schedule, int steps, SamplerSettings? settings = null)
    : SigmaSampler(schedule, steps, settings, twice: true)
{
    private float[]? _slope,
        _start;

    /// <inheritdoc/>
    public override int Begin(int step) => 2 * step;

    /// <inheritdoc/>
    public override void Step(int evaluation, ReadOnlySpan<float> modelOutput, ReadOnlySpan<float> noise, Span<float> sample)
    {
        Check(evaluation, modelOutput, noise, sample);
        var slope = new float[sample.Length];
        Slope(Sigmas[evaluation], modelOutput, sample, slope);
        if (evaluation % 2 == 0)
        {
            float step = (float)(Sigmas[evaluation + 1] - Sigmas[evaluation]);
            (_slope, _start) = (slope, sample.ToArray());
            for (int i = 0; i < slope.Length; i++)
                sample[i] += slope[i] * step;
        }
        else
        {
            float step = (float)(Sigmas[evaluation] - Sigmas[evaluation - 1]);
            for (int i = 0; i < slope.Length; i++)
                sample[i] = _start![i] + (_slope![i] + slope[i]) / 2 * step;
        }
    }
}

/// <summary>Linear multistep (Adams-Bashforth of up to fourth order on the uneven noise levels, as k-diffusion has it).</summary>
public sealed class LmsSampler(NoiseSchedule schedule, int steps, SamplerSettings? settings = null)
    : SigmaSampler(schedule, steps, settings)
{
    private const int MaxOrder = 4;
    private readonly List<float[]> _slopes = [];

    /// <inheritdoc/>
    public override void Step(int evaluation, ReadOnlySpan<float> modelOutput, ReadOnlySpan<float> noise, Span<float> sample)
    {
        Check(evaluation, modelOutput, noise, sample);
        var slope = new float[sample.Length];
        Slope(Sigmas[evaluation], modelOutput, sample, slope);
        _slopes.Insert(0, slope);
        if (_slopes.Count > MaxOrder)
            _slopes.RemoveAt(MaxOrder);
        for (int j = 0; j < _slopes.Count; j++)
        {
            float weight = (float)Coefficient(evaluation, j);
            for (int i = 0; i < sample.Length; i++)
                sample[i] += weight * _slopes[j][i];
        }
    }

    // The integral of a Lagrange polynomial from this noise level to the next; of degree 3 at most, so two points of Gauss and
    // Legendre are exact.
    private double Coefficient(int evaluation, int j)
    {
        double from = Sigmas[evaluation],
            to = Sigmas[evaluation + 1],
            middle = (from + to) / 2,
            half = (to - from) / 2,
            offset = half / Math.Sqrt(3);
        return half * (Basis(middle - offset) + Basis(middle + offset));

        double Basis(double tau)
        {
            double product = 1;
            for (int k = 0; k < _slopes.Count; k++)
            {
                if (k != j)
                    product *= (tau - Sigmas[evaluation - k]) / (Sigmas[evaluation - j] - Sigmas[evaluation - k]);
            }

            return product;
        }
    }
}
