using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>
/// The register tile for 256-bit vectors: up to 6 rows against half a panel (16 of its 32 columns), 12 accumulators of 16
/// registers.
/// </summary>
internal static unsafe class RegisterTile256
{
    /// <summary>
    /// As <see cref="RegisterTile512.Run"/>, for any TRows up to 12: two halves of the panel, at most six rows each time.
    /// </summary>
    public static void Run<TRows>(float* a, nint lda, float* b, nint k, float* c, bool accumulate)
        where TRows : struct, IRowCount
    {
        for (int r = 0; r < TRows.Count; r += 6)
        {
            for (int half = 0; half < 32; half += 16)
            {
                switch (TRows.Count - r)
                {
                    case 1:
                        Half<Rows1>(a + r * lda, lda, b + half, k, c + r * 32 + half, accumulate);
                        break;
                    case 2:
                        Half<Rows2>(a + r * lda, lda, b + half, k, c + r * 32 + half, accumulate);
                        break;
                    case 3:
                        Half<Rows3>(a + r * lda, lda, b + half, k, c + r * 32 + half, accumulate);
                        break;
                    case 4:
                        Half<Rows4>(a + r * lda, lda, b + half, k, c + r * 32 + half, accumulate);
                        break;
                    case 5:
                        Half<Rows5>(a + r * lda, lda, b + half, k, c + r * 32 + half, accumulate);
                        break;
                    default:
                        Half<Rows6>(a + r * lda, lda, b + half, k, c + r * 32 + half, accumulate);
                        break;
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Half<TRows>(float* a, nint lda, float* b, nint k, float* c, bool accumulate)
        where TRows : struct, IRowCount
    {
        Vector256<float> p0 = Vector256<float>.Zero,
            q0 = p0;
        Vector256<float> p1 = Vector256<float>.Zero,
            q1 = p1;
        Vector256<float> p2 = Vector256<float>.Zero,
            q2 = p2;
        Vector256<float> p3 = Vector256<float>.Zero,
            q3 = p3;
        Vector256<float> p4 = Vector256<float>.Zero,
            q4 = p4;
        Vector256<float> p5 = Vector256<float>.Zero,
            q5 = p5;
        nint lda2 = lda * 2;
        float* a3 = a + lda * 3;
        float* end = b + k * 32;
        for (; b < end; b += 32, a++, a3++)
        {
            Vector256<float> b0 = Vector256.Load(b),
                b1 = Vector256.Load(b + 8),
                t;
            t = Vector256.Create(*a);
            p0 = Vector256.FusedMultiplyAdd(t, b0, p0);
            q0 = Vector256.FusedMultiplyAdd(t, b1, q0);
            if (TRows.Count > 1)
            {
                t = Vector256.Create(a[lda]);
                p1 = Vector256.FusedMultiplyAdd(t, b0, p1);
                q1 = Vector256.FusedMultiplyAdd(t, b1, q1);
            }
            if (TRows.Count > 2)
            {
                t = Vector256.Create(a[lda2]);
                p2 = Vector256.FusedMultiplyAdd(t, b0, p2);
                q2 = Vector256.FusedMultiplyAdd(t, b1, q2);
            }
            if (TRows.Count > 3)
            {
                t = Vector256.Create(*a3);
                p3 = Vector256.FusedMultiplyAdd(t, b0, p3);
                q3 = Vector256.FusedMultiplyAdd(t, b1, q3);
            }
            if (TRows.Count > 4)
            {
                t = Vector256.Create(a3[lda]);
                p4 = Vector256.FusedMultiplyAdd(t, b0, p4);
                q4 = Vector256.FusedMultiplyAdd(t, b1, q4);
            }
            if (TRows.Count > 5)
            {
                t = Vector256.Create(a3[lda2]);
                p5 = Vector256.FusedMultiplyAdd(t, b0, p5);
                q5 = Vector256.FusedMultiplyAdd(t, b1, q5);
            }
        }

        if (accumulate)
        {
            p0 += Vector256.Load(c + 0);
            q0 += Vector256.Load(c + 8);
            if (TRows.Count > 1)
            {
                p1 += Vector256.Load(c + 32);
                q1 += Vector256.Load(c + 40);
            }
            if (TRows.Count > 2)
            {
                p2 += Vector256.Load(c + 64);
                q2 += Vector256.Load(c + 72);
            }
            if (TRows.Count > 3)
            {
                p3 += Vector256.Load(c + 96);
                q3 += Vector256.Load(c + 104);
            }
            if (TRows.Count > 4)
            {
                p4 += Vector256.Load(c + 128);
                q4 += Vector256.Load(c + 136);
            }
            if (TRows.Count > 5)
            {
                p5 += Vector256.Load(c + 160);
                q5 += Vector256.Load(c + 168);
            }
        }

        p0.Store(c + 0);
        q0.Store(c + 8);
        if (TRows.Count > 1)
        {
            p1.Store(c + 32);
            q1.Store(c + 40);
        }
        if (TRows.Count > 2)
        {
            p2.Store(c + 64);
            q2.Store(c + 72);
        }
        if (TRows.Count > 3)
        {
            p3.Store(c + 96);
            q3.Store(c + 104);
        }
        if (TRows.Count > 4)
        {
            p4.Store(c + 128);
            q4.Store(c + 136);
        }
        if (TRows.Count > 5)
        {
            p5.Store(c + 160);
            q5.Store(c + 168);
        }
    }
}
