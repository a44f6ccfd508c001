using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>
/// The register tile for 512-bit vectors: up to 12 rows of A against one 32-column panel of B, 24 accumulators, two loads and up
/// to 12 broadcasts
/// for 24 fused multiply-adds. Written out because the JIT keeps only named locals in registers; rows beyond <c>TRows</c> fold
/// away.
/// </summary>
internal static unsafe class RegisterTile512
{
    /// <summary>c[r, 0..31] (+)= sum_k a[r * lda + k] * b[k * 32 + 0..31], r below TRows; always summed in order of k.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Run<TRows>(float* a, nint lda, float* b, nint k, float* c, bool accumulate)
        where TRows : struct, IRowCount
    {
        Vector512<float> p0 = Vector512<float>.Zero,
            q0 = p0;
        Vector512<float> p1 = Vector512<float>.Zero,
            q1 = p1;
        Vector512<float> p2 = Vector512<float>.Zero,
            q2 = p2;
        Vector512<float> p3 = Vector512<float>.Zero,
            q3 = p3;
        Vector512<float> p4 = Vector512<float>.Zero,
            q4 = p4;
        Vector512<float> p5 = Vector512<float>.Zero,
            q5 = p5;
        Vector512<float> p6 = Vector512<float>.Zero,
            q6 = p6;
        Vector512<float> p7 = Vector512<float>.Zero,
            q7 = p7;
        Vector512<float> p8 = Vector512<float>.Zero,
            q8 = p8;
        Vector512<float> p9 = Vector512<float>.Zero,
            q9 = p9;
        Vector512<float> p10 = Vector512<float>.Zero,
            q10 = p10;
        Vector512<float> p11 = Vector512<float>.Zero,
            q11 = p11;
        nint lda2 = lda * 2;
        float* a3 = a + lda * 3,
            a6 = a + lda * 6,
            a9 = a + lda * 9;
        if (k < 2)
        {
            RegisterTilePortable.Run<TRows>(a, lda, b, k, c, accumulate);
            return;
        }

        for (float* end = b + (k - 2) * 32; b < end; b += 32, a++, a3++, a6++, a9++)
        {
            Vector512<float> b0 = Vector512.Load(b),
                b1 = Vector512.Load(b + 16),
                t;
            t = Broadcast(a);
            p0 = Vector512.FusedMultiplyAdd(t, b0, p0);
            q0 = Vector512.FusedMultiplyAdd(t, b1, q0);
            if (TRows.Count > 1)
            {
                t = Broadcast(a + lda);
                p1 = Vector512.FusedMultiplyAdd(t, b0, p1);
                q1 = Vector512.FusedMultiplyAdd(t, b1, q1);
            }
            if (TRows.Count > 2)
            {
                t = Broadcast(a + lda2);
                p2 = Vector512.FusedMultiplyAdd(t, b0, p2);
                q2 = Vector512.FusedMultiplyAdd(t, b1, q2);
            }
            if (TRows.Count > 3)
            {
                t = Broadcast(a3);
                p3 = Vector512.FusedMultiplyAdd(t, b0, p3);
                q3 = Vector512.FusedMultiplyAdd(t, b1, q3);
            }
            if (TRows.Count > 4)
            {
                t = Broadcast(a3 + lda);
                p4 = Vector512.FusedMultiplyAdd(t, b0, p4);
                q4 = Vector512.FusedMultiplyAdd(t, b1, q4);
            }
            if (TRows.Count > 5)
            {
                t = Broadcast(a3 + lda2);
                p5 = Vector512.FusedMultiplyAdd(t, b0, p5);
                q5 = Vector512.FusedMultiplyAdd(t, b1, q5);
            }
            if (TRows.Count > 6)
            {
                t = Broadcast(a6);
                p6 = Vector512.FusedMultiplyAdd(t, b0, p6);
                q6 = Vector512.FusedMultiplyAdd(t, b1, q6);
            }
            if (TRows.Count > 7)
            {
                t = Broadcast(a6 + lda);
                p7 = Vector512.FusedMultiplyAdd(t, b0, p7);
                q7 = Vector512.FusedMultiplyAdd(t, b1, q7);
            }
            if (TRows.Count > 8)
            {
                t = Broadcast(a6 + lda2);
                p8 = Vector512.FusedMultiplyAdd(t, b0, p8);
                q8 = Vector512.FusedMultiplyAdd(t, b1, q8);
            }
            if (TRows.Count > 9)
            {
                t = Broadcast(a9);
                p9 = Vector512.FusedMultiplyAdd(t, b0, p9);
                q9 = Vector512.FusedMultiplyAdd(t, b1, q9);
            }
            if (TRows.Count > 10)
            {
                t = Broadcast(a9 + lda);
                p10 = Vector512.FusedMultiplyAdd(t, b0, p10);
                q10 = Vector512.FusedMultiplyAdd(t, b1, q10);
            }
            if (TRows.Count > 11)
            {
                t = Broadcast(a9 + lda2);
                p11 = Vector512.FusedMultiplyAdd(t, b0, p11);
                q11 = Vector512.FusedMultiplyAdd(t, b1, q11);
            }
        }

        // Two terms are left for each row to take on its way out: 24 stores in a row would hold up the next tile.
        Vector512<float> d0 = Vector512.Load(b),
            d1 = Vector512.Load(b + 16),
            e0 = Vector512.Load(b + 32),
            e1 = Vector512.Load(b + 48);
        Finish(a, d0, d1, e0, e1, p0, q0, c, accumulate);
        if (TRows.Count > 1)
            Finish(a + lda, d0, d1, e0, e1, p1, q1, c + 32, accumulate);
        if (TRows.Count > 2)
            Finish(a + lda2, d0, d1, e0, e1, p2, q2, c + 64, accumulate);
        if (TRows.Count > 3)
            Finish(a3, d0, d1, e0, e1, p3, q3, c + 96, accumulate);
        if (TRows.Count > 4)
            Finish(a3 + lda, d0, d1, e0, e1, p4, q4, c + 128, accumulate);
        if (TRows.Count > 5)
            Finish(a3 + lda2, d0, d1, e0, e1, p5, q5, c + 160, accumulate);
        if (TRows.Count > 6)
            Finish(a6, d0, d1, e0, e1, p6, q6, c + 192, accumulate);
        if (TRows.Count > 7)
            Finish(a6 + lda, d0, d1, e0, e1, p7, q7, c + 224, accumulate);
        if (TRows.Count > 8)
            Finish(a6 + lda2, d0, d1, e0, e1, p8, q8, c + 256, accumulate);
        if (TRows.Count > 9)
            Finish(a9, d0, d1, e0, e1, p9, q9, c + 288, accumulate);
        if (TRows.Count > 10)
            Finish(a9 + lda, d0, d1, e0, e1, p10, q10, c + 320, accumulate);
        if (TRows.Count > 11)
            Finish(a9 + lda2, d0, d1, e0, e1, p11, q11, c + 352, accumulate);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Finish(
        float* a,
        Vector512<float> d0,
        Vector512<float> d1,
        Vector512<float> e0,
        Vector512<float> e1,
        Vector512<float> p,
        Vector512<float> q,
        float* c,
        bool accumulate
    )
    {
        Vector512<float> t = Broadcast(a),
            u = Broadcast(a + 1);
        p = Vector512.FusedMultiplyAdd(u, e0, Vector512.FusedMultiplyAdd(t, d0, p));
        q = Vector512.FusedMultiplyAdd(u, e1, Vector512.FusedMultiplyAdd(t, d1, q));
        if (accumulate)
        {
            p += Vector512.Load(c);
            q += Vector512.Load(c + 16);
        }

        p.Store(c);
        q.Store(c + 16);
    }

    /// <summary>
    /// One value in every lane. As an integer: on Zen 4 that is a load alone, the same for floats also takes a unit that the
    /// products need.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Broadcast(float* value) => Vector512.Create(*(int*)value).AsSingle();
}
