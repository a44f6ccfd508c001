using System.Runtime.Intrinsics;
using AfaNative.Kernels.MatrixMultiply;
using CsCheck;
using Xunit;

namespace AfaNative.Tests.Kernels;

/// <summary>Code generated at run time against the same sums in plain loops.</summary>
public unsafe class GeneratedKernelsTests
{
    [Fact]
    public void Tiles_of_bfloat16_pairs_sum_as_plain_loops_do()
    {
        if (!GeneratedKernels.MultipliesBFloat16)
            Assert.Skip("no AVX512-BF16 here");
        (
            from rows in Gen.Int[1, 12]
            from tiles in Gen.Int[1, 3]
            from pairs in Gen.Int[1, 70]
            from slack in Gen.Int[0, 5]
            from accumulate in Gen.Bool
            select (rows, tiles, pairs, slack, accumulate)
        ).Sample(
            s =>
            {
                int all = s.rows * s.tiles,
                    stride = s.pairs + s.slack;
                var random = new System.Random(HashCode.Combine(s.rows, s.pairs) & 0xFFFF);
                using Floats a = Floats.Uniform(random, (long)all * stride),
                    b = Floats.Uniform(random, s.pairs * 32L),
                    c = Floats.Uniform(random, all * 32L),
                    expected = new(all * 32L);
                ushort* x = (ushort*)a.Pointer,
                    y = (ushort*)b.Pointer;
                // Random floats hold any pattern in their low halves: values are put there instead.
                for (long i = 0; i < 2L * all * stride; i++)
                    x[i] = Value();
                for (long i = 0; i < 64L * s.pairs; i++)
                    y[i] = Value();
                for (int r = 0; r < all; r++)
                {
                    for (int n = 0; n < 32; n++)
                    {
                        double sum = s.accumulate ? c.Pointer[r * 32 + n] : 0;
                        for (int p = 0; p < s.pairs; p++)
                        {
                            for (int i = 0; i < 2; i++)
                                sum += (double)Wide(x[((long)r * stride + p) * 2 + i]) * Wide(y[(p * 32L + n) * 2 + i]);
                        }

                        expected.Pointer[r * 32 + n] = (float)sum;
                    }
                }

                if (!s.accumulate)
                    new Span<float>(c.Pointer, all * 32).Fill(float.NaN);
                GeneratedKernels.MultiplyBFloat16(s.rows, s.tiles, x, stride * 4, (uint*)y, s.pairs, c, s.accumulate);
                c.AssertGuard();
                for (int i = 0; i < all * 32; i++)
                    Assert.True(
                        Math.Abs(expected.Pointer[i] - c.Pointer[i]) <= 1e-5 * s.pairs,
                        $"{s} at {i}: {expected.Pointer[i]} but {c.Pointer[i]}"
                    );

                ushort Value() => Widening.ToBFloat16(2 * random.NextSingle() - 1);
            },
            iter: 200,
            threads: 1
        );
    }

    [Theory]
    [InlineData(1)]
    [InlineData(6)]
    [InlineData(33)]
    public void Rows_of_halves_widen_times_their_scales(int rows)
    {
        var random = new System.Random(rows);
        using Floats halves = new(rows * 16),
            to = new(rows * 32),
            scales = Floats.Uniform(random, 32);
        for (int i = 0; i < rows * 32; i++)
            ((Half*)halves.Pointer)[i] = (Half)(random.NextSingle() - 0.5f);
        Widening.ToScaled((ushort*)halves.Pointer, rows, Vector512.Load(scales.Pointer), Vector512.Load(scales.Pointer + 16), to);
        to.AssertGuard();
        for (int i = 0; i < rows * 32; i++)
            Assert.Equal((float)((Half*)halves.Pointer)[i] * scales.Pointer[i % 32], to.Pointer[i]);
    }

    [Theory]
    [InlineData(1f, 0x3F80)]
    [InlineData(1.00390625f, 0x3F80)]
    [InlineData(1.01171875f, 0x3F82)]
    [InlineData(-3.4028235e38f, 0xFF80)]
    [InlineData(float.PositiveInfinity, 0x7F80)]
    [InlineData(1e-45f, 0)]
    public void Rounding_to_bfloat16_is_to_nearest_even(float value, int bits) => Assert.Equal(bits, Widening.ToBFloat16(value));

    [Fact]
    public void No_nan_becomes_infinite()
    {
        foreach (uint bits in (uint[])[0x7F800001, 0x7FC00000, 0xFFFFFFFF])
            Assert.True(float.IsNaN(Wide(Widening.ToBFloat16(BitConverter.UInt32BitsToSingle(bits)))));
    }

    private static float Wide(ushort bits) => BitConverter.UInt32BitsToSingle((uint)bits << 16);
}
