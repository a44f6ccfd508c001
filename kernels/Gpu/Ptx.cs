using ILGPU;
using ILGPU.IR.Intrinsics;

namespace AfaNative.Kernels.Gpu;

/// <summary>Four floats in registers: an accumulator fragment, or 16 bytes of memory.</summary>
internal struct F4
{
    public float X,
        Y,
        Z,
        W;
}

/// <summary>Four words in registers: an operand fragment of pairs of halves, or 16 bytes of memory.</summary>
internal struct U4
{
    public uint X,
        Y,
        Z,
        W;
}

/// <summary>
/// PTX instructions as methods, for kernels that run on CUDA only. Shared memory is addressed by 32-bit offsets, global memory by
/// 64-bit addresses.
/// Fragment layouts are those of the PTX ISA, section "Warp level matrix instructions".
/// </summary>
internal static class Ptx
{
    /// <summary>
    /// D = A B + C: A 16x16 row major, B 16x8 column major (a register each of 8 rows), binary16 products, float32 sums.
    /// </summary>
    [
        IntrinsicImplementation,
        Ptx("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%8,%9,%10,%11}, {%12,%13}, {%4,%5,%6,%7};")
    ]
    public static F4 MmaFloat16(F4 c, U4 a, uint b0, uint b1) => throw Unavailable();

    /// <summary>As <see cref="MmaFloat16"/> with bfloat16 factors.</summary>
    [
        IntrinsicImplementation,
        Ptx("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%8,%9,%10,%11}, {%12,%13}, {%4,%5,%6,%7};")
    ]
    public static F4 MmaBFloat16(F4 c, U4 a, uint b0, uint b1) => throw Unavailable();

    /// <summary>Four 8x8 matrices of 16-bit elements; lane l names row l % 8 of matrix l / 8.</summary>
    [IntrinsicImplementation, Ptx("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];")]
    public static U4 LoadMatrices(uint shared) => throw Unavailable();

    /// <summary>As <see cref="LoadMatrices"/>, each matrix transposed.</summary>
    [IntrinsicImplementation, Ptx("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];")]
    public static U4 LoadMatricesTransposed(uint shared) => throw Unavailable();

    /// <summary>
    /// Starts a copy of 16 bytes past L1; of the source only <paramref name="bytes"/> are read, the rest is zero.
    /// </summary>
    [IntrinsicImplementation, Ptx("cp.async.cg.shared.global [%0], [%1], 16, %2;")]
    public static void CopyAsync(uint shared, ulong global, int bytes) => throw Unavailable();

    /// <summary>Starts a copy of 16 bytes past L1.</summary>
    [IntrinsicImplementation, Ptx("cp.async.cg.shared.global [%0], [%1], 16;")]
    public static void CopyAsync(uint shared, ulong global) => throw Unavailable();

    /// <summary>Closes a group of this thread's copies.</summary>
    [IntrinsicImplementation, Ptx("cp.async.commit_group;")]
    public static void CommitCopies() => throw Unavailable();

    /// <summary>Waits until at most one group is still on its way.</summary>
    [IntrinsicImplementation, Ptx("cp.async.wait_group 1;")]
    public static void WaitForAllCopiesButOneGroup() => throw Unavailable();

    /// <summary>Waits for all of this thread's copies.</summary>
    [IntrinsicImplementation, Ptx("cp.async.wait_all;")]
    public static void WaitForAllCopies() => throw Unavailable();

    /// <summary>Orders the shared-memory accesses of a warp's lanes.</summary>
    [IntrinsicImplementation, Ptx("bar.warp.sync 0xffffffff;")]
    public static void SyncWarp() => throw Unavailable();

    /// <summary>The value of the lane whose number differs by <paramref name="mask"/>.</summary>
    [IntrinsicImplementation, Ptx("shfl.sync.bfly.b32 %0, %1, %2, 31, 0xffffffff;")]
    public static float ShuffleXor(float value, int mask) => throw Unavailable();

    /// <summary>Offset of an element in shared memory.</summary>
    [IntrinsicImplementation, Ptx("@shared")]
    public static uint SharedOffset(ref F4 element) => throw Unavailable();

    [IntrinsicImplementation, Ptx("ld.global.v4.b32 {%0,%1,%2,%3}, [%4];")]
    public static U4 LoadGlobal16(ulong address) => throw Unavailable();

    [IntrinsicImplementation, Ptx("ld.global.u16 %0, [%1];")]
    public static ushort LoadGlobalHalf(ulong address) => throw Unavailable();

    [IntrinsicImplementation, Ptx("ld.global.f32 %0, [%1];")]
    public static float LoadGlobalFloat(ulong address) => throw Unavailable();

    [IntrinsicImplementation, Ptx("st.global.v4.b32 [%0], {%1,%2,%3,%4};")]
    public static void StoreGlobal16(ulong address, U4 value) => throw Unavailable();

    [IntrinsicImplementation, Ptx("st.global.v2.b32 [%0], {%1,%2};")]
    public static void StoreGlobal8(ulong address, uint x, uint y) => throw Unavailable();

    [IntrinsicImplementation, Ptx("st.global.u16 [%0], %1;")]
    public static void StoreGlobalHalf(ulong address, ushort value) => throw Unavailable();

    [IntrinsicImplementation, Ptx("st.global.f32 [%0], %1;")]
    public static void StoreGlobalFloat(ulong address, float value) => throw Unavailable();

    [IntrinsicImplementation, Ptx("ld.shared.v4.f32 {%0,%1,%2,%3}, [%4];")]
    public static F4 LoadShared16(uint shared) => throw Unavailable();

    [IntrinsicImplementation, Ptx("ld.shared.v4.b32 {%0,%1,%2,%3}, [%4];")]
    public static U4 LoadSharedWords(uint shared) => throw Unavailable();

    [IntrinsicImplementation, Ptx("st.shared.v2.f32 [%0], {%1,%2};")]
    public static void StoreShared8(uint shared, float x, float y) => throw Unavailable();

    [IntrinsicImplementation, Ptx("st.shared.b32 [%0], %1;")]
    public static void StoreShared4(uint shared, uint value) => throw Unavailable();

    /// <summary>2^x to about two units in the last place; 0 for large negative x.</summary>
    [IntrinsicImplementation, Ptx("ex2.approx.ftz.f32 %0, %1;")]
    public static float Exp2(float x) => throw Unavailable();

    /// <summary>1 / x to one unit in the last place.</summary>
    [IntrinsicImplementation, Ptx("rcp.approx.ftz.f32 %0, %1;")]
    public static float Reciprocal(float x) => throw Unavailable();

    /// <summary>The larger; a NaN loses.</summary>
    [IntrinsicImplementation, Ptx("max.f32 %0, %1, %2;")]
    public static float Max(float a, float b) => throw Unavailable();

    /// <summary>Two floats rounded to binary16, the first in the low half.</summary>
    [IntrinsicImplementation, Ptx("cvt.rn.f16x2.f32 %0, %2, %1;")]
    public static uint PackFloat16(float low, float high) => throw Unavailable();

    /// <summary>Two floats rounded to bfloat16, the first in the low half.</summary>
    [IntrinsicImplementation, Ptx("cvt.rn.bf16x2.f32 %0, %2, %1;")]
    public static uint PackBFloat16(float low, float high) => throw Unavailable();

    [IntrinsicImplementation, Ptx("{ .reg .b16 l, h; mov.b32 {l, h}, %1; cvt.f32.f16 %0, l; }")]
    public static float LowFloat16(uint pair) => throw Unavailable();

    [IntrinsicImplementation, Ptx("{ .reg .b16 l, h; mov.b32 {l, h}, %1; cvt.f32.f16 %0, h; }")]
    public static float HighFloat16(uint pair) => throw Unavailable();

    // Rounded, never contracted: what must be the same number on every device.
    [IntrinsicImplementation, Ptx("fma.rn.f32 %0, %1, %2, %3;")]
    public static float FusedMultiplyAdd(float a, float b, float c) => throw Unavailable();

    [IntrinsicImplementation, Ptx("mul.rn.f32 %0, %1, %2;")]
    public static float Multiply(float a, float b) => throw Unavailable();

    [IntrinsicImplementation, Ptx("add.rn.f32 %0, %1, %2;")]
    public static float Add(float a, float b) => throw Unavailable();

    [IntrinsicImplementation, Ptx("div.rn.f32 %0, %1, %2;")]
    public static float Divide(float a, float b) => throw Unavailable();

    [IntrinsicImplementation, Ptx("sqrt.rn.f32 %0, %1;")]
    public static float SquareRoot(float x) => throw Unavailable();

    private static NotSupportedException Unavailable() => new("this instruction exists on CUDA devices only");
}
