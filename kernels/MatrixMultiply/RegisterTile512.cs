using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>
/// The register tile for 512-bit vectors: up to 12 rows of A against one 32-column panel of B, 24 accumulators, two loads and up to 12 broadcasts
/// for 24 fused multiply-adds. Written out because the JIT keeps only named locals in registers; rows beyond <c>TRows</c> fold away.
/// </summary>
internal static unsafe class RegisterTile512
{
    /// <summary>c[r, 0..31] (+)= sum_k a[r * lda + k] * b[k * 32 + 0..31], r below TRows; always summed in order of k.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Run<TRows>(float* a, nint lda, float* b, nint k, float* c, bool accumulate) where TRows : struct, IRowCount
    {
        Vector512<float> p0 = Vector512<float>.Zero, q0 = p0;
        Vector512<float> p1 = Vector512<float>.Zero, q1 = p1;
        Vector512<float> p2 = Vector512<float>.Zero, q2 = p2;
        Vector512<float> p3 = Vector512<float>.Zero, q3 = p3;
        Vector512<float> p4 = Vector512<float>.Zero, q4 = p4;
        Vector512<float> p5 = Vector512<float>.Zero, q5 = p5;
        Vector512<float> p6 = Vector512<float>.Zero, q6 = p6;
        Vector512<float> p7 = Vector512<float>.Zero, q7 = p7;
        Vector512<float> p8 = Vector512<float>.Zero, q8 = p8;
        Vector512<float> p9 = Vector512<float>.Zero, q9 = p9;
        Vector512<float> p10 = Vector512<float>.Zero, q10 = p10;
        Vector512<float> p11 = Vector512<float>.Zero, q11 = p11;
        nint lda2 = lda * 2;
        float* a3 = a + lda * 3, a6 = a + lda * 6, a9 = a + lda * 9;
        float* end = b + k * 32;
        for (; b < end; b += 32, a++, a3++, a6++, a9++)
        {
            Vector512<float> b0 = Vector512.Load(b), b1 = Vector512.Load(b + 16), t;
            t = Broadcast(a); p0 = Vector512.FusedMultiplyAdd(t, b0, p0); q0 = Vector512.FusedMultiplyAdd(t, b1, q0);
            if (TRows.Count > 1) { t = Broadcast(a + lda); p1 = Vector512.FusedMultiplyAdd(t, b0, p1); q1 = Vector512.FusedMultiplyAdd(t, b1, q1); }
            if (TRows.Count > 2) { t = Broadcast(a + lda2); p2 = Vector512.FusedMultiplyAdd(t, b0, p2); q2 = Vector512.FusedMultiplyAdd(t, b1, q2); }
            if (TRows.Count > 3) { t = Broadcast(a3); p3 = Vector512.FusedMultiplyAdd(t, b0, p3); q3 = Vector512.FusedMultiplyAdd(t, b1, q3); }
            if (TRows.Count > 4) { t = Broadcast(a3 + lda); p4 = Vector512.FusedMultiplyAdd(t, b0, p4); q4 = Vector512.FusedMultiplyAdd(t, b1, q4); }
            if (TRows.Count > 5) { t = Broadcast(a3 + lda2); p5 = Vector512.FusedMultiplyAdd(t, b0, p5); q5 = Vector512.FusedMultiplyAdd(t, b1, q5); }
            if (TRows.Count > 6) { t = Broadcast(a6); p6 = Vector512.FusedMultiplyAdd(t, b0, p6); q6 = Vector512.FusedMultiplyAdd(t, b1, q6); }
            if (TRows.Count > 7) { t = Broadcast(a6 + lda); p7 = Vector512.FusedMultiplyAdd(t, b0, p7); q7 = Vector512.FusedMultiplyAdd(t, b1, q7); }
            if (TRows.Count > 8) { t = Broadcast(a6 + lda2); p8 = Vector512.FusedMultiplyAdd(t, b0, p8); q8 = Vector512.FusedMultiplyAdd(t, b1, q8); }
            if (TRows.Count > 9) { t = Broadcast(a9); p9 = Vector512.FusedMultiplyAdd(t, b0, p9); q9 = Vector512.FusedMultiplyAdd(t, b1, q9); }
            if (TRows.Count > 10) { t = Broadcast(a9 + lda); p10 = Vector512.FusedMultiplyAdd(t, b0, p10); q10 = Vector512.FusedMultiplyAdd(t, b1, q10); }
            if (TRows.Count > 11) { t = Broadcast(a9 + lda2); p11 = Vector512.FusedMultiplyAdd(t, b0, p11); q11 = Vector512.FusedMultiplyAdd(t, b1, q11); }
        }

        if (accumulate)
        {
            p0 += Vector512.Load(c + 0); q0 += Vector512.Load(c + 16);
            if (TRows.Count > 1) { p1 += Vector512.Load(c + 32); q1 += Vector512.Load(c + 48); }
            if (TRows.Count > 2) { p2 += Vector512.Load(c + 64); q2 += Vector512.Load(c + 80); }
            if (TRows.Count > 3) { p3 += Vector512.Load(c + 96); q3 += Vector512.Load(c + 112); }
            if (TRows.Count > 4) { p4 += Vector512.Load(c + 128); q4 += Vector512.Load(c + 144); }
            if (TRows.Count > 5) { p5 += Vector512.Load(c + 160); q5 += Vector512.Load(c + 176); }
            if (TRows.Count > 6) { p6 += Vector512.Load(c + 192); q6 += Vector512.Load(c + 208); }
            if (TRows.Count > 7) { p7 += Vector512.Load(c + 224); q7 += Vector512.Load(c + 240); }
            if (TRows.Count > 8) { p8 += Vector512.Load(c + 256); q8 += Vector512.Load(c + 272); }
            if (TRows.Count > 9) { p9 += Vector512.Load(c + 288); q9 += Vector512.Load(c + 304); }
            if (TRows.Count > 10) { p10 += Vector512.Load(c + 320); q10 += Vector512.Load(c + 336); }
            if (TRows.Count > 11) { p11 += Vector512.Load(c + 352); q11 += Vector512.Load(c + 368); }
        }

        p0.Store(c + 0); q0.Store(c + 16);
        if (TRows.Count > 1) { p1.Store(c + 32); q1.Store(c + 48); }
        if (TRows.Count > 2) { p2.Store(c + 64); q2.Store(c + 80); }
        if (TRows.Count > 3) { p3.Store(c + 96); q3.Store(c + 112); }
        if (TRows.Count > 4) { p4.Store(c + 128); q4.Store(c + 144); }
        if (TRows.Count > 5) { p5.Store(c + 160); q5.Store(c + 176); }
        if (TRows.Count > 6) { p6.Store(c + 192); q6.Store(c + 208); }
        if (TRows.Count > 7) { p7.Store(c + 224); q7.Store(c + 240); }
        if (TRows.Count > 8) { p8.Store(c + 256); q8.Store(c + 272); }
        if (TRows.Count > 9) { p9.Store(c + 288); q9.Store(c + 304); }
        if (TRows.Count > 10) { p10.Store(c + 320); q10.Store(c + 336); }
        if (TRows.Count > 11) { p11.Store(c + 352); q11.Store(c + 368); }
    }

    /// <summary>One value in every lane. As an integer: on Zen 4 that is a load alone, the same for floats also takes a unit that the products need.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Broadcast(float* value) => Vector512.Create(*(int*)value).AsSingle();
}
