using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Ensemble;

/// <summary>One tensor of a merged model: sum_n w_n theta_n in float64, element by element, rounded to float32.</summary>
internal sealed class TensorMix(IReadOnlyList<Checkpoint> checkpoints, ParameterSpec spec, double[] weights)
{
    private readonly (SafetensorsFile File, SafetensorsTensor Tensor)[] _sources = [.. checkpoints.Select(c => c.Get(spec))];

    /// <summary>Elements.</summary>
    public long Count => _sources[0].Tensor.ElementCount;

    /// <summary>
    /// What the merged tensor is stored as: the first model's type, float16 where that is float8, float32 where it is float64 or
    /// scaled float8.
    /// </summary>
    public ElementType Type { get; } = Float8.Held(checkpoints[0].Get(spec).File, checkpoints[0].Get(spec).Tensor);

    /// <summary>Elements [first, first + values.Length).</summary>
    /// <exception cref="CheckpointException">A model holds values that are not finite, or the sums are too large for
    /// <see cref="Type"/>.</exception>
    public void Read(long first, Span<float> values)
    {
        var sums = new double[values.Length];
        for (int m = 0; m < _sources.Length; m++)
        {
            // A model without a share is not even read: an infinity in it must not spoil the others.
            if (weights[m] == 0)
                continue;
            _sources[m].File.ReadFloat32(_sources[m].Tensor.Name, first, values);
            for (int i = 0; i < sums.Length; i++)
            {
                // Counted and named once one is met.
                if (!float.IsFinite(values[i]))
                    FiniteWeights.Check(_sources[m].File, _sources[m].Tensor);
                sums[i] += weights[m] * values[i];
            }
        }

        for (int i = 0; i < sums.Length; i++)
            values[i] = (float)sums[i];
        FiniteWeights.CheckResult(
            values,
            Type,
            () => $"{checkpoints[0].Description}: merged with the others, the tensor '{spec.Name}'"
        );
    }

    /// <summary>Lets the mapped pages go.</summary>
    public void Release()
    {
        foreach ((SafetensorsFile file, SafetensorsTensor tensor) in _sources)
            file.Release(tensor);
    }
}
