using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Normalization;
using Xunit;

namespace AfaNative.Tests.Kernels;

public unsafe class NormalizationTests
{
    [Theory]
    [InlineData(1, 1, 1, 6, 3, false, false)]
    [InlineData(2, 1, 35, 32, 32, true, false)]
    [InlineData(3, 2, 63, 40, 4, true, true)]
    [InlineData(2, 3, 130, 33, 11, false, false)]
    [InlineData(1, 2, 5003, 10, 5, false, false)]
    [InlineData(2, 2, 900, 96, 32, true, true)]
    public void Group_norm_matches_reference(int experts, int batch, int pixels, int channels, int groups, bool silu, bool shared)
    {
        GroupNormShape s = new(experts, batch, pixels, channels, groups, 1e-5f, silu, shared);
        System.Random random = KernelCheck.Seeded(pixels);
        using Floats x = Floats.Uniform(random, (long)(shared ? 1 : experts) * batch * pixels * channels, 3, 0.7f);
        Check(s, random, x);
    }

    [Theory]
    [InlineData(100f, 0.01f)]
    [InlineData(1000f, 0.05f)]
    [InlineData(-5000f, 1f)]
    public void Group_norm_survives_a_tiny_variance_around_a_large_mean(float mean, float spread)
    {
        GroupNormShape s = new(2, 1, 2100, 36, 6, 1e-6f, false, false);
        System.Random random = KernelCheck.Seeded(3);
        using Floats x = Floats.Uniform(random, 2L * s.Pixels * s.Channels, spread, mean);
        Check(s, random, x);
    }

    [Fact]
    public void Group_norm_survives_an_outlier_in_the_first_pixel()
    {
        GroupNormShape s = new(1, 1, 100_003, 32, 4, 1e-5f, false, false);
        System.Random random = KernelCheck.Seeded(4);
        using Floats x = Floats.Uniform(random, (long)s.Pixels * s.Channels, 1, 3);
        for (int c = 0; c < s.Channels; c++)
            x.Pointer[c] = -200;
        Check(s, random, x);
    }

    [Fact]
    public void Group_norm_of_a_constant_map_is_its_bias()
    {
        GroupNormShape s = new(1, 1, 333, 24, 4, 1e-5f, false, false);
        System.Random random = KernelCheck.Seeded(5);
        using Floats x = Floats.Uniform(random, (long)s.Pixels * s.Channels, 0, 777.7f);
        Check(s, random, x);
    }

    [Fact]
    public void Group_norm_of_an_image_does_not_depend_on_its_batch()
    {
        GroupNormShape three = new(1, 3, 1234, 40, 8, 1e-5f, true, false),
            one = three with { Batch = 1 };
        System.Random random = KernelCheck.Seeded(6);
        int image = three.Pixels * three.Channels;
        using Floats x = Floats.Uniform(random, 3L * image),
            w = Floats.Uniform(random, 40),
            b = Floats.Uniform(random, 40),
            all = new(3L * image),
            alone = new(image);
        KernelCheck.Run(pool => GroupNormSimd.Run(pool, three, x, w, b, all));
        KernelCheck.Run(pool => GroupNormSimd.Run(pool, one, x.Pointer + 2L * image, w, b, alone));
        KernelCheck.AssertSameBits(all.Span[(2 * image)..], alone.Span);
    }

    [Theory]
    [InlineData(1, 1, 1, false, 0f, 2f)]
    [InlineData(2, 7, 13, false, 0.5f, 2f)]
    [InlineData(3, 77, 48, true, 0.5f, 2f)]
    [InlineData(2, 1001, 327, false, 0.5f, 2f)]
    [InlineData(2, 50, 323, true, 300f, 0.03f)]
    [InlineData(1, 50, 768, false, -1000f, 0.2f)]
    public void Layer_norm_matches_reference(int experts, int rows, int channels, bool shared, float mean, float spread)
    {
        LayerNormShape s = new(experts, rows, channels, 1e-5f, shared);
        System.Random random = KernelCheck.Seeded(channels);
        using Floats x = Floats.Uniform(random, (long)(shared ? 1 : experts) * rows * channels, spread, mean);
        using Floats w = Floats.Uniform(random, experts * channels),
            b = Floats.Uniform(random, experts * channels);
        KernelCheck.Same(
            (long)experts * rows * channels,
            y => NormReference.LayerNorm(s, x, w, b, y),
            (pool, y) => LayerNormSimd.Run(pool, s, x, w, b, y)
        );
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(9, 3)]
    [InlineData(77, 77)]
    [InlineData(301, 1030)]
    public void Softmax_matches_reference(int rows, int width)
    {
        using Floats x = Floats.Uniform(KernelCheck.Seeded(width), (long)rows * width, 40);
        KernelCheck.Same(
            (long)rows * width,
            y => NormReference.Softmax(rows, width, x, y),
            (pool, y) => LayerNormSimd.Softmax(pool, rows, width, x, y),
            1e-6
        );
    }

    private static void Check(GroupNormShape s, System.Random random, Floats x)
    {
        using Floats w = Floats.Uniform(random, s.Experts * s.Channels),
            b = Floats.Uniform(random, s.Experts * s.Channels);
        KernelCheck.Same(
            (long)s.Experts * s.Batch * s.Pixels * s.Channels,
            y => NormReference.GroupNorm(s, x, w, b, y),
            (pool, y) => GroupNormSimd.Run(pool, s, x, w, b, y)
        );
    }
}
