using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Host;
using AfaNative.Kernels.MatrixMultiply;
using CsCheck;
using Xunit;

namespace AfaNative.Tests.Kernels;

/// <summary>
/// Products that put additions in the place of multiplications: as exact as plain ones, whatever the sizes of rows and columns.
/// </summary>
public unsafe class PairedProductTests
{
    private static readonly float[] s_special = [0, 1, 1e-22f, 1e-12f, 1e6f, 1e16f];

    public PairedProductTests() => Assert.SkipUnless(PairedProduct.IsSupported, "no AVX-512 here");

    [Fact]
    public void Errors_are_those_of_float32_for_rows_and_columns_of_any_size() =>
        (
            from rows in Gen.Int[1, 30]
            from terms in Gen.OneOf(Gen.Int[1, 20], Gen.Int[90, 256])
            from kind in Gen.Int[0, 3]
            from accumulate in Gen.Bool
            from seed in Gen.Int[0, 1 << 20]
            select (rows, terms, kind, accumulate, seed)
        ).Sample(
            s =>
            {
                var random = new System.Random(s.seed);
                using Floats a = Floats.Uniform(random, (long)s.rows * s.terms),
                    b = Floats.Uniform(random, s.terms * 32L),
                    c = Floats.Uniform(random, s.rows * 32L);
                for (int r = 0; r < s.rows; r++)
                    Distort(a.Pointer + r * s.terms, 1, s_special[random.Next(s_special.Length)]);
                for (int n = 0; n < 32; n++)
                    Distort(b.Pointer + n, 32, s_special[random.Next(s_special.Length)]);
                float[] before = c.Span.ToArray();
                if (!s.accumulate)
                    new Span<float>(c.Pointer, s.rows * 32).Fill(float.NaN);
                Multiply(a, s.rows, s.terms, b, c, s.accumulate);
                c.AssertGuard();
                for (int r = 0; r < s.rows; r++)
                {
                    for (int n = 0; n < 32; n++)
                    {
                        double sum = s.accumulate ? before[r * 32 + n] : 0,
                            squaresA = 0,
                            squaresB = 0;
                        for (int k = 0; k < s.terms; k++)
                        {
                            double x = a.Pointer[r * s.terms + k],
                                y = b.Pointer[k * 32 + n];
                            sum += x * y;
                            squaresA += x * x;
                            squaresB += y * y;
                        }

                        // Rounding is relative to the lengths (1e-6 is passed once in some twenty thousand cases, where single
                        // elements hold nearly all); the last part is what a row or column of zeros leaves.
                        double bound =
                            2e-6 * Math.Sqrt(squaresA * squaresB)
                            + 1e-7 * Math.Abs(sum)
                            + 1e-22 * Math.Sqrt(squaresA + squaresB)
                            + 1e-38;
                        Assert.True(
                            Math.Abs(sum - c.Pointer[r * 32 + n]) <= bound,
                            $"{s} at {r}, {n}: {sum} but {c.Pointer[r * 32 + n]}, more than {bound} apart"
                        );
                    }
                }

                void Distort(float* first, int step, float size)
                {
                    float mean = s.kind == 1 ? 3 : 0;
                    for (int k = 0; k < s.terms; k++)
                        first[k * step] = (first[k * step] + mean) * size;
                    // A few elements may hold nearly all there is.
                    if (s.kind == 2)
                        first[random.Next(s.terms) * step] *= 100;
                    for (int k = 0; s.kind == 3 && k < s.terms; k++)
                        first[k * step] *= random.Next(20) == 0 ? 1 : 0;
                }
            },
            iter: 400,
            threads: 1
        );

    [Fact]
    public void The_generated_tile_has_the_bits_of_the_compiled_one()
    {
        if (!PairedTileCode.IsSupported)
            Assert.Skip("no generated code here");
        (
            from rows in Gen.Int[1, 40]
            from terms in Gen.OneOf(Gen.Int[1, 30], Gen.Int[120, 256])
            from slack in Gen.Int[0, 3]
            from accumulate in Gen.Bool
            from seed in Gen.Int[0, 1 << 20]
            select (rows, terms, slack, accumulate, seed)
        ).Sample(
            s =>
            {
                var random = new System.Random(s.seed);
                int stride = s.terms + 3 + s.slack;
                using Floats a = Floats.Uniform(random, (long)s.rows * s.terms),
                    b = Floats.Uniform(random, (s.terms + 2) * 32L),
                    packed = Floats.Uniform(random, (long)s.rows * stride);
                using Floats c = Floats.Uniform(random, s.rows * 32L),
                    d = new(s.rows * 32L);
                var product = new PairedProduct();
                product.PackRows(a.Pointer, s.terms, s.rows, s.terms, packed.Pointer, stride);
                product.PackPanel(b.Pointer, s.terms, b.Pointer);
                c.Span.CopyTo(new Span<float>(d.Pointer, s.rows * 32));
                PairedTileCode.Multiply(packed.Pointer, stride, s.rows, b.Pointer, s.terms, c.Pointer, s.accumulate);
                RegisterTile.Multiply(
                    RegisterTile.Paired,
                    packed.Pointer,
                    stride,
                    s.rows,
                    b.Pointer,
                    s.terms,
                    d.Pointer,
                    s.accumulate
                );
                c.AssertGuard();
                for (int i = 0; i < s.rows * 32; i++)
                    Assert.Equal(BitConverter.SingleToInt32Bits(d.Pointer[i]), BitConverter.SingleToInt32Bits(c.Pointer[i]));
            },
            iter: 300,
            threads: 1
        );
    }

    [Fact]
    public void A_row_is_the_same_alone_and_beside_any_others()
    {
        const int rows = 13,
            terms = 75;
        var random = new System.Random(7);
        using Floats a = Floats.Uniform(random, rows * terms),
            b = Floats.Uniform(random, terms * 32),
            all = new(rows * 32),
            alone = new(32);
        // Zeros, values whose squares vanish or overflow, an infinity and a NaN.
        for (int k = 0; k < terms; k++)
        {
            a.Pointer[2 * terms + k] = 0;
            a.Pointer[5 * terms + k] *= 1e-25f;
            a.Pointer[6 * terms + k] *= 1e25f;
        }

        a.Pointer[8 * terms + 3] = float.PositiveInfinity;
        a.Pointer[12 * terms + 70] = float.NaN;
        Multiply(a, rows, terms, b, all, false);
        for (int r = 0; r < rows; r++)
        {
            Multiply(a.Pointer + r * terms, 1, terms, b, alone, false);
            KernelCheck.AssertSameBits(alone.Span.ToArray(), all.Span.Slice(r * 32, 32).ToArray());
            foreach (float value in alone.Span)
                Assert.Equal(r is not (8 or 12), float.IsFinite(value));
        }
    }

    [Theory]
    [InlineData(ElementType.Float32, 64, 40)]
    [InlineData(ElementType.Float16, 33, 301)]
    [InlineData(ElementType.BFloat16, 70, 530)]
    public void Weights_prepared_when_packed_are_those_packed_when_used(ElementType type, int outputs, int inputs)
    {
        using var pool = new WorkerPool(2);
        var random = new System.Random(3);
        var values = new float[outputs * inputs];
        for (int i = 0; i < values.Length; i++)
            values[i] = random.NextSingle() - 0.5f;
        values.AsSpan(5 * inputs, inputs).Clear();
        fixed (byte* p = Widening.ToBytes(values, type))
        {
            using var weights = new CpuPackedWeights(
                pool,
                new WeightShape(outputs, inputs),
                [new WeightSource(p, type)],
                paired: true
            );
            Assert.Equal(weights.ByteLength, CpuPackedWeights.Bytes(weights.Shape, [type], paired: true));
            int block = MatrixMultiplySimd.BlockOfTerms(inputs, PairedProduct.Terms);
            var product = new PairedProduct();
            using Floats prepared = new(product.PanelRows(block) * 32),
                packed = new(product.PanelRows(block) * 32);
            for (int panel = 0; panel < weights.Panels; panel++)
            {
                for (int k0 = 0; k0 < inputs; k0 += block)
                {
                    int count = Math.Min(block, inputs - k0),
                        floats = product.PanelRows(count) * 32;
                    Assert.True(weights.PairedPanel(0, panel, k0, count, prepared) == prepared.Pointer);
                    product.PackPanel(weights.Panel(0, panel, k0, count, packed), count, packed);
                    KernelCheck.AssertSameBits(packed.Span[..floats].ToArray(), prepared.Span[..floats].ToArray());
                }
            }
        }
    }

    private static void Multiply(float* a, int rows, int terms, float* b, float* c, bool accumulate)
    {
        var product = new PairedProduct();
        int stride = product.Packed(terms);
        using Floats packedRows = new((long)rows * stride),
            packedPanel = new(product.PanelRows(terms) * 32L);
        product.PackRows(a, terms, rows, terms, packedRows, stride);
        product.Multiply(packedRows, stride, rows, product.PackPanel(b, terms, packedPanel), terms, c, accumulate);
        packedRows.AssertGuard();
        packedPanel.AssertGuard();
    }
}
