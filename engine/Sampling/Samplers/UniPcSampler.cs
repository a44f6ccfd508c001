namespace AfaNative.Engine.Sampling.Samplers;

/// <summary>
/// UniPC of second order with B(h) = e^h - 1 (Zhao et al., UniPC: a unified predictor-corrector framework, 2023): every
/// evaluation first corrects the sample it was made at.
/// </summary>
public sealed class UniPcSampler(NoiseSchedule schedule, int steps, SamplerSettings? settings = null)
    : LogSnrSampler(schedule, steps, settings)
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
        if (_last is not null)
            Correct(evaluation, clean, sample);
        _history.Insert(0, clean);
        if (_history.Count > MaxOrder)
            _history.RemoveAt(MaxOrder);
        _order = Math.Min(Math.Min(MaxOrder, Steps - evaluation), _history.Count);
        _last = sample.ToArray();
        double now = Sigmas[evaluation],
            next = Sigmas[evaluation + 1],
            h = Lambda(next) - Lambda(now),
            growth = next > 0 ? -Expm1(-h) : 1;
        float ofSample = (float)(Noise(next) / Noise(now)),
            ofClean = (float)(Signal(next) * growth);
        // The slope between the last two predictions, to the middle of the step.
        float slope = _order == 2 ? (float)(0.5 * h / (Lambda(now) - Lambda(Sigmas[evaluation - 1]))) : 0;
        for (int i = 0; i < sample.Length; i++)
        {
            sample[i] = ofSample * sample[i] + ofClean * clean[i];
            if (_order == 2)
                sample[i] += ofClean * slope * (clean[i] - _history[1][i]);
        }
    }

    private void Correct(int evaluation, float[] clean, Span<float> sample)
    {
        double from = Sigmas[evaluation - 1],
            to = Sigmas[evaluation],
            h = Lambda(to) - Lambda(from),
            hh = -h,
            phi1 = Expm1(hh),
            b = phi1;
        // Equation 8: R rho = b for the weights of the earlier slope and of this one.
        double first = (phi1 / hh - 1) / b,
            second = ((phi1 / hh - 1) / hh - 0.5) * 2 / b,
            rk = _order == 2 ? (Lambda(Sigmas[evaluation - 2]) - Lambda(from)) / h : 0;
        double ofNew = _order == 1 ? 0.5 : (second - rk * first) / (1 - rk),
            ofOld = _order == 1 ? 0 : first - ofNew;
        float[] before = _history[0];
        float ofSample = (float)(Noise(to) / Noise(from)),
            ofClean = (float)(-Signal(to) * phi1),
            scale = (float)(Signal(to) * b),
            older = _order == 2 ? (float)(ofOld / rk) : 0,
            newer = (float)ofNew;
        for (int i = 0; i < sample.Length; i++)
        {
            float slopes = newer * (clean[i] - before[i]);
            if (_order == 2)
                slopes += older * (_history[1][i] - before[i]);
            sample[i] = ofSample * _last![i] + ofClean * before[i] - scale * slopes;
        }
    }
}

/// <summary>
/// UniPC in all its settings: orders 1 to 3, B(h) = h or e^h - 1, of the clean sample or of the noise, with steps that are not
/// corrected. The step to noise 0 is of first order whatever is asked: its h has no end, and diffusers computes no number there.
/// </summary>
public sealed class UniPcVariantSampler : LogSnrSampler
{
    private readonly SamplerSettings _settings;

    // The latest prediction first.
    private readonly List<float[]> _history = [];
    private float[]? _last;
    private int _order;

    /// <summary>A sampler over a schedule.</summary>
    public UniPcVariantSampler(NoiseSchedule schedule, int steps, SamplerSettings settings)
        : base(schedule, steps, settings)
    {
        ArgumentNullException.ThrowIfNull(settings);
        _settings = settings;
    }

    /// <inheritdoc/>
    public override void Step(int evaluation, ReadOnlySpan<float> modelOutput, ReadOnlySpan<float> noise, Span<float> sample)
    {
        Check(evaluation, modelOutput, noise, sample);
        double now = Sigmas[evaluation],
            next = Sigmas[evaluation + 1];
        float[] predicted = _settings.PredictClean ? Clean(now, modelOutput, sample) : Epsilon(now, modelOutput, sample);
        if (_last is not null && !_settings.Uncorrected(evaluation - 1))
            Advance(Sigmas[evaluation - 1], now, evaluation - 1, predicted, sample);
        _history.Insert(0, predicted);
        if (_history.Count > _settings.Order)
            _history.RemoveAt(_settings.Order);
        _order =
            next == 0
                ? 1
                : Math.Min(
                    _settings.LowerOrderFinal ? Math.Min(_settings.Order, Steps - evaluation) : _settings.Order,
                    _history.Count
                );
        _last = sample.ToArray();
        Advance(now, next, evaluation, null, sample);
    }

    // From one noise level to the next; with the prediction made there the step is corrected.
    private void Advance(double from, double to, int evaluation, float[]? there, Span<float> sample)
    {
        if (from == to)
            return;
        double h = Lambda(to) - Lambda(from),
            hh = _settings.PredictClean ? -h : h,
            phi1 = Expm1(hh),
            b = _settings.PlainB ? hh : phi1;
        int slopes = _order - (there is null ? 1 : 0);
        var nodes = new double[_order];
        for (int i = 1; i < _order; i++)
            nodes[i - 1] = (Lambda(Sigmas[evaluation - i]) - Lambda(from)) / h;
        nodes[_order - 1] = 1;
        double[] weights =
            slopes == 0 ? []
            : slopes == 1 ? [0.5]
            : Weights(nodes, slopes, hh, phi1, b);
        bool clean = _settings.PredictClean;
        float ofSample = (float)(clean ? Noise(to) / Noise(from) : Signal(to) / Signal(from)),
            ofNow = (float)(-(clean ? Signal(to) : Noise(to)) * phi1);
        float scale = slopes == 0 ? 0 : (float)((clean ? Signal(to) : Noise(to)) * b);
        float[] now = _history[0],
            last = _last!;
        var ofSlopes = new float[slopes];
        for (int k = 0; k < slopes; k++)
            ofSlopes[k] = (float)(weights[k] / nodes[k]);
        for (int i = 0; i < sample.Length; i++)
        {
            float sum = 0;
            for (int k = 0; k < slopes; k++)
                sum += ofSlopes[k] * ((k == _order - 1 ? there! : _history[k + 1])[i] - now[i]);
            sample[i] = ofSample * last[i] + ofNow * now[i] - scale * sum;
        }
    }

    // Equation 8: R rho = b, the leading part of it for a prediction.
    private static double[] Weights(double[] nodes, int count, double hh, double phi1, double scale)
    {
        var system = new double[count, count + 1];
        double phi = phi1 / hh - 1,
            factorial = 1;
        for (int row = 0; row < count; row++)
        {
            for (int column = 0; column < count; column++)
                system[row, column] = Math.Pow(nodes[column], row);
            system[row, count] = phi * factorial / scale;
            factorial *= row + 2;
            phi = phi / hh - 1 / factorial;
        }

        return LinearSystem.Solve(system);
    }
}

/// <summary>Small systems of linear equations.</summary>
internal static class LinearSystem
{
    /// <summary>The solution of n equations, each n coefficients and a right side, by Gauss and Jordan with pivots.</summary>
    public static double[] Solve(double[,] system)
    {
        int n = system.GetLength(0);
        for (int i = 0; i < n; i++)
        {
            int pivot = i;
            for (int row = i + 1; row < n; row++)
            {
                if (Math.Abs(system[row, i]) > Math.Abs(system[pivot, i]))
                    pivot = row;
            }

            for (int column = 0; column <= n; column++)
                (system[i, column], system[pivot, column]) = (system[pivot, column], system[i, column]);
            for (int row = 0; row < n; row++)
            {
                double share = row == i ? 0 : system[row, i] / system[i, i];
                for (int column = i; column <= n; column++)
                    system[row, column] -= share * system[i, column];
            }
        }

        return [.. Enumerable.Range(0, n).Select(i => system[i, n] / system[i, i])];
    }
}
