using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace AfaNative.Kernels.Vectors;

internal static unsafe class RowCopy
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Copy(float* from, float* to, int count)
    {
        int i = 0;
        for (; i + 16 <= count; i += 16)
            Vector512.Load(from + i).Store(to + i);
        for (; i < count; i++)
            to[i] = from[i];
    }
}
