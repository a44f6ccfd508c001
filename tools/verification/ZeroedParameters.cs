using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Verification;

/// <summary>Reads as another source does, but some tensors as zeros, which it does not ask the other for.</summary>
internal sealed unsafe class ZeroedParameters(Parameters inner, IDevice device, Func<string, bool> zero, List<IDisposable> owned)
    : Parameters
{
    public override int Experts => inner.Experts;

    public override string FullName(string name) => inner.FullName(name);

    protected internal override PackedWeights Weights(string[] names, long[] fileShape, WeightShape shape)
    {
        if (!zero(names[0]))
            return inner.Weights(names, fileShape, shape);
        var zeros = new float[(long)shape.Out * shape.K];
        fixed (float* pointer = zeros)
        {
            var sources = new WeightSource[Experts];
            Array.Fill(sources, new WeightSource(pointer, ElementType.Float32));
            PackedWeights packed = device.Pack(shape, sources);
            owned.Add(packed);
            return packed;
        }
    }

    protected internal override DeviceBuffer Vector(string[] names, long[] shape)
    {
        if (!zero(names[0]))
            return inner.Vector(names, shape);
        var zeros = new float[shape.Aggregate((long)Experts, (a, b) => a * b)];
        DeviceBuffer buffer = device.Allocate(zeros.Length);
        owned.Add(buffer);
        device.Upload(zeros, buffer);
        return buffer;
    }
}
