using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Training;

/// <summary>The aggregators of an ensemble as they are trained: layers for the ensemble, parameters for the optimizer.</summary>
public sealed class TrainedAggregators : IDisposable
{
    private readonly List<TrainedParameters> _owned = [];
    private readonly List<Sabw> _aggregators = [];
    private readonly List<(string Name, Parameter Parameter)> _parameters = [];

    private TrainedAggregators() { }

    /// <summary>In the order of aggregation points.</summary>
    public IReadOnlyList<Sabw> Aggregators => _aggregators;

    /// <summary>Every trained tensor as <c>aggregator_k.name</c>.</summary>
    public IReadOnlyList<(string Name, Parameter Parameter)> Parameters => _parameters;

    /// <summary>
    /// Reads <c>aggregator_0</c>, <c>aggregator_1</c>, ... ; <paramref name="change"/> may replace a tensor's values by name.
    /// </summary>
    public static TrainedAggregators Load(
        IDevice device,
        IReadOnlyList<string> folders,
        Func<string, float[], float[]>? change = null
    )
    {
        var set = new TrainedAggregators();
        try
        {
            for (int k = 0; k < folders.Count; k++)
            {
                SabwConfig config = SabwConfig.Load(folders[k]);
                using Checkpoint checkpoint = Checkpoint.Open(folders[k], "aggregator");
                (Sabw aggregator, TrainedParameters parameters) = TrainedParameters.Load(
                    device,
                    checkpoint,
                    p => new Sabw(p, config)
                );
                set._owned.Add(parameters);
                set._aggregators.Add(aggregator);
                foreach (Parameter parameter in parameters.All)
                {
                    string name = $"aggregator_{k}.{parameter.Name}";
                    set._parameters.Add((name, parameter));
                    if (change is null)
                        continue;
                    change(name, parameter.Values).CopyTo(parameter.Values, 0);
                    parameter.Publish();
                }
            }

            return set;
        }
        catch
        {
            set.Dispose();
            throw;
        }
    }

    /// <summary>Forgets all gradients.</summary>
    public void ZeroGradients()
    {
        foreach ((_, Parameter parameter) in _parameters)
            parameter.ZeroGradient();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (TrainedParameters parameters in _owned)
            parameters.Dispose();
        _owned.Clear();
    }
}

/// <summary>AdamW over a list of parameters, moments kept by position.</summary>
public sealed class Optimizer(AdamW rule, IReadOnlyList<Parameter> parameters)
{
    private readonly float[][] _first = [.. parameters.Select(p => new float[p.Values.Length])],
        _second = [.. parameters.Select(p => new float[p.Values.Length])];

    /// <summary>Updates done.</summary>
    public int Steps { get; set; }

    /// <summary>First and second moment of every parameter, by position.</summary>
    public (IReadOnlyList<float[]> First, IReadOnlyList<float[]> Second) Moments => (_first, _second);

    /// <summary>Running means of the values, or null.</summary>
    public IReadOnlyList<float[]>? Means { get; private set; }

    /// <summary>Keeps a running mean of every value from now on (decay as in Polyak averaging).</summary>
    public void KeepMeans() => Means = [.. parameters.Select(p => (float[])p.Values.Clone())];

    /// <summary>Moves the running means towards the values.</summary>
    public void UpdateMeans(double decay)
    {
        if (Means is not { } means)
            return;
        float keep = (float)decay,
            take = (float)(1 - decay);
        Parallel.For(
            0,
            parameters.Count,
            i =>
            {
                for (int j = 0; j < means[i].Length; j++)
                    means[i][j] = keep * means[i][j] + take * parameters[i].Values[j];
            }
        );
    }

    /// <summary>The L2 norm over all gradients.</summary>
    public double GradientNorm()
    {
        // Parameter by parameter, each summed in order: the same number whatever the threads.
        var squares = new double[parameters.Count];
        Parallel.For(
            0,
            squares.Length,
            i =>
            {
                double sum = 0;
                foreach (float g in parameters[i].Gradient)
                    sum += (double)g * g;
                squares[i] = sum;
            }
        );
        return Math.Sqrt(squares.Sum());
    }

    /// <summary>Divides all gradients by a loss scale.</summary>
    public void Unscale(double scale)
    {
        if (scale == 1)
            return;
        Multiply((float)(1 / scale));
    }

    /// <summary>
    /// Scales all gradients down to an L2 norm of at most <paramref name="limit"/>; returns the norm before
    /// (<c>torch.nn.utils.clip_grad_norm_</c>).
    /// </summary>
    public double Clip(double limit)
    {
        double norm = GradientNorm();
        Clip(limit, norm);
        return norm;
    }

    /// <summary>As above, when the norm is known.</summary>
    public void Clip(double limit, double norm)
    {
        float factor = (float)(limit / (norm + 1e-6));
        if (factor < 1)
            Multiply(factor);
    }

    private void Multiply(float factor) =>
        Parallel.ForEach(
            parameters,
            parameter =>
            {
                Span<float> gradient = parameter.Gradient;
                for (int i = 0; i < gradient.Length; i++)
                    gradient[i] *= factor;
            }
        );

    /// <summary>One update of every parameter from its gradient, at <paramref name="rate"/> times the learning rate.</summary>
    public void Step(double rate = 1)
    {
        Steps++;
        Parallel.For(
            0,
            parameters.Count,
            i => rule.Step(Steps, parameters[i].Gradient, parameters[i].Values, _first[i], _second[i], rate)
        );
        foreach (Parameter parameter in parameters)
            parameter.Publish();
    }
}
