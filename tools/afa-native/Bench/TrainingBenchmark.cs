using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Engine.Training;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Tool.Bench;

/// <summary>A training step of an ensemble's aggregators beside its forward pass, part by part.</summary>
internal static class TrainingBenchmark
{
    /// <summary>Needs a device with gradients.</summary>
    public static void Run(IDevice device, EnsembleFolder folder, NetworkBenchmarkOptions options)
    {
        (int latent, int batch, int repeats, bool recompute) = (
            options.Latent,
            options.Batch,
            options.Repeats,
            options.Recompute
        );
        if (folder.Aggregators.Count == 0)
            throw new AfaException($"{folder.Path}: it has no aggregators to train.");
        if (device.Gradients is null)
            throw new AfaException($"{device.Name} has no gradients: nothing can be trained there.");
        UNetConfig config = UNetConfig.Load(folder.UNets[0]);
        (UNetModel unet, CheckpointParameters weights) = DiffusionModel.ReadComponent(
            device,
            folder.UNets,
            p => new UNetModel(p, config)
        );
        using (weights)
        {
            using TrainedAggregators trained = TrainedAggregators.Load(device, folder.Aggregators);
            var ensemble = new AfaEnsemble(unet, trained.Aggregators);
            var optimizer = new Optimizer(new AdamW(), [.. trained.Parameters.Select(p => p.Parameter)]);
            var ops = new Ops(device);
            using TensorScope scope = ops.Scope();
            Tensor text = Noise(ops, new Shape(folder.UNets.Count, batch, 77, 1, config.CrossAttentionDim));
            Tensor latents = Noise(ops, new Shape(1, batch, latent, latent, config.InChannels));
            Tensor sinusoids = ops.TimestepEmbedding([.. Enumerable.Repeat(500f, batch)], config.BlockOutChannels[0]);
            var times = new List<double>[] { [], [], [], [], [] };
            for (int i = 0; i < repeats + 1; i++)
            {
                var watch = System.Diagnostics.Stopwatch.StartNew();
                double at = 0;
                double Lap()
                {
                    double now = watch.Elapsed.TotalMilliseconds,
                        lap = now - at;
                    at = now;
                    return lap;
                }

                using (ops.Scope())
                    ensemble.Predict(ops, latents, sinusoids, new Conditioning(text));
                double plain = Lap();
                trained.ZeroGradients();
                using var tape = new Tape(device, trained.Parameters.Select(p => p.Parameter)) { Recompute = recompute };
                using TensorScope inner = ops.Scope();
                ops.Tape = tape;
                Tensor predicted = ensemble.Predict(ops, latents, sinusoids, new Conditioning(text));
                ops.Tape = null;
                double forward = Lap();
                tape.Backward((predicted, predicted));
                double backward = Lap();
                optimizer.Clip(1);
                optimizer.Step();
                double update = Lap();
                // The first round pays for fresh memory and compilation.
                if (i == 0)
                    continue;
                times[0].Add(plain);
                times[1].Add(forward);
                times[2].Add(backward);
                times[3].Add(update);
                times[4].Add(forward + backward + update);
            }

            double[] median = [.. times.Select(t => t.Order().ElementAt(t.Count / 2))];
            string size = $"{latent}x{latent} latents, batch {batch}{(recompute ? ", recomputing" : "")}";
            Terminal.Result(
                $"training step, {folder.UNets.Count} experts, {size}: "
                    + FormattableString.Invariant($"{median[4]:F0} ms = {median[4] / median[0]:F2} x the forward pass of ")
                    + FormattableString.Invariant($"{median[0]:F0} ms ")
                    + FormattableString.Invariant($"(recorded forward {median[1]:F0}, backward {median[2]:F0}, ")
                    + FormattableString.Invariant($"clipping and AdamW {median[3]:F0})")
            );
        }
    }

    private static Tensor Noise(Ops ops, Shape shape)
    {
        var values = new float[shape.Count];
        Kernels.Random.GaussianNoise.Fill(values, 1, 0);
        return ops.Upload(values, shape);
    }
}
