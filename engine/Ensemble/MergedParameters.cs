using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.MatrixMultiply;

namespace AfaNative.Engine.Ensemble;

/// <summary>
/// A merged model in memory, as <see cref="ModelMerge"/> would write it (same sums, same rounding to the first model's type)
/// without writing it. Owns the device memory it
/// made; the checkpoints stay the caller's.
/// </summary>
public sealed unsafe class MergedParameters : Parameters, IDisposable
{
    private const int Piece = 1 << 18;

    private readonly IDevice _device;
    private readonly IReadOnlyList<Checkpoint> _checkpoints;
    private readonly Func<string, double[]> _weights;
    private readonly List<IDisposable> _owned = [];

    private MergedParameters(IDevice device, IReadOnlyList<Checkpoint> checkpoints, Func<string, double[]> weights)
    {
        _device = device;
        _checkpoints = checkpoints;
        _weights = weights;
    }

    /// <inheritdoc/>
    public override int Experts => 1;

    /// <summary>Builds a model from checkpoints known to fit it (<see cref="CheckpointParameters.Check"/>).</summary>
    /// <param name="device">Where the weights go.</param>
    /// <param name="checkpoints">One per model.</param>
    /// <param name="weights">One weight per model for a tensor by its name.</param>
    /// <param name="build">The model's constructor.</param>
    public static (TModel Model, MergedParameters Parameters) Load<TModel>(
        IDevice device,
        IReadOnlyList<Checkpoint> checkpoints,
        Func<string, double[]> weights,
        Func<Parameters, TModel> build
    )
    {
        var parameters = new MergedParameters(device, checkpoints, weights);
        try
        {
            return (build(parameters), parameters);
        }
        catch
        {
            parameters.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (IDisposable owned in _owned)
            owned.Dispose();
        _owned.Clear();
    }

    /// <inheritdoc/>
    protected internal override PackedWeights Weights(string[] names, long[] fileShape, WeightShape shape)
    {
        float[] values = Mixed(names, fileShape, out ElementType type);
        fixed (byte* bytes = Widening.ToBytes(values, type))
        {
            PackedWeights packed = _device.Pack(shape, [new WeightSource(bytes, type)]);
            _owned.Add(packed);
            return packed;
        }
    }

    /// <inheritdoc/>
    protected internal override DeviceBuffer Vector(string[] names, long[] shape)
    {
        float[] values = Mixed(names, shape, out ElementType type);
        if (type != ElementType.Float32)
        {
            byte[] narrow = Widening.ToBytes(values, type);
            fixed (byte* from = narrow)
            fixed (float* to = values)
                Widening.ToFloat32((ushort*)from, type, to, values.Length);
        }

        DeviceBuffer buffer = _device.Allocate(values.Length);
        _owned.Add(buffer);
        _device.Upload(values, buffer);
        return buffer;
    }

    private float[] Mixed(string[] names, long[] shape, out ElementType type)
    {
        var mix = new TensorMix(_checkpoints, new ParameterSpec(names[0], names[1..], shape), _weights(names[0]));
        var values = new float[mix.Count];
        Parallel.For(
            0,
            (int)((mix.Count + Piece - 1) / Piece),
            i => mix.Read((long)i * Piece, values.AsSpan(i * Piece, (int)Math.Min(Piece, mix.Count - (long)i * Piece)))
        );
        mix.Release();
        type = mix.Type;
        return values;
    }
}
