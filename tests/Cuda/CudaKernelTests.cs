using System.Runtime.InteropServices;
using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Cuda;
using AfaNative.Kernels.Devices.Ilgpu;
using AfaNative.Kernels.Devices.Reference;
using AfaNative.Kernels.Gpu;
using AfaNative.Kernels.Random;
using AfaNative.Tests.Kernels;
using CsCheck;
using Xunit;

namespace AfaNative.Tests.Cuda;

/// <summary>
/// The CUDA-only kernels, as PTX in the interpreter, against the plain reference on the same rounded inputs: every tile edge, E
/// in 1..3.
/// </summary>
[Collection("CUDA")]
public sealed unsafe class CudaKernelTests(StandInFixture fixture) : IDisposable
{
    private static readonly ElementType[] s_storages = [ElementType.Float16, ElementType.BFloat16];
    private readonly ReferenceDevice _reference = new();
    private readonly List<DeviceBuffer> _buffers = [];

    [Theory]
    [InlineData(1, 1, 8, 8, 0)]
    [InlineData(1, 64, 32, 64, 2)]
    [InlineData(2, 65, 40, 72, 31)]
    [InlineData(3, 63, 96, 56, 27)]
    [InlineData(1, 130, 64, 4, 15)]
    [InlineData(2, 33, 104, 131, 11)]
    [InlineData(1, 70, 136, 320, 3)]
    [InlineData(3, 5, 320, 65, 31)]
    public void Linear_layers_on_small_tiles(int experts, int rows, int inputs, int outputs, int flags) =>
        Linear(fixture.Device, experts, rows, inputs, outputs, flags);

    [Theory]
    [InlineData(1, 256, 64, 128, 2, 256)]
    [InlineData(2, 140, 72, 256, 31, 256)]
    [InlineData(1, 250, 40, 192, 15, 128)]
    [InlineData(3, 127, 32, 64, 3, 128)]
    public void Linear_layers_on_large_tiles(int experts, int rows, int inputs, int outputs, int flags, int threads)
    {
        fixture.Cuda.Clear();
        Linear(fixture.Narrow, experts, rows, inputs, outputs, flags);
        Assert.Equal(2, fixture.Cuda.Launches.Count(l => l.Block.X == threads));
    }

    [Theory]
    [InlineData(1, 20, 16, 32)]
    [InlineData(2, 66, 40, 36)]
    [InlineData(3, 10, 24, 7)]
    public void Gated_layers(int experts, int rows, int inputs, int outputs)
    {
        foreach (ElementType storage in s_storages)
        {
            var shape = new LinearShape(experts, rows, false);
            Multiply(
                fixture.Device(storage),
                new WeightShape(2 * outputs, inputs, Geglu: true),
                experts,
                (long)experts * rows * inputs,
                rows,
                outputs,
                2,
                rows,
                ActivationKind.None,
                (d, x, w, e, y) => d.Kernels.Linear(shape, x, w, e, y)
            );
        }
    }

    [Fact]
    public void Convolutions_of_random_shapes() =>
        (
            from experts in Gen.Int[1, 3]
            from batch in Gen.Int[1, 2]
            from height in Gen.Int[1, 11]
            from width in Gen.Int[1, 11]
            from inputs in Gen.Int[1, 6]
            from outputs in Gen.Int[1, 80]
            from variant in Gen.Int[0, 4]
            from flags in Gen.Int[0, 31]
            select (experts, batch, height, width, inputs: inputs * 8, outputs, variant, flags)
        ).Sample(
            s =>
            {
                bool shared = (s.flags & 1) != 0;
                (int kernel, int stride, int before, int after) = s.variant switch
                {
                    0 => (3, 1, 1, 1),
                    1 => (3, 2, 1, 1),
                    2 => (3, 2, 0, 1),
                    3 => (1, 1, 0, 0),
                    _ => (1, 2, 0, 0),
                };
                var shape = new ConvolutionShape(
                    s.experts,
                    s.batch,
                    s.height,
                    s.width,
                    shared,
                    stride,
                    before,
                    before,
                    after,
                    after,
                    kernel,
                    kernel
                );
                if (shape.OutHeight < 1 || shape.OutWidth < 1)
                    return;
                int pixels = shape.OutHeight * shape.OutWidth;
                ElementType storage = s_storages[s.flags & 1];
                Multiply(
                    (s.flags & 2) == 0 ? fixture.Device(storage) : fixture.Narrow(storage),
                    new WeightShape(s.outputs, s.inputs, kernel, kernel),
                    s.experts,
                    (shared ? 1 : s.experts) * (long)s.batch * s.height * s.width * s.inputs,
                    s.batch * pixels,
                    s.outputs,
                    s.flags,
                    pixels,
                    ActivationKind.None,
                    (d, x, w, e, y) => d.Kernels.Convolution(shape, x, w, e, y)
                );
            },
            iter: 25,
            threads: 1
        );

    [Fact]
    public void Input_gradients_of_random_shapes() =>
        (
            from experts in Gen.Int[1, 3]
            from height in Gen.Int[1, 9]
            from width in Gen.Int[1, 9]
            from inputs in Gen.Int[1, 9]
            from outputs in Gen.Int[1, 9]
            from variant in Gen.Int[0, 6]
            from flags in Gen.Int[0, 3]
            select (experts, height, width, inputs: inputs * 8, outputs: outputs * 8, variant, flags)
        ).Sample(
            s =>
            {
                (int kernel, int stride, int before, int after) = s.variant switch
                {
                    0 or 1 => (3, 1, 1, 1),
                    2 => (3, 2, 1, 1),
                    3 => (3, 2, 0, 1),
                    4 => (3, 1, 2, 0),
                    _ => (1, 1, 0, 0),
                };
                var shape = new ConvolutionShape(
                    s.experts,
                    2,
                    s.height,
                    s.width,
                    (s.flags & 1) != 0,
                    stride,
                    before,
                    before,
                    after,
                    after,
                    kernel,
                    kernel
                );
                if (shape.OutHeight < 1 || shape.OutWidth < 1)
                    return;
                ElementType storage = s_storages[s.flags & 1];
                // A gated projection's columns alternate in the weights, but not in what comes back.
                var weights = new WeightShape(
                    s.outputs + (s.variant == 0 ? 4 : 0),
                    s.inputs,
                    kernel,
                    kernel,
                    Geglu: s.variant == 6
                );
                float[] values = Noise((long)s.experts * weights.Out * weights.K, 9, 1);
                Compare(
                    fixture.Device(storage),
                    (long)s.experts * 2 * s.height * s.width * s.inputs,
                    [Noise((long)s.experts * 2 * shape.OutHeight * shape.OutWidth * weights.Out, 1, 1)],
                    (d, dy, dx) =>
                    {
                        using PackedWeights packed = Pack(d, weights, values, s.experts, storage);
                        d.Gradients!.ConvolutionInput(shape, dy[0], packed, dx);
                    }
                );
            },
            iter: 25,
            threads: 1
        );

    [Theory]
    [InlineData(1, 1, 1, 8, 1, 1)]
    [InlineData(2, 1, 2, 16, 65, 63)]
    [InlineData(1, 2, 2, 40, 64, 77)]
    [InlineData(1, 1, 2, 48, 33, 129)]
    [InlineData(1, 1, 3, 64, 77, 77, true)]
    [InlineData(1, 2, 1, 40, 130, 130, true)]
    [InlineData(2, 1, 1, 80, 66, 65)]
    [InlineData(1, 1, 2, 160, 40, 70)]
    [InlineData(3, 1, 1, 72, 5, 200)]
    [InlineData(1, 1, 1, 96, 64, 32)]
    public void Attention(int experts, int batch, int heads, int width, int queries, int keys, bool causal = false)
    {
        var shape = new AttentionShape(experts, batch, heads, width, queries, keys, 1f / MathF.Sqrt(width), causal);
        long images = experts * batch;
        foreach (ElementType storage in s_storages)
        {
            Compare(
                fixture.Device(storage),
                images * queries * shape.Channels,
                [
                    Noise(images * queries * shape.Channels, 1, 2),
                    Noise(images * keys * shape.Channels, 2, 2),
                    Noise(images * keys * shape.Channels, 3, 1),
                ],
                (d, x, y) => d.Kernels.Attention(shape, x[0], x[1], x[2], y)
            );
        }
    }

    [Theory]
    [InlineData(1, 1, 1, 8, 4)]
    [InlineData(2, 2, 49, 320, 32)]
    [InlineData(3, 1, 70, 32, 32)]
    [InlineData(1, 2, 5, 2048, 32)]
    [InlineData(1, 1, 3, 2560, 32)]
    [InlineData(2, 1, 130, 96, 8)]
    public void Group_norms(int experts, int batch, int pixels, int channels, int groups)
    {
        foreach (ElementType storage in s_storages)
        {
            foreach (bool shared in (bool[])[false, true])
            {
                var shape = new GroupNormShape(experts, batch, pixels, channels, groups, 1e-5f, shared, shared);
                long maps = (shared ? 1 : experts) * batch,
                    count = (long)experts * batch * pixels * channels;
                // A mean ten times the deviation: sums of raw squares would lose it.
                Compare(
                    fixture.Device(storage),
                    count,
                    [Noise(maps * pixels * channels, 1, 1, 10), Noise(experts * channels, 2, 1), Noise(experts * channels, 3, 1)],
                    (d, x, y) => d.Kernels.GroupNorm(shape, x[0], x[1], x[2], y)
                );
            }
        }
    }

    [Theory]
    [InlineData(1, 1, 8)]
    [InlineData(2, 9, 320)]
    [InlineData(3, 17, 40)]
    [InlineData(1, 3, 1280)]
    public void Layer_norms(int experts, int rows, int channels)
    {
        foreach (ElementType storage in s_storages)
        {
            foreach (bool shared in (bool[])[false, true])
            {
                var shape = new LayerNormShape(experts, rows, channels, 1e-5f, shared);
                Compare(
                    fixture.Device(storage),
                    (long)experts * rows * channels,
                    [
                        Noise((shared ? 1 : experts) * (long)rows * channels, 1, 1, 5),
                        Noise(experts * channels, 2, 1),
                        Noise(experts * channels, 3, 1),
                    ],
                    (d, x, y) => d.Kernels.LayerNorm(shape, x[0], x[1], x[2], y)
                );
            }
        }
    }

    [Fact]
    public void Element_wise_ops()
    {
        foreach (ElementType storage in s_storages)
        {
            IlgpuDevice device = fixture.Device(storage);
            foreach (ActivationKind kind in Enum.GetValues<ActivationKind>())
                Compare(device, 264, [Noise(264, 1, 4)], (d, x, y) => d.Kernels.Activate(kind, 264, x[0], y));
            foreach ((bool a, bool b) in ((bool, bool)[])[(false, false), (true, false), (false, true)])
            {
                Compare(
                    device,
                    3 * 80,
                    [Noise(a ? 80 : 240, 1, 1), Noise(b ? 80 : 240, 2, 1)],
                    (d, x, y) => d.Kernels.Add(new AddShape(3, 80, a, b), x[0], x[1], y)
                );
                Compare(
                    device,
                    3 * 10 * 40,
                    [Noise((a ? 1 : 3) * 10 * 24, 1, 1), Noise((b ? 1 : 3) * 10 * 16, 2, 1)],
                    (d, x, y) => d.Kernels.Concat(new ConcatShape(3, 10, 24, 16, a, b), x[0], x[1], y)
                );
            }

            Compare(device, 88, [Noise(3 * 88, 1, 1)], (d, x, y) => d.Kernels.MeanOverExperts(3, 88, x[0], y));
            Compare(device, 3 * 7 * 16, [Noise(3 * 7 * 16, 1, 1)], (d, x, y) => d.Kernels.ExpertsToChannels(3, 7, 16, x[0], y));
            Compare(
                device,
                2 * 9 * 13 * 8,
                [Noise(2 * 5 * 7 * 8, 1, 1)],
                (d, x, y) => d.Kernels.UpsampleNearest(new UpsampleShape(2, 5, 7, 8, 9, 13), x[0], y)
            );
            foreach (int experts in (int[])[1, 2, 3])
            {
                var shape = new FusionShape(experts, 2, 33, 24);
                float[] features = Noise(experts * 66 * 24, 1, 1),
                    logits = Noise(66 * experts, 2, 3);
                Compare(
                    device,
                    66 * 24,
                    [features, logits],
                    (d, x, y) =>
                    {
                        using DeviceBuffer maps = d.Allocate(66 * experts);
                        d.Kernels.FuseExperts(shape, x[0], x[1], y, maps);
                    }
                );
                Compare(
                    device,
                    66 * experts,
                    [features, logits],
                    (d, x, maps) =>
                    {
                        using DeviceBuffer y = d.Allocate(66 * 24);
                        d.Kernels.FuseExperts(shape, x[0], x[1], y, maps);
                    }
                );
            }
        }
    }

    [Theory]
    [InlineData(4, 0ul, 0ul)]
    [InlineData(1023, 42ul, 1ul)]
    [InlineData(5000, 0xFFFF_FFFF_FFFF_FFFFul, 77ul)]
    public void Noise_is_the_processors_bit_for_bit(int count, ulong seed, ulong stream)
    {
        var expected = new float[count];
        GaussianNoise.Fill(expected, seed, stream);
        using DeviceBuffer y = fixture.Device(ElementType.Float32).Allocate(count);
        fixture.Device(ElementType.Float32).FillNoise(y, count, seed, stream);
        var came = new float[count];
        fixture.Device(ElementType.Float32).Download(y, came);
        KernelCheck.AssertSameBits(expected, came);
    }

    [Theory]
    [InlineData(8192, 320, 3, 132)]
    [InlineData(128, 1280, 1, 132)]
    [InlineData(512, 1280, 3, 132)]
    [InlineData(1, 64, 1, 1)]
    [InlineData(100000, 2560, 2, 108)]
    public void Tiles_cover_their_problem(int rows, int columns, int experts, int multiprocessors)
    {
        MultiplyTile tile = MultiplyTiles.Choose(rows, columns, experts, true, multiprocessors);
        Assert.Equal(0, (columns + 63) / 64 * 64 % tile.Columns);
        Assert.Equal(tile.Rows / 64 * (tile.Columns / 32) * 32, tile.Threads);
        Assert.Equal(MultiplyTileKind.Unaligned, MultiplyTiles.Choose(rows, columns, experts, false, multiprocessors).Kind);
    }

    public void Dispose()
    {
        foreach (DeviceBuffer buffer in _buffers)
            buffer.Dispose();
        _reference.Dispose();
    }

    private void Linear(Func<ElementType, IlgpuDevice> device, int experts, int rows, int inputs, int outputs, int flags)
    {
        var shape = new LinearShape(experts, rows, (flags & 1) != 0);
        foreach (ElementType storage in s_storages)
        {
            Multiply(
                device(storage),
                new WeightShape(outputs, inputs),
                experts,
                (shape.SharedInput ? 1 : experts) * (long)rows * inputs,
                rows,
                outputs,
                flags,
                Math.Max(1, rows / 3),
                (ActivationKind)(flags % 4),
                (d, x, w, e, y) => d.Kernels.Linear(shape, x, w, e, y)
            );
        }
    }

    /// <summary>Bits of <paramref name="flags"/>: 1 shared input, 2 bias, 4 row bias, 8 residual, 16 shared residual.</summary>
    private void Multiply(
        IlgpuDevice device,
        WeightShape shape,
        int experts,
        long inputLength,
        int rows,
        int outputs,
        int flags,
        int rowsPerGroup,
        ActivationKind activation,
        Action<IDevice, DeviceBuffer, PackedWeights, Epilogue, DeviceBuffer> run
    )
    {
        int groups = (rows + rowsPerGroup - 1) / rowsPerGroup;
        bool sharedResidual = (flags & 16) != 0;
        float[] weights = Noise((long)experts * shape.Out * shape.K, 9, 1);
        Compare(
            device,
            (long)experts * rows * outputs,
            [
                Noise(inputLength, 1, 1),
                Noise((long)experts * shape.Out, 2, 1),
                Noise((long)experts * groups * outputs, 3, 1),
                Noise((sharedResidual ? 1 : experts) * (long)rows * outputs, 4, 1),
            ],
            (d, x, y) =>
            {
                using PackedWeights packed = Pack(d, shape, weights, experts, device.Storage);
                run(
                    d,
                    x[0],
                    packed,
                    new Epilogue
                    {
                        Bias = (flags & 2) != 0 ? x[1] : null,
                        RowBias = (flags & 4) != 0 ? x[2] : null,
                        RowsPerGroup = rowsPerGroup,
                        Residual = (flags & 8) != 0 ? x[3] : null,
                        SharedResidual = sharedResidual,
                        Activation = activation,
                    },
                    y
                );
            }
        );
    }

    // Both devices get what the storage type makes of the inputs; the output's rounding is all that may differ, but for what sums
    // round on their way.
    private void Compare(
        IlgpuDevice device,
        long outputLength,
        float[][] inputs,
        Action<IDevice, DeviceBuffer[], DeviceBuffer> run
    )
    {
        float[][] rounded = [.. inputs.Select(i => Rounded(device.Storage, i))];
        float[] expected = Run(_reference, outputLength, rounded, run),
            came;
        try
        {
            came = Run(device, outputLength, rounded, run);
        }
        catch (Exception e)
        {
            Assert.Fail($"{e.Message}: {fixture.Cuda.LastFault}");
            return;
        }

        KernelCheck.AssertClose(expected, came, device.Storage == ElementType.Float16 ? 2e-3 : 1.2e-2, 0.1);
    }

    private float[] Run(IDevice device, long outputLength, float[][] inputs, Action<IDevice, DeviceBuffer[], DeviceBuffer> run)
    {
        DeviceBuffer[] buffers = [.. inputs.Select(i => device.Allocate(i.Length))];
        using DeviceBuffer y = device.Allocate(outputLength);
        for (int i = 0; i < inputs.Length; i++)
            device.Upload(inputs[i], buffers[i]);
        var came = new float[outputLength];
        Array.Fill(came, float.NaN);
        device.Upload(came, y);
        run(device, buffers, y);
        device.Download(y, came);
        foreach (DeviceBuffer buffer in buffers)
            buffer.Dispose();
        return came;
    }

    private static PackedWeights Pack(IDevice device, WeightShape shape, float[] values, int experts, ElementType storage)
    {
        ushort[] bits = [.. values.Select(v => Bits(storage, v))];
        fixed (ushort* p = bits)
        {
            var sources = new WeightSource[experts];
            for (int e = 0; e < experts; e++)
                sources[e] = new WeightSource(p + (long)e * shape.Out * shape.K, storage);
            return device.Pack(shape, sources);
        }
    }

    private static float[] Rounded(ElementType storage, float[] values) =>
        [
            .. values.Select(v =>
                storage == ElementType.Float16 ? (float)(Half)v : BitConverter.UInt32BitsToSingle((uint)Bits(storage, v) << 16)
            ),
        ];

    private static ushort Bits(ElementType storage, float value) =>
        storage == ElementType.Float16 ? BitConverter.HalfToUInt16Bits((Half)value) : PortableMath.NarrowBFloat(value);

    private static float[] Noise(long count, int seed, float spread, float center = 0)
    {
        var random = new System.Random(seed);
        var values = new float[count];
        for (int i = 0; i < values.Length; i++)
            values[i] = center + spread * (2 * random.NextSingle() - 1);
        return values;
    }
}
