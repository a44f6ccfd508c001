using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>
/// The register tile of <see cref="PairedProduct"/>: up to 12 rows against one 32-column panel. Of every three pairs of terms,
/// either half of the panel takes two as
/// (a0 + b1)(a1 + b0) and one as it is, staggered: as many additions as multiplications at any time, on processors that can do
/// both at once.
/// </summary>
internal static unsafe class PairedTile512
{
    /// <summary>
    /// As <see cref="RegisterTile512.Run"/> for operands packed by <see cref="PairedProduct"/>, with what that packing did
    /// undone.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Run<TRows>(float* a, nint lda, float* b, nint k, float* c, bool accumulate)
        where TRows : struct, IRowCount
    {
        nint lda2 = lda * 2,
            left = k;
        float* a3 = a + lda * 3,
            a6 = a + lda * 6,
            a9 = a + lda * 9,
            own = b + k * 32;
        Vector512<float> s0 = Vector512.Load(own),
            s1 = Vector512.Load(own + 16),
            t,
            u;
        Vector512<float> p0 = s0 - At(a + k),
            q0 = s1 - At(a + k + 1);
        Vector512<float> p1 = TRows.Count > 1 ? s0 - At(a + lda + k) : default,
            q1 = TRows.Count > 1 ? s1 - At(a + lda + k + 1) : default;
        Vector512<float> p2 = TRows.Count > 2 ? s0 - At(a + lda2 + k) : default,
            q2 = TRows.Count > 2 ? s1 - At(a + lda2 + k + 1) : default;
        Vector512<float> p3 = TRows.Count > 3 ? s0 - At(a3 + k) : default,
            q3 = TRows.Count > 3 ? s1 - At(a3 + k + 1) : default;
        Vector512<float> p4 = TRows.Count > 4 ? s0 - At(a3 + lda + k) : default,
            q4 = TRows.Count > 4 ? s1 - At(a3 + lda + k + 1) : default;
        Vector512<float> p5 = TRows.Count > 5 ? s0 - At(a3 + lda2 + k) : default,
            q5 = TRows.Count > 5 ? s1 - At(a3 + lda2 + k + 1) : default;
        Vector512<float> p6 = TRows.Count > 6 ? s0 - At(a6 + k) : default,
            q6 = TRows.Count > 6 ? s1 - At(a6 + k + 1) : default;
        Vector512<float> p7 = TRows.Count > 7 ? s0 - At(a6 + lda + k) : default,
            q7 = TRows.Count > 7 ? s1 - At(a6 + lda + k + 1) : default;
        Vector512<float> p8 = TRows.Count > 8 ? s0 - At(a6 + lda2 + k) : default,
            q8 = TRows.Count > 8 ? s1 - At(a6 + lda2 + k + 1) : default;
        Vector512<float> p9 = TRows.Count > 9 ? s0 - At(a9 + k) : default,
            q9 = TRows.Count > 9 ? s1 - At(a9 + k + 1) : default;
        Vector512<float> p10 = TRows.Count > 10 ? s0 - At(a9 + lda + k) : default,
            q10 = TRows.Count > 10 ? s1 - At(a9 + lda + k + 1) : default;
        Vector512<float> p11 = TRows.Count > 11 ? s0 - At(a9 + lda2 + k) : default,
            q11 = TRows.Count > 11 ? s1 - At(a9 + lda2 + k + 1) : default;
        while (left >= 2)
        {
            Vector512<float> d0 = Vector512.Load(b),
                d1 = Vector512.Load(b + 16),
                e0 = Vector512.Load(b + 32),
                e1 = Vector512.Load(b + 48);
            t = At(a);
            u = At(a + 1);
            p0 = Pair(t, u, d0, e0, p0);
            q0 = Plain(t, u, d1, e1, q0);
            if (TRows.Count > 1)
            {
                t = At(a + lda);
                u = At(a + lda + 1);
                p1 = Pair(t, u, d0, e0, p1);
                q1 = Plain(t, u, d1, e1, q1);
            }
            if (TRows.Count > 2)
            {
                t = At(a + lda2);
                u = At(a + lda2 + 1);
                p2 = Pair(t, u, d0, e0, p2);
                q2 = Plain(t, u, d1, e1, q2);
            }
            if (TRows.Count > 3)
            {
                t = At(a3);
                u = At(a3 + 1);
                p3 = Pair(t, u, d0, e0, p3);
                q3 = Plain(t, u, d1, e1, q3);
            }
            if (TRows.Count > 4)
            {
                t = At(a3 + lda);
                u = At(a3 + lda + 1);
                p4 = Pair(t, u, d0, e0, p4);
                q4 = Plain(t, u, d1, e1, q4);
            }
            if (TRows.Count > 5)
            {
                t = At(a3 + lda2);
                u = At(a3 + lda2 + 1);
                p5 = Pair(t, u, d0, e0, p5);
                q5 = Plain(t, u, d1, e1, q5);
            }
            if (TRows.Count > 6)
            {
                t = At(a6);
                u = At(a6 + 1);
                p6 = Pair(t, u, d0, e0, p6);
                q6 = Plain(t, u, d1, e1, q6);
            }
            if (TRows.Count > 7)
            {
                t = At(a6 + lda);
                u = At(a6 + lda + 1);
                p7 = Pair(t, u, d0, e0, p7);
                q7 = Plain(t, u, d1, e1, q7);
            }
            if (TRows.Count > 8)
            {
                t = At(a6 + lda2);
                u = At(a6 + lda2 + 1);
                p8 = Pair(t, u, d0, e0, p8);
                q8 = Plain(t, u, d1, e1, q8);
            }
            if (TRows.Count > 9)
            {
                t = At(a9);
                u = At(a9 + 1);
                p9 = Pair(t, u, d0, e0, p9);
                q9 = Plain(t, u, d1, e1, q9);
            }
            if (TRows.Count > 10)
            {
                t = At(a9 + lda);
                u = At(a9 + lda + 1);
                p10 = Pair(t, u, d0, e0, p10);
                q10 = Plain(t, u, d1, e1, q10);
            }
            if (TRows.Count > 11)
            {
                t = At(a9 + lda2);
                u = At(a9 + lda2 + 1);
                p11 = Pair(t, u, d0, e0, p11);
                q11 = Plain(t, u, d1, e1, q11);
            }
            b += 64;
            a += 2;
            a3 += 2;
            a6 += 2;
            a9 += 2;
            left -= 2;
            if (left < 2)
                break;
            d0 = Vector512.Load(b);
            d1 = Vector512.Load(b + 16);
            e0 = Vector512.Load(b + 32);
            e1 = Vector512.Load(b + 48);
            t = At(a);
            u = At(a + 1);
            p0 = Pair(t, u, d0, e0, p0);
            q0 = Pair(t, u, d1, e1, q0);
            if (TRows.Count > 1)
            {
                t = At(a + lda);
                u = At(a + lda + 1);
                p1 = Pair(t, u, d0, e0, p1);
                q1 = Pair(t, u, d1, e1, q1);
            }
            if (TRows.Count > 2)
            {
                t = At(a + lda2);
                u = At(a + lda2 + 1);
                p2 = Pair(t, u, d0, e0, p2);
                q2 = Pair(t, u, d1, e1, q2);
            }
            if (TRows.Count > 3)
            {
                t = At(a3);
                u = At(a3 + 1);
                p3 = Pair(t, u, d0, e0, p3);
                q3 = Pair(t, u, d1, e1, q3);
            }
            if (TRows.Count > 4)
            {
                t = At(a3 + lda);
                u = At(a3 + lda + 1);
                p4 = Pair(t, u, d0, e0, p4);
                q4 = Pair(t, u, d1, e1, q4);
            }
            if (TRows.Count > 5)
            {
                t = At(a3 + lda2);
                u = At(a3 + lda2 + 1);
                p5 = Pair(t, u, d0, e0, p5);
                q5 = Pair(t, u, d1, e1, q5);
            }
            if (TRows.Count > 6)
            {
                t = At(a6);
                u = At(a6 + 1);
                p6 = Pair(t, u, d0, e0, p6);
                q6 = Pair(t, u, d1, e1, q6);
            }
            if (TRows.Count > 7)
            {
                t = At(a6 + lda);
                u = At(a6 + lda + 1);
                p7 = Pair(t, u, d0, e0, p7);
                q7 = Pair(t, u, d1, e1, q7);
            }
            if (TRows.Count > 8)
            {
                t = At(a6 + lda2);
                u = At(a6 + lda2 + 1);
                p8 = Pair(t, u, d0, e0, p8);
                q8 = Pair(t, u, d1, e1, q8);
            }
            if (TRows.Count > 9)
            {
                t = At(a9);
                u = At(a9 + 1);
                p9 = Pair(t, u, d0, e0, p9);
                q9 = Pair(t, u, d1, e1, q9);
            }
            if (TRows.Count > 10)
            {
                t = At(a9 + lda);
                u = At(a9 + lda + 1);
                p10 = Pair(t, u, d0, e0, p10);
                q10 = Pair(t, u, d1, e1, q10);
            }
            if (TRows.Count > 11)
            {
                t = At(a9 + lda2);
                u = At(a9 + lda2 + 1);
                p11 = Pair(t, u, d0, e0, p11);
                q11 = Pair(t, u, d1, e1, q11);
            }
            b += 64;
            a += 2;
            a3 += 2;
            a6 += 2;
            a9 += 2;
            left -= 2;
            if (left < 2)
                break;
            d0 = Vector512.Load(b);
            d1 = Vector512.Load(b + 16);
            e0 = Vector512.Load(b + 32);
            e1 = Vector512.Load(b + 48);
            t = At(a);
            u = At(a + 1);
            p0 = Plain(t, u, d0, e0, p0);
            q0 = Pair(t, u, d1, e1, q0);
            if (TRows.Count > 1)
            {
                t = At(a + lda);
                u = At(a + lda + 1);
                p1 = Plain(t, u, d0, e0, p1);
                q1 = Pair(t, u, d1, e1, q1);
            }
            if (TRows.Count > 2)
            {
                t = At(a + lda2);
                u = At(a + lda2 + 1);
                p2 = Plain(t, u, d0, e0, p2);
                q2 = Pair(t, u, d1, e1, q2);
            }
            if (TRows.Count > 3)
            {
                t = At(a3);
                u = At(a3 + 1);
                p3 = Plain(t, u, d0, e0, p3);
                q3 = Pair(t, u, d1, e1, q3);
            }
            if (TRows.Count > 4)
            {
                t = At(a3 + lda);
                u = At(a3 + lda + 1);
                p4 = Plain(t, u, d0, e0, p4);
                q4 = Pair(t, u, d1, e1, q4);
            }
            if (TRows.Count > 5)
            {
                t = At(a3 + lda2);
                u = At(a3 + lda2 + 1);
                p5 = Plain(t, u, d0, e0, p5);
                q5 = Pair(t, u, d1, e1, q5);
            }
            if (TRows.Count > 6)
            {
                t = At(a6);
                u = At(a6 + 1);
                p6 = Plain(t, u, d0, e0, p6);
                q6 = Pair(t, u, d1, e1, q6);
            }
            if (TRows.Count > 7)
            {
                t = At(a6 + lda);
                u = At(a6 + lda + 1);
                p7 = Plain(t, u, d0, e0, p7);
                q7 = Pair(t, u, d1, e1, q7);
            }
            if (TRows.Count > 8)
            {
                t = At(a6 + lda2);
                u = At(a6 + lda2 + 1);
                p8 = Plain(t, u, d0, e0, p8);
                q8 = Pair(t, u, d1, e1, q8);
            }
            if (TRows.Count > 9)
            {
                t = At(a9);
                u = At(a9 + 1);
                p9 = Plain(t, u, d0, e0, p9);
                q9 = Pair(t, u, d1, e1, q9);
            }
            if (TRows.Count > 10)
            {
                t = At(a9 + lda);
                u = At(a9 + lda + 1);
                p10 = Plain(t, u, d0, e0, p10);
                q10 = Pair(t, u, d1, e1, q10);
            }
            if (TRows.Count > 11)
            {
                t = At(a9 + lda2);
                u = At(a9 + lda2 + 1);
                p11 = Plain(t, u, d0, e0, p11);
                q11 = Pair(t, u, d1, e1, q11);
            }
            b += 64;
            a += 2;
            a3 += 2;
            a6 += 2;
            a9 += 2;
            left -= 2;
        }

        if (left > 0)
        {
            Vector512<float> d0 = Vector512.Load(b),
                d1 = Vector512.Load(b + 16);
            t = At(a);
            p0 = Vector512.FusedMultiplyAdd(t, d0, p0);
            q0 = Vector512.FusedMultiplyAdd(t, d1, q0);
            if (TRows.Count > 1)
            {
                t = At(a + lda);
                p1 = Vector512.FusedMultiplyAdd(t, d0, p1);
                q1 = Vector512.FusedMultiplyAdd(t, d1, q1);
            }
            if (TRows.Count > 2)
            {
                t = At(a + lda2);
                p2 = Vector512.FusedMultiplyAdd(t, d0, p2);
                q2 = Vector512.FusedMultiplyAdd(t, d1, q2);
            }
            if (TRows.Count > 3)
            {
                t = At(a3);
                p3 = Vector512.FusedMultiplyAdd(t, d0, p3);
                q3 = Vector512.FusedMultiplyAdd(t, d1, q3);
            }
            if (TRows.Count > 4)
            {
                t = At(a3 + lda);
                p4 = Vector512.FusedMultiplyAdd(t, d0, p4);
                q4 = Vector512.FusedMultiplyAdd(t, d1, q4);
            }
            if (TRows.Count > 5)
            {
                t = At(a3 + lda2);
                p5 = Vector512.FusedMultiplyAdd(t, d0, p5);
                q5 = Vector512.FusedMultiplyAdd(t, d1, q5);
            }
            if (TRows.Count > 6)
            {
                t = At(a6);
                p6 = Vector512.FusedMultiplyAdd(t, d0, p6);
                q6 = Vector512.FusedMultiplyAdd(t, d1, q6);
            }
            if (TRows.Count > 7)
            {
                t = At(a6 + lda);
                p7 = Vector512.FusedMultiplyAdd(t, d0, p7);
                q7 = Vector512.FusedMultiplyAdd(t, d1, q7);
            }
            if (TRows.Count > 8)
            {
                t = At(a6 + lda2);
                p8 = Vector512.FusedMultiplyAdd(t, d0, p8);
                q8 = Vector512.FusedMultiplyAdd(t, d1, q8);
            }
            if (TRows.Count > 9)
            {
                t = At(a9);
                p9 = Vector512.FusedMultiplyAdd(t, d0, p9);
                q9 = Vector512.FusedMultiplyAdd(t, d1, q9);
            }
            if (TRows.Count > 10)
            {
                t = At(a9 + lda);
                p10 = Vector512.FusedMultiplyAdd(t, d0, p10);
                q10 = Vector512.FusedMultiplyAdd(t, d1, q10);
            }
            if (TRows.Count > 11)
            {
                t = At(a9 + lda2);
                p11 = Vector512.FusedMultiplyAdd(t, d0, p11);
                q11 = Vector512.FusedMultiplyAdd(t, d1, q11);
            }
            a++;
            a3++;
            a6++;
            a9++;
        }

        Vector512<int> f0 = Vector512.Load((int*)own + 32),
            f1 = Vector512.Load((int*)own + 48);
        Finish(a + 2, f0, f1, p0, q0, c, accumulate);
        if (TRows.Count > 1)
            Finish(a + lda + 2, f0, f1, p1, q1, c + 32, accumulate);
        if (TRows.Count > 2)
            Finish(a + lda2 + 2, f0, f1, p2, q2, c + 64, accumulate);
        if (TRows.Count > 3)
            Finish(a3 + 2, f0, f1, p3, q3, c + 96, accumulate);
        if (TRows.Count > 4)
            Finish(a3 + lda + 2, f0, f1, p4, q4, c + 128, accumulate);
        if (TRows.Count > 5)
            Finish(a3 + lda2 + 2, f0, f1, p5, q5, c + 160, accumulate);
        if (TRows.Count > 6)
            Finish(a6 + 2, f0, f1, p6, q6, c + 192, accumulate);
        if (TRows.Count > 7)
            Finish(a6 + lda + 2, f0, f1, p7, q7, c + 224, accumulate);
        if (TRows.Count > 8)
            Finish(a6 + lda2 + 2, f0, f1, p8, q8, c + 256, accumulate);
        if (TRows.Count > 9)
            Finish(a9 + 2, f0, f1, p9, q9, c + 288, accumulate);
        if (TRows.Count > 10)
            Finish(a9 + lda + 2, f0, f1, p10, q10, c + 320, accumulate);
        if (TRows.Count > 11)
            Finish(a9 + lda2 + 2, f0, f1, p11, q11, c + 352, accumulate);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> At(float* value) => RegisterTile512.Broadcast(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Pair(
        Vector512<float> a0,
        Vector512<float> a1,
        Vector512<float> b0,
        Vector512<float> b1,
        Vector512<float> sum
    ) => Vector512.FusedMultiplyAdd(a0 + b1, a1 + b0, sum);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Plain(
        Vector512<float> a0,
        Vector512<float> a1,
        Vector512<float> b0,
        Vector512<float> b1,
        Vector512<float> sum
    ) => Vector512.FusedMultiplyAdd(a1, b1, Vector512.FusedMultiplyAdd(a0, b0, sum));

    // Powers of two are multiplied by adding exponents.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Finish(
        float* exponent,
        Vector512<int> f0,
        Vector512<int> f1,
        Vector512<float> p,
        Vector512<float> q,
        float* c,
        bool accumulate
    )
    {
        Vector512<int> t = Vector512.Create(*(int*)exponent);
        Vector512<float> g0 = (f0 + t).AsSingle(),
            g1 = (f1 + t).AsSingle();
        (accumulate ? Vector512.FusedMultiplyAdd(p, g0, Vector512.Load(c)) : p * g0).Store(c);
        (accumulate ? Vector512.FusedMultiplyAdd(q, g1, Vector512.Load(c + 16)) : q * g1).Store(c + 16);
    }
}
