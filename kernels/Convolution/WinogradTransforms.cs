using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using V = System.Runtime.Intrinsics.Vector512<float>;

namespace AfaNative.Kernels.Convolution;

/// <summary>
/// The three transforms of F(4x4, 3x3) (Lavin and Gray, Fast algorithms for convolutional neural networks, 2016), sixteen
/// channels at a time. The points are
/// 0, +-1/sqrt(2), +-sqrt(2) and infinity: they round two to four times less than 0, +-1, +-2 (Alam et al., Winograd convolution
/// for deep neural
/// networks: efficient point selection, 2022).
/// </summary>
internal static unsafe class WinogradTransforms
{
    private const float A = 0.70710678f,
        B = 1.41421356f;

    /// <summary>Six inputs to six points: one dimension of B^T d.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Input(V d0, V d1, V d2, V d3, V d4, V d5, float* to, nint stride)
    {
        V e = Vector512.FusedMultiplyAdd(Vector512.Create(-2f), d2, d4),
            o = Vector512.FusedMultiplyAdd(Vector512.Create(-2f), d1, d3) * Vector512.Create(A);
        V f = Vector512.FusedMultiplyAdd(Vector512.Create(-0.5f), d2, d4),
            p = Vector512.FusedMultiplyAdd(Vector512.Create(-0.5f), d1, d3) * Vector512.Create(B);
        Vector512.FusedMultiplyAdd(Vector512.Create(-2.5f), d2, d0 + d4).Store(to);
        (e + o).Store(to + stride);
        (e - o).Store(to + 2 * stride);
        (f + p).Store(to + 3 * stride);
        (f - p).Store(to + 4 * stride);
        Vector512.FusedMultiplyAdd(Vector512.Create(-2.5f), d3, d1 + d5).Store(to + 5 * stride);
    }

    /// <summary>Three taps to six points: one dimension of G g.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Weights(V g0, V g1, V g2, float* to, nint stride)
    {
        Weights(g0, g1, g2, out V u0, out V u1, out V u2, out V u3, out V u4, out V u5);
        u0.Store(to);
        u1.Store(to + stride);
        u2.Store(to + 2 * stride);
        u3.Store(to + 3 * stride);
        u4.Store(to + 4 * stride);
        u5.Store(to + 5 * stride);
    }

    /// <summary>As above, in registers.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Weights(V g0, V g1, V g2, out V u0, out V u1, out V u2, out V u3, out V u4, out V u5)
    {
        V s = Vector512.FusedMultiplyAdd(Vector512.Create(0.5f), g2, g0) * Vector512.Create(-2f / 3),
            d = g1 * Vector512.Create(-2f / 3 * A);
        V u = Vector512.FusedMultiplyAdd(Vector512.Create(2f), g2, g0) * Vector512.Create(1f / 6),
            e = g1 * Vector512.Create(B / 6);
        u0 = g0;
        u1 = s + d;
        u2 = s - d;
        u3 = u + e;
        u4 = u - e;
        u5 = g2;
    }

    /// <summary>Six points to four outputs: one dimension of A^T m.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Output(float* from, nint fromStride, float* to, nint stride)
    {
        V m0 = Vector512.Load(from),
            m1 = Vector512.Load(from + fromStride),
            m2 = Vector512.Load(from + 2 * fromStride);
        V m3 = Vector512.Load(from + 3 * fromStride),
            m4 = Vector512.Load(from + 4 * fromStride),
            m5 = Vector512.Load(from + 5 * fromStride);
        V s = m1 + m2,
            d = (m1 - m2) * Vector512.Create(A),
            u = m3 + m4,
            e = (m3 - m4) * Vector512.Create(B);
        (m0 + s + u).Store(to);
        (d + e).Store(to + stride);
        Vector512.FusedMultiplyAdd(Vector512.Create(2f), u, s * Vector512.Create(0.5f)).Store(to + 2 * stride);
        (Vector512.FusedMultiplyAdd(Vector512.Create(2f), e, d * Vector512.Create(0.5f)) + m5).Store(to + 3 * stride);
    }
}
