using System.Text.Json;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Engine.Training;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Verification;

/// <summary>Cases of single ops and small modules: inputs <c>in.*</c>, weights <c>w.*</c>, outputs <c>out.*</c>.</summary>
internal static class OpCases
{
    public const double Tolerance = 1e-5;

    /// <summary>Runs the case if its kind is one of these.</summary>
    public static bool TryRun(GoldenCase c, Ops ops, Comparer compare)
    {
        Func<GoldenCase, Ops, Tensor>? run = c.Op switch
        {
            "act" => (c, ops) => ops.Activate(Flat(c, ops, "in.x"), Activation(Text(c, "fn"))),
            "softmax" => (c, ops) => ops.Softmax(Flat(c, ops, "in.x")),
            "linear" => (c, ops) =>
                Build(
                    c,
                    ops,
                    p => p.Linear("", Last(c, "in.x"), c.Dims("w.weight")[0], c.Has("w.bias")),
                    l => ops.Linear(Tokens(c, ops, "in.x"), l)
                ),
            "layer_norm" => (c, ops) =>
                Build(
                    c,
                    ops,
                    p => p.LayerNorm("", Last(c, "in.x"), Number(c, "eps")),
                    l => ops.LayerNorm(Tokens(c, ops, "in.x"), l)
                ),
            "group_norm" => (c, ops) =>
                Build(
                    c,
                    ops,
                    p => p.GroupNorm("", c.Dims("in.x")[1], Integer(c, "groups"), Number(c, "eps")),
                    l => ops.GroupNorm(Map(c, ops, "in.x"), l, Text(c, "act") == "silu")
                ),
            "conv2d" => Convolve,
            "downsample2d" => (c, ops) =>
                Build(
                    c,
                    ops,
                    p =>
                        p.Convolution(
                            "conv",
                            c.Dims("in.x")[1],
                            c.Dims("w.conv.weight")[0],
                            3,
                            2,
                            Integer(c, "padding") == 1 ? Padding.All(1) : Padding.BottomRight
                        ),
                    l => ops.Convolution(Map(c, ops, "in.x"), l)
                ),
            "upsample2d_conv" => (c, ops) =>
                Build(
                    c,
                    ops,
                    p => p.Convolution("conv", c.Dims("in.x")[1], c.Dims("w.conv.weight")[0]),
                    l =>
                    {
                        Tensor x = Map(c, ops, "in.x");
                        return ops.Convolution(ops.UpsampleNearest(x, 2 * x.Shape.Height, 2 * x.Shape.Width), l);
                    }
                ),
            "upsample_nearest" => (c, ops) => ops.UpsampleNearest(Map(c, ops, "in.x"), c.Dims("out.y")[2], c.Dims("out.y")[3]),
            "attention" => (c, ops) =>
                Build(
                    c,
                    ops,
                    p => new AttentionLayer(
                        p,
                        Last(c, "in.x"),
                        Last(c, c.Has("in.ctx") ? "in.ctx" : "in.x"),
                        Integer(c, "heads"),
                        Integer(c, "dim_head")
                    ),
                    l => l.Forward(ops, Tokens(c, ops, "in.x"), c.Has("in.ctx") ? Tokens(c, ops, "in.ctx") : null, null)
                ),
            "feed_forward_geglu" => (c, ops) =>
                Build(
                    c,
                    ops,
                    p => new FeedForward(p, Integer(c, "dim"), Integer(c, "mult")),
                    l => l.Forward(ops, Tokens(c, ops, "in.x"), null)
                ),
            "basic_transformer_block" => (c, ops) =>
                Build(
                    c,
                    ops,
                    p => new TransformerBlock(p, Integer(c, "dim"), Integer(c, "heads"), Last(c, "in.ctx")),
                    l => l.Forward(ops, Tokens(c, ops, "in.x"), Tokens(c, ops, "in.ctx"))
                ),
            "clip_encoder_layer" => (c, ops) =>
                Build(
                    c,
                    ops,
                    p => new ClipTextLayer(
                        p,
                        Last(c, "in.x"),
                        c.Dims("w.mlp.fc1.weight")[0],
                        Integer(c, "heads"),
                        Activation(Text(c, "act")),
                        1e-5f
                    ),
                    l => l.Forward(ops, Tokens(c, ops, "in.x"))
                ),
            "resnet_block" => (c, ops) =>
                Build(
                    c,
                    ops,
                    p => new ResnetBlock(
                        p,
                        Integer(c, "cin"),
                        Integer(c, "cout"),
                        c.Has("in.temb") ? Last(c, "in.temb") : 0,
                        Integer(c, "groups"),
                        Number(c, "eps")
                    ),
                    l =>
                        l.Forward(
                            ops,
                            Map(c, ops, "in.x"),
                            c.Has("in.temb") ? ops.Activate(Vectors(c, ops, "in.temb"), ActivationKind.Silu) : null
                        )
                ),
            "transformer_2d" => (c, ops) =>
                Build(
                    c,
                    ops,
                    p => new SpatialTransformer(
                        p,
                        Integer(c, "in_channels"),
                        Integer(c, "heads"),
                        Last(c, "in.ctx"),
                        Integer(c, "num_layers"),
                        Integer(c, "norm_num_groups")
                    ),
                    l => l.Forward(ops, Map(c, ops, "in.x"), Tokens(c, ops, "in.ctx"))
                ),
            "timestep_embedding_mlp" => (c, ops) =>
                Build(
                    c,
                    ops,
                    p =>
                        (
                            First: p.Linear("linear_1", Last(c, "in.x"), c.Dims("w.linear_1.weight")[0]),
                            Second: p.Linear("linear_2", c.Dims("w.linear_2.weight")[1], c.Dims("w.linear_2.weight")[0])
                        ),
                    l => ops.Linear(ops.Linear(Vectors(c, ops, "in.x"), l.First, ActivationKind.Silu), l.Second)
                ),
            "timestep_sinusoid" => (c, ops) => ops.TimestepEmbedding(c.Values("in.t"), Integer(c, "dim")),
            _ => null,
        };
        if (run is not null)
        {
            Tensor y = run(c, ops);
            bool map = c.Dims("out.y").Length == 4;
            compare.Close("out.y", map ? ops.DownloadNchw(y) : ops.Download(y), c.Values("out.y"), Tolerance);
            if (c.Recorder is not null && c.Has("gout.y"))
                c.Recorder.Compare(
                    c,
                    compare,
                    (y, map ? Layout.ToChannelsLast(c.Values("gout.y"), y.Shape) : c.Values("gout.y"))
                );
            return true;
        }

        switch (c.Op)
        {
            case "sdpa":
                Attend(c, ops, compare);
                return true;
            case "aggregator":
                Aggregate(c, ops, compare);
                return true;
            case "expert_softmax_sum":
                Fuse(c, ops, compare);
                return true;
            case "mse_loss":
                compare.Close(
                    "out.y",
                    [Losses.MeanSquaredError(c.Values("in.pred"), c.Values("in.target"))],
                    c.Values("out.y"),
                    Tolerance
                );
                if (c.Recorder is not null)
                    compare.CloseInNorm(
                        "gin.pred",
                        Losses.MeanSquaredErrorGradient(c.Values("in.pred"), c.Values("in.target"), c.Values("gout.y")[0]),
                        c.Values("gin.pred"),
                        GradientRecorder.Tolerance
                    );
                return true;
            case "adamw":
                Optimize(c, compare);
                return true;
            default:
                return false;
        }
    }

    private static Tensor Build<TLayer>(GoldenCase c, Ops ops, Func<Parameters, TLayer> build, Func<TLayer, Tensor> run)
    {
        using Checkpoint checkpoint = Checkpoint.OpenFile(Path.Combine(c.Folder, "tensors.safetensors"));
        if (c.Recorder is { } recorder)
        {
            (TLayer trained, TrainedParameters its) = TrainedParameters.Load(
                ops.Device,
                checkpoint,
                p => build(p.Child("w")),
                n => !n.StartsWith("w.", StringComparison.Ordinal)
            );
            recorder.Train(its);
            return run(trained);
        }

        (TLayer layer, CheckpointParameters parameters) = CheckpointParameters.Load(
            ops.Device,
            [checkpoint],
            p => build(p.Child("w")),
            n => !n.StartsWith("w.", StringComparison.Ordinal)
        );
        using (parameters)
            return run(layer);
    }

    private static Tensor Convolve(GoldenCase c, Ops ops)
    {
        int[] pad = [.. GoldenCase.Get(c.Params, "pad_left_right_top_bottom").EnumerateArray().Select(v => v.GetInt32())],
            x = c.Dims("in.x"),
            w = c.Dims("w.weight");
        return Build(
            c,
            ops,
            p =>
                p.Convolution(
                    "",
                    x[1],
                    w[0],
                    w[2],
                    Integer(c, "stride"),
                    new Padding(pad[2], pad[0], pad[3], pad[1]),
                    c.Has("w.bias")
                ),
            l => ops.Convolution(Map(c, ops, "in.x"), l)
        );
    }

    // [B, heads, T, d] on disk, [B, T, heads * d] in the engine: the same transposition as channels-last with heads as maps of
    // width d.
    private static void Attend(GoldenCase c, Ops ops, Comparer compare)
    {
        int[] q = c.Dims("in.q");
        Tensor y = ops.Attention(
            Heads(c, ops, "in.q"),
            Heads(c, ops, "in.k"),
            Heads(c, ops, "in.v"),
            q[1],
            GoldenCase.Get(c.Params, "causal").GetBoolean(),
            Number(c, "scale")
        );
        compare.Close("out.y", SwapHeads(ops.Download(y), q[0], q[2], q[1], q[3]), c.Values("out.y"), Tolerance);
        c.Recorder?.Compare(c, compare, (y, SwapHeads(c.Values("gout.y"), q[0], q[1], q[2], q[3])));
    }

    private static Tensor Heads(GoldenCase c, Ops ops, string name)
    {
        int[] d = c.Dims(name);
        Tensor tensor = ops.Upload(SwapHeads(c.Values(name), d[0], d[1], d[2], d[3]), new Shape(1, d[0], d[2], 1, d[1] * d[3]));
        return Watched(c, name, tensor, t => SwapHeads(ops.Download(t), d[0], d[2], d[1], d[3]));
    }

    private static Tensor Watched(GoldenCase c, string name, Tensor tensor, Func<Tensor, float[]> toFile) =>
        c.Recorder?.Input(name, tensor, toFile) ?? tensor;

    /// <summary>[B, i, j, d] to [B, j, i, d].</summary>
    private static float[] SwapHeads(float[] values, int batch, int first, int second, int d)
    {
        var result = new float[values.Length];
        for (int b = 0; b < batch; b++)
        {
            for (int i = 0; i < first; i++)
            {
                for (int j = 0; j < second; j++)
                    values
                        .AsSpan(((b * first + i) * second + j) * d, d)
                        .CopyTo(result.AsSpan(((b * second + j) * first + i) * d, d));
            }
        }

        return result;
    }

    private static void Aggregate(GoldenCase c, Ops ops, Comparer compare)
    {
        var config = new SabwConfig
        {
            InChannels = Integer(c, "in_channels"),
            HiddenSize = Integer(c, "hidden_size"),
            NumExperts = Integer(c, "num_experts"),
            NumLayers = Integer(c, "num_layers"),
            NumAttentionHeads = Integer(c, "num_attn_heads"),
            CrossAttentionDim = Integer(c, "cross_attn_dim"),
            TimeEmbeddingChannels = Integer(c, "temb_channels"),
        };
        Build(
            c,
            ops,
            p => new Sabw(p, config),
            sabw =>
            {
                Tensor features = Experts(c, ops, "in.features");
                (Tensor fused, Tensor? maps) = sabw.Forward(
                    ops,
                    features,
                    ops.Activate(Vectors(c, ops, "in.temb"), ActivationKind.Silu),
                    Tokens(c, ops, "in.ctx"),
                    true
                );
                compare.Close("out.y", ops.DownloadNchw(fused), c.Values("out.y"), Tolerance);
                compare.Close("out.attn", ops.DownloadNchw(maps!), c.Values("out.attn"), Tolerance);
                CompareFusion(c, compare, fused, maps!);
                return fused;
            }
        );
    }

    private static void Fuse(GoldenCase c, Ops ops, Comparer compare)
    {
        (Tensor fused, Tensor? maps) = ops.FuseExperts(Experts(c, ops, "in.features"), Map(c, ops, "in.logits"), true);
        compare.Close("out.y", ops.DownloadNchw(fused), c.Values("out.y"), Tolerance);
        compare.Close("out.attn", ops.DownloadNchw(maps!), c.Values("out.attn"), Tolerance);
        CompareFusion(c, compare, fused, maps!);
    }

    private static void CompareFusion(GoldenCase c, Comparer compare, Tensor fused, Tensor maps) =>
        c.Recorder?.Compare(
            c,
            compare,
            (fused, Layout.ToChannelsLast(c.Values("gout.y"), fused.Shape)),
            (maps, Layout.ToChannelsLast(c.Values("gout.attn"), maps.Shape))
        );

    private static void Optimize(GoldenCase c, Comparer compare)
    {
        JsonElement betas = GoldenCase.Get(c.Params, "betas");
        var optimizer = new AdamW(
            GoldenCase.Get(c.Params, "lr").GetDouble(),
            betas[0].GetDouble(),
            betas[1].GetDouble(),
            GoldenCase.Get(c.Params, "eps").GetDouble(),
            GoldenCase.Get(c.Params, "weight_decay").GetDouble()
        );
        float[] p = c.Values("p.0"),
            m = new float[p.Length],
            v = new float[p.Length];
        for (int t = 1; t <= Integer(c, "steps"); t++)
        {
            optimizer.Step(t, c.Values($"g.{t}"), p, m, v);
            compare.Close($"p.{t}", p, c.Values($"p.{t}"), 1e-6);
            compare.Close($"m.{t}", m, c.Values($"m.{t}"), 1e-6);
            compare.Close($"v.{t}", v, c.Values($"v.{t}"), 1e-6);
        }
    }

    /// <summary>[B, C, H, W].</summary>
    public static Tensor Map(GoldenCase c, Ops ops, string name, string file = "tensors.safetensors")
    {
        int[] d = c.Dims(name, file);
        return Watched(c, name, ops.UploadNchw(c.Values(name, file), new Shape(1, d[0], d[2], d[3], d[1])), ops.DownloadNchw);
    }

    /// <summary>[B, T, C].</summary>
    public static Tensor Tokens(GoldenCase c, Ops ops, string name, string file = "tensors.safetensors")
    {
        int[] d = c.Dims(name, file);
        return Watched(c, name, ops.Upload(c.Values(name, file), new Shape(1, d[0], d[1], 1, d[2])), ops.Download);
    }

    /// <summary>[B, C].</summary>
    private static Tensor Vectors(GoldenCase c, Ops ops, string name)
    {
        int[] d = c.Dims(name);
        return Watched(c, name, ops.Upload(c.Values(name), new Shape(1, d[0], 1, 1, d[1])), ops.Download);
    }

    /// <summary>Any shape, as rows of its last axis.</summary>
    private static Tensor Flat(GoldenCase c, Ops ops, string name)
    {
        float[] values = c.Values(name);
        int last = Last(c, name);
        return Watched(c, name, ops.Upload(values, new Shape(1, values.Length / last, 1, 1, last)), ops.Download);
    }

    /// <summary>[B, N, C, H, W] to [N, B, H, W, C].</summary>
    private static Tensor Experts(GoldenCase c, Ops ops, string name)
    {
        int[] d = c.Dims(name);
        Tensor tensor = ops.UploadNchw(
            SwapHeads(c.Values(name), 1, d[0], d[1], d[2] * d[3] * d[4]),
            new Shape(d[1], d[0], d[3], d[4], d[2])
        );
        return Watched(c, name, tensor, t => SwapHeads(ops.DownloadNchw(t), 1, d[1], d[0], d[2] * d[3] * d[4]));
    }

    private static int Last(GoldenCase c, string name) => c.Dims(name)[^1];

    private static int Integer(GoldenCase c, string key) => GoldenCase.Get(c.Params, key).GetInt32();

    private static float Number(GoldenCase c, string key) => (float)GoldenCase.Get(c.Params, key).GetDouble();

    private static string Text(GoldenCase c, string key) => GoldenCase.Get(c.Params, key).GetString() ?? "";

    private static ActivationKind Activation(string name) =>
        name switch
        {
            "silu" => ActivationKind.Silu,
            "gelu" => ActivationKind.Gelu,
            "quick_gelu" => ActivationKind.QuickGelu,
            _ => throw new CheckpointException($"unknown activation '{name}' in case.json."),
        };
}
