using System.Runtime.InteropServices;

namespace AfaNative.Kernels.Host;

/// <summary>Grow-only, 64-byte aligned working memory of one worker; reused by every op, so kernels allocate nothing.</summary>
public sealed unsafe class Scratch : IDisposable
{
    // Two pages of 2 MiB: in smaller ones, scattered over memory, what belongs in the second-level cache would push itself out.
    private const long Least = 1 << 20;

    private float* _memory;
    private long _length;

    /// <summary>
    /// To be held by an op that uses memory from one run of a pool to the next, where ops of several threads share it.
    /// </summary>
    public Lock Exclusive { get; } = new();

    /// <summary>
    /// At least <paramref name="length"/> floats; the content is undefined and earlier pointers become invalid.
    /// </summary>
    public float* Floats(long length)
    {
        if (length > _length)
        {
            NativeMemory.AlignedFree(_memory);
            _length = Math.Max((length + 16383) & ~16383L, Least);
            _memory = (float*)HostMemory.Allocate(_length * sizeof(float));
        }

        return _memory;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        NativeMemory.AlignedFree(_memory);
        _memory = null;
        _length = 0;
        GC.SuppressFinalize(this);
    }

    /// <summary>Frees what <see cref="Dispose"/> did not.</summary>
    ~Scratch() => NativeMemory.AlignedFree(_memory);
}
