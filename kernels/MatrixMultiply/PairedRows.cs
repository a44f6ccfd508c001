using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using AfaNative.Kernels.Vectors;
using V = System.Runtime.Intrinsics.Vector512<float>;

namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>
/// Rows as <see cref="PairedProduct"/> multiplies them: brought to a common size, behind them their own part of the product and
/// the exponent.
/// </summary>
internal static unsafe class PairedRows
{
    private const int Ahead = 8;

    /// <summary>See <see cref="IProduct.PackRows"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void Pack(float* from, nint fromStride, int rows, int terms, float* to, nint stride)
    {
        // An end that is no whole vector is summed from here.
        float* ends = stackalloc float[64];
        int whole = terms & ~15,
            rest = terms - whole;
        for (int i = 0; i < 64; i += 16)
            V.Zero.Store(ends + i);
        while (rows > 0)
        {
            // Four at a time; with fewer, one of them is taken more than once.
            nint second = rows > 1 ? 1 : 0,
                third = rows > 2 ? 2 : 0,
                fourth = rows > 3 ? 3 : 0;
            float* a = from,
                b = from + second * fromStride,
                c = from + third * fromStride,
                d = from + fourth * fromStride,
                last = a + whole;
            V sa = V.Zero,
                a0 = sa,
                a1 = sa,
                a2 = sa,
                sb = sa,
                b0 = sa,
                b1 = sa,
                b2 = sa,
                sc = sa,
                c0 = sa,
                c1 = sa,
                c2 = sa,
                sd = sa,
                d0 = sa,
                d1 = sa,
                d2 = sa;
            // Rows come from far away, in pieces too short for the processor to see where the next ones are.
            if (rows >= Ahead + 4)
            {
                float* next = from + Ahead * fromStride;
                for (int r = 0; r < 4; r++)
                    Prefetch.Row(next + r * fromStride, terms);
            }

            for (; a + 48 <= last; a += 48, b += 48, c += 48, d += 48)
            {
                Add(a, ref sa, ref a0);
                Add(b, ref sb, ref b0);
                Add(c, ref sc, ref c0);
                Add(d, ref sd, ref d0);
                Add(a + 16, ref sa, ref a1);
                Add(b + 16, ref sb, ref b1);
                Add(c + 16, ref sc, ref c1);
                Add(d + 16, ref sd, ref d1);
                Add(a + 32, ref sa, ref a2);
                Add(b + 32, ref sb, ref b2);
                Add(c + 32, ref sc, ref c2);
                Add(d + 32, ref sd, ref d2);
            }

            int left = (int)(last - a);
            if (left >= 16)
            {
                Add(a, ref sa, ref a0);
                Add(b, ref sb, ref b0);
                Add(c, ref sc, ref c0);
                Add(d, ref sd, ref d0);
            }
            if (left >= 32)
            {
                Add(a + 16, ref sa, ref a1);
                Add(b + 16, ref sb, ref b1);
                Add(c + 16, ref sc, ref c1);
                Add(d + 16, ref sd, ref d1);
            }
            if (rest > 0)
            {
                for (int i = 0; i < rest; i++)
                {
                    ends[i] = a[left + i];
                    ends[16 + i] = b[left + i];
                    ends[32 + i] = c[left + i];
                    ends[48 + i] = d[left + i];
                }

                if (left == 0)
                {
                    Add(ends, ref sa, ref a0);
                    Add(ends + 16, ref sb, ref b0);
                    Add(ends + 32, ref sc, ref c0);
                    Add(ends + 48, ref sd, ref d0);
                }
                else if (left == 16)
                {
                    Add(ends, ref sa, ref a1);
                    Add(ends + 16, ref sb, ref b1);
                    Add(ends + 32, ref sc, ref c1);
                    Add(ends + 48, ref sd, ref d1);
                }
                else
                {
                    Add(ends, ref sa, ref a2);
                    Add(ends + 16, ref sb, ref b2);
                    Add(ends + 32, ref sc, ref c2);
                    Add(ends + 48, ref sd, ref d2);
                }
            }

            Vector128<float> squares = Sums(sa, sb, sc, sd);
            Vector128<float> first = Sums(Half0(a0, a1, a2), Half0(b0, b1, b2), Half0(c0, c1, c2), Half0(d0, d1, d2));
            Vector128<float> other = Sums(Half1(a0, a1, a2), Half1(b0, b1, b2), Half1(c0, c1, c2), Half1(d0, d1, d2));
            Vector128<float> usual =
                Vector128.LessThan(squares, Vector128.Create(1e30f)) & Vector128.GreaterThan(squares, Vector128.Create(1e-30f));
            if (!Vector128.EqualsAll(usual.AsInt32(), Vector128.Create(-1)))
            {
                // One by one, and each as if alone: a row does not depend on its neighbours.
                int n = Math.Min(rows, 4);
                for (int r = 0; r < n; r++)
                {
                    if (usual.AsInt32()[r] != 0)
                        Pack(from + r * fromStride, 0, 1, terms, to + r * stride, 0);
                    else
                        PackUnusual(from + r * fromStride, terms, to + r * stride);
                }

                rows -= n;
                from += n * fromStride;
                to += n * stride;
                continue;
            }

            Vector128<int> exponents = (squares * Vector128.Create(1f / terms)).AsInt32() - Vector128.Create(127 << 23) >> 24;
            Vector128<float> scale = (Vector128.Create(127) - exponents << 23).AsSingle();
            first *= scale * scale;
            other *= scale * scale;
            exponents <<= 23;
            Scale(from, to, terms, scale[0], first[0], other[0], exponents[0]);
            if (rows > 1)
                Scale(from + fromStride, to + stride, terms, scale[1], first[1], other[1], exponents[1]);
            if (rows > 2)
                Scale(from + 2 * fromStride, to + 2 * stride, terms, scale[2], first[2], other[2], exponents[2]);
            if (rows > 3)
                Scale(from + 3 * fromStride, to + 3 * stride, terms, scale[3], first[3], other[3], exponents[3]);
            rows -= 4;
            from += 4 * fromStride;
            to += 4 * stride;
        }
    }

    // Adds squares, and each pair's product twice.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add(float* from, ref V squares, ref V products)
    {
        V x = Vector512.Load(from);
        squares = Vector512.FusedMultiplyAdd(x, x, squares);
        products = Vector512.FusedMultiplyAdd(x, Avx512F.Permute4x32(x, 0xB1), products);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Scale(float* from, float* to, int terms, float scale, float first, float other, int exponent)
    {
        V by = Vector512.Create(scale);
        float* end = to + terms;
        for (; to + 16 <= end; to += 16, from += 16)
            (Vector512.Load(from) * by).Store(to);
        for (; to < end; to++, from++)
            *to = *from * scale;
        to[0] = first;
        to[1] = other;
        ((int*)to)[2] = exponent;
    }

    // Of 24 pairs in three vectors, the 16 that the first half of a panel takes together: all but every third one, the last of
    // each three.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Half0(V x, V y, V z) => (x & M0) + (y & M1) + (z & M2);

    // The same for the other half: all but the first of each three.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Half1(V x, V y, V z) => (x & M1) + (y & M2) + (z & M0);

    private static V M0 => Vector512.Create(-1, 0, -1, 0, 0, 0, -1, 0, -1, 0, 0, 0, -1, 0, -1, 0).AsSingle();

    private static V M1 => Vector512.Create(0, 0, -1, 0, -1, 0, 0, 0, -1, 0, -1, 0, 0, 0, -1, 0).AsSingle();

    private static V M2 => Vector512.Create(-1, 0, 0, 0, -1, 0, -1, 0, 0, 0, -1, 0, -1, 0, 0, 0).AsSingle();

    // Four horizontal sums at once.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> Sums(V a, V b, V c, V d)
    {
        Vector256<float> p = a.GetLower() + a.GetUpper(),
            q = b.GetLower() + b.GetUpper(),
            r = c.GetLower() + c.GetUpper(),
            s = d.GetLower() + d.GetUpper();
        Vector256<float> t = Avx.UnpackLow(p, q) + Avx.UnpackHigh(p, q),
            u = Avx.UnpackLow(r, s) + Avx.UnpackHigh(r, s);
        Vector256<float> w = Avx.Shuffle(t, u, 0x44) + Avx.Shuffle(t, u, 0xEE);
        return w.GetLower() + w.GetUpper();
    }

    // A row of zeros, or whose squares overflow or vanish.
    private static void PackUnusual(float* from, int terms, float* to)
    {
        float squares = 0,
            largest = 0,
            first = 0,
            other = 0;
        for (int i = 0; i < terms; i++)
        {
            squares += from[i] * from[i];
            largest = Math.Max(largest, Math.Abs(from[i]));
        }

        int exponent = PairedProduct.Exponents(Vector512.Create(squares), Vector512.Create(largest), terms)[0];
        float scale = BitConverter.Int32BitsToSingle(127 - exponent << 23);
        for (int i = 0; i < terms; i++)
            to[i] = from[i] * scale;
        for (int pair = 0; 2 * pair + 1 < terms; pair++)
        {
            float product = to[2 * pair] * to[2 * pair + 1];
            if (pair % 3 != 2)
                first += product;
            if (pair % 3 != 0)
                other += product;
        }

        to[terms] = first;
        to[terms + 1] = other;
        ((int*)to)[terms + 2] = exponent << 23;
    }
}
