namespace AfaNative.Engine.Sampling.Samplers;

/// <summary>
/// Multistep DPM-Solver of orders 1 to 3, of the clean sample (Lu et al., DPM-Solver++, 2022, algorithm 2; the usual one of
/// second order is 2M) or of the noise, and their stochastic variants. <paramref name="eta"/> is how much noise the stochastic
/// variant of the clean sample renews: with 1 all that keeps its variance right, as in diffusers, with 0 none (k-diffusion's
/// eta).
/// </summary>
public sealed class DpmSolverSampler(NoiseSchedule schedule, int steps, SamplerSettings? settings = null, double eta = 1)
    : LogSnrSampler(schedule, steps, settings)
{
    // From this number of steps on, lower orders at the end lose more than they hold (as in diffusers).
    private const int FewSteps = 15;

    private readonly SamplerSettings _settings = settings ?? new SamplerSettings();
    private readonly double _eta = InRange(eta);

    // The latest prediction first.
    private readonly List<float[]> _history = [];

    private bool OfNoise => _settings.Algorithm is DpmAlgorithm.Noise or DpmAlgorithm.StochasticNoise;

    // With an eta of 0 nothing is left of it.
    private bool Renews =>
        _settings.Algorithm == DpmAlgorithm.StochasticNoise
        || (_settings.Algorithm == DpmAlgorithm.StochasticPlusPlus && _eta > 0);

    /// <inheritdoc/>
    public override bool NeedsNoise(int evaluation) => Renews;

    /// <inheritdoc/>
    public override void Step(int evaluation, ReadOnlySpan<float> modelOutput, ReadOnlySpan<float> noise, Span<float> sample)
    {
        Check(evaluation, modelOutput, noise, sample);
        double now = Sigmas[evaluation],
            next = Sigmas[evaluation + 1];
        float[] predicted = OfNoise ? Epsilon(now, modelOutput, sample) : Clean(now, modelOutput, sample);
        _history.Insert(0, predicted);
        if (_history.Count > _settings.Order)
            _history.RemoveAt(_settings.Order);
        // Where a spread ends at its own last level there is nowhere to go.
        if (now == next)
            return;
        Coefficients c = Weigh(evaluation, Order(evaluation, next));
        bool noisy = Renews;
        for (int i = 0; i < predicted.Length; i++)
        {
            float value = c.OfSample * sample[i] + c.OfLatest * predicted[i];
            if (c.Order > 1)
                value += c.OfFirst * (predicted[i] - _history[1][i]);
            if (c.Order > 2)
                value += c.OfSecond * (_history[1][i] - _history[2][i]);
            sample[i] = noisy ? value + c.OfNoise * noise[i] : value;
        }
    }

    // The step to noise 0 is of first order: lambda ends at infinity.
    private int Order(int evaluation, double next)
    {
        int count = Timesteps.Count,
            order = Math.Min(_settings.Order, _history.Count);
        bool few = _settings.LowerOrderFinal && count < FewSteps;
        if (next == 0 || (evaluation == count - 1 && (_settings.EulerAtFinal || few)))
            return 1;
        return evaluation == count - 2 && few ? Math.Min(2, order) : order;
    }

    private readonly record struct Coefficients(
        int Order,
        float OfSample,
        float OfLatest,
        float OfFirst,
        float OfSecond,
        float OfNoise
    );

    private Coefficients Weigh(int evaluation, int order)
    {
        double now = Sigmas[evaluation],
            next = Sigmas[evaluation + 1],
            h = Lambda(next) - Lambda(now);
        double signal = Signal(next),
            noise = Noise(next);
        // What the exact linear part leaves of the sample, gives to the latest prediction, and to fresh noise; its integral
        // against a slope and against a curvature.
        double ofSample,
            ofLatest,
            ofNoise = 0,
            slope = 0,
            curve = 0;
        if (OfNoise)
        {
            double growth = Math.Exp(h) - 1,
                twice = _settings.Algorithm == DpmAlgorithm.StochasticNoise ? 2 : 1;
            ofSample = signal / Signal(now);
            ofLatest = -twice * noise * growth;
            if (twice == 2)
                ofNoise = noise * Math.Sqrt(Math.Exp(2 * h) - 1);
            slope = -twice * noise * (growth / h - 1);
            curve = -noise * ((growth - h) / (h * h) - 0.5);
        }
        else if (_settings.Algorithm == DpmAlgorithm.StochasticPlusPlus && _eta is > 0 and < 1)
        {
            double longer = h * (1 + _eta),
                left = next > 0 ? Math.Exp(-longer) : 0;
            ofSample = next > 0 ? noise / Noise(now) * Math.Exp(-h * _eta) : 0;
            ofLatest = signal * (1 - left);
            ofNoise = next > 0 ? noise * Math.Sqrt(1 - Math.Exp(-2 * _eta * h)) : 0;
            slope = signal * ((1 - left) / -longer + 1);
            curve = signal * ((1 - left - longer) / (longer * longer) - 0.5);
        }
        else
        {
            bool renews = Renews;
            double decay = next > 0 ? Math.Exp(-h) : 0,
                longer = renews ? 2 * h : h,
                left = renews ? decay * decay : decay;
            ofSample = noise / Noise(now) * (renews ? decay : 1);
            ofLatest = signal * (1 - left);
            if (renews)
                ofNoise = noise * Math.Sqrt(1 - decay * decay);
            slope = signal * ((1 - left) / -longer + 1);
            // The slope grows with the step and the curvature with its square, of the clean sample as h falls.
            curve = renews
                ? signal * ((1 - left - longer) / (longer * longer) - 0.5)
                : -signal * ((decay - 1 + h) / (h * h) - 0.5);
        }

        float first = 0,
            second = 0;
        if (order == 2)
        {
            double ratio = h / (Lambda(now) - Lambda(Sigmas[evaluation - 1]));
            first = _settings.Heun ? (float)(slope * ratio) : (float)ofLatest * (float)(ratio / 2);
        }
        else if (order == 3)
        {
            double r0 = (Lambda(now) - Lambda(Sigmas[evaluation - 1])) / h,
                r1 = (Lambda(Sigmas[evaluation - 1]) - Lambda(Sigmas[evaluation - 2])) / h;
            double share = r0 / (r0 + r1),
                bend = curve / (r0 + r1);
            first = (float)((slope * (1 + share) + bend) / r0);
            second = (float)(-(slope * share + bend) / r1);
        }

        return new Coefficients(order, (float)ofSample, (float)ofLatest, first, second, (float)ofNoise);
    }
}
