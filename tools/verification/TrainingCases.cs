using System.Text.Json;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Engine.Training;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Verification;

/// <summary>
/// The training of an ensemble's aggregators: every gradient, losses and weights over recorded AdamW steps, and the same from
/// zero.
/// </summary>
internal static class TrainingCases
{
    private const double LossTolerance = 1e-4;

    public static void Run(GoldenCase c, Ops ops, Comparer compare, DiffusionModel model)
    {
        // The recorder's tape followed the forward comparisons; training has its own.
        ops.Tape = null;
        UNetConfig config = model.Ensemble.Config;
        (UNetModel unet, CheckpointParameters frozen) = DiffusionModel.ReadComponent(
            ops.Device,
            model.Folder.UNets,
            p => new UNetModel(p, config)
        );
        using (frozen)
        {
            JsonElement training = c.Root.GetProperty("training");
            using (TrainedAggregators trained = TrainedAggregators.Load(ops.Device, model.Folder.Aggregators))
            {
                Train(
                    c,
                    ops,
                    compare,
                    unet,
                    trained,
                    Numbers(training, "losses_before_step_1_2_3_and_after"),
                    training.GetProperty("adamw"),
                    "",
                    "grads.safetensors",
                    n => n,
                    "weights_after_3_adamw.safetensors",
                    n => n
                );
            }

            if (!c.HasFile("zero_init.safetensors"))
                return;
            using TrainedAggregators zeroed = TrainedAggregators.Load(
                ops.Device,
                model.Folder.Aggregators,
                (name, values) => name.EndsWith(".conv_out.weight", StringComparison.Ordinal) ? new float[values.Length] : values
            );
            Train(
                c,
                ops,
                compare,
                unet,
                zeroed,
                Numbers(training.GetProperty("zero_init"), "losses_before_step_1_2_3_and_after"),
                training.GetProperty("adamw"),
                "zero_init.",
                "zero_init.safetensors",
                n => "grad." + n,
                "zero_init.safetensors",
                n => "after3." + n
            );
        }
    }

    private static void Train(
        GoldenCase c,
        Ops ops,
        Comparer compare,
        UNetModel unet,
        TrainedAggregators trained,
        double[] losses,
        JsonElement adamw,
        string prefix,
        string gradients,
        Func<string, string> gradientName,
        string weights,
        Func<string, string> weightName
    )
    {
        var ensemble = new AfaEnsemble(unet, trained.Aggregators);
        JsonElement betas = adamw.GetProperty("betas");
        var rule = new AdamW(
            adamw.GetProperty("lr").GetDouble(),
            betas[0].GetDouble(),
            betas[1].GetDouble(),
            adamw.GetProperty("eps").GetDouble(),
            adamw.GetProperty("weight_decay").GetDouble()
        );
        var optimizer = new Optimizer(rule, [.. trained.Parameters.Select(p => p.Parameter)]);
        // One fixed scale, with room above for gradients that grow on the way back.
        float scale = ops.Device.Storage == ElementType.Float16 ? 1024 : 1;
        float[][] before = [.. trained.Parameters.Select(p => (float[])p.Parameter.Values.Clone())];
        (float[] Values, int Stride)?[] known =
        [
            .. trained.Parameters.Select(p => Find(c, gradients, gradientName(p.Name), p.Parameter.Gradient.Length)),
        ];
        double largest = known.Max(k => k is { } one ? GradientRecorder.Root(one.Values) : 0);
        bool[] counts = new bool[known.Length];
        float[] target = c.Values("0.in.target", "io.safetensors");
        for (int step = 0; step < losses.Length; step++)
        {
            using var tape = new Tape(ops.Device, trained.Parameters.Select(p => p.Parameter));
            using TensorScope scope = ops.Scope();
            ops.Tape = tape;
            Tensor sample = OpCases.Map(c, ops, "0.in.sample", "io.safetensors");
            Tensor predicted = ensemble.Predict(
                ops,
                sample,
                NetworkCases.Timesteps(c, "0.in.timestep", sample.Shape.Batch),
                new Conditioning(NetworkCases.Contexts(c, ops, "0.in.ctx", "io.safetensors"))
            );
            ops.Tape = null;
            float[] noise = ops.DownloadNchw(predicted);
            compare.Close($"{prefix}loss.{step}", [Losses.MeanSquaredError(noise, target)], [(float)losses[step]], LossTolerance);
            if (step == losses.Length - 1)
                break;
            trained.ZeroGradients();
            tape.Backward((predicted, ops.UploadNchw(Losses.MeanSquaredErrorGradient(noise, target, scale), predicted.Shape)));
            optimizer.Unscale(scale);
            if (step == 0)
                CompareGradients();
            double[] roots = [.. trained.Parameters.Select(p => GradientRecorder.Root(p.Parameter.Gradient))];
            for (int i = 0; i < roots.Length; i++)
                counts[i] |= !GradientRecorder.IsRounding(roots[i], roots.Max());
            optimizer.Step();
        }

        // Adam divides a gradient by its own size: where storage rounds it, small elements move at random. The losses above tell
        // whether the steps were right.
        if (ops.Device.Products != ElementType.Float32)
            return;
        for (int i = 0; i < counts.Length; i++)
        {
            (string name, Parameter parameter) = trained.Parameters[i];
            if (Find(c, weights, weightName(name), parameter.Values.Length) is not { } found)
                continue;
            // AdamW makes full steps of whatever a gradient is: along one that was rounding at every step they are noise, here as
            // there.
            if (Rounding(i) && !counts[i])
                compare.Skip(prefix + "after." + name, GradientRecorder.RoundingNote);
            else
                compare.CloseInNorm(
                    prefix + "after." + name,
                    Moved(parameter.Values, before[i], found.Stride, found.Values.Length),
                    Moved(found.Values, before[i], found.Stride),
                    5e-2
                );
        }

        bool Rounding(int i) =>
            known[i] is not { } gradient || GradientRecorder.IsRounding(GradientRecorder.Root(gradient.Values), largest);

        void CompareGradients()
        {
            for (int i = 0; i < known.Length; i++)
            {
                if (known[i] is not { } expected)
                    continue;
                (string name, Parameter parameter) = trained.Parameters[i];
                if (Rounding(i))
                    compare.Skip(prefix + "grad." + name, GradientRecorder.RoundingNote);
                else
                    compare.CloseInNorm(
                        prefix + "grad." + name,
                        Every(parameter.Gradient, expected.Stride, expected.Values.Length),
                        expected.Values,
                        GradientRecorder.Tolerance,
                        network: true
                    );
            }
        }
    }

    // Files hold a tensor whole, or every S-th element under name@strideS.
    private static (float[] Values, int Stride)? Find(GoldenCase c, string file, string name, int length)
    {
        string? key = c.File(file)
            .Tensors.Keys.FirstOrDefault(k => k == name || k.StartsWith(name + "@stride", StringComparison.Ordinal));
        if (key is null)
            return null;
        int stride =
            key == name
                ? 1
                : Engine.Core.Numbers.Int32(
                    $"{file}: the stride of '{key}'",
                    key.AsSpan(name.Length + "@stride".Length),
                    least: 1
                );
        float[] values = c.Values(key, file);
        return values.Length == (length + stride - 1) / stride
            ? (values, stride)
            : throw new CheckpointException(
                $"{file}: '{key}' has {values.Length} values instead of {(length + stride - 1) / stride}."
            );
    }

    private static float[] Every(float[] values, int stride, int count) =>
        [.. Enumerable.Range(0, count).Select(i => values[i * stride])];

    // Weights are compared by how far they moved. An element whose gradient is rounding may move either way: the tensor's
    // movement as a whole has to agree.
    private static float[] Moved(float[] after, float[] before, int stride, int count) =>
        Moved(Every(after, stride, count), before, stride);

    private static float[] Moved(float[] after, float[] before, int stride) =>
        [.. after.Select((v, i) => v - before[i * stride])];

    private static double[] Numbers(JsonElement element, string name) =>
        [.. element.GetProperty(name).EnumerateArray().Select(e => e.GetDouble())];
}
