using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Gpu;

/// <summary>
/// How elements lie in memory; arithmetic is float32 whatever the storage. A struct parameter, so that calls fold away in
/// kernels.
/// </summary>
internal interface IStorage<T>
    where T : unmanaged
{
    /// <summary>Element <paramref name="index"/> as float32.</summary>
    float Load(ArrayView<T> view, int index);

    /// <summary>Rounds to storage, to nearest, ties to even.</summary>
    void Store(ArrayView<T> view, int index, float value);
}

/// <summary>IEEE binary32.</summary>
internal readonly struct Float32Storage : IStorage<float>
{
    public float Load(ArrayView<float> view, int index) => view[index];

    public void Store(ArrayView<float> view, int index, float value) => view[index] = value;
}

/// <summary>IEEE binary16.</summary>
internal readonly struct Float16Storage : IStorage<ushort>
{
    public float Load(ArrayView<ushort> view, int index) => PortableMath.WidenHalf(view[index]);

    public void Store(ArrayView<ushort> view, int index, float value) => view[index] = PortableMath.NarrowHalf(value);
}

/// <summary>The upper half of a binary32.</summary>
internal readonly struct BFloat16Storage : IStorage<ushort>
{
    public float Load(ArrayView<ushort> view, int index) => Interop.IntAsFloat((uint)view[index] << 16);

    public void Store(ArrayView<ushort> view, int index, float value) => view[index] = PortableMath.NarrowBFloat(value);
}
