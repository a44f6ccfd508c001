using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Kernels.MatrixMultiply;
using Xunit;

namespace AfaNative.Tests.Kernels;

/// <summary>How a linear layer is cut into tasks changes no bit.</summary>
public unsafe class LinearTaskTests
{
    private static readonly SimdWidth[] s_widths =
        RegisterTile.Best == RegisterTile.BestPlain ? [RegisterTile.Best] : [RegisterTile.Best, RegisterTile.BestPlain];

    [Theory]
    [InlineData(3, 1030, 130, 200)]
    [InlineData(3, 1024, 40, 96)]
    [InlineData(1, 500, 700, 33)]
    [InlineData(2, 97, 300, 700)]
    public void Any_number_of_threads_gives_the_same_bits(int experts, int rows, int inputs, int outputs)
    {
        float[] x = Noise(experts * rows * inputs, 1),
            weights = Noise(experts * outputs * inputs, 2);
        foreach (SimdWidth width in s_widths)
        {
            float[] one = Run(1, width, x, weights, experts, rows, inputs, outputs);
            for (int threads = 2; threads <= 5; threads++)
            {
                Assert.Equal(one, Run(threads, width, x, weights, experts, rows, inputs, outputs));
            }
        }
    }

    private static float[] Run(
        int threads,
        SimdWidth width,
        float[] x,
        float[] weights,
        int experts,
        int rows,
        int inputs,
        int outputs
    )
    {
        int count = experts * rows * outputs;
        using var device = new CpuDevice(threads, simd: width);
        using DeviceBuffer a = device.Allocate(x.Length),
            y = device.Allocate(count);
        device.Upload(x, a);
        float[] result = new float[count];
        Array.Fill(result, float.NaN);
        device.Upload(result, y);
        fixed (float* p = weights)
        {
            var sources = new WeightSource[experts];
            for (int e = 0; e < experts; e++)
                sources[e] = new WeightSource(p + (long)e * outputs * inputs, ElementType.Float32);
            using PackedWeights packed = device.Pack(new WeightShape(outputs, inputs), sources);
            device.Kernels.Linear(new LinearShape(experts, rows, false), a, packed, default, y);
        }

        device.Download(y, result);
        Assert.All(result, v => Assert.False(float.IsNaN(v)));
        return result;
    }

    private static float[] Noise(int count, int seed)
    {
        var random = new System.Random(seed);
        float[] values = new float[count];
        for (int i = 0; i < count; i++)
            values[i] = 2 * random.NextSingle() - 1;
        return values;
    }
}
