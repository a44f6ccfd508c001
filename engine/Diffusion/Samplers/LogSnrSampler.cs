namespace AfaNative.Engine.Diffusion.Samplers;

/// <summary>What DPM-Solver and UniPC share: they solve in the half log signal-to-noise ratio lambda, where the linear part of the flow is exact, and predict the clean sample.</summary>
public abstract class LogSnrSampler : Sampler
{
    private readonly double[] _timesteps;

    /// <summary>Spreads the noise levels.</summary>
    protected LogSnrSampler(NoiseSchedule schedule, int steps, bool karras) : base(schedule, steps)
    {
        SchedulerConfig config = schedule.Config;
        int trained = config.NumTrainTimesteps;
        double[] all = SigmaSchedule.Trained(schedule);
        if (karras)
        {
            Sigmas = [.. SigmaSchedule.Karras(all[0], all[^1], steps), 0];
            _timesteps = [.. Sigmas[..^1].Select(s => Math.Round(SigmaSchedule.TimestepOf(all, s)))];
            return;
        }

        // One step more than asked for, whose last is left out: sampling ends at noise 0, not at the first training step.
        _timesteps = (config.StatesSpacing ? config.TimestepSpacing : TimestepSpacing.Linspace) switch
        {
            TimestepSpacing.Linspace => [.. Enumerable.Range(0, steps).Select(k => Math.Round((steps - k) * ((trained - 1) / (double)steps)))],
            TimestepSpacing.Leading => [.. Enumerable.Range(0, steps).Select(k => (double)((steps - k) * (trained / (steps + 1)) + config.StepsOffset))],
            _ => [.. Spread(TimestepSpacing.Trailing).Select(t => (double)t)],
        };
        Sigmas = [.. _timesteps.Select(t => SigmaSchedule.At(all, t)), 0];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<double> Timesteps => _timesteps;

    /// <summary>The noise level of every evaluation, and 0 at the end.</summary>
    protected double[] Sigmas { get; }

    /// <inheritdoc/>
    public override void AddNoise(int evaluation, ReadOnlySpan<float> clean, ReadOnlySpan<float> noise, Span<float> noisy)
    {
        float signal = (float)Signal(Sigmas[evaluation]), share = (float)Noise(Sigmas[evaluation]);
        for (int i = 0; i < noisy.Length; i++) noisy[i] = signal * clean[i] + share * noise[i];
    }

    /// <summary>Share of the clean sample at a noise level.</summary>
    protected static double Signal(double sigma) => 1 / Math.Sqrt(sigma * sigma + 1);

    /// <summary>Share of the noise at a noise level.</summary>
    protected static double Noise(double sigma) => sigma * Signal(sigma);

    /// <summary>lambda = log(signal / noise); infinite at noise 0.</summary>
    protected static double Lambda(double sigma) => -Math.Log(sigma);

    /// <summary>The clean sample a model's output stands for.</summary>
    protected float[] Clean(double sigma, ReadOnlySpan<float> output, ReadOnlySpan<float> sample)
    {
        float signal = (float)Signal(sigma), noise = (float)Noise(sigma);
        var clean = new float[sample.Length];
        for (int i = 0; i < clean.Length; i++)
        {
            clean[i] = Schedule.Config.PredictionType switch
            {
                PredictionType.Epsilon => (sample[i] - noise * output[i]) / signal,
                PredictionType.VPrediction => signal * sample[i] - noise * output[i],
                _ => output[i],
            };
        }

        return clean;
    }
}

/// <summary>DPM-Solver++ 2M (Lu et al., DPM-Solver++: fast solver for guided sampling, 2022, algorithm 2), and its stochastic variant.</summary>
public sealed class DpmSolverSampler(NoiseSchedule schedule, int steps, bool karras, bool stochastic) : LogSnrSampler(schedule, steps, karras)
{
    private float[]? _before;

    /// <inheritdoc/>
    public override bool NeedsNoise(int evaluation) => stochastic;

    /// <inheritdoc/>
    public override void Step(int evaluation, ReadOnlySpan<float> modelOutput, ReadOnlySpan<float> noise, Span<float> sample)
    {
        Check(evaluation, modelOutput, noise, sample);
        double now = Sigmas[evaluation], next = Sigmas[evaluation + 1];
        float[] clean = Clean(now, modelOutput, sample);
        // The last step is of first order: lambda ends at infinity.
        double h = Lambda(next) - Lambda(now), decay = next > 0 ? Math.Exp(-h) : 0;
        bool second = _before is not null && next > 0;
        float ofSample = (float)(Noise(next) / Noise(now) * (stochastic ? decay : 1)), ofClean = (float)(Signal(next) * (stochastic ? 1 - decay * decay : 1 - decay));
        float ofNoise = stochastic ? (float)(Noise(next) * Math.Sqrt(1 - decay * decay)) : 0, slope = second ? (float)(h / (Lambda(now) - Lambda(Sigmas[evaluation - 1])) / 2) : 0;
        for (int i = 0; i < clean.Length; i++)
        {
            float value = ofSample * sample[i] + ofClean * clean[i];
            if (second) value += ofClean * slope * (clean[i] - _before![i]);
            sample[i] = stochastic ? value + ofNoise * noise[i] : value;
        }

        _before = clean;
    }
}

/// <summary>UniPC of second order with B(h) = e^h - 1 (Zhao et al., UniPC: a unified predictor-corrector framework, 2023): every evaluation first corrects the sample it was made at.</summary>
public sealed class UniPcSampler(NoiseSchedule schedule, int steps, bool karras) : LogSnrSampler(schedule, steps, karras)
{
    private const int MaxOrder = 2;
    private readonly List<float[]> _history = [];
    private float[]? _last;
    private int _order;

    /// <inheritdoc/>
    public override void Step(int evaluation, ReadOnlySpan<float> modelOutput, ReadOnlySpan<float> noise, Span<float> sample)
    {
        Check(evaluation, modelOutput, noise, sample);
        float[] clean = Clean(Sigmas[evaluation], modelOutput, sample);
        if (_last is not null) Correct(evaluation, clean, sample);
        _history.Insert(0, clean);
        if (_history.Count > MaxOrder) _history.RemoveAt(MaxOrder);
        _order = Math.Min(Math.Min(MaxOrder, Steps - evaluation), _history.Count);
        _last = sample.ToArray();
        double now = Sigmas[evaluation], next = Sigmas[evaluation + 1], h = Lambda(next) - Lambda(now), growth = next > 0 ? -Expm1(-h) : 1;
        float ofSample = (float)(Noise(next) / Noise(now)), ofClean = (float)(Signal(next) * growth);
        // The slope between the last two predictions, to the middle of the step.
        float slope = _order == 2 ? (float)(0.5 * h / (Lambda(now) - Lambda(Sigmas[evaluation - 1]))) : 0;
        for (int i = 0; i < sample.Length; i++)
        {
            sample[i] = ofSample * sample[i] + ofClean * clean[i];
            if (_order == 2) sample[i] += ofClean * slope * (clean[i] - _history[1][i]);
        }
    }

    private void Correct(int evaluation, float[] clean, Span<float> sample)
    {
        double from = Sigmas[evaluation - 1], to = Sigmas[evaluation], h = Lambda(to) - Lambda(from), hh = -h, phi1 = Expm1(hh), b = phi1;
        // Equation 8: R rho = b for the weights of the earlier slope and of this one.
        double first = (phi1 / hh - 1) / b, second = ((phi1 / hh - 1) / hh - 0.5) * 2 / b, rk = _order == 2 ? (Lambda(Sigmas[evaluation - 2]) - Lambda(from)) / h : 0;
        double ofNew = _order == 1 ? 0.5 : (second - rk * first) / (1 - rk), ofOld = _order == 1 ? 0 : first - ofNew;
        float[] before = _history[0];
        float ofSample = (float)(Noise(to) / Noise(from)), ofClean = (float)(-Signal(to) * phi1), scale = (float)(Signal(to) * b), older = _order == 2 ? (float)(ofOld / rk) : 0, newer = (float)ofNew;
        for (int i = 0; i < sample.Length; i++)
        {
            float slopes = newer * (clean[i] - before[i]);
            if (_order == 2) slopes += older * (_history[1][i] - before[i]);
            sample[i] = ofSample * _last![i] + ofClean * before[i] - scale * slopes;
        }
    }

    // e^x - 1 without losing digits near 0.
    private static double Expm1(double x) => Math.Abs(x) < 1e-5 ? x + x * x / 2 : Math.Exp(x) - 1;
}
