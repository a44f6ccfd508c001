using System.Runtime.Intrinsics;
using AfaNative.Kernels.Attention;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Kernels.Host;
using AfaNative.Kernels.MatrixMultiply;
using Xunit;

namespace AfaNative.Tests.Kernels;

public unsafe class AttentionTests
{
    [Theory]
    [InlineData(1, 1, 1, 1, 1, 1)]
    [InlineData(1, 1, 2, 1, 33, 130)]
    [InlineData(1, 2, 3, 8, 31, 77)]
    [InlineData(2, 1, 2, 16, 545, 129)]
    [InlineData(2, 2, 2, 40, 64, 256)]
    [InlineData(1, 1, 8, 40, 1, 77)]
    [InlineData(1, 1, 3, 64, 100, 300)]
    [InlineData(1, 2, 2, 80, 47, 5)]
    [InlineData(1, 1, 2, 160, 65, 127)]
    [InlineData(1, 1, 1, 512, 70, 140)]
    [InlineData(1, 1, 2, 13, 40, 1)]
    [InlineData(2, 2, 3, 7, 9, 135)]
    [InlineData(1, 1, 12, 64, 77, 77, true)]
    [InlineData(2, 2, 2, 40, 300, 300, true)]
    [InlineData(1, 1, 1, 9, 600, 600, true)]
    [InlineData(1, 1, 1, 4, 1, 1, true)]
    public void Simd_agrees_with_the_reference(
        int experts,
        int batch,
        int heads,
        int width,
        int queries,
        int keys,
        bool causal = false
    )
    {
        var shape = new AttentionShape(experts, batch, heads, width, queries, keys, 1f / MathF.Sqrt(width), causal);
        foreach (float amplitude in (float[])[1f, 6f])
            Compare(shape, amplitude);
    }

    [Theory]
    [InlineData(1, 2, 3, 8, 31, 77)]
    [InlineData(2, 1, 2, 16, 545, 129)]
    [InlineData(1, 1, 8, 40, 70, 301)]
    [InlineData(1, 1, 2, 160, 65, 127)]
    [InlineData(1, 1, 2, 13, 40, 1)]
    [InlineData(1, 1, 1, 9, 600, 600, true)]
    [InlineData(1, 1, 12, 64, 77, 77, true)]
    public void Products_in_bfloat16_stay_near_the_reference(
        int experts,
        int batch,
        int heads,
        int width,
        int queries,
        int keys,
        bool causal = false
    )
    {
        if (!CpuDevice.SupportsBFloat16)
            Assert.Skip("no AVX512-BF16 here");
        var s = new AttentionShape(experts, batch, heads, width, queries, keys, 1f / MathF.Sqrt(width), causal);
        int images = experts * batch;
        float[] q = Noise(images * queries * s.Channels, 1, 1f),
            k = Noise(images * keys * s.Channels, 2, 1f),
            v = Noise(images * keys * s.Channels, 3, 1f),
            expected = new float[q.Length];
        fixed (
            float* pq = q,
                pk = k,
                pv = v,
                py = expected
        )
            AttentionReference.Run(s, pq, pk, pv, py);
        float[] one = Simd(s, new BFloat16Product(), q, k, v, 1),
            two = Simd(s, new BFloat16Product(), q, k, v, 2);
        Assert.Equal(one, two);
        // Operands lose 2^-9: that much of a score of a few units, and of values up to two.
        for (int i = 0; i < one.Length; i++)
            if (!(Math.Abs(expected[i] - one[i]) <= 2e-2))
                Assert.Fail($"{s} at {i}: {expected[i]} but {one[i]}");
    }

    [Fact]
    public void Maxima_that_grow_from_block_to_block_are_followed()
    {
        const int width = 8,
            keys = 1000;
        var shape = new AttentionShape(1, 1, 1, width, 3, keys, 1f);
        float[] q = new float[3 * width],
            k = new float[keys * width],
            v = Noise(keys * width, 3, 1f);
        Array.Fill(q, 0.5f);
        // Scores run from -300 to 300, so whole blocks vanish when the next arrives.
        for (int j = 0; j < keys; j++)
            Array.Fill(k, (j - keys / 2) * 0.6f / (0.5f * width), j * width, width);
        Check(shape, q, k, v, 2e-4);
    }

    /// <summary>
    /// 512-bit vectors take exponentials and products in one loop, narrower ones one after the other; both sum in the same order.
    /// </summary>
    [Theory]
    [InlineData(1, 2, 8, 70, 300, 1f)]
    [InlineData(2, 2, 16, 33, 129, 6f)]
    [InlineData(1, 1, 40, 64, 513, 6f)]
    [InlineData(1, 1, 23, 32, 1, 1f)]
    [InlineData(1, 1, 17, 40, 260, 6f)]
    [InlineData(1, 2, 16, 200, 200, 2f, true)]
    [InlineData(1, 1, 16, 33, 300, 16f)]
    public void Exponentials_taken_with_the_products_change_no_bit(
        int experts,
        int heads,
        int width,
        int queries,
        int keys,
        float amplitude,
        bool causal = false
    )
    {
        if (!ExponentialTile512.IsSupported)
            Assert.Skip("no AVX512DQ here");
        var s = new AttentionShape(experts, 1, heads, width, queries, keys, 1f / MathF.Sqrt(width), causal);
        float[] q = Noise(experts * queries * s.Channels, 1, amplitude),
            k = Noise(experts * keys * s.Channels, 2, amplitude),
            v = Noise(experts * keys * s.Channels, 3, 1f);
        // Later keys score higher: the running maximum has to move between blocks.
        for (int i = 0; i < k.Length; i++)
            k[i] *= 1 + 3f * (i / s.Channels % keys) / keys;
        Assert.Equal(
            Simd(s, new Float32Product(SimdWidth.Vector256), q, k, v, 1),
            Simd(s, new Float32Product(SimdWidth.Vector512), q, k, v, 2)
        );
    }

    [Fact]
    public void Attentions_power_is_one_constant_times_a_power_of_two()
    {
        // Normalization takes the constant out; what is left of the ratio's range is the error.
        double low = double.MaxValue,
            high = 0;
        for (int i = 0; i <= 200_000; i++)
        {
            float f = -0.5f + i / 200_000f;
            double ratio = AttentionSimd.Power(Vector512.Create(f))[0] / Math.Pow(2, f);
            (low, high) = (Math.Min(low, ratio), Math.Max(high, ratio));
        }

        Assert.InRange((high - low) / (high + low), 0, 3.2e-7);
    }

    [Fact]
    public void Threads_do_not_change_a_bit()
    {
        var shape = new AttentionShape(2, 2, 2, 40, 700, 333, 0.158f);
        float[] q = Noise(4 * 700 * 80, 1, 2f),
            k = Noise(4 * 333 * 80, 2, 2f),
            v = Noise(4 * 333 * 80, 3, 2f);
        foreach (bool paired in Ways)
        {
            Assert.Equal(Simd(shape, paired, q, k, v, 1), Simd(shape, paired, q, k, v, 2));

            // Nor does the place in a batch: the last image alone gives the last quarter.
            float[] all = Simd(shape, paired, q, k, v, 2);
            float[] alone = Simd(
                shape with
                {
                    Experts = 1,
                    Batch = 1,
                },
                paired,
                q[(3 * 700 * 80)..],
                k[(3 * 333 * 80)..],
                v[(3 * 333 * 80)..],
                2
            );
            Assert.Equal(all[(3 * 700 * 80)..], alone);
        }
    }

    [Theory]
    [InlineData(8)]
    [InlineData(16)]
    [InlineData(24)]
    public void A_nan_query_stays_in_its_row(int width)
    {
        var shape = new AttentionShape(1, 1, 1, width, 40, 200, 0.3f);
        float[] q = Noise(40 * width, 1, 1f),
            k = Noise(200 * width, 2, 1f),
            v = Noise(200 * width, 3, 1f);
        q[width * 5] = float.NaN;
        foreach (bool paired in Ways)
        {
            float[] y = Simd(shape, paired, q, k, v, 1);
            for (int i = 0; i < y.Length; i++)
                Assert.Equal(i / width == 5, float.IsNaN(y[i]));
        }
    }

    private static void Compare(in AttentionShape s, float amplitude)
    {
        int images = s.Experts * s.Batch;
        float[] q = Noise(images * s.Queries * s.Channels, 1, amplitude);
        float[] k = Noise(images * s.Keys * s.Channels, 2, amplitude);
        float[] v = Noise(images * s.Keys * s.Channels, 3, 1f);
        // Rounding of the scores (up to amplitude^2 times a few) becomes a relative error of the weights.
        Check(s, q, k, v, 3e-6 * amplitude * amplitude);
    }

    private static void Check(in AttentionShape s, float[] q, float[] k, float[] v, double tolerance)
    {
        float[] expected = new float[q.Length];
        fixed (
            float* pq = q,
                pk = k,
                pv = v,
                py = expected
        )
            AttentionReference.Run(s, pq, pk, pv, py);
        foreach (bool paired in Ways)
        {
            float[] actual = Simd(s, paired, q, k, v, 2);
            for (int i = 0; i < expected.Length; i++)
                if (!(Math.Abs(expected[i] - actual[i]) <= tolerance))
                    Assert.Fail($"{s}{(paired ? " paired" : "")} at {i}: {expected[i]} but {actual[i]}");
        }
    }

    // Scores by paired products too, where the processor can, however little it gains.
    private static bool[] Ways => ExponentialTile512.IsSupported ? [false, true] : [false];

    private static float[] Simd(in AttentionShape s, bool paired, float[] q, float[] k, float[] v, int threads) =>
        paired
            ? Simd(s, new PairedProduct(), new Float32Product(SimdWidth.Vector512), q, k, v, threads)
            : Simd(s, new Float32Product(RegisterTile.Best), q, k, v, threads);

    private static float[] Simd<TProduct>(in AttentionShape s, TProduct product, float[] q, float[] k, float[] v, int threads)
        where TProduct : struct, IProduct => Simd(s, product, product, q, k, v, threads);

    private static float[] Simd<TScores, TSums>(
        in AttentionShape s,
        TScores toScores,
        TSums toSums,
        float[] q,
        float[] k,
        float[] v,
        int threads
    )
        where TScores : struct, IProduct
        where TSums : struct, IProduct
    {
        const int guard = 16;
        float[] y = new float[q.Length + 2 * guard];
        Array.Fill(y, float.NaN);
        y.AsSpan(0, guard).Fill(7f);
        y.AsSpan(q.Length + guard).Fill(7f);
        using var pool = new WorkerPool(threads);
        fixed (
            float* pq = q,
                pk = k,
                pv = v,
                py = y
        )
            AttentionSimd.Run(pool, toScores, toSums, s, pq, pk, pv, py + guard);
        Assert.All(y[..guard], x => Assert.Equal(7f, x));
        Assert.All(y[^guard..], x => Assert.Equal(7f, x));
        return y[guard..^guard];
    }

    private static float[] Noise(int count, int seed, float amplitude)
    {
        var random = new System.Random(seed);
        float[] values = new float[count];
        for (int i = 0; i < count; i++)
            values[i] = (float)(random.NextDouble() + random.NextDouble() + random.NextDouble() - 1.5) * 1.5f * amplitude;
        return values;
    }
}
