using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Elementwise;
using AfaNative.Kernels.Resampling;
using Xunit;

namespace AfaNative.Tests.Kernels;

public unsafe class ElementwiseTests
{
    [Theory]
    [InlineData(1, 1, false, false)]
    [InlineData(2, 17, true, false)]
    [InlineData(3, 70_001, false, true)]
    [InlineData(2, 130_007, false, false)]
    [InlineData(3, 33, true, true)]
    public void Add_matches_reference(int experts, int count, bool sharedA, bool sharedB)
    {
        AddShape s = new(experts, count, sharedA, sharedB);
        System.Random random = KernelCheck.Seeded(count);
        using Floats a = Floats.Uniform(random, (long)(sharedA ? 1 : experts) * count),
            b = Floats.Uniform(random, (long)(sharedB ? 1 : experts) * count);
        KernelCheck.Same(
            (long)experts * count,
            y => ElementwiseReference.Add(s, a, b, y),
            (pool, y) => ElementwiseSimd.Add(pool, s, a, b, y),
            0
        );
    }

    [Fact]
    public void Add_works_in_place()
    {
        AddShape s = new(2, 70_003, false, true);
        System.Random random = KernelCheck.Seeded(1);
        using Floats a = Floats.Uniform(random, 2 * s.Count),
            b = Floats.Uniform(random, s.Count),
            y = new(2 * s.Count);
        KernelCheck.Run(pool => ElementwiseSimd.Add(pool, s, a, b, y));
        KernelCheck.Run(pool => ElementwiseSimd.Add(pool, s, a, b, a));
        KernelCheck.AssertSameBits(y.Span, a.Span);
    }

    [Theory]
    [InlineData(1, 1, 1, 1, false, false)]
    [InlineData(2, 35, 17, 5, true, false)]
    [InlineData(3, 900, 48, 33, false, true)]
    [InlineData(3, 900, 40, 64, false, false)]
    [InlineData(2, 7, 3, 4, true, true)]
    public void Concat_matches_reference(int experts, int rows, int channelsA, int channelsB, bool sharedA, bool sharedB)
    {
        ConcatShape s = new(experts, rows, channelsA, channelsB, sharedA, sharedB);
        System.Random random = KernelCheck.Seeded(rows);
        using Floats a = Floats.Uniform(random, (long)(sharedA ? 1 : experts) * rows * channelsA),
            b = Floats.Uniform(random, (long)(sharedB ? 1 : experts) * rows * channelsB);
        KernelCheck.Same(
            (long)experts * rows * (channelsA + channelsB),
            y => ElementwiseReference.Concat(s, a, b, y),
            (pool, y) => ElementwiseSimd.Concat(pool, s, a, b, y),
            0
        );
    }

    [Theory]
    [InlineData(1, 5)]
    [InlineData(2, 70_001)]
    [InlineData(3, 131)]
    public void Mean_over_experts_matches_reference(int experts, int count)
    {
        using Floats x = Floats.Uniform(KernelCheck.Seeded(count), (long)experts * count);
        KernelCheck.Same(
            count,
            y => ElementwiseReference.MeanOverExperts(experts, count, x, y),
            (pool, y) => ElementwiseSimd.MeanOverExperts(pool, experts, count, x, y),
            1e-6
        );
    }

    [Theory]
    [InlineData(1, 9, 5)]
    [InlineData(2, 333, 320)]
    [InlineData(3, 35, 17)]
    public void Experts_to_channels_matches_reference(int experts, int rows, int channels)
    {
        using Floats x = Floats.Uniform(KernelCheck.Seeded(rows), (long)experts * rows * channels);
        KernelCheck.Same(
            x.Length,
            y => ElementwiseReference.ExpertsToChannels(experts, rows, channels, x, y),
            (pool, y) => ElementwiseSimd.ExpertsToChannels(pool, experts, rows, channels, x, y),
            0
        );
    }

    [Theory]
    [InlineData(1, 3, 5, 4, 6, 10)]
    [InlineData(3, 7, 5, 17, 13, 9)]
    [InlineData(2, 8, 8, 48, 16, 16)]
    [InlineData(1, 5, 4, 33, 3, 11)]
    public void Upsample_matches_reference(int maps, int height, int width, int channels, int outHeight, int outWidth)
    {
        UpsampleShape s = new(maps, height, width, channels, outHeight, outWidth);
        using Floats x = Floats.Uniform(KernelCheck.Seeded(height), (long)maps * height * width * channels);
        KernelCheck.Same(
            (long)maps * outHeight * outWidth * channels,
            y => NearestUpsampling.Reference(s, x, y),
            (pool, y) => NearestUpsampling.Simd(pool, s, x, y),
            0
        );
    }
}
