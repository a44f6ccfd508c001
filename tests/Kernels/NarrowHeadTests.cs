using AfaNative.Kernels.Attention;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Host;
using CsCheck;
using Xunit;

namespace AfaNative.Tests.Kernels;

/// <summary>Heads of sixteen channels in one generated loop, against the plain reference.</summary>
public unsafe class NarrowHeadTests
{
    private const int Width = NarrowHead.Width;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Random_heads_agree_with_the_reference(bool blocks)
    {
        if (!NarrowHead.Suits(new(1, 1, 1, Width, 1, 128, 1f)))
            Assert.Skip("no generated code here");
        (
            from queries in Gen.Int[1, 70]
            from keys in Gen.Int[1, 700]
            from slack in Gen.Int[0, 3]
            from amplitude in Gen.Float[0.01f, 2f]
            from octaves in Gen.Int[-20, 20]
            select (queries, keys, slack, amplitude, octaves)
        ).Sample(
            s =>
            {
                // Very different sizes of queries and keys, whose scores are the same.
                var head = new Head(
                    s.queries,
                    s.keys,
                    s.slack,
                    s.amplitude * MathF.ScaleB(1, s.octaves),
                    s.amplitude * MathF.ScaleB(1, -s.octaves)
                );
                Assert.True(head.TryRun(0, s.queries, blocks));
                head.AssertNear(2e-6 * (1 + s.amplitude * s.amplitude));
            },
            iter: 150,
            threads: 1
        );
    }

    [Theory]
    [InlineData(1.5f, false)]
    [InlineData(2.2f, false)]
    [InlineData(1.5f, true)]
    [InlineData(2.2f, true)]
    public void Scores_near_the_bound_keep_their_precision(float amplitude, bool blocks)
    {
        if (!NarrowHead.Suits(new(1, 1, 1, Width, 1, 128, 1f)))
            Assert.Skip("no generated code here");
        var head = new Head(33, 300, 0, amplitude, amplitude);
        // A query whose scores are all far below the bound they are lowered by: its weights alone are tiny.
        head.SetQuery(3, c => -amplitude * 1.7f);
        for (int j = 0; j < 300; j++)
            head.SetKey(j, c => amplitude * (1.2f + 0.001f * ((j * 7 + c) % 11)));
        Assert.True(head.TryRun(0, 33, blocks));
        head.AssertNear(3e-5);
    }

    [Fact]
    public void Heads_it_is_not_made_for_are_left_untouched()
    {
        if (!NarrowHead.Suits(new(1, 1, 1, Width, 1, 128, 1f)))
            Assert.Skip("no generated code here");
        Assert.False(NarrowHead.Suits(new(1, 1, 1, Width, 200, 200, 1f, Causal: true)));
        Assert.False(NarrowHead.Suits(new(1, 1, 1, 24, 200, 200, 1f)));
        Refused(h => h.SetQuery(2, c => 1e4f));
        Refused(h => h.SetQuery(2, c => float.NaN));
        Refused(h => h.SetKey(39, c => c == 15 ? float.PositiveInfinity : 1));
        Refused(h => h.SetKey(0, c => c == 0 ? float.NaN : 1));
        Refused(h =>
        {
            for (int i = 0; i < 20; i++)
                h.SetQuery(i, c => 0);
        });

        static void Refused(Action<Head> spoil)
        {
            var head = new Head(20, 40, 0, 1, 1);
            spoil(head);
            foreach (bool blocks in (bool[])[false, true])
                Assert.False(head.TryRun(0, 20, blocks));
            Assert.All(head.Output, x => Assert.True(float.IsNaN(x)));
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_part_of_the_queries_gives_the_bits_of_all(bool blocks)
    {
        if (!NarrowHead.Suits(new(1, 1, 1, Width, 1, 128, 1f)))
            Assert.Skip("no generated code here");
        Head all = new(100, 150, 5, 1, 3),
            parts = new(100, 150, 5, 1, 3);
        Assert.True(all.TryRun(0, 100, blocks));
        Assert.True(parts.TryRun(64, 100, blocks));
        Assert.All(parts.Output.AsSpan(0, 64 * parts.Channels).ToArray(), x => Assert.True(float.IsNaN(x)));
        Assert.True(parts.TryRun(0, 64, blocks));
        Assert.Equal(all.Output, parts.Output);
    }

    [Fact]
    public void Blocks_of_keys_give_the_bits_of_one_loop()
    {
        if (!NarrowHead.Suits(new(1, 1, 1, Width, 1, 128, 1f)))
            Assert.Skip("no generated code here");
        (
            from queries in Gen.Int[1, 70]
            from keys in Gen.OneOf(Gen.Int[1, 700], Gen.Int[120, 140], Gen.Int[250, 265])
            from amplitude in Gen.Float[0.01f, 2f]
            select (queries, keys, amplitude)
        ).Sample(
            s =>
            {
                Head loop = new(s.queries, s.keys, 0, s.amplitude, s.amplitude),
                    blocks = new(s.queries, s.keys, 0, s.amplitude, s.amplitude);
                Assert.True(loop.TryRun(0, s.queries, false));
                Assert.True(blocks.TryRun(0, s.queries, true));
                Assert.Equal(loop.Output, blocks.Output);
            },
            iter: 150,
            threads: 1
        );
    }

    /// <summary>The middle one of three heads' worth of channels; all others, and the output before, are NaN.</summary>
    private sealed class Head
    {
        private readonly AttentionShape _shape;
        private readonly float[] _q,
            _k,
            _v;

        public Head(int queries, int keys, int slack, float queryAmplitude, float keyAmplitude)
        {
            Channels = Width * 3 + slack;
            // The shape's own channels say how far tokens lie apart: heads of one channel.
            _shape = new AttentionShape(1, 1, Channels, 1, queries, keys, 0.25f);
            var random = new System.Random(queries * 1000 + keys);
            _q = Tokens(queries, queryAmplitude);
            _k = Tokens(keys, keyAmplitude);
            _v = Tokens(keys, 1);
            Output = new float[queries * Channels];
            Array.Fill(Output, float.NaN);

            float[] Tokens(int count, float amplitude)
            {
                float[] x = new float[count * Channels];
                Array.Fill(x, float.NaN);
                for (int i = 0; i < count; i++)
                {
                    for (int c = 0; c < Width; c++)
                        x[i * Channels + Width + c] =
                            amplitude * (float)(random.NextDouble() + random.NextDouble() + random.NextDouble() - 1.5) * 1.5f;
                }

                return x;
            }
        }

        public int Channels { get; }

        public float[] Output { get; }

        public void SetQuery(int i, Func<int, float> value) => Set(_q, i, value);

        public void SetKey(int j, Func<int, float> value) => Set(_k, j, value);

        public bool TryRun(int first, int last, bool blocks)
        {
            using var scratch = new Scratch();
            // What is there before must not matter.
            new Span<float>(scratch.Floats(100_000), 100_000).Fill(float.NaN);
            fixed (
                float* q = _q,
                    k = _k,
                    v = _v,
                    y = Output
            )
                return NarrowHead.TryRun(_shape, scratch, q + Width, k + Width, v + Width, y + Width, first, last, blocks);
        }

        public void AssertNear(double tolerance)
        {
            for (int i = 0; i < _shape.Queries; i++)
            {
                double[] scores =
                [
                    .. Enumerable
                        .Range(0, _shape.Keys)
                        .Select(j =>
                            Enumerable.Range(Width, Width).Sum(c => (double)_q[i * Channels + c] * _k[j * Channels + c])
                            * _shape.Scale
                        ),
                ];
                double most = scores.Max(),
                    sum = scores.Sum(s => Math.Exp(s - most));
                for (int c = 0; c < Channels; c++)
                {
                    float actual = Output[i * Channels + c];
                    if (c is < Width or >= 2 * Width)
                    {
                        Assert.True(float.IsNaN(actual), $"query {i}: channel {c} belongs to another head");
                        continue;
                    }

                    double expected =
                        Enumerable.Range(0, _shape.Keys).Sum(j => Math.Exp(scores[j] - most) * _v[j * Channels + c]) / sum;
                    Assert.True(Math.Abs(expected - actual) <= tolerance, $"query {i}, channel {c}: {expected} but {actual}");
                }
            }
        }

        private void Set(float[] tokens, int i, Func<int, float> value)
        {
            for (int c = 0; c < Width; c++)
                tokens[i * Channels + Width + c] = value(c);
        }
    }
}
