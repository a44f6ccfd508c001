using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Tests.Support;

/// <summary>Layers of E experts with random weights.</summary>
internal sealed unsafe class RandomParameters(IDevice device, int experts, int seed) : Parameters, IDisposable
{
    private readonly System.Random _random = new(seed);
    private readonly List<IDisposable> _owned = [];

    public override int Experts => experts;

    protected internal override PackedWeights Weights(string[] names, long[] fileShape, WeightShape shape)
    {
        float[] values = Values((long)experts * shape.Out * shape.K);
        fixed (float* p = values)
        {
            var sources = new WeightSource[experts];
            for (int e = 0; e < experts; e++)
                sources[e] = new WeightSource(p + (long)e * shape.Out * shape.K, ElementType.Float32);
            PackedWeights packed = device.Pack(shape, sources);
            _owned.Add(packed);
            return packed;
        }
    }

    protected internal override DeviceBuffer Vector(string[] names, long[] shape)
    {
        float[] values = Values(shape.Aggregate((long)experts, (a, b) => a * b));
        DeviceBuffer buffer = device.Allocate(values.Length);
        _owned.Add(buffer);
        device.Upload(values, buffer);
        return buffer;
    }

    public float[] Values(long count)
    {
        var values = new float[count];
        for (int i = 0; i < values.Length; i++)
            values[i] = 2 * _random.NextSingle() - 1;
        return values;
    }

    public void Dispose()
    {
        foreach (IDisposable one in _owned)
            one.Dispose();
    }
}
