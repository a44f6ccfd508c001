using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using AfaNative.Kernels.MachineCode;
using static AfaNative.Kernels.MachineCode.Register;

namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>
/// Kernels for instructions that .NET has no intrinsics for, generated once at start: dot products of bfloat16 pairs
/// (AVX512-BF16) and float16 to float32
/// (AVX-512's VCVTPH2PS). x86-64 Linux only; elsewhere, and where the system refuses executable memory, nothing here is available
/// and the plain
/// kernels do the work.
/// </summary>
internal static unsafe class GeneratedKernels
{
    private const int Unroll = 4,
        PanelBytes = RegisterTile.Columns * sizeof(uint),
        TileBytes = RegisterTile.Columns * sizeof(float);

    private static readonly nint[]? s_halves = Possible
        ? CodeMemory.Publish([WidenHalves(scaled: false), WidenHalves(scaled: true)])
        : null;
    private static readonly nint[]? s_tiles = BFloat16Hardware
        ? CodeMemory.Publish([
            .. Enumerable
                .Range(0, 2 * RegisterTile.MaxRows)
                .Select(i => BFloat16Tiles(i % RegisterTile.MaxRows + 1, i >= RegisterTile.MaxRows)),
        ])
        : null;

    /// <summary><see cref="WidenHalves(ushort*, float*, long)"/> can be called.</summary>
    public static bool WidensHalves => s_halves is not null;

    /// <summary><see cref="MultiplyBFloat16"/> can be called.</summary>
    public static bool MultipliesBFloat16 => s_tiles is not null;

    /// <summary>
    /// This is a system that code is generated for, with the basic 512-bit instructions. (Avx512F.IsSupported includes the
    /// operating system's consent.)
    /// </summary>
    public static bool Possible =>
        Avx512F.IsSupported && OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture == Architecture.X64;

    // CPUID leaf 7, subleaf 1, EAX bit 5.
    private static bool BFloat16Hardware =>
        Possible && X86Base.CpuId(0, 0).Eax >= 7 && X86Base.CpuId(7, 0).Eax >= 1 && (X86Base.CpuId(7, 1).Eax & 1 << 5) != 0;

    /// <summary>Widens <paramref name="count"/> float16, a multiple of 64.</summary>
    public static void WidenHalves(ushort* from, float* to, long count) =>
        ((delegate* unmanaged<ushort*, float*, long, void>)s_halves![0])(from, to, count);

    /// <summary>
    /// c[t, r, 0..31] (+)= sum over pairs p of a[t * rows + r, p] . b[p, 0..31], for t below <paramref name="tiles"/> and r below
    /// <paramref name="rows"/> (1..12): a row of a is
    /// bfloat16, <paramref name="stride"/> bytes from the next; b holds 32 bfloat16 pairs per pair of terms; c is float32 [tiles
    /// * rows][32].
    /// Always summed in order of p. The hardware rounds to nearest and takes subnormals for zero.
    /// </summary>
    public static void MultiplyBFloat16(
        int rows,
        int tiles,
        ushort* a,
        nint stride,
        uint* b,
        nint pairs,
        float* c,
        bool accumulate
    )
    {
        if (tiles <= 0)
            return;
        (
            (delegate* unmanaged<ushort*, nint, uint*, nint, float*, nint, void>)
                s_tiles![rows - 1 + (accumulate ? RegisterTile.MaxRows : 0)]
        )(a, stride, b, pairs, c, tiles);
    }

    /// <summary>The same, rows of 32, each times the 32 <paramref name="scales"/>.</summary>
    public static void WidenHalves(ushort* from, float* to, long count, float* scales) =>
        ((delegate* unmanaged<ushort*, float*, long, float*, void>)s_halves![1])(from, to, count, scales);

    // rdi = from, rsi = to, rdx = count, rcx = scales.
    private static byte[] WidenHalves(bool scaled)
    {
        var code = new Assembler();
        int loop = code.NewLabel(),
            done = code.NewLabel();
        if (scaled)
        {
            code.Load(4, new(Rcx));
            code.Load(5, new(Rcx, 64));
        }

        code.Subtract(Rdx, 64);
        code.JumpIfLess(done);
        code.Place(loop);
        for (int i = 0; i < 4; i++)
            code.WidenHalf(i, new(Rdi, 32 * i));
        for (int i = 0; scaled && i < 4; i++)
            code.Multiply(i, 4 + (i & 1));
        for (int i = 0; i < 4; i++)
            code.Store(new(Rsi, 64 * i), i);
        code.Add(Rdi, 128);
        code.Add(Rsi, 256);
        code.Subtract(Rdx, 64);
        code.JumpIfNotLess(loop);
        code.Place(done);
        code.Return();
        return code.ToArray();
    }

    // rdi = a, rsi = stride, rdx = b, rcx = pairs, r8 = c, r9 = tiles. Accumulators are zmm0..2 * rows - 1, b is in the next two,
    // the rest take broadcasts in turn.
    private static byte[] BFloat16Tiles(int rows, bool accumulate)
    {
        var code = new Assembler();
        int b0 = 2 * rows,
            b1 = b0 + 1,
            spare = b0 + 2,
            spares = 32 - spare,
            turn = 0;
        int tile = code.NewLabel(),
            loop = code.NewLabel(),
            tail = code.NewLabel(),
            single = code.NewLabel(),
            done = code.NewLabel();
        // Below the stack pointer, in the 128 bytes a leaf function owns: pairs, a, b, and the way from a tile's rows to the next
        // one's.
        Address pairs = new(Rsp, -8),
            a = new(Rsp, -16),
            b = new(Rsp, -24),
            step = new(Rsp, -32);
        code.Move(pairs, Rcx);
        code.Move(a, Rdi);
        code.Move(b, Rdx);
        code.Move(step, Rsi);
        code.Move(Rax, Rsi);
        for (int r = 1; r < rows; r++)
            code.Add(Rax, step);
        code.Move(step, Rax);
        TileRows.Begin(code);
        code.Place(tile);
        TileRows.Place(code, rows);
        for (int i = 0; i < 2 * rows; i++)
            code.Clear(i);
        code.Subtract(Rcx, Unroll);
        code.JumpIfLess(tail);
        code.Place(loop);
        for (int p = 0; p < Unroll; p++)
            Pair(p);
        Advance(Unroll);
        code.Subtract(Rcx, Unroll);
        code.JumpIfNotLess(loop);
        code.Place(tail);
        code.Add(Rcx, Unroll);
        code.JumpIfZero(done);
        code.Place(single);
        Pair(0);
        Advance(1);
        code.Subtract(Rcx, 1);
        code.JumpIfNotZero(single);
        code.Place(done);
        for (int i = 0; i < 2 * rows; i++)
        {
            Address to = new(R8, 64 * i);
            if (accumulate)
                code.Add(i, to);
            code.Store(to, i);
        }

        code.Add(R8, rows * TileBytes);
        code.Move(Rdi, a);
        code.Add(Rdi, step);
        code.Move(a, Rdi);
        code.Move(Rdx, b);
        code.Move(Rcx, pairs);
        code.Subtract(R9, 1);
        code.JumpIfNotZero(tile);
        code.Return();
        return code.ToArray();

        void Pair(int p)
        {
            code.Load(b0, new(Rdx, p * PanelBytes));
            code.Load(b1, new(Rdx, p * PanelBytes + 64));
            for (int r = 0; r < rows; r++)
            {
                int t = spare + turn++ % spares;
                code.Broadcast(t, TileRows.At(r, 4 * p));
                code.DotBFloat16(2 * r, t, b0);
                code.DotBFloat16(2 * r + 1, t, b1);
            }
        }

        void Advance(int count)
        {
            code.Add(Rdx, count * PanelBytes);
            TileRows.Advance(code, rows, 4 * count);
        }
    }
}
