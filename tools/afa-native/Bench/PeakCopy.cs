using System.Diagnostics;
using System.Runtime.InteropServices;
using AfaNative.Kernels.Host;

namespace AfaNative.Tool.Bench;

/// <summary>What the machine's memory can move: copies far larger than the caches, on all threads.</summary>
internal static unsafe class PeakCopy
{
    private const nuint Bytes = 128 << 20;

    /// <summary>GB/s, bytes read and bytes written, best of five copies of 128 MiB.</summary>
    public static double Measure(WorkerPool pool)
    {
        byte* from = (byte*)NativeMemory.AlignedAlloc(Bytes, 64),
            to = (byte*)NativeMemory.AlignedAlloc(Bytes, 64);
        try
        {
            NativeMemory.Fill(from, Bytes, 1);
            NativeMemory.Fill(to, Bytes, 2);
            nuint part = Bytes / (nuint)pool.Threads & ~(nuint)63;
            double best = double.MaxValue;
            for (int i = 0; i < 5; i++)
            {
                long start = Stopwatch.GetTimestamp();
                pool.Run(pool.Threads, (task, _) => NativeMemory.Copy(from + part * (nuint)task, to + part * (nuint)task, part));
                best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);
            }

            return 2.0 * part * (nuint)pool.Threads / best / 1e9;
        }
        finally
        {
            NativeMemory.AlignedFree(from);
            NativeMemory.AlignedFree(to);
        }
    }
}
