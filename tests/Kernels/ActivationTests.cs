using System.Runtime.Intrinsics;
using AfaNative.Kernels.Activation;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Vectors;
using Xunit;

namespace AfaNative.Tests.Kernels;

public unsafe class ActivationTests
{
    [Theory]
    [InlineData(0.1, 0.1124629160182849)]
    [InlineData(0.5, 0.5204998778130465)]
    [InlineData(1.0, 0.8427007929497149)]
    [InlineData(2.4, 0.9993114861033549)]
    [InlineData(2.6, 0.9997639655834707)]
    [InlineData(3.5, 0.9999992569016276)]
    public void Reference_erf_is_accurate(double x, double erf)
    {
        Assert.Equal(erf, ActivationReference.Erf(x), 1e-12);
        Assert.Equal(-erf, ActivationReference.Erf(-x), 1e-12);
    }

    [Fact]
    public void Exp_is_accurate_to_two_in_ten_million()
    {
        double worst = 0;
        for (float x = -87; x < 88; x += 0.00137f)
            worst = Math.Max(worst, Math.Abs(VectorMath.Exp(Vector512.Create(x))[3] / Math.Exp(x) - 1));
        Assert.InRange(worst, 0, 2e-7);
    }

    [Theory]
    [InlineData(-1e30f)]
    [InlineData(float.NegativeInfinity)]
    [InlineData(-88.5f)]
    public void Exp_of_very_negative_values_is_tiny(float x) =>
        Assert.InRange(VectorMath.Exp(Vector512.Create(x))[0], 0, 1.3e-38f);

    [Theory]
    [InlineData(1e30f)]
    [InlineData(89f)]
    [InlineData(float.PositiveInfinity)]
    public void Exp_of_large_values_stays_finite(float x) =>
        Assert.InRange(VectorMath.Exp(Vector512.Create(x))[0], 1e38f, float.MaxValue);

    [Fact]
    public void Erf_is_accurate_to_two_in_ten_million()
    {
        double worst = 0;
        for (float x = -6; x < 6; x += 0.000137f)
            worst = Math.Max(worst, Math.Abs(VectorMath.Erf(Vector512.Create(x))[5] - ActivationReference.Erf(x)));
        Assert.InRange(worst, 0, 2e-7);
        Assert.Equal(0, VectorMath.Erf(Vector512<float>.Zero)[0]);
        Assert.Equal(-1, VectorMath.Erf(Vector512.Create(float.NegativeInfinity))[0]);
        Assert.Equal(0, VectorMath.Gelu(Vector512.Create(-1000f))[0]);
        Assert.True(float.IsNaN(VectorMath.Erf(Vector512.Create(float.NaN))[0]));
    }

    [Fact]
    public void Sigmoid_saturates_without_overflow()
    {
        Assert.Equal(0, VectorMath.Sigmoid(Vector512.Create(-1000f))[0], 1e-30f);
        Assert.Equal(1, VectorMath.Sigmoid(Vector512.Create(1000f))[0]);
        Assert.Equal(0.5f, VectorMath.Sigmoid(Vector512<float>.Zero)[0]);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Simd_matches_reference(ActivationKind kind, int count)
    {
        using Floats x = Floats.Uniform(KernelCheck.Seeded(count), count, 12);
        KernelCheck.Same(
            count,
            y => ActivationReference.Run(kind, count, x, y),
            (pool, y) => ActivationSimd.Run(pool, kind, count, x, y),
            1e-6,
            1
        );
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Simd_works_in_place(ActivationKind kind, int count)
    {
        using Floats x = Floats.Uniform(KernelCheck.Seeded(count), count, 12),
            y = new(count);
        KernelCheck.Run(pool => ActivationSimd.Run(pool, kind, count, x, y));
        KernelCheck.Run(pool => ActivationSimd.Run(pool, kind, count, x, x));
        KernelCheck.AssertSameBits(y.Span, x.Span);
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(7, 13)]
    [InlineData(5, 48)]
    [InlineData(301, 1283)]
    public void Geglu_matches_reference(int rows, int width)
    {
        using Floats x = Floats.Uniform(KernelCheck.Seeded(width), 2L * rows * width, 5);
        KernelCheck.Same(
            (long)rows * width,
            y => ActivationReference.Geglu(rows, width, x, y),
            (pool, y) => ActivationSimd.Geglu(pool, rows, width, x, y),
            1e-6,
            1
        );
    }

    public static TheoryData<ActivationKind, int> Kinds()
    {
        var data = new TheoryData<ActivationKind, int>();
        foreach (ActivationKind kind in Enum.GetValues<ActivationKind>())
        {
            foreach (int count in (int[])[1, 15, 16, 1037, 200_003])
                data.Add(kind, count);
        }

        return data;
    }
}
