using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Host;

namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>
/// Weights as the CPU's matrix kernels want them: per expert, panels of 32 output columns, each [K][32] with K ordered (ky, kx,
/// in), stored in the
/// checkpoint's own type; bfloat16 in pairs of terms, [K / 2][32][2]. A GEGLU panel holds 16 values and their 16 gates. Missing
/// columns are zero.
/// </summary>
public sealed unsafe class CpuPackedWeights : PackedWeights
{
    // Empty until they are made: a constructor that throws leaves an object for the finalizer.
    private readonly byte*[] _memory = [];
    private readonly float*[] _ends = [];
    private readonly int _terms,
        _block;

    /// <param name="pool">Threads that pack.</param>
    /// <param name="shape">Shape of one expert's weights.</param>
    /// <param name="experts">Every expert's weights.</param>
    /// <param name="storage">Type to store them in; null: their own.</param>
    /// <param name="paired">Keep with every panel what <see cref="PairedProduct"/> would have to find out each time.</param>
    internal CpuPackedWeights(
        WorkerPool pool,
        WeightShape shape,
        ReadOnlySpan<WeightSource> experts,
        ElementType? storage = null,
        bool paired = false
    )
        : base(shape, experts.Length)
    {
        if (shape.Geglu && shape.Out % 2 != 0)
            throw new ArgumentException($"a GEGLU projection needs an even number of outputs, not {shape.Out}");
        var types = new ElementType[experts.Length];
        for (int e = 0; e < experts.Length; e++)
            types[e] = experts[e].Type;
        Type = storage ?? Common(types);
        _terms = Terms(shape, Type);
        Panels = shape.Geglu ? (shape.Out / 2 + 15) / 16 : (shape.Out + 31) / 32;
        _memory = new byte*[experts.Length];
        _ends = new float*[experts.Length];
        _block = paired ? MatrixMultiplySimd.BlockOfTerms(shape.K, PairedProduct.Terms) : 0;
        long bytes = (long)Panels * _terms * 32 * Type.Size();
        for (int e = 0; e < experts.Length; e++)
        {
            _memory[e] = (byte*)HostMemory.Allocate(bytes);
            if (paired)
                _ends[e] = (float*)HostMemory.Allocate((long)Panels * Blocks * EndFloats * sizeof(float));
            PackExpert(pool, experts[e], e);
        }
    }

    /// <summary>Bytes of packed weights of experts of these types.</summary>
    internal static long Bytes(
        WeightShape shape,
        ReadOnlySpan<ElementType> types,
        ElementType? storage = null,
        bool paired = false
    )
    {
        ElementType type = storage ?? Common(types);
        int block = paired ? MatrixMultiplySimd.BlockOfTerms(shape.K, PairedProduct.Terms) : shape.K,
            blocks = paired ? (shape.K + block - 1) / block : 0;
        return (long)types.Length
            * (shape.Geglu ? (shape.Out / 2 + 15) / 16 : (shape.Out + 31) / 32)
            * (Terms(shape, type) * 32L * type.Size() + blocks * EndFloats * sizeof(float));
    }

    /// <summary>Storage type of all experts.</summary>
    public ElementType Type { get; }

    /// <summary>Panels of one expert.</summary>
    public int Panels { get; }

    /// <inheritdoc/>
    public override long ByteLength => (long)Experts * Panels * (_terms * 32L * Type.Size() + Blocks * EndFloats * sizeof(float));

    // What follows a panel's block of terms: two rows.
    private const int EndFloats = 64;

    private int Blocks => _block == 0 ? 0 : (Shape.K + _block - 1) / _block;

    /// <summary>
    /// Rows [k0, k0 + count) of a panel as float32: in place when stored so, else widened into <paramref name="buffer"/>.
    /// </summary>
    internal float* Panel(int expert, int panel, int k0, int count, float* buffer)
    {
        long first = ((long)panel * _terms + k0) * 32;
        byte* memory = _memory[Experts == 1 ? 0 : expert];
        if (Type == ElementType.Float32)
            return (float*)memory + first;
        if (Type == ElementType.BFloat16)
            Widening.Pairs((uint*)memory + (long)panel * _terms * 16, k0, count, buffer);
        else
            Widening.ToFloat32((ushort*)memory + first, Type, buffer, (long)count * 32);
        return buffer;
    }

    /// <summary>
    /// Rows [k0, k0 + count), a block, of a panel as <see cref="PairedProduct"/> packs them; null if that was not prepared.
    /// </summary>
    internal float* PairedPanel(int expert, int panel, int k0, int count, float* buffer)
    {
        if (_block == 0)
            return null;
        int e = Experts == 1 ? 0 : expert;
        float* end = _ends[e] + ((long)panel * Blocks + k0 / _block) * EndFloats;
        Vector512<int> exponents = Vector512.Create(254 << 23);
        Vector512<float> scale0 = (exponents - Vector512.Load((int*)end + 32)).AsSingle(),
            scale1 = (exponents - Vector512.Load((int*)end + 48)).AsSingle();
        if (Type == ElementType.Float16)
            Widening.ToScaled((ushort*)_memory[e] + ((long)panel * _terms + k0) * 32, count, scale0, scale1, buffer);
        else
            Widening.Scale(Panel(expert, panel, k0, count, buffer), count, scale0, scale1, buffer);
        for (int i = 0; i < EndFloats; i += 16)
            Vector512.Load(end + i).Store(buffer + count * 32L + i);
        return buffer;
    }

    /// <summary>Where terms [k0, k0 + count) of a panel are stored, and how many bytes they are.</summary>
    internal byte* Bytes(int expert, int panel, int k0, int count, out long length)
    {
        length = (long)count * 32 * Type.Size();
        return _memory[Experts == 1 ? 0 : expert] + ((long)panel * _terms + k0) * 32 * Type.Size();
    }

    /// <summary>
    /// A panel from the even term <paramref name="k0"/> on as bfloat16 pairs [K / 2][32][2]; null if stored otherwise.
    /// </summary>
    internal float* BFloat16Panel(int expert, int panel, int k0) =>
        Type == ElementType.BFloat16 && (k0 & 1) == 0
            ? (float*)_memory[Experts == 1 ? 0 : expert] + ((long)panel * _terms + k0) * 16
            : null;

    /// <summary>Packs new values over the old ones.</summary>
    internal void Replace(WorkerPool pool, ReadOnlySpan<WeightSource> experts)
    {
        if (experts.Length != Experts)
            throw new ArgumentException($"{experts.Length} experts for weights of {Experts}");
        for (int e = 0; e < experts.Length; e++)
            PackExpert(pool, experts[e], e);
    }

    /// <summary>Where output <paramref name="n"/> lies, and how many outputs from it on lie in neighbouring lanes.</summary>
    internal (int Panel, int Lane, int Count) LanesFrom(int n)
    {
        (int panel, int lane) = Locate(n);
        int half = Shape.Out / 2;
        return (
            panel,
            lane,
            Shape.Geglu ? Math.Min(16 - (lane & 15), (n < half ? half : Shape.Out) - n) : Math.Min(32 - lane, Shape.Out - n)
        );
    }

    /// <summary>
    /// The original weight of output <paramref name="n"/>, term <paramref name="k"/> (for the plain reference).
    /// </summary>
    internal float At(int expert, int n, int k)
    {
        (int panel, int lane) = Locate(n);
        long index =
            Type == ElementType.BFloat16
                ? ((long)panel * _terms + (k & ~1)) * 32 + 2 * lane + (k & 1)
                : ((long)panel * _terms + k) * 32 + lane;
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

        for (int e = 0; e < _ends.Length; e++)
        {
            NativeMemory.AlignedFree(_ends[e]);
            _ends[e] = null;
        }
    }

    /// <summary>Frees what was not disposed.</summary>
    ~CpuPackedWeights() => Dispose(false);

    private (int Panel, int Lane) Locate(int n)
    {
        if (!Shape.Geglu)
            return (n >> 5, n & 31);
        int half = Shape.Out / 2;
        return n < half ? (n >> 4, n & 15) : ((n - half) >> 4, 16 + ((n - half) & 15));
    }

    // One storage type per tensor keeps one kernel per launch; mixed experts are widened.
    private static ElementType Common(ReadOnlySpan<ElementType> types)
    {
        foreach (ElementType type in types)
        {
            if (type != types[0])
                return ElementType.Float32;
        }

        return types[0];
    }

    // Pairs of terms need an even number.
    private static int Terms(WeightShape shape, ElementType type) => type == ElementType.BFloat16 ? (shape.K + 1) & ~1 : shape.K;

    private void PackExpert(WorkerPool pool, WeightSource source, int expert)
    {
        byte* destination = _memory[expert];
        pool.Run(
            Panels,
            (panel, worker) =>
            {
                byte* to = destination + (long)panel * _terms * 32 * Type.Size();
                new Span<byte>(to, _terms * 32 * Type.Size()).Clear();
                for (int lane = 0; lane < 32; lane++)
                {
                    int half = Shape.Out / 2,
                        n = Shape.Geglu ? panel * 16 + (lane & 15) : panel * 32 + lane;
                    if (n >= (Shape.Geglu ? half : Shape.Out))
                        continue;
                    if (Shape.Geglu && lane >= 16)
                        n += half;
                    switch (Type)
                    {
                        case ElementType.Float32:
                            PackWide(source, n, (float*)to + lane);
                            break;
                        case ElementType.Float16:
                            PackHalves(source, n, (ushort*)to + lane);
                            break;
                        default:
                            PackPairs(source, n, (ushort*)to + 2 * lane);
                            break;
                    }
                }

                if (_block != 0)
                    FindEnds(expert, panel, pool.Scratch(worker));
            }
        );
    }

    private void FindEnds(int expert, int panel, Scratch scratch)
    {
        var product = new PairedProduct();
        float* packed = scratch.Floats(product.PanelRows(_block) * 32);
        for (int k0 = 0, block = 0; k0 < Shape.K; k0 += _block, block++)
        {
            int count = Math.Min(_block, Shape.K - k0);
            product.PackPanel(Panel(expert, panel, k0, count, packed), count, packed);
            Buffer.MemoryCopy(
                packed + count * 32,
                _ends[expert] + ((long)panel * Blocks + block) * EndFloats,
                EndFloats * sizeof(float),
                EndFloats * sizeof(float)
            );
        }
    }

    private void PackWide(WeightSource source, int n, float* to)
    {
        int taps = Shape.KernelHeight * Shape.KernelWidth;
        for (int tap = 0; tap < taps; tap++)
        {
            for (int i = 0; i < Shape.In; i++, to += 32)
                *to = Widening.Element(source, (long)n * Shape.K + (long)i * taps + tap);
        }
    }

    private void PackHalves(WeightSource source, int n, ushort* to)
    {
        int taps = Shape.KernelHeight * Shape.KernelWidth;
        for (int tap = 0; tap < taps; tap++)
        {
            ushort* from = (ushort*)source.Pointer + (long)n * Shape.K + tap;
            for (int i = 0; i < Shape.In; i++, to += 32, from += taps)
                *to = *from;
        }
    }

    private void PackPairs(WeightSource source, int n, ushort* to)
    {
        int taps = Shape.KernelHeight * Shape.KernelWidth,
            k = 0;
        for (int tap = 0; tap < taps; tap++)
        {
            for (int i = 0; i < Shape.In; i++, k++)
            {
                long index = (long)n * Shape.K + (long)i * taps + tap;
                to[(k & ~1) * 32L + (k & 1)] =
                    source.Type == ElementType.BFloat16
                        ? ((ushort*)source.Pointer)[index]
                        : Widening.ToBFloat16(Widening.Element(source, index));
            }
        }
    }
}
