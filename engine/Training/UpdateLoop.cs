using AfaNative.Engine.Core;

namespace AfaNative.Engine.Training;

/// <summary>What happened in an update.</summary>
/// <param name="Step">Updates done, this one included.</param>
/// <param name="Loss">The mean loss of the update's forward passes.</param>
/// <param name="GradientNorm">L2 norm over all that is trained, before clipping.</param>
/// <param name="LearningRate">What AdamW used.</param>
public sealed record TrainingUpdate(int Step, double Loss, double GradientNorm, double LearningRate);

/// <summary>
/// Joins an update's gradients with those of other workers on the same parameters, in place and in the order they are listed.
/// They are multiplied by the loss scale still, and may have overflowed: every worker has to come to the same numbers, so that
/// all repeat an update or none does.
/// </summary>
/// <param name="parameters">All that is trained.</param>
/// <param name="loss">This worker's loss.</param>
/// <returns>The loss of all workers.</returns>
public delegate double GradientExchange(IReadOnlyList<Parameter> parameters, double loss);

/// <summary>
/// One update after another, the same for all that is trained: gradients are summed over forward passes, exchanged, freed of the
/// loss scale and checked, clipped, and taken by AdamW at the schedule's rate; running means follow.
/// </summary>
internal sealed class UpdateLoop
{
    private readonly TrainingOptions _options;
    private readonly IReadOnlyList<Parameter> _parameters;
    private readonly bool _risingMeans;

    /// <summary>A loop that has done nothing yet.</summary>
    /// <param name="options">Checked already.</param>
    /// <param name="parameters">All that is trained.</param>
    /// <param name="lossScale">What the loss is multiplied by on the way back.</param>
    /// <param name="risingMeans">
    /// Running means begin with less decay than they end with: for networks that start from nothing, whose first few values are
    /// not worth keeping.
    /// </param>
    public UpdateLoop(TrainingOptions options, IReadOnlyList<Parameter> parameters, LossScale lossScale, bool risingMeans = false)
    {
        (_options, _parameters, LossScale, _risingMeans) = (options, parameters, lossScale, risingMeans);
        Optimizer = new Optimizer(
            new AdamW(options.LearningRate, beta2: options.Beta2, weightDecay: options.WeightDecay),
            parameters
        );
        if (options.Ema > 0)
            Optimizer.KeepMeans();
    }

    /// <summary>AdamW's moments, the running means and the number of updates done.</summary>
    public Optimizer Optimizer { get; }

    /// <summary>What the loss is multiplied by on the way back.</summary>
    public LossScale LossScale { get; }

    /// <summary>The one place where gradients of several workers meet; of one worker there is nothing to join.</summary>
    public GradientExchange Exchange { get; init; } = (_, loss) => loss;

    /// <summary>One update.</summary>
    /// <param name="pass">
    /// Goes forward and back through forward pass number n of the run, and adds its gradients, multiplied by what it is given, to
    /// the parameters; returns the loss.
    /// </param>
    /// <exception cref="AfaException">The loss or a gradient is no number, whatever the scale.</exception>
    public TrainingUpdate Next(Func<long, float, double> pass)
    {
        int step = Optimizer.Steps;
        (double loss, double norm) = Gradients(pass, step);
        if (_options.ClipNorm > 0)
            Optimizer.Clip(_options.ClipNorm, norm);
        double rate = _options.RateAt(step);
        Optimizer.Step(rate);
        double decay = _risingMeans ? Math.Min(_options.Ema, (1.0 + step) / (10.0 + step)) : _options.Ema;
        Optimizer.UpdateMeans(decay);
        return new TrainingUpdate(Optimizer.Steps, loss, norm, rate * _options.LearningRate);
    }

    // An overflow repeats the update with a smaller scale: no picture is lost, and the run stays a function of the seed.
    private (double Loss, double Norm) Gradients(Func<long, float, double> pass, int step)
    {
        while (true)
        {
            double loss = Exchange(_parameters, Accumulate(pass, step));
            Optimizer.Unscale(LossScale.Value);
            double norm = Optimizer.GradientNorm();
            if (double.IsFinite(loss) && double.IsFinite(norm))
            {
                LossScale.Succeeded();
                return (loss, norm);
            }

            if (double.IsFinite(loss) && LossScale.Overflowed())
                continue;
            string other = LossScale.IsDynamic ? ", or `precision` bf16 or f32, whose numbers go further," : "";
            throw new AfaException(
                $"The loss is no longer a number after {step} updates; a lower `learning-rate`{other} helps. What was "
                    + $"saved last is good."
            );
        }
    }

    private double Accumulate(Func<long, float, double> pass, int step)
    {
        foreach (Parameter parameter in _parameters)
            parameter.ZeroGradient();
        int passes = _options.Accumulate;
        float scale = (float)((double)(float)LossScale.Value / passes);
        double loss = 0;
        for (int part = 0; part < passes; part++)
            loss += pass((long)step * passes + part, scale) / passes;
        return loss;
    }
}
