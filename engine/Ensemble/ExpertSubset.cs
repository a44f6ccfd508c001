using AfaNative.Engine.Core;

namespace AfaNative.Engine.Ensemble;

/// <summary>
/// Restricts an ensemble's fusion to some of its experts, for one run. At every aggregation point the logits of the experts left
/// out sink so far that the softmax gives them exactly nothing and shares their weight among the
/// others in proportion: maps of all experts, set to zero for those left out and divided by their sum. Nothing else changes: all
/// experts are evaluated (from the fused map, as ever), and the aggregators see all their maps,
/// their mean time embedding and their mean text, as they were trained to. With one expert left every fused map is that expert's
/// own, so it computes what it computes alone. With <see cref="Uniform"/> the
/// aggregators are not asked: whoever takes part counts the same everywhere, which is what an ensemble does before it is trained.
/// </summary>
public sealed class ExpertSubset : IDisposable
{
    // exp(-30000) is 0 in every format, and 16-bit floats still hold the number.
    private const float Out = -30000;

    private readonly Dictionary<Shape, Tensor> _logits = [];
    private readonly float[] _bias;

    /// <summary>Lets <paramref name="members"/> of <paramref name="experts"/> experts take part; null: all.</summary>
    /// <exception cref="AfaException">There are none, one is named twice, or there is no such expert.</exception>
    public ExpertSubset(int experts, IReadOnlyList<int>? members, bool uniform)
    {
        if (members is not null)
            Check(experts, members);
        (Uniform, _bias) = (uniform, new float[experts]);
        for (int n = 0; n < experts; n++)
            _bias[n] = members is null || members.Contains(n) ? 0 : Out;
    }

    /// <summary>All that take part count the same; the aggregators are not asked.</summary>
    public bool Uniform { get; }

    /// <summary>Some experts are left out.</summary>
    public bool Restricts => _bias.Contains(Out);

    /// <summary>Refuses a choice of experts that makes no sense.</summary>
    /// <exception cref="AfaException">There are none, one is named twice, or there is no such expert.</exception>
    public static void Check(int experts, IReadOnlyList<int> members)
    {
        if (members.Count == 0)
            throw new AfaException("At least one expert has to take part, but none was named.");
        foreach (int member in members)
        {
            if (member < 0 || member >= experts)
                throw new AfaException($"Expert {member} was to take part; there are experts 0 to {experts - 1}.");
            if (members.Count(m => m == member) > 1)
                throw new AfaException($"Expert {member} was named twice among those that take part.");
        }
    }

    /// <summary>The logits [1, B, H, W, N] an aggregator gives, with this choice.</summary>
    internal Tensor Apply(Ops ops, Tensor logits) => Restricts ? ops.Add(logits, Bias(ops, logits.Shape)) : logits;

    /// <summary>
    /// What is added to the logits, or with <see cref="Uniform"/> takes their place; made once for every shape, so that a run may
    /// be recorded and replayed.
    /// </summary>
    internal Tensor Bias(Ops ops, Shape shape)
    {
        if (_logits.TryGetValue(shape, out Tensor? made))
            return made;
        var values = new float[shape.Count];
        for (int i = 0; i < values.Length; i++)
            values[i] = _bias[i % _bias.Length];
        // Outside any scope: it lives as long as the run.
        var tensor = new Tensor(ops.Device.Allocate(shape.Count), shape);
        ops.Device.Upload(values, tensor.Buffer);
        return _logits[shape] = tensor;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Tensor tensor in _logits.Values)
            tensor.Dispose();
        _logits.Clear();
    }
}
