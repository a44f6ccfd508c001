using System.Text.Json;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Layers;
using AfaNative.Engine.Tensors;
using AfaNative.Engine.Training;
using AfaNative.Engine.UNet;
using AfaNative.Kernels;

namespace AfaNative.Engine.Verification;

/// <summary>The training of an ensemble's aggregators: every gradient, losses and weights over recorded AdamW steps, and the same from zero.</summary>
internal static class TrainingCases
{
    private const double LossTolerance = 1e-4;

    public static void Run(GoldenCase c, Ops ops, Comparer compare, DiffusionModel model)
    {
        // The recorder's tape followed the forward comparisons; training has its own.
        ops.Tape = null;
        UNetConfig config = model.Ensemble.Config;
        (UNetModel unet, CheckpointParameters frozen) = DiffusionModel.ReadComponent(ops.Device, model.Folder.UNets, p => new UNetModel(p, config));
        using (frozen)
        {
            JsonElement training = c.Root.GetProperty("training");
            using (TrainedAggregators trained = TrainedAggregators.Load(ops.Device, model.Folder.Aggregators))
            {
                Train(c, ops, compare, unet, trained, Numbers(training, "losses_before_step_1_2_3_and_after"), training.GetProperty("adamw"), "", "grads.safetensors", n => n, "weights_after_3_adamw.safetensors", n => n);
            }

            if (!c.HasFile("zero_init.safetensors")) return;
            using TrainedAggregators zeroed = TrainedAggregators.Load(ops.Device, model.Folder.Aggregators, (name, values) => name.EndsWith(".conv_out.weight", StringComparison.Ordinal) ? new float[values.Length] : values);
            Train(c, ops, compare, unet, zeroed, Numbers(training.GetProperty("zero_init"), "losses_before_step_1_2_3_and_after"), training.GetProperty("adamw"), "zero_init.", "zero_init.safetensors", n => "grad." + n, "zero_init.safetensors", n => "after3." + n);
        }
    }

    private static void Train(GoldenCase c, Ops ops, Comparer compare, UNetModel unet, TrainedAggregators trained, double[] losses, JsonElement adamw, string prefix,
        string gradients, Func<string, string> gradientName, string weights, Func<string, string> weightName)
    {
        var ensemble = new AfaEnsemble(unet, trained.Aggregators);
        JsonElement betas = adamw.GetProperty("betas");
        var rule = new AdamW(adamw.GetProperty("lr").GetDouble(), betas[0].GetDouble(), betas[1].GetDouble(), adamw.GetProperty("eps").GetDouble(), adamw.GetProperty("weight_decay").GetDouble());
        var optimizer = new Optimizer(rule, [.. trained.Parameters.Select(p => p.Parameter)]);
        // One fixed scale, with room above for gradients that grow on the way back.
        float scale = ops.Device.Storage == ElementType.Float16 ? 1024 : 1;
        float[][] before = [.. trained.Parameters.Select(p => (float[])p.Parameter.Values.Clone())];
        float[] target = c.Values("0.in.target", "io.safetensors");
        for (int step = 0; step < losses.Length; step++)
        {
            using var tape = new Tape(ops.Device, trained.Parameters.Select(p => p.Parameter));
            using TensorScope scope = ops.Scope();
            ops.Tape = tape;
            Tensor sample = OpCases.Map(c, ops, "0.in.sample", "io.safetensors");
            Tensor predicted = ensemble.Predict(ops, sample, NetworkCases.Timesteps(c, "0.in.timestep", sample.Shape.Batch), NetworkCases.Contexts(c, ops, "0.in.ctx", "io.safetensors"));
            ops.Tape = null;
            float[] noise = ops.DownloadNchw(predicted);
            compare.Close($"{prefix}loss.{step}", [Losses.MeanSquaredError(noise, target)], [(float)losses[step]], LossTolerance);
            if (step == losses.Length - 1) break;
            trained.ZeroGradients();
            tape.Backward((predicted, ops.UploadNchw(Losses.MeanSquaredErrorGradient(noise, target, scale), predicted.Shape)));
            optimizer.Unscale(scale);
            if (step == 0) Compare(trained, (name, parameter, _) => Strided(c, compare, prefix + "grad." + name, parameter.Gradient, gradients, gradientName(name), null));
            optimizer.Step();
        }

        // Adam divides a gradient by its own size: where storage rounds it, small elements move at random. The losses above tell whether the steps were right.
        if (ops.Device.Products != ElementType.Float32) return;
        Compare(trained, (name, parameter, i) => Strided(c, compare, prefix + "after." + name, parameter.Values, weights, weightName(name), before[i]));
    }

    private static void Compare(TrainedAggregators trained, Action<string, Parameter, int> compare)
    {
        for (int i = 0; i < trained.Parameters.Count; i++) compare(trained.Parameters[i].Name, trained.Parameters[i].Parameter, i);
    }

    // Files hold a tensor whole, or every S-th element under name@strideS. Weights are compared by how far they moved.
    private static void Strided(GoldenCase c, Comparer compare, string title, float[] values, string file, string name, float[]? start)
    {
        string? key = c.File(file).Tensors.Keys.FirstOrDefault(k => k == name || k.StartsWith(name + "@stride", StringComparison.Ordinal));
        if (key is null) return;
        int stride = key == name ? 1 : int.Parse(key.AsSpan(name.Length + "@stride".Length), System.Globalization.CultureInfo.InvariantCulture);
        float[] expected = c.Values(key, file), came = [.. Enumerable.Range(0, expected.Length).Select(i => values[i * stride])];
        if (start is null)
        {
            // Gradients at the level of rounding say nothing.
            double root = Math.Sqrt(expected.Sum(v => (double)v * v) / Math.Max(1, expected.Length));
            if (root > 1e-9) compare.CloseInNorm(title, came, expected, GradientRecorder.Tolerance, network: true);
            return;
        }

        for (int i = 0; i < came.Length; i++)
        {
            came[i] -= start[i * stride];
            expected[i] -= start[i * stride];
        }

        // An element whose gradient is rounding may move either way: the tensor's movement as a whole has to agree.
        compare.CloseInNorm(title, came, expected, 5e-2);
    }

    private static double[] Numbers(JsonElement element, string name) => [.. element.GetProperty(name).EnumerateArray().Select(e => e.GetDouble())];
}
