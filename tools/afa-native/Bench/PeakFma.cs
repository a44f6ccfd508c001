using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using AfaNative.Kernels.Host;

namespace AfaNative.Tool.Bench;

/// <summary>What the machine can compute: independent fused multiply-adds in registers on all threads.</summary>
internal static class PeakFma
{
    private static int Lanes => Vector512.IsHardwareAccelerated ? 16 : 8;

    /// <summary>GFLOP/s, best of five runs of some hundredths of a second.</summary>
    public static double Measure(WorkerPool pool)
    {
        const int Trial = 100_000;
        Work(1000);
        long start = Stopwatch.GetTimestamp();
        Work(Trial);
        // A processor without the instruction computes it in hundreds of others.
        double each = Stopwatch.GetElapsedTime(start).TotalSeconds / Trial;
        int rounds = (int)Math.Clamp(0.04 / Math.Max(each, 1e-12), 1000, 20_000_000);
        double best = double.MaxValue;
        for (int i = 0; i < 5; i++)
        {
            start = Stopwatch.GetTimestamp();
            pool.Run(pool.Threads, (_, _) => Work(rounds));
            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        return 2.0 * 12 * Lanes * rounds * pool.Threads / best / 1e9;
    }

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static float Work(int rounds) => Vector512.IsHardwareAccelerated ? Wide(rounds) : Narrow(rounds);

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static float Wide(int rounds)
    {
        Vector512<float> x = Vector512.Create(0.999f),
            y = Vector512.Create(1e-3f);
        Vector512<float> a = y,
            b = y,
            c = y,
            d = y,
            e = y,
            f = y,
            g = y,
            h = y,
            i = y,
            j = y,
            k = y,
            l = y;
        for (int n = 0; n < rounds; n++)
        {
            a = Vector512.FusedMultiplyAdd(a, x, y);
            b = Vector512.FusedMultiplyAdd(b, x, y);
            c = Vector512.FusedMultiplyAdd(c, x, y);
            d = Vector512.FusedMultiplyAdd(d, x, y);
            e = Vector512.FusedMultiplyAdd(e, x, y);
            f = Vector512.FusedMultiplyAdd(f, x, y);
            g = Vector512.FusedMultiplyAdd(g, x, y);
            h = Vector512.FusedMultiplyAdd(h, x, y);
            i = Vector512.FusedMultiplyAdd(i, x, y);
            j = Vector512.FusedMultiplyAdd(j, x, y);
            k = Vector512.FusedMultiplyAdd(k, x, y);
            l = Vector512.FusedMultiplyAdd(l, x, y);
        }

        return Vector512.Sum(a + b + c + d + e + f + g + h + i + j + k + l);
    }

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static float Narrow(int rounds)
    {
        Vector256<float> x = Vector256.Create(0.999f),
            y = Vector256.Create(1e-3f);
        Vector256<float> a = y,
            b = y,
            c = y,
            d = y,
            e = y,
            f = y,
            g = y,
            h = y,
            i = y,
            j = y,
            k = y,
            l = y;
        for (int n = 0; n < rounds; n++)
        {
            a = Vector256.FusedMultiplyAdd(a, x, y);
            b = Vector256.FusedMultiplyAdd(b, x, y);
            c = Vector256.FusedMultiplyAdd(c, x, y);
            d = Vector256.FusedMultiplyAdd(d, x, y);
            e = Vector256.FusedMultiplyAdd(e, x, y);
            f = Vector256.FusedMultiplyAdd(f, x, y);
            g = Vector256.FusedMultiplyAdd(g, x, y);
            h = Vector256.FusedMultiplyAdd(h, x, y);
            i = Vector256.FusedMultiplyAdd(i, x, y);
            j = Vector256.FusedMultiplyAdd(j, x, y);
            k = Vector256.FusedMultiplyAdd(k, x, y);
            l = Vector256.FusedMultiplyAdd(l, x, y);
        }

        return Vector256.Sum(a + b + c + d + e + f + g + h + i + j + k + l);
    }
}
