using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using AfaNative.Kernels.MatrixMultiply;

namespace AfaNative.Kernels.Attention;

/// <summary>
/// The exponentials of a block of scores and the products with the first sixteen channels of its values in one loop: exponentials
/// need few of the multiply
/// units, the products need nothing else, so either fills the other's gaps. Where a head has no more channels, the exponentials
/// are never stored.
/// Bits are those of the separate loops of <see cref="AttentionSimd"/>.
/// </summary>
internal static unsafe class ExponentialTile512
{
    /// <summary>Channels that one call multiplies.</summary>
    public const int Channels = 16;

    /// <summary>What it needs beyond AVX-512F: VREDUCEPS.</summary>
    public static bool IsSupported => Vector512.IsHardwareAccelerated && Avx512DQ.IsSupported;

    /// <summary>
    /// For <paramref name="count"/> &gt; 0 keys and 16 of 32 queries: weights of the scores [count][32]
    /// (<see cref="AttentionSimd.Weight"/> of score - max[i]) are added to sum [16];
    /// output [16][32] is the block's own output[c, i] = sum_j values[j, c] weight[j, i], values being [count][16]; top[i] = the
    /// largest score or max[i].
    /// With <paramref name="keep"/> the weights take the place of the scores.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Run(float* scores, nint count, float* values, float* output, float* max, float* sum, float* top, bool keep)
    {
        Vector512<float> p0 = Vector512<float>.Zero,
            p1 = p0,
            p2 = p0,
            p3 = p0,
            p4 = p0,
            p5 = p0,
            p6 = p0,
            p7 = p0,
            p8 = p0,
            p9 = p0,
            p10 = p0,
            p11 = p0,
            p12 = p0,
            p13 = p0,
            p14 = p0,
            p15 = p0;
        Vector512<float> least = Vector512.Load(max),
            highest = least,
            total = Vector512.Load(sum),
            weight = Weight(scores, least, ref highest, ref total);
        if (keep)
            weight.Store(scores);
        for (float* last = scores + (count - 1) * 32; scores < last; values += Channels)
        {
            // The next key's weights while this one's are multiplied.
            scores += 32;
            Vector512<float> next = Weight(scores, least, ref highest, ref total);
            if (keep)
                next.Store(scores);
            p0 = Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values), weight, p0);
            p1 = Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 1), weight, p1);
            p2 = Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 2), weight, p2);
            p3 = Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 3), weight, p3);
            p4 = Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 4), weight, p4);
            p5 = Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 5), weight, p5);
            p6 = Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 6), weight, p6);
            p7 = Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 7), weight, p7);
            p8 = Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 8), weight, p8);
            p9 = Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 9), weight, p9);
            p10 = Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 10), weight, p10);
            p11 = Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 11), weight, p11);
            p12 = Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 12), weight, p12);
            p13 = Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 13), weight, p13);
            p14 = Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 14), weight, p14);
            p15 = Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 15), weight, p15);
            weight = next;
        }

        Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values), weight, p0).Store(output);
        Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 1), weight, p1).Store(output + 32);
        Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 2), weight, p2).Store(output + 64);
        Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 3), weight, p3).Store(output + 96);
        Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 4), weight, p4).Store(output + 128);
        Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 5), weight, p5).Store(output + 160);
        Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 6), weight, p6).Store(output + 192);
        Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 7), weight, p7).Store(output + 224);
        Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 8), weight, p8).Store(output + 256);
        Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 9), weight, p9).Store(output + 288);
        Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 10), weight, p10).Store(output + 320);
        Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 11), weight, p11).Store(output + 352);
        Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 12), weight, p12).Store(output + 384);
        Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 13), weight, p13).Store(output + 416);
        Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 14), weight, p14).Store(output + 448);
        Vector512.FusedMultiplyAdd(RegisterTile512.Broadcast(values + 15), weight, p15).Store(output + 480);
        highest.Store(top);
        total.Store(sum);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Weight(float* score, Vector512<float> max, ref Vector512<float> top, ref Vector512<float> sum)
    {
        Vector512<float> x = Vector512.Load(score);
        top = Vector512.MaxNative(top, x);
        x = Vector512.MaxNative(Vector512.Create(-126f), x - max);
        // x less its nearest whole number, and that number, each in one instruction: AttentionSimd.Weight's bits.
        Vector512<float> f = Avx512DQ.Reduce(x, 0),
            weight = Avx512F.Scale(AttentionSimd.Power(f), x - f);
        sum += weight;
        return weight;
    }
}
