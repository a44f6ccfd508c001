using AfaNative.Kernels;

namespace AfaNative.Engine.Checkpoints;

/// <summary>Where one tensor lies in a safetensors file; <paramref name="Offset"/> counts from the start of the file.</summary>
public sealed record SafetensorsTensor(string Name, ElementType Type, long[] Shape, long Offset, long ByteLength)
{
    /// <summary>How many elements the tensor has.</summary>
    public long ElementCount => ByteLength / Type.Size();
}
