using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Training;

/// <summary>
/// Layers of one network that is trained: every tensor is read from a checkpoint (or from given values) as float32 and remembered
/// as a <see cref="Parameter"/>.
/// </summary>
public sealed class TrainedParameters : Parameters, IDisposable
{
    private readonly IDevice _device;
    private readonly Func<string[], long, float[]> _read;
    private readonly List<Parameter> _all = [];

    private TrainedParameters(IDevice device, Func<string[], long, float[]> read)
    {
        _device = device;
        _read = read;
    }

    /// <inheritdoc/>
    public override int Experts => 1;

    /// <summary>In construction order.</summary>
    public IReadOnlyList<Parameter> All => _all;

    /// <summary>Builds a network from a checkpoint, checked first as <see cref="CheckpointParameters.Check"/> does.</summary>
    public static (TModel Model, TrainedParameters Parameters) Load<TModel>(
        IDevice device,
        Checkpoint checkpoint,
        Func<Parameters, TModel> build,
        Func<string, bool>? ignore = null
    )
    {
        var list = new ParameterList();
        build(list);
        CheckpointParameters.Check(checkpoint, list.Specs, ignore);
        return Build(
            device,
            (names, _) =>
            {
                foreach (string name in names)
                {
                    if (!checkpoint.TryGet(name, out SafetensorsFile? file, out SafetensorsTensor? tensor))
                        continue;
                    FiniteWeights.Check(file, tensor);
                    return file.ReadFloat32(tensor.Name);
                }

                throw new CheckpointException($"{checkpoint.Description}: no tensor {names[0]}.");
            },
            build
        );
    }

    /// <summary>Builds a network from values by name and length.</summary>
    public static (TModel Model, TrainedParameters Parameters) Build<TModel>(
        IDevice device,
        Func<string[], long, float[]> read,
        Func<Parameters, TModel> build
    )
    {
        var parameters = new TrainedParameters(device, read);
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
        foreach (Parameter parameter in _all)
            parameter.Dispose();
        _all.Clear();
    }

    /// <inheritdoc/>
    protected internal override PackedWeights Weights(string[] names, long[] fileShape, WeightShape shape)
    {
        var parameter = new WeightParameter(
            _device,
            names[0],
            fileShape,
            _read(names, fileShape.Aggregate(1L, (a, b) => a * b)),
            shape
        );
        _all.Add(parameter);
        return parameter.Packed;
    }

    /// <inheritdoc/>
    protected internal override DeviceBuffer Vector(string[] names, long[] shape)
    {
        var parameter = new VectorParameter(_device, names[0], shape, _read(names, shape.Aggregate(1L, (a, b) => a * b)));
        _all.Add(parameter);
        return parameter.Buffer;
    }

    private sealed unsafe class WeightParameter : Parameter
    {
        private readonly IDevice _device;

        public WeightParameter(IDevice device, string name, long[] shape, float[] values, WeightShape weights)
            : base(name, shape, values)
        {
            _device = device;
            fixed (float* p = values)
                Packed = device.Pack(weights, [new WeightSource(p, ElementType.Float32)]);
        }

        public PackedWeights Packed { get; }

        internal override object Key => Packed;

        public override void Publish()
        {
            fixed (float* p = Values)
                _device.Repack(Packed, [new WeightSource(p, ElementType.Float32)]);
        }

        public override void Dispose() => Packed.Dispose();
    }

    private sealed class VectorParameter : Parameter
    {
        private readonly IDevice _device;

        public VectorParameter(IDevice device, string name, long[] shape, float[] values)
            : base(name, shape, values)
        {
            _device = device;
            Buffer = device.Allocate(values.Length);
            Publish();
        }

        public DeviceBuffer Buffer { get; }

        internal override object Key => Buffer;

        public override void Publish() => _device.Upload(Values, Buffer);

        public override void Dispose() => Buffer.Dispose();
    }
}
