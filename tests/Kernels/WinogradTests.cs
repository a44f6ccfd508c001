using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Convolution;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Kernels.Devices.Reference;
using AfaNative.Kernels.MatrixMultiply;
using Xunit;

namespace AfaNative.Tests.Kernels;

/// <summary>3x3 convolutions by F(4x4, 3x3) and their input gradients against the plain loops.</summary>
public unsafe class WinogradTests
{
    [Theory]
    [InlineData(1, 1, 8, 8, 32, 32, false)]
    [InlineData(1, 2, 5, 7, 48, 40, false)]
    [InlineData(3, 1, 9, 13, 64, 33, true)]
    [InlineData(2, 2, 16, 6, 32, 64, false)]
    [InlineData(1, 1, 33, 34, 272, 96, false)]
    [InlineData(3, 2, 4, 8, 528, 32, true)]
    public void Agrees_with_the_plain_loops(int experts, int batch, int height, int width, int inputs, int outputs, bool shared)
    {
        var shape = new ConvolutionShape(experts, batch, height, width, shared, 1, 1, 1, 1, 1, 3, 3);
        var weights = new WeightShape(outputs, inputs, 3, 3);
        Assert.True(WinogradConvolution.Suits(shape, weights));
        float[] x = Noise((shared ? 1 : experts) * batch * height * width * inputs, 1),
            w = Noise(experts * outputs * inputs * 9, 2),
            dy = Noise(experts * batch * height * width * outputs, 3);
        float[] bias = Noise(experts * outputs, 4),
            rowBias = Noise(experts * batch * outputs, 5),
            residual = Noise(dy.Length, 6);
        (float[] y, float[] dx) expected = Run(new ReferenceDevice());
        foreach (
            SimdWidth simd in (SimdWidth[])
                [
                    RegisterTile.Best,
                    .. PairedProduct.IsSupported ? (SimdWidth[])[SimdWidth.Vector512, SimdWidth.Paired512] : [],
                    SimdWidth.Vector256,
                    SimdWidth.Portable,
                ]
        )
        {
            (float[] y, float[] dx) one = Run(new CpuDevice(1, simd: simd)),
                two = Run(new CpuDevice(3, simd: simd));
            Close(expected.y, one.y);
            Close(expected.dx, one.dx);
            Assert.Equal(one.y, two.y);
            Assert.Equal(one.dx, two.dx);
        }

        (float[], float[]) Run(HostDevice device)
        {
            using (device)
                fixed (float* p = w)
                {
                    var sources = new WeightSource[experts];
                    for (int e = 0; e < experts; e++)
                        sources[e] = new WeightSource(p + (long)e * outputs * inputs * 9, ElementType.Float32);
                    using PackedWeights packed = device.Pack(weights, sources);
                    DeviceBuffer Put(float[] values)
                    {
                        DeviceBuffer buffer = device.Allocate(values.Length);
                        device.Upload(values, buffer);
                        return buffer;
                    }

                    float[] outY = new float[dy.Length],
                        outX = new float[experts * batch * height * width * inputs];
                    Array.Fill(outY, float.NaN);
                    Array.Fill(outX, float.NaN);
                    using DeviceBuffer bx = Put(x),
                        bdy = Put(dy),
                        by = Put(outY),
                        bdx = Put(outX),
                        bb = Put(bias),
                        br = Put(rowBias),
                        bs = Put(residual);
                    device.Kernels.Convolution(
                        shape,
                        bx,
                        packed,
                        new Epilogue
                        {
                            Bias = bb,
                            RowBias = br,
                            RowsPerGroup = height * width,
                            Residual = bs,
                        },
                        by
                    );
                    device.Gradients!.ConvolutionInput(shape, bdy, packed, bdx);
                    device.Download(by, outY);
                    device.Download(bdx, outX);
                    return (outY, outX);
                }
        }
    }

    [Fact]
    public void An_image_does_not_depend_on_its_batch()
    {
        var weights = new WeightShape(64, 64, 3, 3);
        float[] x = Noise(5 * 12 * 20 * 64, 1),
            w = Noise(64 * 64 * 9, 2);
        float[] all = Run(5, x),
            last = Run(1, x[(4 * 12 * 20 * 64)..]);
        Assert.Equal(all[(4 * 12 * 20 * 64)..], last);

        float[] Run(int batch, float[] input)
        {
            using var device = new CpuDevice(2);
            fixed (float* p = w)
            {
                using PackedWeights packed = device.Pack(weights, [new WeightSource(p, ElementType.Float32)]);
                using DeviceBuffer bx = device.Allocate(input.Length),
                    by = device.Allocate(input.Length);
                device.Upload(input, bx);
                device.Kernels.Convolution(
                    new ConvolutionShape(1, batch, 12, 20, false, 1, 1, 1, 1, 1, 3, 3),
                    bx,
                    packed,
                    default,
                    by
                );
                var y = new float[input.Length];
                device.Download(by, y);
                return y;
            }
        }
    }

    private static void Close(float[] expected, float[] came)
    {
        double largest = expected.Max(v => Math.Abs(v)),
            worst = 0;
        for (int i = 0; i < came.Length; i++)
            worst = Math.Max(worst, double.IsNaN(came[i]) ? double.PositiveInfinity : Math.Abs((double)came[i] - expected[i]));
        Assert.True(worst <= 1e-5 * largest, $"{worst / largest:E2} of the largest value");
    }

    private static float[] Noise(int count, int seed)
    {
        var random = new System.Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => 2 * random.NextSingle() - 1)];
    }
}
