using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Layers;
using AfaNative.Kernels;

namespace AfaNative.Engine.Ensemble;

/// <summary>One tensor of a merged model: sum_n w_n theta_n in float64, element by element, rounded to float32.</summary>
internal sealed class TensorMix(IReadOnlyList<Checkpoint> checkpoints, ParameterSpec spec, double[] weights)
{
    private readonly (SafetensorsFile File, SafetensorsTensor Tensor)[] _sources = [.. checkpoints.Select(c => c.Get(spec))];

    /// <summary>Elements.</summary>
    public long Count => _sources[0].Tensor.ElementCount;

    /// <summary>What the merged tensor is stored as: the first model's type, float32 for types no layer takes.</summary>
    public ElementType Type => _sources[0].Tensor.Type.IsWeight() ? _sources[0].Tensor.Type : ElementType.Float32;

    /// <summary>Elements [first, first + values.Length).</summary>
    public void Read(long first, Span<float> values)
    {
        var sums = new double[values.Length];
        for (int m = 0; m < _sources.Length; m++)
        {
            // A model without a share is not even read: an infinity in it must not spoil the others.
            if (weights[m] == 0) continue;
            _sources[m].File.ReadFloat32(_sources[m].Tensor.Name, first, values);
            for (int i = 0; i < sums.Length; i++) sums[i] += weights[m] * values[i];
        }

        for (int i = 0; i < sums.Length; i++) values[i] = (float)sums[i];
    }

    /// <summary>Lets the mapped pages go.</summary>
    public void Release()
    {
        foreach ((SafetensorsFile file, SafetensorsTensor tensor) in _sources) file.Release(tensor);
    }
}
