using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace AfaNative.Kernels.Vectors;

/// <summary>Small transpositions.</summary>
internal static unsafe class Transpose
{
    /// <summary>to[j][i] = from[i][j] for i under <paramref name="rows"/>, j under <paramref name="columns"/>.</summary>
    public static void Run(float* from, nint fromStride, int rows, int columns, float* to, nint toStride)
    {
        int i = 0;
        for (; Avx.IsSupported && i + 8 <= rows; i += 8)
        {
            int j = 0;
            for (; j + 8 <= columns; j += 8)
                Eight(from + i * fromStride + j, fromStride, to + j * toStride + i, toStride);
            for (; j < columns; j++)
            {
                for (int r = 0; r < 8; r++)
                    to[j * toStride + i + r] = from[(i + r) * fromStride + j];
            }
        }

        for (; i < rows; i++)
        {
            for (int j = 0; j < columns; j++)
                to[j * toStride + i] = from[i * fromStride + j];
        }
    }

    private static void Eight(float* a, nint s, float* b, nint t)
    {
        Vector256<float> r0 = Vector256.Load(a),
            r1 = Vector256.Load(a + s),
            r2 = Vector256.Load(a + 2 * s),
            r3 = Vector256.Load(a + 3 * s);
        Vector256<float> r4 = Vector256.Load(a + 4 * s),
            r5 = Vector256.Load(a + 5 * s),
            r6 = Vector256.Load(a + 6 * s),
            r7 = Vector256.Load(a + 7 * s);
        Vector256<float> t0 = Avx.UnpackLow(r0, r1),
            t1 = Avx.UnpackHigh(r0, r1),
            t2 = Avx.UnpackLow(r2, r3),
            t3 = Avx.UnpackHigh(r2, r3);
        Vector256<float> t4 = Avx.UnpackLow(r4, r5),
            t5 = Avx.UnpackHigh(r4, r5),
            t6 = Avx.UnpackLow(r6, r7),
            t7 = Avx.UnpackHigh(r6, r7);
        Vector256<float> u0 = Avx.Shuffle(t0, t2, 0x44),
            u1 = Avx.Shuffle(t0, t2, 0xEE),
            u2 = Avx.Shuffle(t1, t3, 0x44),
            u3 = Avx.Shuffle(t1, t3, 0xEE);
        Vector256<float> u4 = Avx.Shuffle(t4, t6, 0x44),
            u5 = Avx.Shuffle(t4, t6, 0xEE),
            u6 = Avx.Shuffle(t5, t7, 0x44),
            u7 = Avx.Shuffle(t5, t7, 0xEE);
        Avx.Permute2x128(u0, u4, 0x20).Store(b);
        Avx.Permute2x128(u1, u5, 0x20).Store(b + t);
        Avx.Permute2x128(u2, u6, 0x20).Store(b + 2 * t);
        Avx.Permute2x128(u3, u7, 0x20).Store(b + 3 * t);
        Avx.Permute2x128(u0, u4, 0x31).Store(b + 4 * t);
        Avx.Permute2x128(u1, u5, 0x31).Store(b + 5 * t);
        Avx.Permute2x128(u2, u6, 0x31).Store(b + 6 * t);
        Avx.Permute2x128(u3, u7, 0x31).Store(b + 7 * t);
    }
}
