using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Samplers;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Kernels.Random;
using AfaNative.Tests.Ensemble;
using Xunit;

namespace AfaNative.Tests.Diffusion;

/// <summary>
/// Noise of other programs' seeds. The reference cases compare torch's on the CPU with what torch drew (16 elements and more);
/// fewer, and CUDA's, no case confirms.
/// </summary>
public sealed class NoiseStreamTests(TinyEnsemble tiny) : IClassFixture<TinyEnsemble>
{
    [Fact]
    public void The_twister_gives_its_authors_numbers()
    {
        // C++ requires the 10000th number of the default seed to be this one.
        var random = new MersenneTwister(5489);
        Assert.Equal(3499211612u, random.Next());
        for (int i = 1; i < 9999; i++)
            random.Next();
        Assert.Equal(4123659995u, random.Next());
    }

    [Theory]
    [InlineData(NoiseSource.Own)]
    [InlineData(NoiseSource.TorchCpu)]
    [InlineData(NoiseSource.TorchCuda)]
    public void Noise_is_normal_and_every_draw_is_new(NoiseSource source)
    {
        NoiseStream stream = NoiseStream.Of(source, 42);
        float[] first = new float[20000],
            second = new float[20000];
        stream.Fill(first, 0);
        stream.Fill(second, 1);
        foreach (float[] values in (float[][])[first, second])
        {
            double mean = values.Average(v => (double)v),
                variance = values.Average(v => (double)v * v) - mean * mean,
                fourth = values.Average(v => Math.Pow(v, 4));
            Assert.Equal(0, mean, 0.03);
            Assert.Equal(1, variance, 0.04);
            Assert.Equal(3, fourth, 0.25);
        }

        Assert.Equal(0, first.Zip(second).Average(p => (double)p.First * p.Second), 0.03);
        var again = new float[20000];
        NoiseStream.Of(source, 42).Fill(again, 0);
        Assert.Equal(first, again);
        NoiseStream.Of(source, 43).Fill(again, 0);
        Assert.NotEqual(first, again);
    }

    [Fact]
    public void What_is_left_over_of_sixteen_is_drawn_again()
    {
        float[] whole = new float[32],
            cut = new float[20];
        NoiseStream.Of(NoiseSource.TorchCpu, 7).Fill(whole, 0);
        NoiseStream.Of(NoiseSource.TorchCpu, 7).Fill(cut, 0);
        // The first four stay; the last sixteen come from the numbers after the first twenty.
        Assert.Equal(whole[..4], cut[..4]);
        Assert.NotEqual(whole[4..20], cut[4..]);
        var few = new float[15];
        NoiseStream.Of(NoiseSource.TorchCpu, 7).Fill(few, 0);
        Assert.All(few, v => Assert.InRange(v, -6f, 6f));
        Assert.Equal(15, few.Distinct().Count());
    }

    [Theory]
    [InlineData(NoiseSource.Own)]
    [InlineData(NoiseSource.TorchCpu)]
    [InlineData(NoiseSource.TorchCuda)]
    public void A_picture_does_not_depend_on_its_batch(NoiseSource source)
    {
        using var device = new CpuDevice(2);
        using DiffusionModel model = DiffusionModel.Load(device, tiny.Path);
        IReadOnlyList<float[]> Draw(params ulong[] seeds) =>
            new TextToImagePipeline(model).Generate(
                new GenerationOptions
                {
                    Prompt = "a",
                    Seeds = seeds,
                    Noise = source,
                    Steps = 3,
                    Width = 32,
                    Height = 32,
                    Sampler = AfaNative.Engine.Sampling.Samplers.SamplerChoice.Find("euler_a"),
                }
            );
        Assert.Equal(Draw(6)[0], Draw(5, 6)[1]);
    }
}
