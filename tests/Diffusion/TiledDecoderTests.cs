using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Pipeline;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Tests.Ensemble;
using Xunit;

namespace AfaNative.Tests.Diffusion;

/// <summary>Decoding in tiles: every pixel is covered once, and the picture stays what it is.</summary>
public sealed class TiledDecoderTests(TinyEnsemble tiny) : IClassFixture<TinyEnsemble>
{
    [Theory]
    [InlineData(10, 96, 24)]
    [InlineData(96, 96, 24)]
    [InlineData(97, 96, 24)]
    [InlineData(256, 96, 24)]
    [InlineData(333, 64, 7)]
    [InlineData(50, 8, 2)]
    [InlineData(50, 8, 0)]
    public void Shares_of_all_tiles_add_up_to_one(int size, int tile, int overlap)
    {
        const int factor = 4;
        var sums = new double[size * factor];
        int end = 0;
        foreach ((int start, int length) in TiledDecoder.Places(size, tile, overlap))
        {
            Assert.InRange(length, Math.Min(size, overlap + 1), Math.Max(tile, Math.Min(size, tile)));
            if (start > 0)
                Assert.Equal(overlap, end - start);
            end = start + length;
            float[] share = TiledDecoder.Fade(start, length, size, overlap, factor);
            for (int i = 0; i < share.Length; i++)
                sums[start * factor + i] += share[i];
        }

        Assert.Equal(size, end);
        Assert.All(sums, s => Assert.Equal(1, s, 1e-6));
    }

    [Fact]
    public void One_tile_is_the_plain_way_and_several_are_near_it()
    {
        using var device = new CpuDevice(2);
        using DiffusionModel model = DiffusionModel.Load(device, tiny.Path);
        var ops = new Ops(device);
        using TensorScope scope = ops.Scope();
        int height = 24,
            width = 20,
            channels = 4;
        var latent = new float[channels * height * width];
        AfaNative.Kernels.Random.GaussianNoise.Fill(latent, 5, 0);
        float[] plain = ops.Download(model.Vae.Decode(ops, ops.UploadNchw(latent, new Shape(1, 1, height, width, channels))));
        Assert.Equal(plain, TiledDecoder.Decode(ops, model.Vae, latent, height, width));
        float[] tiled = TiledDecoder.Decode(ops, model.Vae, latent, height, width, 16, 4);
        double difference = tiled.Zip(plain).Average(p => Math.Abs(p.First - p.Second)),
            contrast = plain.Average(v => Math.Abs(v - plain.Average()));
        // Group norms over a tile instead of the whole: near, not equal.
        Assert.InRange(difference, 1e-7, 0.3 * contrast);
    }
}
