using AfaNative.Engine.Core;
using AfaNative.Engine.Models;
using AfaNative.Engine.Training;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Kernels.Devices.Reference;
using AfaNative.Tests.Devices;
using AfaNative.Tests.Support;
using CsCheck;
using Xunit;

namespace AfaNative.Tests.Training;

/// <summary>
/// Every op's gradients against central differences along random directions, over random shapes with one to three experts.
/// </summary>
[Collection("OpenCL")]
public sealed class GradientTests(OpenClDevice opencl)
{
    [Fact]
    public void Linear() =>
        Shapes(
            40,
            (s, p) =>
            {
                int outputs = 1 + s.Seed % 37;
                Linear layer = p.Linear("l", s.Channels, outputs);
                var kind = (ActivationKind)(s.Seed % 4);
                return (ops, x) => ops.Linear(x[0], layer, kind, s.Seed % 3 == 0 ? x[1] : null);
            },
            s => [s.Map(s.Shared), s.Map(s.Seed % 2 == 0) with { Channels = 1 + s.Seed % 37 }]
        );

    [Fact]
    public void Gated_linear() =>
        Shapes(
            20,
            (s, p) =>
            {
                Linear layer = p.Linear("l", s.Channels, 2 * (1 + s.Seed % 40), geglu: true);
                return (ops, x) => ops.Linear(x[0], layer);
            },
            s => [s.Map(s.Shared)]
        );

    [Fact]
    public void Convolution() =>
        Shapes(
            40,
            (s, p) =>
            {
                int kernel = s.Seed % 3 == 0 ? 1 : 3,
                    stride = 1 + s.Seed % 2;
                Convolution layer = p.Convolution(
                    "c",
                    s.Channels,
                    s.Outputs,
                    kernel,
                    stride,
                    s.Seed % 5 == 0 ? Padding.BottomRight : Padding.All(kernel / 2)
                );
                return (ops, x) => ops.Convolution(x[0], layer, s.Seed % 4 == 0 ? x[1] : null);
            },
            s => [s.Map(s.Shared), new Shape(s.Experts, s.Batch, 1, 1, s.Outputs)],
            minimum: 3
        );

    [Fact]
    public void Convolution_with_residual() =>
        Shapes(
            10,
            (s, p) =>
            {
                Convolution layer = p.Convolution("c", s.Channels, s.Channels);
                return (ops, x) => ops.Convolution(x[0], layer, null, x[1]);
            },
            s => [s.Map(s.Shared), s.Map(s.Seed % 2 == 0)]
        );

    [Fact]
    public void Group_norm() =>
        Shapes(
            25,
            (s, p) =>
            {
                GroupNorm layer = p.GroupNorm("n", s.Channels * 4, 4, 1e-5f);
                return (ops, x) => ops.GroupNorm(x[0], layer, s.Seed % 2 == 0);
            },
            s => [s.Map(s.Shared) with { Channels = s.Channels * 4 }],
            minimum: 2
        );

    [Fact]
    public void Layer_norm() =>
        Shapes(
            20,
            (s, p) =>
            {
                // Of a handful of channels all may be nearly equal, where the slope bends within the differences' width.
                LayerNorm layer = p.LayerNorm("n", s.Channels + 12);
                return (ops, x) => ops.LayerNorm(x[0], layer);
            },
            s => [s.Map(s.Shared) with { Channels = s.Channels + 12 }]
        );

    [Fact]
    public void Attention() =>
        Shapes(
            25,
            (s, _) => (ops, x) => ops.Attention(x[0], x[1], x[2], 2, s.Seed % 3 == 0),
            s =>
            {
                int keys = s.Seed % 3 == 0 ? s.Height * 7 : 1 + s.Seed % 150;
                Shape k = new(s.Experts, s.Batch, keys, 1, 2 * s.Channels);
                return [new Shape(s.Experts, s.Batch, s.Height * 7, 1, 2 * s.Channels), k, k];
            }
        );

    [Fact]
    public void Activations() =>
        Shapes(12, (s, _) => (ops, x) => ops.Activate(x[0], (ActivationKind)(s.Seed % 4)), s => [s.Map(false)]);

    [Fact]
    public void Softmax() => Shapes(8, (s, _) => (ops, x) => ops.Softmax(x[0]), s => [s.Map(false)]);

    [Fact]
    public void Upsample() =>
        Shapes(8, (s, _) => (ops, x) => ops.UpsampleNearest(x[0], 2 * s.Height - s.Seed % 2, 2 * s.Width), s => [s.Map(false)]);

    [Fact]
    public void Concatenation_and_sum() =>
        Shapes(
            12,
            (s, _) => (ops, x) => ops.Add(ops.Concat(x[0], x[1]), ops.Concat(x[1], x[0])),
            s => [s.Map(s.Shared), s.Map(s.Seed % 2 == 0)]
        );

    [Fact]
    public void Experts_joined() =>
        Shapes(12, (s, _) => (ops, x) => ops.Concat(ops.MeanOverExperts(x[0]), ops.ExpertsToChannels(x[0])), s => [s.Map(false)]);

    [Fact]
    public void Fusion() =>
        Shapes(
            15,
            (s, _) => (ops, x) => ops.FuseExperts(x[0], x[1], false).Fused,
            s => [s.Map(false), s.Map(true) with { Channels = s.Experts }]
        );

    [Fact]
    public void A_tensor_used_twice_gets_both_gradients() =>
        Shapes(
            5,
            (_, _) => (ops, x) => ops.Add(ops.Add(x[0], x[0]), ops.Activate(x[0], ActivationKind.Silu)),
            s => [s.Map(false)]
        );

    [Fact]
    public void Weights()
    {
        using var device = new CpuDevice(2);
        Gen.Int[0, 999]
            .Sample(
                seed =>
                {
                    int inputs = 1 + seed % 21,
                        outputs = 1 + seed % 17,
                        kind = seed % 6;
                    var random = new System.Random(seed);
                    float[] Random(long count) => [.. Enumerable.Range(0, (int)count).Select(_ => 2 * random.NextSingle() - 1)];
                    (Func<Ops, Tensor, Tensor> run, TrainedParameters parameters) = TrainedParameters.Build<
                        Func<Ops, Tensor, Tensor>
                    >(
                        device,
                        (_, count) => Random(count),
                        p =>
                        {
                            switch (kind)
                            {
                                case 0:
                                {
                                    Linear l = p.Linear("l", inputs, outputs);
                                    return (ops, x) => ops.Linear(x, l, ActivationKind.Silu);
                                }
                                case 1:
                                {
                                    Linear l = p.Linear("l", inputs, 2 * outputs, geglu: true);
                                    return (ops, x) => ops.Linear(x, l);
                                }
                                case 2:
                                {
                                    Convolution l = p.Convolution("c", inputs, outputs, 3, 1 + seed % 2);
                                    return (ops, x) => ops.Convolution(x, l);
                                }
                                case 4:
                                {
                                    Embedding t = p.Embedding("t", 9, inputs),
                                        o = p.Embedding("o", 5, inputs);
                                    return (ops, _) => ops.TokenEmbedding([1, 8, 1, 0, 3, 3], 3, t, o);
                                }
                                case 3:
                                {
                                    GroupNorm l = p.GroupNorm("n", inputs, 1, 1e-5f);
                                    return (ops, x) => ops.GroupNorm(x, l, true);
                                }
                                default:
                                {
                                    LayerNorm l = p.LayerNorm("n", inputs);
                                    return (ops, x) => ops.LayerNorm(x, l);
                                }
                            }
                        }
                    );
                    using (parameters)
                    {
                        var ops = new Ops(device);
                        using TensorScope scope = ops.Scope();
                        Tensor x = ops.Upload(Random(2L * 6 * 5 * inputs), new Shape(1, 2, 6, 5, inputs));
                        float[]? weight = null;
                        double Loss()
                        {
                            using TensorScope inner = ops.Scope();
                            float[] y = ops.Download(run(ops, x));
                            weight ??= Random(y.Length);
                            return y.Zip(weight, (a, b) => (double)a * b).Sum();
                        }

                        Loss();
                        using (var tape = new Tape(device, parameters.All))
                        {
                            ops.Tape = tape;
                            Tensor y = run(ops, x);
                            ops.Tape = null;
                            tape.Backward((y, ops.Upload(weight!, y.Shape)));
                        }

                        foreach (Parameter parameter in parameters.All)
                        {
                            float[] direction = Random(parameter.Values.Length),
                                start = (float[])parameter.Values.Clone();
                            Directional(
                                parameter.Gradient,
                                direction,
                                t =>
                                {
                                    for (int i = 0; i < start.Length; i++)
                                        parameter.Values[i] = start[i] + (float)t * direction[i];
                                    parameter.Publish();
                                    return Loss();
                                },
                                parameter.Name
                            );
                            start.CopyTo(parameter.Values, 0);
                            parameter.Publish();
                        }
                    }
                },
                iter: 30,
                threads: 1
            );
    }

    [Fact]
    public void Recomputed_parts_give_the_same_gradients()
    {
        using var device = new CpuDevice(2);
        using var p = new RandomParameters(device, 2, 1);
        var first = new ResnetBlock(p.Child("a"), 8, 16, 12, 4, 1e-5f);
        var second = new SpatialTransformer(p.Child("b"), 16, 2, 10, 1, 4);
        float[][][] gradients = new float[2][][];
        for (int recompute = 0; recompute < 2; recompute++)
        {
            var ops = new Ops(device);
            using TensorScope scope = ops.Scope();
            using var tape = new Tape(device, []) { Recompute = recompute == 1 };
            Tensor x = Tape.Watch(ops.Upload(new RandomParameters(device, 1, 2).Values(2 * 30 * 8), new Shape(1, 2, 6, 5, 8)));
            Tensor time = Tape.Watch(
                ops.Upload(new RandomParameters(device, 1, 3).Values(2 * 2 * 12), new Shape(2, 2, 1, 1, 12))
            );
            Tensor text = Tape.Watch(
                ops.Upload(new RandomParameters(device, 1, 4).Values(2 * 2 * 7 * 10), new Shape(2, 2, 7, 1, 10))
            );
            ops.Tape = tape;
            Tensor h = ops.Activate(x, ActivationKind.Silu),
                y;
            using (TensorScope inner = ops.Scope())
            {
                Tensor a = ops.Activate(h, ActivationKind.None);
                y = inner.Keep(ops.Checkpointed(t => second.Forward(ops, first.Forward(ops, t[0], t[1]), t[2]), a, time, text));
            }

            Assert.Equal(recompute == 1 ? 3 : 20, recompute == 1 ? tape.Count : Math.Min(20, tape.Count));
            ops.Tape = null;
            tape.Backward((y, ops.Upload(new RandomParameters(device, 1, 5).Values(y.Shape.Count), y.Shape)));
            gradients[recompute] = [.. new[] { x, time, text }.Select(t => ops.Download(tape.GradientOf(t)!))];
        }

        Assert.Equal(gradients[0], gradients[1]);
    }

    [Fact]
    public void A_tape_frees_everything_it_held()
    {
        using var device = new CpuDevice(1);
        using var p = new RandomParameters(device, 2, 1);
        var block = new ResnetBlock(p.Child("a"), 8, 8, 12, 4, 1e-5f);
        long before = device.AllocatedBytes;
        foreach (bool backward in (bool[])[true, false])
        {
            var ops = new Ops(device);
            using (TensorScope scope = ops.Scope())
            {
                using var tape = new Tape(device, []);
                Tensor x = Tape.Watch(ops.Upload(new float[30 * 8], new Shape(1, 1, 6, 5, 8))),
                    time = ops.Upload(new float[24], new Shape(2, 1, 1, 1, 12));
                ops.Tape = tape;
                Tensor y = block.Forward(ops, x, time);
                ops.Tape = null;
                if (backward)
                    tape.Backward((y, ops.Upload(new float[y.Shape.Count], y.Shape)));
            }

            Assert.Equal(before, device.AllocatedBytes);
        }
    }

    private sealed record Case(int Experts, int Batch, int Height, int Width, int Channels, int Outputs, bool Shared, int Seed)
    {
        public Shape Map(bool shared) => new(shared ? 1 : Experts, Batch, Height, Width, Channels);
    }

    private void Shapes(
        int count,
        Func<Case, Parameters, Func<Ops, Tensor[], Tensor>> build,
        Func<Case, Shape[]> inputs,
        int minimum = 1
    ) =>
        (
            from experts in Gen.Int[1, 3]
            from batch in Gen.Int[1, 2]
            from height in Gen.Int[minimum, 8]
            from width in Gen.Int[minimum, 8]
            from channels in Gen.Int[1, 35]
            from outputs in Gen.Int[1, 40]
            from shared in Gen.Bool
            from seed in Gen.Int[0, 9999]
            select new Case(experts, batch, height, width, channels, outputs, shared, seed)
        ).Sample(
            s =>
            {
                // Every third shape on OpenCL, where there is one.
                using var cpu = new CpuDevice(2);
                IDevice device = s.Seed % 3 == 0 && opencl.TryGet() is { } accelerator ? accelerator : cpu;
                using var p = new RandomParameters(device, s.Experts, s.Seed);
                Func<Ops, Tensor[], Tensor> run = build(s, p);
                var ops = new Ops(device);
                using TensorScope scope = ops.Scope();
                Tensor[] x = [.. inputs(s).Select(shape => Tape.Watch(ops.Upload(p.Values(shape.Count), shape)))];
                float[]? weight = null;
                double Loss()
                {
                    using TensorScope inner = ops.Scope();
                    float[] y = ops.Download(run(ops, x));
                    weight ??= p.Values(y.Length);
                    return y.Zip(weight, (a, b) => (double)a * b).Sum();
                }

                Loss();
                using var tape = new Tape(device, []);
                ops.Tape = tape;
                Tensor y = run(ops, x);
                ops.Tape = null;
                tape.Backward((y, ops.Upload(weight!, y.Shape)));
                AgreeWithReference(s, build, x, weight!, tape, ops);
                foreach (Tensor input in x)
                {
                    if (tape.GradientOf(input) is not { } gradient)
                        continue;
                    float[] start = ops.Download(input),
                        direction = p.Values(start.Length),
                        moved = new float[start.Length];
                    Directional(
                        ops.Download(gradient),
                        direction,
                        t =>
                        {
                            for (int i = 0; i < moved.Length; i++)
                                moved[i] = start[i] + (float)t * direction[i];
                            device.Upload(moved, input.Buffer);
                            return Loss();
                        },
                        $"{s}"
                    );
                    device.Upload(start, input.Buffer);
                }
            },
            iter: count,
            threads: 1
        );

    // The same network and inputs on the plain loops.
    private static void AgreeWithReference(
        Case s,
        Func<Case, Parameters, Func<Ops, Tensor[], Tensor>> build,
        Tensor[] x,
        float[] weight,
        Tape tape,
        Ops ops
    )
    {
        using var device = new ReferenceDevice();
        using var p = new RandomParameters(device, s.Experts, s.Seed);
        Func<Ops, Tensor[], Tensor> run = build(s, p);
        var plain = new Ops(device);
        using TensorScope scope = plain.Scope();
        Tensor[] inputs = [.. x.Select(t => Tape.Watch(plain.Upload(ops.Download(t), t.Shape)))];
        using var other = new Tape(device, []);
        plain.Tape = other;
        Tensor y = run(plain, inputs);
        plain.Tape = null;
        other.Backward((y, plain.Upload(weight, y.Shape)));
        for (int i = 0; i < x.Length; i++)
        {
            Assert.Equal(other.GradientOf(inputs[i]) is null, tape.GradientOf(x[i]) is null);
            if (tape.GradientOf(x[i]) is { } came)
                AfaNative.Tests.Kernels.KernelCheck.AssertClose(
                    plain.Download(other.GradientOf(inputs[i])!),
                    ops.Download(came),
                    2e-5,
                    0.1
                );
        }
    }

    // Fourth-order central difference; the tolerance is for what float32 sums lose.
    private static void Directional(float[] gradient, float[] direction, Func<double, double> loss, string what)
    {
        const double H = 0.02;
        double expected = (8 * (loss(H) - loss(-H)) - (loss(2 * H) - loss(-2 * H))) / (12 * H),
            came = gradient.Zip(direction, (g, d) => (double)g * d).Sum();
        double scale = Math.Sqrt(gradient.Sum(g => (double)g * g) * direction.Sum(d => (double)d * d)) + 1e-2;
        Assert.True(
            Math.Abs(expected - came) <= 0.01 * scale,
            $"{what}: differences give {expected}, the gradient {came} (scale {scale})"
        );
    }
}
