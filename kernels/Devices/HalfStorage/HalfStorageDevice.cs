using System.Runtime.InteropServices;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Kernels.Host;
using AfaNative.Kernels.MatrixMultiply;

namespace AfaNative.Kernels.Devices.HalfStorage;

/// <summary>
/// A host device that computes as one whose memory has 16 bits a number: everything an op leaves - activations, gradients, what
/// is uploaded - is rounded to float16 or bfloat16, and float32 weights are packed in
/// 16 bits. Sums are float32. Buffers stay float32 arrays, so that activations take no less memory; weights take half. Products
/// of such numbers are what a 16-bit multiplier with float32 sums makes of them.
/// </summary>
public sealed unsafe class HalfStorageDevice : IDevice
{
    // Elements one task rounds.
    private const int Block = 1 << 15;

    private readonly HostDevice _inner;

    /// <summary>Takes a device over; disposing of this one disposes of it.</summary>
    /// <param name="inner">A device of float32 products: it does the sums.</param>
    /// <param name="storage">Float16 or BFloat16.</param>
    public HalfStorageDevice(HostDevice inner, ElementType storage)
    {
        ArgumentNullException.ThrowIfNull(inner);
        if (storage is not (ElementType.Float16 or ElementType.BFloat16))
        {
            throw new ArgumentException($"16-bit numbers are float16 or bfloat16, not {storage}", nameof(storage));
        }
        if (inner.Products != ElementType.Float32)
        {
            throw new ArgumentException($"a device with products in {inner.Products} rounds by itself", nameof(inner));
        }
        _inner = inner;
        Storage = storage;
        Kernels = new HalfStorageKernels(this, inner.Kernels);
        Gradients = inner.Gradients is { } gradients ? new HalfStorageGradients(this, gradients) : null;
    }

    /// <inheritdoc/>
    public string Name => _inner.Name;

    /// <inheritdoc/>
    public ElementType Storage { get; }

    /// <inheritdoc/>
    public IKernels Kernels { get; }

    /// <inheritdoc/>
    public IGradients? Gradients { get; }

    /// <inheritdoc/>
    public long AllocatedBytes => _inner.AllocatedBytes;

    /// <inheritdoc/>
    public long? FreeBytes => _inner.FreeBytes;

    /// <inheritdoc/>
    public long KeptBytes => _inner.KeptBytes;

    /// <inheritdoc/>
    public long WorkspaceBytes => _inner.WorkspaceBytes;

    /// <inheritdoc/>
    public long BufferBytes(long length) => _inner.BufferBytes(length);

    /// <inheritdoc/>
    public long PackedBytes(WeightShape shape, ReadOnlySpan<ElementType> types)
    {
        Span<ElementType> stored = stackalloc ElementType[types.Length];
        for (int e = 0; e < types.Length; e++)
            stored[e] = Stored(shape, types[e]);
        return _inner.PackedBytes(shape, stored);
    }

    /// <inheritdoc/>
    public DeviceBuffer Allocate(long length) => _inner.Allocate(length);

    /// <inheritdoc/>
    public void Upload(ReadOnlySpan<float> source, DeviceBuffer destination, long offset = 0)
    {
        _inner.Upload(source, destination, offset);
        Round(HostBuffer.PointerOf(destination) + offset, source.Length);
    }

    /// <inheritdoc/>
    public void Download(DeviceBuffer source, Span<float> destination) => _inner.Download(source, destination);

    /// <inheritdoc/>
    public void FillNoise(DeviceBuffer destination, int count, ulong seed, ulong stream)
    {
        _inner.FillNoise(destination, count, seed, stream);
        Round(HostBuffer.PointerOf(destination), count);
    }

    /// <inheritdoc/>
    public PackedWeights Pack(WeightShape shape, ReadOnlySpan<WeightSource> experts)
    {
        PackedWeights? packed = null;
        Narrowed(shape, experts, sources => packed = _inner.Pack(shape, sources));
        return packed!;
    }

    /// <inheritdoc/>
    public void Repack(PackedWeights weights, ReadOnlySpan<WeightSource> experts)
    {
        ArgumentNullException.ThrowIfNull(weights);
        Narrowed(weights.Shape, experts, sources => _inner.Repack(weights, sources));
    }

    /// <inheritdoc/>
    public void Dispose() => _inner.Dispose();

    /// <summary>Rounds what an op left in buffers; null stands for a result nobody wanted.</summary>
    internal void Round(params ReadOnlySpan<DeviceBuffer?> buffers)
    {
        foreach (DeviceBuffer? buffer in buffers)
        {
            if (buffer is not null)
                Round(HostBuffer.PointerOf(buffer), buffer.Length);
        }
    }

    private void Round(float* values, long count)
    {
        int tasks = (int)((count + Block - 1) / Block);
        _inner.Pool.Run(
            tasks,
            (task, _) =>
                StorageRounding.Round(
                    new Span<float>(values + (long)task * Block, (int)Math.Min(Block, count - (long)task * Block)),
                    Storage
                )
        );
    }

    // Weights that are to be multiplied as they are stored stay as they are; so do those of 16 bits of either kind.
    private ElementType Stored(WeightShape shape, ElementType type) =>
        type == ElementType.Float32 && !shape.Exact ? Storage : type;

    private void Narrowed(WeightShape shape, ReadOnlySpan<WeightSource> experts, Action<WeightSource[]> use)
    {
        var sources = new WeightSource[experts.Length];
        var memory = new List<nint>();
        try
        {
            long count = (long)shape.K * shape.Out;
            for (int e = 0; e < sources.Length; e++)
            {
                ElementType type = Stored(shape, experts[e].Type);
                if (type == experts[e].Type)
                {
                    sources[e] = experts[e];
                    continue;
                }

                var narrow = (ushort*)NativeMemory.Alloc((nuint)(count * sizeof(ushort)));
                memory.Add((nint)narrow);
                Narrow((float*)experts[e].Pointer, narrow, count);
                sources[e] = new WeightSource(narrow, type);
            }

            use(sources);
        }
        finally
        {
            foreach (nint block in memory)
                NativeMemory.Free((void*)block);
        }
    }

    private void Narrow(float* from, ushort* to, long count)
    {
        int tasks = (int)((count + Block - 1) / Block);
        _inner.Pool.Run(
            tasks,
            (task, _) =>
            {
                long first = (long)task * Block,
                    end = Math.Min(count, first + Block);
                for (long i = first; i < end; i++)
                {
                    to[i] =
                        Storage == ElementType.BFloat16
                            ? Widening.ToBFloat16(from[i])
                            : BitConverter.HalfToUInt16Bits((Half)from[i]);
                }
            }
        );
    }
}
