using System.Runtime.InteropServices;
using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Kernels.Devices.Reference;
using AfaNative.Kernels.MatrixMultiply;
using AfaNative.Tests.Devices;
using AfaNative.Tests.Support;
using CsCheck;
using Xunit;

namespace AfaNative.Tests.Kernels;

/// <summary>Linear layers and convolutions of random odd shapes on every vector width, against the plain reference.</summary>
[Collection("OpenCL")]
public unsafe class MatrixMultiplyTests(OpenClDevice opencl)
{
    private const int Rounded = 3;

    private static readonly ElementType[] s_types = [ElementType.Float32, ElementType.Float16, ElementType.BFloat16];
    private static readonly ActivationKind[] s_activations = Enum.GetValues<ActivationKind>();

    [Fact]
    public void Linear_agrees_with_the_reference() =>
        (
            from experts in Gen.Int[1, 3]
            from rows in Gen.OneOf(Gen.Int[1, 40], Gen.Int[230, 260])
            from inputs in Gen.OneOf(Gen.Int[1, 70], Gen.Int[250, 600])
            from outputs in Gen.Int[1, 100]
            from type in Gen.Int[0, Rounded]
            from flags in Gen.Int[0, 63]
            from activation in Gen.Int[0, 3]
            select (experts, rows, inputs, outputs, type, flags, activation)
        ).Sample(
            s =>
            {
                bool geglu = (s.flags & 32) != 0;
                var weights = new WeightShape(geglu ? 2 * s.outputs : s.outputs, s.inputs, Geglu: geglu);
                bool shared = (s.flags & 1) != 0;
                var shape = new LinearShape(s.experts, s.rows, shared);
                int group = Math.Max(1, s.rows / 3);
                Compare(
                    s.type,
                    weights,
                    s.experts,
                    (shared ? 1 : s.experts) * (long)s.rows * s.inputs,
                    s.rows,
                    s.outputs,
                    geglu ? s.flags & ~4 : s.flags,
                    group,
                    geglu ? ActivationKind.None : s_activations[s.activation],
                    (d, x, w, e, y) => d.Kernels.Linear(shape, x, w, e, y)
                );
            },
            iter: Slow.IsAskedFor ? 300 : 60,
            threads: 1
        );

    [Fact]
    public void Convolution_agrees_with_the_reference() =>
        (
            from experts in Gen.Int[1, 3]
            from batch in Gen.Int[1, 2]
            from height in Gen.Int[3, 17]
            from width in Gen.Int[3, 17]
            from inputs in Gen.Int[1, 40]
            from outputs in Gen.Int[1, 70]
            from variant in Gen.Int[0, 4]
            from type in Gen.Int[0, Rounded]
            from flags in Gen.Int[0, 31]
            select (experts, batch, height, width, inputs, outputs, variant, type, flags)
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
                int pixels = shape.OutHeight * shape.OutWidth;
                Compare(
                    s.type,
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
            iter: Slow.IsAskedFor ? 300 : 60,
            threads: 1
        );

    [Fact]
    public void Every_half_precision_value_widens_exactly()
    {
        const int Count = 1 << 16;
        var narrow = (ushort*)NativeMemory.AlignedAlloc(Count * 2, 64);
        var wide = (float*)NativeMemory.AlignedAlloc(Count * 4, 64);
        try
        {
            for (int i = 0; i < Count; i++)
                narrow[i] = (ushort)i;
            Widening.ToFloat32(narrow, ElementType.Float16, wide, Count);
            for (int i = 0; i < Count; i++)
            {
                var expected = (float)BitConverter.UInt16BitsToHalf((ushort)i);
                Assert.True(
                    float.IsNaN(expected)
                        ? float.IsNaN(wide[i])
                        : BitConverter.SingleToUInt32Bits(expected) == BitConverter.SingleToUInt32Bits(wide[i]),
                    $"0x{i:X4} gave {wide[i]} instead of {expected}"
                );
            }

            Widening.ToFloat32(narrow, ElementType.BFloat16, wide, Count);
            for (int i = 0; i < Count; i++)
                Assert.Equal((uint)i << 16, BitConverter.SingleToUInt32Bits(wide[i]));
        }
        finally
        {
            NativeMemory.AlignedFree(narrow);
            NativeMemory.AlignedFree(wide);
        }
    }

    /// <summary>
    /// <paramref name="how"/> is a storage type of the weights, or all that is multiplied is bfloat16 on devices that round to
    /// it. Bits of <paramref name="flags"/>: 1 shared input, 2 bias, 4 row bias, 8 residual, 16 shared residual.
    /// </summary>
    private void Compare(
        int how,
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
        var random = new System.Random(HashCode.Combine(experts, rows, outputs, flags) & 0xFFFF);
        bool rounded = how == Rounded;
        ElementType type = rounded ? ElementType.BFloat16 : s_types[how];
        float[] x = Uniform(random, inputLength),
            bias = Uniform(random, (long)experts * shape.Out);
        int groups = (rows + rowsPerGroup - 1) / rowsPerGroup;
        bool sharedResidual = (flags & 16) != 0;
        float[] rowBias = Uniform(random, (long)experts * groups * outputs),
            residual = Uniform(random, (sharedResidual ? 1 : experts) * (long)rows * outputs);
        float[][] weights = [.. Enumerable.Range(0, experts).Select(_ => Uniform(random, (long)shape.Out * shape.K))];
        float[]? expected = null,
            first = null,
            wide = null;
        string[] kinds =
        [
            "reference",
            "one thread",
            "two threads",
            "512-bit",
            "512-bit, paired",
            "256-bit",
            "portable",
            "OpenCL",
        ];
        if (rounded)
        {
            kinds = CpuDevice.SupportsBFloat16 ? ["reference", "one thread", "two threads"] : ["reference"];
            for (int i = 0; i < x.Length; i++)
                x[i] = BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(x[i]) & 0xFFFF0000);
        }

        foreach (string kind in kinds)
        {
            IDevice? device = kind switch
            {
                "reference" => new ReferenceDevice(),
                "512-bit" => PairedProduct.IsSupported ? new CpuDevice(2, simd: SimdWidth.Vector512) : null,
                "512-bit, paired" => PairedProduct.IsSupported ? new CpuDevice(2, simd: SimdWidth.Paired512) : null,
                "256-bit" => new CpuDevice(2, simd: SimdWidth.Vector256),
                "portable" => new CpuDevice(1, simd: SimdWidth.Portable),
                "OpenCL" => opencl.TryGet(),
                _ => new CpuDevice(kind == "one thread" ? 1 : 2, products: rounded ? ElementType.BFloat16 : ElementType.Float32),
            };
            if (device is null)
                continue;
            using IDisposable? owned = kind == "OpenCL" ? null : device;
            using PackedWeights packed = Pack(device, shape, weights, type);
            using DeviceBuffer dx = Upload(device, x),
                db = Upload(device, bias),
                dr = Upload(device, rowBias),
                ds = Upload(device, residual),
                y = device.Allocate((long)experts * rows * outputs);
            var came = new float[(long)experts * rows * outputs];
            Array.Fill(came, float.NaN);
            device.Upload(came, y);
            run(
                device,
                dx,
                packed,
                new Epilogue
                {
                    Bias = (flags & 2) != 0 ? db : null,
                    RowBias = (flags & 4) != 0 ? dr : null,
                    RowsPerGroup = rowsPerGroup,
                    Residual = (flags & 8) != 0 ? ds : null,
                    SharedResidual = sharedResidual,
                    Activation = activation,
                },
                y
            );
            device.Download(y, came);
            if (kind == "reference")
            {
                expected = came;
                continue;
            }

            KernelCheck.AssertClose(expected!, came, 1e-5, 0.1);
            if (kind.EndsWith("thread", StringComparison.Ordinal) || kind.EndsWith("threads", StringComparison.Ordinal))
            {
                first ??= came;
                KernelCheck.AssertSameBits(first, came);
            }

            // What cpu-plain promises: products as they are give the same bits on any width of vectors with fused multiply-add.
            if (kind == "512-bit")
                wide = came;
            if (kind == "256-bit" && wide is not null)
                KernelCheck.AssertSameBits(wide, came);
        }
    }

    private static PackedWeights Pack(IDevice device, WeightShape shape, float[][] experts, ElementType type)
    {
        var blocks = new List<nint>();
        try
        {
            var sources = new WeightSource[experts.Length];
            for (int e = 0; e < experts.Length; e++)
            {
                var block = (byte*)NativeMemory.Alloc((nuint)(experts[e].Length * type.Size()));
                blocks.Add((nint)block);
                for (int i = 0; i < experts[e].Length; i++)
                {
                    if (type == ElementType.Float32)
                        ((float*)block)[i] = experts[e][i];
                    else if (type == ElementType.Float16)
                        ((Half*)block)[i] = (Half)experts[e][i];
                    else
                        ((ushort*)block)[i] = (ushort)(BitConverter.SingleToUInt32Bits(experts[e][i]) >> 16);
                }

                sources[e] = new WeightSource(block, type);
            }

            return device.Pack(shape, sources);
        }
        finally
        {
            foreach (nint block in blocks)
                NativeMemory.Free((void*)block);
        }
    }

    private static DeviceBuffer Upload(IDevice device, float[] values)
    {
        DeviceBuffer buffer = device.Allocate(values.Length);
        device.Upload(values, buffer);
        return buffer;
    }

    private static float[] Uniform(System.Random random, long length)
    {
        var values = new float[length];
        for (int i = 0; i < values.Length; i++)
            values[i] = 2 * random.NextSingle() - 1;
        return values;
    }
}
