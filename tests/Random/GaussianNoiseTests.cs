using AfaNative.Kernels.Random;
using Xunit;

namespace AfaNative.Tests.Random;

public class GaussianNoiseTests
{
    [Theory]
    [InlineData(0u, 0u, 0u, 0u, 0u, 0u, 0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u)]
    [InlineData(~0u, ~0u, ~0u, ~0u, ~0u, ~0u, 0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu)]
    [InlineData(
        0x243f6a88u,
        0x85a308d3u,
        0x13198a2eu,
        0x03707344u,
        0xa4093822u,
        0x299f31d0u,
        0xd16cfe09u,
        0x94fdccebu,
        0x5001e420u,
        0x24126ea1u
    )]
    public void Philox_gives_the_published_known_answers(
        uint c0,
        uint c1,
        uint c2,
        uint c3,
        uint k0,
        uint k1,
        uint x0,
        uint x1,
        uint x2,
        uint x3
    ) => Assert.Equal((x0, x1, x2, x3), Philox.Block(c0, c1, c2, c3, k0, k1));

    [Theory]
    [InlineData(0ul, 0ul)]
    [InlineData(1234ul, 7ul)]
    [InlineData(ulong.MaxValue, ulong.MaxValue)]
    public void Moments_are_those_of_a_standard_normal(ulong seed, ulong stream)
    {
        float[] noise = new float[1_000_000];
        GaussianNoise.Fill(noise, seed, stream);
        double mean = 0,
            second = 0,
            third = 0,
            fourth = 0,
            lag = 0;
        for (int i = 0; i < noise.Length; i++)
        {
            double z = noise[i];
            mean += z;
            second += z * z;
            third += z * z * z;
            fourth += z * z * z * z;
            lag += i == 0 ? 0 : z * noise[i - 1];
        }
        int n = noise.Length;
        Assert.InRange(mean / n, -0.005, 0.005);
        Assert.InRange(second / n, 0.993, 1.007);
        Assert.InRange(third / n, -0.02, 0.02);
        Assert.InRange(fourth / n / (second / n * second / n), 2.97, 3.03);
        Assert.InRange(lag / n, -0.005, 0.005);
        Assert.InRange(noise.Count(z => MathF.Abs(z) > 3) / (double)n, 0.0024, 0.0030);
    }

    [Fact]
    public void A_shorter_fill_is_a_prefix_of_a_longer_one()
    {
        float[] whole = new float[1027];
        GaussianNoise.Fill(whole, 42, 3);
        foreach (int length in (int[])[0, 1, 2, 3, 4, 5, 6, 7, 8, 63, 64, 65, 1026])
        {
            float[] part = new float[length];
            GaussianNoise.Fill(part, 42, 3);
            Assert.Equal(whole[..length], part);
        }
    }

    [Fact]
    public void Seeds_and_streams_give_different_noise()
    {
        float[][] noises = new (ulong Seed, ulong Stream)[] { (0, 0), (1, 0), (0, 1), (1, 1), (1ul << 32, 0), (0, 1ul << 32) }
            .Select(key =>
            {
                float[] noise = new float[64];
                GaussianNoise.Fill(noise, key.Seed, key.Stream);
                return noise;
            })
            .ToArray();
        for (int i = 0; i < noises.Length; i++)
        for (int j = 0; j < i; j++)
            Assert.True(noises[i].Zip(noises[j]).Count(pair => pair.First == pair.Second) < 3);
    }

    [Fact]
    public void Own_logarithm_and_circle_functions_are_accurate()
    {
        for (int k = 1; k <= 1 << 24; k += 997)
        {
            float u = k / 16777216f;
            Assert.InRange(GaussianNoise.Log(u) - Math.Log(u), -2e-6, 2e-6);
            int turn = k - 1;
            (float sin, float cos) = GaussianNoise.SinCosTurns(turn);
            double angle = 2 * Math.PI * turn / 16777216.0;
            Assert.InRange(sin - Math.Sin(angle), -1.5e-7, 1.5e-7);
            Assert.InRange(cos - Math.Cos(angle), -1.5e-7, 1.5e-7);
        }
    }

    [Fact]
    public void Extreme_words_stay_finite()
    {
        foreach (uint radius in (uint[])[0u, 255u, 256u, ~0u])
        {
            foreach (uint angle in (uint[])[0u, 1u << 30, 1u << 31, 3u << 30, 0x1FFFFFFFu, 0x20000000u, ~0u])
            {
                (float z0, float z1) = GaussianNoise.Pair(radius, angle);
                Assert.True(float.IsFinite(z0) && float.IsFinite(z1));
            }
        }
    }

    [Fact]
    public void The_noise_of_a_seed_never_changes()
    {
        float[] noise = new float[4096];
        GaussianNoise.Fill(noise, 1, 0);
        uint hash = 2166136261;
        foreach (float z in noise)
            hash = unchecked((hash ^ BitConverter.SingleToUInt32Bits(z)) * 16777619);
        Assert.Equal(1415083803u, hash);
    }
}
