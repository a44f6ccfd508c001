using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Core;

/// <summary>How ops go back: what each leaves on the tape.</summary>
public sealed partial class Ops
{
    /// <summary>Records ops while set.</summary>
    public Tape? Tape { get; set; }

    /// <summary>
    /// Runs a part of a network on <paramref name="inputs"/>. Where the tape recomputes, only they are kept, and the part runs
    /// again on the way back;
    /// it must depend on nothing else that requires a gradient (Chen et al. 2016, arXiv 1604.06174).
    /// </summary>
    public Tensor Checkpointed(Func<Tensor[], Tensor> run, params Tensor[] inputs)
    {
        if (Tape is not { Recompute: true } tape || !inputs.Any(i => i.RequiresGrad))
            return run(inputs);
        Tensor y;
        Tape = null;
        try
        {
            y = run(inputs);
        }
        finally
        {
            Tape = tape;
        }

        tape.Record(
            y,
            inputs,
            dy =>
            {
                Tape? outside = Tape;
                Tensor[] revived = [.. inputs.Where(i => i.Revive())];
                using Tape inner = tape.Inner();
                using TensorScope scope = Scope();
                Tape = inner;
                try
                {
                    Tensor again = run(inputs);
                    Tape = null;
                    inner.Backward((again, dy));
                }
                finally
                {
                    Tape = outside;
                    foreach (Tensor input in revived)
                        input.Dispose();
                }

                foreach (Tensor input in inputs)
                {
                    if (inner.Take(input) is { } gradient)
                        tape.Add(input, gradient);
                }
            }
        );
        return y;
    }

    private bool Wants(Tensor x, Tensor? residual, object weights, object? bias) =>
        x.RequiresGrad || residual?.RequiresGrad == true || Tape!.Trained(weights) is not null || Tape.Trained(bias) is not null;

    private static void Record(Tape tape, Tensor y, Tensor[] saved, Tensor x, Action<Tensor, Tensor> backward) =>
        tape.Record(
            y,
            saved,
            dy =>
            {
                Tensor dx = tape.Allocate(x.Shape);
                backward(dy, dx);
                tape.Add(x, dx);
            }
        );

    // Activation and gate become ops of their own, because their inputs are needed on the way back.
    private Tensor RecordedLinear(Tensor x, Linear layer, ActivationKind activation, Tensor? residual)
    {
        Tape tape = Tape!;
        WeightShape weights = layer.Weights.Shape;
        Expect(x.Shape.Channels == weights.In, layer.Name, $"{weights.In} channels", x);
        int experts = Experts(layer.Name, layer.Weights.Experts, x);
        Tensor y = Allocate(x.Shape with { Experts = experts, Channels = weights.Out });
        bool apart = weights.Geglu || activation != ActivationKind.None;
        var shape = new LinearShape(experts, x.Shape.Rows, x.Shape.Experts < experts);
        Device.Kernels.Linear(
            shape,
            x.Buffer,
            layer.Weights,
            Epilogue(layer.Name, layer.Bias, ActivationKind.None, apart ? null : residual, y) with
            {
                KeepGates = weights.Geglu,
            },
            y.Buffer
        );
        Parameter? trainedWeights = tape.Trained(layer.Weights),
            trainedBias = tape.Trained(layer.Bias);
        tape.Record(
            y,
            trainedWeights is null ? [] : [x],
            dy =>
            {
                if (x.RequiresGrad)
                {
                    Tensor dx = tape.Allocate(x.Shape with { Experts = experts });
                    tape.Gradients.LinearInput(shape, dy.Held, layer.Weights, dx.Held);
                    tape.Add(x, dx);
                }

                if (!apart && residual is not null)
                    tape.Add(residual, dy.Retain());
                if (trainedWeights is not null)
                    Give(tape, trainedWeights, dw => tape.Gradients.LinearWeights(shape, weights, x.Held, dy.Held, dw));
                if (trainedBias is not null)
                    Give(
                        tape,
                        trainedBias,
                        db => tape.Gradients.SumRows(experts, x.Shape.Rows, x.Shape.Rows, weights.Out, dy.Held, db)
                    );
            }
        );
        if (weights.Geglu)
            y = Geglu(y);
        if (activation != ActivationKind.None)
            y = Activate(y, activation);
        return apart && residual is not null ? Add(y, residual) : y;
    }

    /// <summary>[.., 2 C] to [.., C]: the first half gated by the GELU of the second.</summary>
    public Tensor Geglu(Tensor x)
    {
        int width = x.Shape.Channels / 2;
        long rows = (long)x.Shape.Experts * x.Shape.Rows;
        Tensor y = Allocate(x.Shape with { Channels = width });
        Device.Kernels.Geglu(rows, width, x.Buffer, y.Buffer);
        if (Tape is { } tape && x.RequiresGrad)
            Record(tape, y, [x], x, (dy, dx) => tape.Gradients.Geglu(rows, width, x.Held, dy.Held, dx.Held));
        return y;
    }

    private void RecordConvolution(
        Tensor x,
        Convolution layer,
        ConvolutionShape shape,
        Tensor? imageBias,
        Tensor? residual,
        Tensor y
    )
    {
        Tape tape = Tape!;
        WeightShape weights = layer.Weights.Shape;
        Parameter? trainedWeights = tape.Trained(layer.Weights),
            trainedBias = tape.Trained(layer.Bias);
        tape.Record(
            y,
            trainedWeights is null ? [] : [x],
            dy =>
            {
                if (x.RequiresGrad)
                {
                    Tensor dx = tape.Allocate(x.Shape with { Experts = shape.Experts });
                    tape.Gradients.ConvolutionInput(shape, dy.Held, layer.Weights, dx.Held);
                    tape.Add(x, dx);
                }

                if (residual is not null)
                    tape.Add(residual, dy.Retain());
                if (imageBias?.RequiresGrad == true)
                {
                    Tensor db = tape.Allocate(imageBias.Shape);
                    tape.Gradients.SumRows(shape.Experts, y.Shape.Rows, y.Shape.Pixels, weights.Out, dy.Held, db.Held);
                    tape.Add(imageBias, db);
                }

                if (trainedWeights is not null)
                    Give(tape, trainedWeights, dw => tape.Gradients.ConvolutionWeights(shape, weights, x.Held, dy.Held, dw));
                if (trainedBias is not null)
                    Give(
                        tape,
                        trainedBias,
                        db => tape.Gradients.SumRows(shape.Experts, y.Shape.Rows, y.Shape.Rows, weights.Out, dy.Held, db)
                    );
            }
        );
    }

    private void RecordGroupNorm(Tensor x, GroupNorm layer, bool silu, Tensor y)
    {
        Tape tape = Tape!;
        int experts = y.Shape.Experts;
        var shape = new GroupNormShape(
            experts,
            x.Shape.Batch,
            x.Shape.Pixels,
            layer.Channels,
            layer.Groups,
            layer.Epsilon,
            silu,
            x.Shape.Experts < experts
        );
        Parameter? weight = tape.Trained(layer.Weight),
            bias = tape.Trained(layer.Bias);
        tape.Record(
            y,
            [x],
            dy =>
                Norm(
                    tape,
                    x,
                    y,
                    weight,
                    bias,
                    (dx, dw, db) => tape.Gradients.GroupNorm(shape, x.Held, layer.Weight, layer.Bias, dy.Held, dx, dw, db)
                )
        );
    }

    private void RecordLayerNorm(Tensor x, LayerNorm layer, Tensor y)
    {
        Tape tape = Tape!;
        int experts = y.Shape.Experts;
        var shape = new LayerNormShape(experts, x.Shape.Rows, layer.Channels, layer.Epsilon, x.Shape.Experts < experts);
        Parameter? weight = tape.Trained(layer.Weight),
            bias = tape.Trained(layer.Bias);
        tape.Record(
            y,
            [x],
            dy =>
                Norm(
                    tape,
                    x,
                    y,
                    weight,
                    bias,
                    (dx, dw, db) => tape.Gradients.LayerNorm(shape, x.Held, layer.Weight, dy.Held, dx, dw, db)
                )
        );
    }

    private static void Norm(
        Tape tape,
        Tensor x,
        Tensor y,
        Parameter? weight,
        Parameter? bias,
        Action<DeviceBuffer, DeviceBuffer?, DeviceBuffer?> backward
    )
    {
        Tensor dx = tape.Allocate(x.Shape with { Experts = y.Shape.Experts });
        using DeviceBuffer? dw = weight is null ? null : tape.Device.Allocate(weight.Values.Length),
            db = bias is null ? null : tape.Device.Allocate(bias.Values.Length);
        backward(dx.Held, dw, db);
        tape.Add(x, dx);
        weight?.Accumulate(tape.Device, dw!);
        bias?.Accumulate(tape.Device, db!);
    }

    private void RecordAttention(AttentionShape shape, Tensor q, Tensor k, Tensor v, Tensor y)
    {
        Tape tape = Tape!;
        tape.Record(
            y,
            [q, k, v, y],
            dy =>
            {
                Tensor dq = tape.Allocate(q.Shape),
                    dk = tape.Allocate(k.Shape),
                    dv = tape.Allocate(v.Shape);
                tape.Gradients.Attention(shape, q.Held, k.Held, v.Held, y.Held, dy.Held, dq.Held, dk.Held, dv.Held);
                tape.Add(q, dq);
                tape.Add(k, dk);
                tape.Add(v, dv);
            }
        );
    }

    private void RecordFusion(FusionShape shape, Tensor features, Tensor logits, Tensor y, Tensor? maps)
    {
        Tape tape = Tape!;
        if (maps is not null)
            maps.RequiresGrad = true;
        tape.Record(
            y,
            [features, logits],
            dy =>
            {
                Tensor? dmaps = maps is null ? null : tape.Take(maps);
                Tensor df = tape.Allocate(features.Shape),
                    dl = tape.Allocate(logits.Shape);
                tape.Gradients.FuseExperts(shape, features.Held, logits.Held, dy.Held, dmaps?.Held, df.Held, dl.Held);
                dmaps?.Release();
                tape.Add(features, df);
                tape.Add(logits, dl);
            }
        );
    }

    // A few rows of a large table: added up on the host.
    private void RecordTokenEmbedding(int[] ids, int length, Embedding tokens, Embedding positions, Tensor y)
    {
        Tape tape = Tape!;
        Parameter? table = tape.Trained(tokens.Table),
            places = tape.Trained(positions.Table);
        tape.Record(
            y,
            [],
            dy =>
            {
                var values = new float[dy.Shape.Count];
                tape.Device.Download(dy.Held, values);
                int width = tokens.Channels;
                for (int i = 0; i < ids.Length; i++)
                {
                    ReadOnlySpan<float> row = values.AsSpan(i * width, width);
                    table?.Accumulate(ids[i] * width, row);
                    places?.Accumulate(i % length * width, row);
                }
            }
        );
    }

    private static void Give(Tape tape, Parameter parameter, Action<DeviceBuffer> backward)
    {
        using DeviceBuffer gradient = tape.Device.Allocate(parameter.Values.Length);
        backward(gradient);
        parameter.Accumulate(tape.Device, gradient);
    }
}
