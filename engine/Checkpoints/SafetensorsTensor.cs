using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Checkpoints;

/// <summary>Where one tensor lies in a safetensors file; <paramref name="Offset"/> counts from the start of the file.</summary>
public sealed record SafetensorsTensor(string Name, ElementType Type, long[] Shape, long Offset, long ByteLength)
{
    /// <summary>The type as the file names it, such as F16; more than <see cref="Type"/> tells where that is opaque.</summary>
    public string TypeName { get; init; } = SafetensorsHeader.TypeName(Type);

    /// <summary>How many elements the tensor has.</summary>
    public long ElementCount => Type == ElementType.Opaque ? Shape.Aggregate(1L, (a, b) => a * b) : ByteLength / Type.Size();
}
