using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Core;

/// <summary>
/// The ops models are written in. Every op makes a new tensor in the current scope and leaves its inputs alone, so that a tape
/// can record it.
/// One instance serves one thread. Cancellation is looked at before every op.
/// </summary>
public sealed partial class Ops(IDevice device, CancellationToken cancellation = default)
{
    private TensorScope? _scope;

    /// <summary>The device everything runs on.</summary>
    public IDevice Device { get; } = device;

    /// <summary>Told the output of every named module, while set; used to compare with reference activations.</summary>
    public Action<string, Tensor>? Observer { get; set; }

    /// <summary>Opens a scope; dispose it to free what was made inside.</summary>
    public TensorScope Scope() => _scope = new TensorScope(this, _scope);

    internal void Close(TensorScope scope, TensorScope? parent)
    {
        if (ReferenceEquals(_scope, scope))
            _scope = parent;
    }

    /// <summary>Throws when the caller has asked to stop.</summary>
    public void ThrowIfCancelled() => cancellation.ThrowIfCancellationRequested();

    /// <summary>An uninitialised tensor in the current scope.</summary>
    public Tensor Allocate(Shape shape)
    {
        cancellation.ThrowIfCancellationRequested();
        var tensor = new Tensor(Device.Allocate(shape.Count), shape);
        _scope?.Add(tensor);
        return tensor;
    }

    /// <summary>Copies host values, laid out as the shape says, to the device.</summary>
    public Tensor Upload(ReadOnlySpan<float> values, Shape shape)
    {
        if (values.Length != shape.Count)
            throw new ArgumentException($"{shape} needs {shape.Count} values, got {values.Length}");
        Tensor tensor = Allocate(shape);
        Device.Upload(values, tensor.Buffer);
        return tensor;
    }

    /// <summary>Copies a tensor to the host.</summary>
    public float[] Download(Tensor tensor)
    {
        var values = new float[tensor.Shape.Count];
        Device.Download(tensor.Buffer, values);
        return values;
    }

    /// <summary>Host maps [E, B, C, H, W] to a tensor.</summary>
    public Tensor UploadNchw(ReadOnlySpan<float> values, Shape shape) => Upload(Layout.ToChannelsLast(values, shape), shape);

    /// <summary>A tensor to host maps [E, B, C, H, W].</summary>
    public float[] DownloadNchw(Tensor tensor) => Layout.ToChannelsFirst(Download(tensor), tensor.Shape);

    /// <summary>Reports a module's output to <see cref="Observer"/>.</summary>
    public Tensor Observe(string name, Tensor tensor)
    {
        Observer?.Invoke(name, tensor);
        return tensor;
    }

    /// <summary>
    /// x [E or 1, B, H, W, In] to [E, B, H, W, Out]; optional row bias [E, B, 1, 1, Out] and residual [E or 1, B, H, W, Out].
    /// </summary>
    public Tensor Linear(Tensor x, Linear layer, ActivationKind activation = ActivationKind.None, Tensor? residual = null)
    {
        if (Tape is not null && Wants(x, residual, layer.Weights, layer.Bias))
            return RecordedLinear(x, layer, activation, residual);
        WeightShape weights = layer.Weights.Shape;
        Expect(x.Shape.Channels == weights.In, layer.Name, $"{weights.In} channels", x);
        int experts = Experts(layer.Name, layer.Weights.Experts, x);
        Tensor y = Allocate(x.Shape with { Experts = experts, Channels = weights.Geglu ? weights.Out / 2 : weights.Out });
        Device.Kernels.Linear(
            new LinearShape(experts, x.Shape.Rows, x.Shape.Experts < experts),
            x.Buffer,
            layer.Weights,
            Epilogue(layer.Name, layer.Bias, activation, residual, y),
            y.Buffer
        );
        return y;
    }

    /// <summary>
    /// x [E or 1, B, H, W, In] to [E, B, H', W', Out]; optional time bias [E, B, 1, 1, Out] added per image and residual [E or 1,
    /// B, H', W', Out].
    /// </summary>
    public Tensor Convolution(Tensor x, Convolution layer, Tensor? imageBias = null, Tensor? residual = null)
    {
        Expect(x.Shape.Channels == layer.Weights.Shape.In, layer.Name, $"{layer.Weights.Shape.In} channels", x);
        int experts = Experts(layer.Name, layer.Weights.Experts, x);
        var shape = layer.ShapeFor(x.Shape, experts);
        if (shape.OutHeight < 1 || shape.OutWidth < 1)
            throw new AfaException($"{layer.Name}: a map of {x.Shape.Height} x {x.Shape.Width} is too small to convolve");
        Tensor y = Allocate(new Shape(experts, x.Shape.Batch, shape.OutHeight, shape.OutWidth, layer.Weights.Shape.Out));
        Epilogue epilogue = Epilogue(layer.Name, layer.Bias, ActivationKind.None, residual, y);
        if (imageBias is not null)
        {
            Expect(
                imageBias.Shape == new Shape(experts, x.Shape.Batch, 1, 1, y.Shape.Channels),
                layer.Name,
                $"an image bias [{experts}, {x.Shape.Batch}, 1, 1, {y.Shape.Channels}]",
                imageBias
            );
            epilogue = epilogue with { RowBias = imageBias.Buffer, RowsPerGroup = y.Shape.Pixels };
        }

        Device.Kernels.Convolution(shape, x.Buffer, layer.Weights, epilogue, y.Buffer);
        if (Tape is not null && (Wants(x, residual, layer.Weights, layer.Bias) || imageBias?.RequiresGrad == true))
            RecordConvolution(x, layer, shape, imageBias, residual, y);
        return y;
    }

    /// <summary>Group norm with optional SiLU: [E or 1, B, H, W, C] to [E, B, H, W, C].</summary>
    public Tensor GroupNorm(Tensor x, GroupNorm layer, bool silu = false)
    {
        Expect(x.Shape.Channels == layer.Channels, layer.Name, $"{layer.Channels} channels", x);
        int experts = Experts(layer.Name, layer.Experts, x);
        Tensor y = Allocate(x.Shape with { Experts = experts });
        Device.Kernels.GroupNorm(
            new GroupNormShape(
                experts,
                x.Shape.Batch,
                x.Shape.Pixels,
                layer.Channels,
                layer.Groups,
                layer.Epsilon,
                silu,
                x.Shape.Experts < experts
            ),
            x.Buffer,
            layer.Weight,
            layer.Bias,
            y.Buffer
        );
        if (Tape is not null && Wants(x, null, layer.Weight, layer.Bias))
            RecordGroupNorm(x, layer, silu, y);
        return y;
    }

    /// <summary>Layer norm over channels: [E or 1, B, H, W, C] to [E, B, H, W, C].</summary>
    public Tensor LayerNorm(Tensor x, LayerNorm layer)
    {
        Expect(x.Shape.Channels == layer.Channels, layer.Name, $"{layer.Channels} channels", x);
        int experts = Experts(layer.Name, layer.Experts, x);
        Tensor y = Allocate(x.Shape with { Experts = experts });
        Device.Kernels.LayerNorm(
            new LayerNormShape(experts, x.Shape.Rows, layer.Channels, layer.Epsilon, x.Shape.Experts < experts),
            x.Buffer,
            layer.Weight,
            layer.Bias,
            y.Buffer
        );
        if (Tape is not null && Wants(x, null, layer.Weight, layer.Bias))
            RecordLayerNorm(x, layer, y);
        return y;
    }

    /// <summary>q [E, B, Tq.., C], k and v [E, B, Tk.., C] to [E, B, Tq.., C]; scale is the head width's inverse root.</summary>
    public Tensor Attention(Tensor q, Tensor k, Tensor v, int heads, bool causal = false, float? scale = null, bool exact = false)
    {
        Expect(
            k.Shape == v.Shape
                && k.Shape.Experts == q.Shape.Experts
                && k.Shape.Batch == q.Shape.Batch
                && k.Shape.Channels == q.Shape.Channels,
            "attention",
            $"keys and values for queries {q.Shape}",
            k
        );
        int width = q.Shape.Channels / heads;
        Tensor y = Allocate(q.Shape);
        var shape = new AttentionShape(
            q.Shape.Experts,
            q.Shape.Batch,
            heads,
            width,
            q.Shape.Pixels,
            k.Shape.Pixels,
            scale ?? 1f / MathF.Sqrt(width),
            causal,
            exact
        );
        Device.Kernels.Attention(shape, q.Buffer, k.Buffer, v.Buffer, y.Buffer);
        if (Tape is not null && (q.RequiresGrad || k.RequiresGrad || v.RequiresGrad))
            RecordAttention(shape, q, k, v, y);
        return y;
    }

    /// <summary>Element-wise function.</summary>
    public Tensor Activate(Tensor x, ActivationKind kind)
    {
        Tensor y = Allocate(x.Shape);
        Device.Kernels.Activate(kind, x.Shape.Count, x.Buffer, y.Buffer);
        if (Tape is { } tape && x.RequiresGrad)
            Record(tape, y, [x], x, (dy, dx) => tape.Gradients.Activate(kind, x.Shape.Count, x.Held, dy.Held, dx.Held));
        return y;
    }

    /// <summary>Softmax over channels.</summary>
    public Tensor Softmax(Tensor x)
    {
        Tensor y = Allocate(x.Shape);
        Device.Kernels.Softmax((long)x.Shape.Experts * x.Shape.Rows, x.Shape.Channels, x.Buffer, y.Buffer);
        if (Tape is { } tape && x.RequiresGrad)
            Record(
                tape,
                y,
                [y],
                x,
                (dy, dx) =>
                    tape.Gradients.Softmax((long)x.Shape.Experts * x.Shape.Rows, x.Shape.Channels, y.Held, dy.Held, dx.Held)
            );
        return y;
    }

    /// <summary>Nearest-neighbour resize of every map to a given size.</summary>
    public Tensor UpsampleNearest(Tensor x, int height, int width)
    {
        Tensor y = Allocate(x.Shape with { Height = height, Width = width });
        var shape = new UpsampleShape(
            x.Shape.Experts * x.Shape.Batch,
            x.Shape.Height,
            x.Shape.Width,
            x.Shape.Channels,
            height,
            width
        );
        Device.Kernels.UpsampleNearest(shape, x.Buffer, y.Buffer);
        if (Tape is { } tape && x.RequiresGrad)
            Record(tape, y, [], x, (dy, dx) => tape.Gradients.UpsampleNearest(shape, dy.Held, dx.Held));
        return y;
    }

    /// <summary>[a, b] along channels.</summary>
    public Tensor Concat(Tensor a, Tensor b)
    {
        Expect(
            a.Shape.Batch == b.Shape.Batch && a.Shape.Height == b.Shape.Height && a.Shape.Width == b.Shape.Width,
            "concat",
            $"maps that match {a.Shape}",
            b
        );
        int experts = Math.Max(a.Shape.Experts, b.Shape.Experts);
        Tensor y = Allocate(a.Shape with { Experts = experts, Channels = a.Shape.Channels + b.Shape.Channels });
        var shape = new ConcatShape(
            experts,
            a.Shape.Rows,
            a.Shape.Channels,
            b.Shape.Channels,
            a.Shape.Experts < experts,
            b.Shape.Experts < experts
        );
        Device.Kernels.Concat(shape, a.Buffer, b.Buffer, y.Buffer);
        if (Tape is { } tape && (a.RequiresGrad || b.RequiresGrad))
        {
            tape.Record(
                y,
                [],
                dy =>
                {
                    Tensor da = tape.Allocate(a.Shape with { Experts = experts }),
                        db = tape.Allocate(b.Shape with { Experts = experts });
                    tape.Gradients.Split(shape, dy.Held, da.Held, db.Held);
                    tape.Add(a, da);
                    tape.Add(b, db);
                }
            );
        }

        return y;
    }

    /// <summary>a + b.</summary>
    public Tensor Add(Tensor a, Tensor b)
    {
        int experts = Math.Max(a.Shape.Experts, b.Shape.Experts);
        Expect(
            a.Shape with { Experts = experts } == b.Shape with { Experts = experts },
            "add",
            $"a map that matches {a.Shape}",
            b
        );
        Tensor y = Allocate(a.Shape with { Experts = experts });
        Device.Kernels.Add(
            new AddShape(experts, y.Shape.Count / experts, a.Shape.Experts < experts, b.Shape.Experts < experts),
            a.Buffer,
            b.Buffer,
            y.Buffer
        );
        if (Tape is { } tape && (a.RequiresGrad || b.RequiresGrad))
        {
            tape.Record(
                y,
                [],
                dy =>
                {
                    tape.Add(a, dy.Retain());
                    tape.Add(b, dy.Retain());
                }
            );
        }

        return y;
    }

    /// <summary>Mean over the expert axis: [E, ...] to [1, ...].</summary>
    public Tensor MeanOverExperts(Tensor x)
    {
        Tensor y = Allocate(x.Shape with { Experts = 1 });
        Device.Kernels.MeanOverExperts(x.Shape.Experts, y.Shape.Count, x.Buffer, y.Buffer);
        if (Tape is { } tape && x.RequiresGrad)
            Record(
                tape,
                y,
                [],
                x,
                (dy, dx) =>
                    tape.Gradients.RepeatForExperts(x.Shape.Experts, y.Shape.Count, 1f / x.Shape.Experts, dy.Held, dx.Held)
            );
        return y;
    }

    /// <summary>[E, B, H, W, C] to [1, B, H, W, E * C].</summary>
    public Tensor ExpertsToChannels(Tensor x)
    {
        Tensor y = Allocate(x.Shape with { Experts = 1, Channels = x.Shape.Experts * x.Shape.Channels });
        Device.Kernels.ExpertsToChannels(x.Shape.Experts, x.Shape.Rows, x.Shape.Channels, x.Buffer, y.Buffer);
        if (Tape is { } tape && x.RequiresGrad)
            Record(
                tape,
                y,
                [],
                x,
                (dy, dx) => tape.Gradients.ChannelsToExperts(x.Shape.Experts, x.Shape.Rows, x.Shape.Channels, dy.Held, dx.Held)
            );
        return y;
    }

    /// <summary>Sinusoids [1, B, 1, 1, dim] of B time steps.</summary>
    public Tensor TimestepEmbedding(ReadOnlySpan<float> timesteps, int dim)
    {
        Tensor y = Allocate(new Shape(1, timesteps.Length, 1, 1, dim));
        Device.Kernels.TimestepEmbedding(timesteps, dim, y.Buffer);
        return y;
    }

    /// <summary>Token plus position embeddings [E, B, T, 1, C] of ids [B, T].</summary>
    public Tensor TokenEmbedding(ReadOnlySpan<int> ids, int length, Embedding tokens, Embedding positions)
    {
        foreach (int id in ids)
        {
            if ((uint)id >= (uint)tokens.Rows)
                throw new AfaException($"{tokens.Name}: token id {id} is outside the vocabulary of {tokens.Rows}");
        }

        if (length > positions.Rows)
            throw new AfaException(
                $"{positions.Name}: {length} tokens were given, the text encoder takes at most {positions.Rows}"
            );
        Tensor y = Allocate(new Shape(tokens.Experts, ids.Length / length, length, 1, tokens.Channels));
        Device.Kernels.TokenEmbedding(
            tokens.Experts,
            tokens.Rows,
            positions.Rows,
            length,
            tokens.Channels,
            ids,
            tokens.Table,
            positions.Table,
            y.Buffer
        );
        if (Tape is not null && (Tape.Trained(tokens.Table) is not null || Tape.Trained(positions.Table) is not null))
            RecordTokenEmbedding(ids.ToArray(), length, tokens, positions, y);
        return y;
    }

    /// <summary>
    /// SABW's last step: features [E, B, H, W, C], logits [1, B, H, W, E] to the fused map [1, B, H, W, C] and the maps [1, B, H,
    /// W, E].
    /// </summary>
    public (Tensor Fused, Tensor? Maps) FuseExperts(Tensor features, Tensor logits, bool wantMaps)
    {
        Expect(
            logits.Shape == features.Shape with { Experts = 1, Channels = features.Shape.Experts },
            "feature fusion",
            $"logits for features {features.Shape}",
            logits
        );
        Tensor y = Allocate(features.Shape with { Experts = 1 });
        Tensor? maps = wantMaps ? Allocate(logits.Shape) : null;
        var shape = new FusionShape(features.Shape.Experts, features.Shape.Batch, features.Shape.Pixels, features.Shape.Channels);
        Device.Kernels.FuseExperts(shape, features.Buffer, logits.Buffer, y.Buffer, maps?.Buffer);
        if (Tape is not null && (features.RequiresGrad || logits.RequiresGrad))
            RecordFusion(shape, features, logits, y, maps);
        return (y, maps);
    }

    private static Epilogue Epilogue(string name, DeviceBuffer? bias, ActivationKind activation, Tensor? residual, Tensor y)
    {
        if (residual is null)
            return new Epilogue { Bias = bias, Activation = activation };
        Expect(
            residual.Shape with { Experts = y.Shape.Experts } == y.Shape
                && (residual.Shape.Experts == 1 || residual.Shape.Experts == y.Shape.Experts),
            name,
            $"a residual like {y.Shape}",
            residual
        );
        return new Epilogue
        {
            Bias = bias,
            Activation = activation,
            Residual = residual.Buffer,
            SharedResidual = residual.Shape.Experts < y.Shape.Experts,
        };
    }

    private static int Experts(string name, int weights, Tensor x)
    {
        Expect(weights == x.Shape.Experts || weights == 1 || x.Shape.Experts == 1, name, $"1 or {weights} experts", x);
        if (weights == 1 && x.Shape.Experts > 1)
            throw new ArgumentException(
                $"{name}: weights of one expert cannot serve maps of {x.Shape.Experts}; share the input instead"
            );
        return weights;
    }

    private static void Expect(bool condition, string name, string expected, Tensor came)
    {
        if (!condition)
            throw new ArgumentException($"{name}: expected {expected}, got a tensor {came.Shape}");
    }
}
