using System.Runtime.InteropServices;
using AfaNative.Kernels.Devices;

namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>
/// Weights as the CPU's matrix kernels want them: per expert, panels of 32 output columns, each [K][32] with K ordered (ky, kx, in), stored in the
/// checkpoint's own type. A GEGLU panel holds 16 values and their 16 gates. Missing columns are zero.
/// </summary>
public sealed unsafe class CpuPackedWeights : PackedWeights
{
    private readonly byte*[] _memory;

    internal CpuPackedWeights(WorkerPool pool, WeightShape shape, ReadOnlySpan<WeightSource> experts) : base(shape, experts.Length)
    {
        if (shape.Geglu && shape.Out % 2 != 0) throw new ArgumentException($"a GEGLU projection needs an even number of outputs, not {shape.Out}");
        Type = experts[0].Type;
        foreach (WeightSource source in experts)
        {
            // One storage type per tensor keeps one kernel per launch; mixed experts are widened.
            if (source.Type != Type) Type = ElementType.Float32;
        }

        Panels = shape.Geglu ? (shape.Out / 2 + 15) / 16 : (shape.Out + 31) / 32;
        _memory = new byte*[experts.Length];
        long bytes = (long)Panels * shape.K * 32 * Type.Size();
        for (int e = 0; e < experts.Length; e++)
        {
            _memory[e] = (byte*)NativeMemory.AlignedAlloc((nuint)Math.Max(bytes, 64), 64);
            PackExpert(pool, experts[e], e);
        }
    }

    /// <summary>Bytes of packed weights of experts of these types.</summary>
    internal static long Bytes(WeightShape shape, ReadOnlySpan<ElementType> types)
    {
        ElementType type = types[0];
        foreach (ElementType t in types)
        {
            if (t != type) type = ElementType.Float32;
        }

        return (long)types.Length * (shape.Geglu ? (shape.Out / 2 + 15) / 16 : (shape.Out + 31) / 32) * shape.K * 32 * type.Size();
    }

    /// <summary>Storage type of all experts.</summary>
    public ElementType Type { get; }

    /// <summary>Panels of one expert.</summary>
    public int Panels { get; }

    /// <inheritdoc/>
    public override long ByteLength => (long)Experts * Panels * Shape.K * 32 * Type.Size();

    /// <summary>Rows [k0, k0 + count) of a panel as float32: in place when stored so, else widened into <paramref name="buffer"/>.</summary>
    internal float* Panel(int expert, int panel, int k0, int count, float* buffer)
    {
        long first = ((long)panel * Shape.K + k0) * 32;
        byte* memory = _memory[Experts == 1 ? 0 : expert];
        if (Type == ElementType.Float32) return (float*)memory + first;
        Widening.ToFloat32((ushort*)memory + first, Type, buffer, (long)count * 32);
        return buffer;
    }

    /// <summary>Packs new values over the old ones.</summary>
    internal void Replace(WorkerPool pool, ReadOnlySpan<WeightSource> experts)
    {
        if (experts.Length != Experts) throw new ArgumentException($"{experts.Length} experts for weights of {Experts}");
        for (int e = 0; e < experts.Length; e++) PackExpert(pool, experts[e], e);
    }

    /// <summary>Where output <paramref name="n"/> lies, and how many outputs from it on lie in neighbouring lanes.</summary>
    internal (int Panel, int Lane, int Count) Run(int n)
    {
        (int panel, int lane) = Locate(n);
        int half = Shape.Out / 2;
        return (panel, lane, Shape.Geglu ? Math.Min(16 - (lane & 15), (n < half ? half : Shape.Out) - n) : Math.Min(32 - lane, Shape.Out - n));
    }

    /// <summary>The original weight of output <paramref name="n"/>, term <paramref name="k"/> (for the plain reference).</summary>
    internal float At(int expert, int n, int k)
    {
        (int panel, int lane) = Locate(n);
        long index = ((long)panel * Shape.K + k) * 32 + lane;
        byte* memory = _memory[expert];
        return Type switch
        {
            ElementType.Float32 => ((float*)memory)[index],
            ElementType.Float16 => (float)((Half*)memory)[index],
            _ => BitConverter.UInt32BitsToSingle((uint)((ushort*)memory)[index] << 16),
        };
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        for (int e = 0; e < _memory.Length; e++)
        {
            NativeMemory.AlignedFree(_memory[e]);
            _memory[e] = null;
        }
    }

    /// <summary>Frees what was not disposed.</summary>
    ~CpuPackedWeights() => Dispose(false);

    private (int Panel, int Lane) Locate(int n)
    {
        if (!Shape.Geglu) return (n >> 5, n & 31);
        int half = Shape.Out / 2;
        return n < half ? (n >> 4, n & 15) : ((n - half) >> 4, 16 + ((n - half) & 15));
    }

    private void PackExpert(WorkerPool pool, WeightSource source, int expert)
    {
        byte* destination = _memory[expert];
        pool.Run(Panels, (panel, _) =>
        {
            if (Type.Size() == 4) PackPanel<float>(source, destination, panel);
            else PackPanel<ushort>(source, destination, panel);
        });
    }

    private void PackPanel<T>(WeightSource source, byte* memory, int panel) where T : unmanaged
    {
        int taps = Shape.KernelHeight * Shape.KernelWidth, inputs = Shape.In, k = Shape.K, half = Shape.Out / 2;
        T* to = (T*)memory + (long)panel * k * 32;
        for (int lane = 0; lane < 32; lane++)
        {
            int n = Shape.Geglu ? panel * 16 + (lane & 15) : panel * 32 + lane;
            bool present = n < (Shape.Geglu ? half : Shape.Out);
            if (Shape.Geglu && lane >= 16) n += half;
            for (int tap = 0; tap < taps; tap++)
            {
                T* d = to + (long)tap * inputs * 32 + lane;
                if (!present)
                {
                    for (int i = 0; i < inputs; i++) d[i * 32L] = default;
                }
                else if (sizeof(T) == 4)
                {
                    for (int i = 0; i < inputs; i++) ((float*)d)[i * 32L] = Widening.Element(source, (long)n * k + (long)i * taps + tap);
                }
                else
                {
                    T* s = (T*)source.Pointer + (long)n * k + tap;
                    for (int i = 0; i < inputs; i++) d[i * 32L] = s[(long)i * taps];
                }
            }
        }
    }
}
