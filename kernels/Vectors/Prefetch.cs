using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace AfaNative.Kernels.Vectors;

/// <summary>Hints to the cache, where the processor takes them.</summary>
internal static unsafe class Prefetch
{
    /// <summary>Asks for some memory to come as near as the second-level cache.</summary>
    public static void Bytes(byte* from, byte* to)
    {
        if (!Sse.IsSupported)
            return;
        for (; from < to; from += 64)
            Sse.Prefetch1(from);
    }

    /// <summary>Asks for some floats.</summary>
    public static void Row(float* row, int count)
    {
        if (!Sse.IsSupported)
            return;
        for (float* end = row + count; row < end; row += 16)
            Sse.Prefetch0(row);
    }

    /// <summary>Asks for the 128 bytes at each of some rows, <paramref name="pitch"/> floats apart.</summary>
    public static void Rows(float* first, int rows, long pitch)
    {
        if (!Sse.IsSupported)
            return;
        for (int r = 0; r < rows; r++, first += pitch)
        {
            Sse.Prefetch0(first);
            Sse.Prefetch0(first + 16);
        }
    }
}
