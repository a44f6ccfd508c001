using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Embedding;
using AfaNative.Kernels.FeatureFusion;
using Xunit;

namespace AfaNative.Tests.Kernels;

public unsafe class FusionAndEmbeddingTests
{
    [Theory]
    [InlineData(1, 1, 1, 4)]
    [InlineData(2, 2, 35, 17)]
    [InlineData(3, 1, 901, 320)]
    [InlineData(3, 2, 63, 48)]
    public void Fuse_matches_reference(int experts, int batch, int pixels, int channels)
    {
        FusionShape s = new(experts, batch, pixels, channels);
        System.Random random = KernelCheck.Seeded(pixels);
        long rows = (long)batch * pixels;
        using Floats features = Floats.Uniform(random, experts * rows * channels),
            logits = Floats.Uniform(random, rows * experts, 8),
            spare = new(rows * channels);
        KernelCheck.Same(
            rows * channels,
            y => ExpertFusion.Reference(s, features, logits, y, null),
            (pool, y) => ExpertFusion.Simd(pool, s, features, logits, y, null),
            1e-6
        );
        KernelCheck.Same(
            rows * experts,
            maps => ExpertFusion.Reference(s, features, logits, spare, maps),
            (pool, maps) => ExpertFusion.Simd(pool, s, features, logits, spare, maps),
            1e-6
        );
    }

    [Fact]
    public void Timestep_embedding_has_cosines_first_and_float32_angles()
    {
        float[] timesteps = [0, 1, 37, 981];
        const int Dim = 320;
        using Floats y = new(timesteps.Length * Dim);
        Embeddings.Timesteps(timesteps, Dim, y);
        y.AssertGuard();
        for (int b = 0; b < timesteps.Length; b++)
        {
            for (int i = 0; i < Dim / 2; i++)
            {
                double angle = timesteps[b] * Math.Exp(-Math.Log(10000) * i / (Dim / 2));
                double allowed = 1e-6 + 5e-7 * angle;
                Assert.Equal(Math.Cos(angle), y.Pointer[b * Dim + i], allowed);
                Assert.Equal(Math.Sin(angle), y.Pointer[b * Dim + Dim / 2 + i], allowed);
            }
        }
    }

    [Fact]
    public void Timestep_embedding_of_an_odd_width_ends_in_zero()
    {
        using Floats y = new(7);
        Embeddings.Timesteps([5], 7, y);
        y.AssertGuard();
        Assert.DoesNotContain(float.NaN, y.Span.ToArray());
        Assert.Equal(0, y.Pointer[6]);
    }

    [Fact]
    public void Token_embedding_adds_the_position_of_each_sequence()
    {
        const int Experts = 3,
            Vocabulary = 11,
            PositionRows = 9,
            Length = 5,
            Dim = 19;
        int[] ids = [0, 10, 3, 3, 7, 1, 2, 10, 0, 5];
        System.Random random = KernelCheck.Seeded(2);
        using Floats tokens = Floats.Uniform(random, Experts * Vocabulary * Dim),
            positions = Floats.Uniform(random, Experts * PositionRows * Dim),
            y = new(Experts * ids.Length * Dim);
        Embeddings.Tokens(Experts, Vocabulary, Length, Dim, ids, tokens, positions, PositionRows, y);
        y.AssertGuard();
        for (int i = 0; i < y.Length; i++)
        {
            int c = i % Dim,
                t = i / Dim % ids.Length,
                e = i / Dim / ids.Length;
            Assert.Equal(
                tokens.Pointer[(e * Vocabulary + ids[t]) * Dim + c]
                    + positions.Pointer[(e * PositionRows + t % Length) * Dim + c],
                y.Pointer[i]
            );
        }
    }
}
