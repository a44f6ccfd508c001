using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using AfaNative.Kernels.MatrixMultiply;

namespace AfaNative.Kernels.Attention;

/// <summary>
/// The exponentials of a block of scores and the products with the first eight channels of its values in one loop: exponentials need few of the multiply
/// units, the products need nothing else, so either fills the other's gaps. Bits are those of the separate loops of <see cref="AttentionSimd"/>.
/// </summary>
internal static unsafe class ExponentialTile512
{
    /// <summary>Channels that one call multiplies.</summary>
    public const int Rows = 8;

    /// <summary>What it needs beyond AVX-512F: VREDUCEPS.</summary>
    public static bool IsSupported => Vector512.IsHardwareAccelerated && Avx512DQ.IsSupported;

    /// <summary>
    /// For <paramref name="count"/> &gt; 0 keys and 32 queries: scores [count][32] become 2^(score - max[i]) and are added to sum [32]; output [8][32] is the block's own
    /// output[r, i] = sum_j values[r * stride + j] scores[j, i], values being [8 channels][count], <paramref name="stride"/> floats apart;
    /// top[i] = the largest score or max[i].
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Run(float* scores, nint count, float* values, nint stride, float* output, float* max, float* sum, float* top)
    {
        Vector512<float> p0 = Vector512<float>.Zero, q0 = p0, p1 = p0, q1 = p0, p2 = p0, q2 = p0, p3 = p0, q3 = p0, p4 = p0, q4 = p0, p5 = p0, q5 = p0, p6 = p0, q6 = p0, p7 = p0, q7 = p0;
        Vector512<float> top0 = Vector512.Load(max), top1 = Vector512.Load(max + 16), sum0 = Vector512.Load(sum), sum1 = Vector512.Load(sum + 16), t;
        nint stride2 = 2 * stride;
        float* v3 = values + 3 * stride, v6 = values + 6 * stride;
        Vector512<float> e0 = Exponential(scores, max, ref top0, ref sum0), e1 = Exponential(scores + 16, max + 16, ref top1, ref sum1);
        for (float* last = scores + (count - 1) * 32; scores < last; values++, v3++, v6++)
        {
            // The next key's exponentials while this one's are multiplied.
            scores += 32;
            t = RegisterTile512.Broadcast(values); p0 = Vector512.FusedMultiplyAdd(t, e0, p0); q0 = Vector512.FusedMultiplyAdd(t, e1, q0);
            t = RegisterTile512.Broadcast(values + stride); p1 = Vector512.FusedMultiplyAdd(t, e0, p1); q1 = Vector512.FusedMultiplyAdd(t, e1, q1);
            t = RegisterTile512.Broadcast(values + stride2); p2 = Vector512.FusedMultiplyAdd(t, e0, p2); q2 = Vector512.FusedMultiplyAdd(t, e1, q2);
            t = RegisterTile512.Broadcast(v3); p3 = Vector512.FusedMultiplyAdd(t, e0, p3); q3 = Vector512.FusedMultiplyAdd(t, e1, q3);
            t = RegisterTile512.Broadcast(v3 + stride); p4 = Vector512.FusedMultiplyAdd(t, e0, p4); q4 = Vector512.FusedMultiplyAdd(t, e1, q4);
            t = RegisterTile512.Broadcast(v3 + stride2); p5 = Vector512.FusedMultiplyAdd(t, e0, p5); q5 = Vector512.FusedMultiplyAdd(t, e1, q5);
            t = RegisterTile512.Broadcast(v6); p6 = Vector512.FusedMultiplyAdd(t, e0, p6); q6 = Vector512.FusedMultiplyAdd(t, e1, q6);
            t = RegisterTile512.Broadcast(v6 + stride); p7 = Vector512.FusedMultiplyAdd(t, e0, p7); q7 = Vector512.FusedMultiplyAdd(t, e1, q7);
            e0 = Exponential(scores, max, ref top0, ref sum0);
            e1 = Exponential(scores + 16, max + 16, ref top1, ref sum1);
        }

        t = RegisterTile512.Broadcast(values); Vector512.FusedMultiplyAdd(t, e0, p0).Store(output); Vector512.FusedMultiplyAdd(t, e1, q0).Store(output + 16);
        t = RegisterTile512.Broadcast(values + stride); Vector512.FusedMultiplyAdd(t, e0, p1).Store(output + 32); Vector512.FusedMultiplyAdd(t, e1, q1).Store(output + 48);
        t = RegisterTile512.Broadcast(values + stride2); Vector512.FusedMultiplyAdd(t, e0, p2).Store(output + 64); Vector512.FusedMultiplyAdd(t, e1, q2).Store(output + 80);
        t = RegisterTile512.Broadcast(v3); Vector512.FusedMultiplyAdd(t, e0, p3).Store(output + 96); Vector512.FusedMultiplyAdd(t, e1, q3).Store(output + 112);
        t = RegisterTile512.Broadcast(v3 + stride); Vector512.FusedMultiplyAdd(t, e0, p4).Store(output + 128); Vector512.FusedMultiplyAdd(t, e1, q4).Store(output + 144);
        t = RegisterTile512.Broadcast(v3 + stride2); Vector512.FusedMultiplyAdd(t, e0, p5).Store(output + 160); Vector512.FusedMultiplyAdd(t, e1, q5).Store(output + 176);
        t = RegisterTile512.Broadcast(v6); Vector512.FusedMultiplyAdd(t, e0, p6).Store(output + 192); Vector512.FusedMultiplyAdd(t, e1, q6).Store(output + 208);
        t = RegisterTile512.Broadcast(v6 + stride); Vector512.FusedMultiplyAdd(t, e0, p7).Store(output + 224); Vector512.FusedMultiplyAdd(t, e1, q7).Store(output + 240);
        top0.Store(top);
        top1.Store(top + 16);
        sum0.Store(sum);
        sum1.Store(sum + 16);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Exponential(float* score, float* max, ref Vector512<float> top, ref Vector512<float> sum)
    {
        Vector512<float> x = Vector512.Load(score);
        top = Vector512.MaxNative(top, x);
        x = Vector512.MaxNative(Vector512.Create(-126f), x - Vector512.Load(max));
        // x less its nearest whole number, and that number, each in one instruction: AttentionSimd.Exp2's bits.
        Vector512<float> f = Avx512DQ.Reduce(x, 0), square = f * f;
        Vector512<float> p = Vector512.FusedMultiplyAdd(Vector512.Create(1.3264727e-3f), f, Vector512.Create(9.6715130e-3f));
        Vector512<float> r = Vector512.FusedMultiplyAdd(Vector512.Create(5.5507336e-2f), f, Vector512.Create(2.4022242e-1f));
        Vector512<float> u = Vector512.FusedMultiplyAdd(Vector512.Create(6.9314700e-1f), f, Vector512<float>.One);
        p = Vector512.FusedMultiplyAdd(Vector512.FusedMultiplyAdd(p, square, r), square, u);
        p = Avx512F.Scale(p, x - f);
        p.Store(score);
        sum += p;
        return p;
    }
}
