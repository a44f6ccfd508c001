using System.Globalization;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Engine.Prompts;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Training;

namespace AfaNative.Verification;

/// <summary>Cases of whole networks: U-Net, VAE, text encoder, ensemble.</summary>
internal static class NetworkCases
{
    public const double Tolerance = 1e-4;

    public static bool TryRun(GoldenCase c, Ops ops, Comparer compare)
    {
        switch (c.Op)
        {
            case "unet":
                UNet(c, ops, compare);
                return true;
            case "autoencoder_kl":
                Vae(c, ops, compare);
                return true;
            case "clip_text_model":
                TextModel(c, ops, compare);
                return true;
            case "afa":
                Afa(c, ops, compare);
                return true;
            default:
                return false;
        }
    }

    private static void UNet(GoldenCase c, Ops ops, Comparer compare)
    {
        string folder = Path.Combine(c.Folder, "model");
        UNetConfig config = UNetConfig.Load(folder);
        (UNetModel unet, CheckpointParameters parameters) = DiffusionModel.ReadComponent(
            ops.Device,
            [folder],
            p => new UNetModel(p, config)
        );
        using (parameters)
        {
            for (int i = 0; c.Has($"{i}.in.sample", "io.safetensors"); i++)
            {
                using TensorScope scope = ops.Scope();
                var hooks = new HashSet<string>();
                if (i == 0 && c.HasFile("hooks.safetensors"))
                {
                    hooks.UnionWith(c.File("hooks.safetensors").Tensors.Keys);
                    ops.Observer = (name, tensor) =>
                    {
                        if (hooks.Remove(name))
                            compare.Close(name, ops.DownloadNchw(tensor), c.Values(name, "hooks.safetensors"), Tolerance);
                    };
                }

                Tensor sample = OpCases.Map(c, ops, $"{i}.in.sample", "io.safetensors");
                Tensor time = unet.EmbedTime(ops, Timesteps(c, $"{i}.in.timestep", sample.Shape.Batch));
                Tensor predicted = unet.Forward(ops, sample, time, OpCases.Tokens(c, ops, $"{i}.in.ctx", "io.safetensors"));
                ops.Observer = null;
                compare.Close(
                    $"{i}.out.sample",
                    ops.DownloadNchw(predicted),
                    c.Values($"{i}.out.sample", "io.safetensors"),
                    Tolerance
                );
                if (c.Recorder is not null && c.Has($"{i}.gout", "io.safetensors"))
                    c.Recorder.Compare(
                        c,
                        compare,
                        "io.safetensors",
                        network: true,
                        (predicted, Layout.ToChannelsLast(c.Values($"{i}.gout", "io.safetensors"), predicted.Shape))
                    );
                foreach (string hook in hooks)
                    compare.Fail(hook, "no module of this name reported its output");
            }
        }
    }

    internal static float[] Timesteps(GoldenCase c, string name, int batch)
    {
        float[] given = c.Values(name, "io.safetensors");
        return given.Length == batch ? given : [.. Enumerable.Repeat(given[0], batch)];
    }

    private static void Vae(GoldenCase c, Ops ops, Comparer compare)
    {
        foreach (string variant in new[] { "model", "model_deprecated_names" })
        {
            string folder = Path.Combine(c.Folder, variant);
            if (!Directory.Exists(folder))
                continue;
            VaeConfig config = VaeConfig.Load(folder);
            (VaeModel vae, CheckpointParameters parameters) = DiffusionModel.ReadComponent(
                ops.Device,
                [folder],
                p => new VaeModel(p, config)
            );
            using (parameters)
            {
                RunVae(c, ops, compare, vae, variant);
            }
        }
    }

    private static void RunVae(GoldenCase c, Ops ops, Comparer compare, VaeModel vae, string variant)
    {
        bool hooked = variant == "model" && c.HasFile("hooks.safetensors");
        var hooks = new HashSet<string>(hooked ? c.File("hooks.safetensors").Tensors.Keys : []);
        for (int i = 0; c.Has($"enc{i}.in"); i++)
        {
            using TensorScope scope = ops.Scope();
            ops.Observer = Observe();
            float[] moments = ops.DownloadNchw(vae.Encode(ops, OpCases.Map(c, ops, $"enc{i}.in")));
            ops.Observer = null;
            compare.Close($"{variant}: enc{i}.moments", moments, c.Values($"enc{i}.moments"), Tolerance);
            (float[] mean, float[] logVariance) = Split(moments, c.Dims($"enc{i}.moments"));
            compare.Close($"{variant}: enc{i}.mean", mean, c.Values($"enc{i}.mean"), Tolerance);
            compare.Close($"{variant}: enc{i}.logvar", logVariance, c.Values($"enc{i}.logvar"), Tolerance);
            compare.Close(
                $"{variant}: enc{i}.sample",
                Posterior(mean, logVariance, c.Values($"enc{i}.noise")),
                c.Values($"enc{i}.sample"),
                Tolerance
            );
        }

        for (int i = 0; c.Has($"dec{i}.in"); i++)
        {
            using TensorScope scope = ops.Scope();
            ops.Observer = Observe();
            float[] image = ops.DownloadNchw(vae.Decode(ops, OpCases.Map(c, ops, $"dec{i}.in")));
            ops.Observer = null;
            compare.Close($"{variant}: dec{i}.out", image, c.Values($"dec{i}.out"), Tolerance);
        }

        foreach (string hook in hooks)
            compare.Fail(hook, "no module of this name reported its output");

        Action<string, Tensor>? Observe() =>
            !hooked
                ? null
                : (name, tensor) =>
                {
                    if (hooks.Remove(name))
                        compare.Close(name, ops.DownloadNchw(tensor), c.Values(name, "hooks.safetensors"), Tolerance);
                };
    }

    // [B, 2C, h, w] to means and clamped log variances [B, C, h, w].
    private static (float[] Mean, float[] LogVariance) Split(float[] moments, int[] dims)
    {
        int half = dims[1] / 2 * dims[2] * dims[3];
        var mean = new float[moments.Length / 2];
        var logVariance = new float[moments.Length / 2];
        for (int b = 0; b < dims[0]; b++)
        {
            for (int i = 0; i < half; i++)
            {
                mean[b * half + i] = moments[b * 2 * half + i];
                logVariance[b * half + i] = Math.Clamp(moments[(b * 2 + 1) * half + i], -30f, 20f);
            }
        }

        return (mean, logVariance);
    }

    private static float[] Posterior(float[] mean, float[] logVariance, float[] noise)
    {
        var sample = new float[mean.Length];
        for (int i = 0; i < sample.Length; i++)
            sample[i] = mean[i] + MathF.Exp(0.5f * logVariance[i]) * noise[i];
        return sample;
    }

    private static void TextModel(GoldenCase c, Ops ops, Comparer compare)
    {
        string folder = Path.Combine(c.Folder, "model");
        ClipTextConfig config = ClipTextConfig.Load(folder);
        int[] ids = [.. c.File().ReadInt64("in.ids").Select(i => (int)i)];
        int length = c.Dims("in.ids")[1];
        string tokenizer = Path.Combine(c.Folder, "tokenizer");
        if (Directory.Exists(tokenizer) && c.Json.Has("prompts"))
        {
            ClipTokenizer clip = ClipTokenizer.Load(tokenizer);
            int[] encoded = [.. c.Json.Strings("prompts", []).SelectMany(p => clip.Encode(p, length))];
            // Rows beyond the prompts are random ids.
            int differs = encoded.AsSpan().CommonPrefixLength(ids);
            compare.Exact(
                "in.ids",
                encoded.Length <= ids.Length && differs == encoded.Length,
                $"the tokenizer gives another id at [{differs / length}, {differs % length}]"
            );
        }

        (ClipTextEncoder encoder, CheckpointParameters parameters) = DiffusionModel.ReadComponent(
            ops.Device,
            [folder],
            p => new ClipTextEncoder(p, config),
            KnownExtras.IsIgnorable
        );
        using (parameters)
        {
            using TensorScope scope = ops.Scope();
            ops.Observer = (name, tensor) =>
            {
                if (c.Has("out." + name))
                    compare.Close("out." + name, ops.Download(tensor), c.Values("out." + name), Tolerance);
            };
            float[] last = ops.Download(encoder.Encode(ops, ids, length));
            ops.Observer = null;
            compare.Close("out.last_hidden_state", last, c.Values("out.last_hidden_state"), Tolerance);
            compare.Close(
                "out.clip_skip1",
                ops.Download(encoder.Encode(ops, ids, length, clipSkip: 1)),
                c.Values("out.clip_skip1"),
                Tolerance
            );
            int[] at = encoder.PooledPositions(ids, length);
            float[] pooled =
            [
                .. at.SelectMany(
                    (p, b) => last[((b * length + p) * config.HiddenSize)..((b * length + p + 1) * config.HiddenSize)]
                ),
            ];
            compare.Close("out.pooled", pooled, c.Values("out.pooled"), Tolerance);
        }
    }

    private static void Afa(GoldenCase c, Ops ops, Comparer compare)
    {
        if (c.Json.Has("points"))
        {
            AfaFirstPoints(c, ops, compare);
            return;
        }

        ops.Tape = null;
        using DiffusionModel model = DiffusionModel.Load(ops.Device, Path.Combine(c.Folder, "model"));
        for (int i = 0; c.Has($"{i}.in.sample", "io.safetensors"); i++)
        {
            using TensorScope scope = ops.Scope();
            Tensor sample = OpCases.Map(c, ops, $"{i}.in.sample", "io.safetensors");
            Tensor predicted = model.Ensemble.Predict(
                ops,
                sample,
                Timesteps(c, $"{i}.in.timestep", sample.Shape.Batch),
                new Conditioning(Contexts(c, ops, $"{i}.in.ctx", "io.safetensors")),
                ComparePoint(c, ops, compare, i)
            );
            float[] noise = ops.DownloadNchw(predicted);
            compare.Close($"{i}.out.noise_pred", noise, c.Values($"{i}.out.noise_pred", "io.safetensors"), Tolerance);
            if (
                c.Has($"{i}.in.target", "io.safetensors")
                && c.Root.TryGetProperty("inputs", out var inputs)
                && inputs[i].TryGetProperty("loss", out var loss)
            )
            {
                compare.Close(
                    $"{i}.loss",
                    [Losses.MeanSquaredError(noise, c.Values($"{i}.in.target", "io.safetensors"))],
                    [(float)loss.GetDouble()],
                    Tolerance
                );
            }
        }

        ops.Tape = null;
        if (c.Recorder is not null && c.HasFile("grads.safetensors"))
            TrainingCases.Run(c, ops, compare, model);
        if (c.HasFile("zero_init.safetensors"))
            ZeroInit(c, ops, compare, model);
        if (c.HasFile("train_forward.safetensors"))
            TrainForward(c, ops, compare, model);
    }

    // A case cut down to its first aggregation points: the files hold only what those need, everything later is read as zeros.
    private static void AfaFirstPoints(GoldenCase c, Ops ops, Comparer compare)
    {
        var owned = new List<IDisposable>();
        var checkpoints = new List<Checkpoint>();
        try
        {
            string model = Path.Combine(c.Folder, "model");
            int points = c.Json.Int("points");
            string[] unets =
            [
                Path.Combine(model, "unet"),
                .. Enumerable.Range(0, c.Json.Int("num_experts") - 1).Select(i => Path.Combine(model, $"additional_unet_{i}")),
            ];
            checkpoints.AddRange(unets.Select(u => Checkpoint.Open(u, "diffusion_pytorch_model")));
            UNetConfig config = UNetConfig.Load(unets[0]);
            (UNetModel unet, CheckpointParameters parameters) = CheckpointParameters.Load(
                ops.Device,
                checkpoints,
                p => new UNetModel(new ZeroedParameters(p, ops.Device, n => !checkpoints[0].Names.Contains(n), owned), config)
            );
            owned.Add(parameters);
            var aggregators = new List<Sabw>();
            SabwConfig first = SabwConfig.Load(Path.Combine(model, "aggregator_0"));
            for (int k = 0; k < config.AggregationChannels.Count; k++)
            {
                string folder = Path.Combine(model, $"aggregator_{k}");
                if (k >= points)
                {
                    aggregators.Add(
                        new Sabw(
                            new ZeroedParameters(new ParameterList(), ops.Device, _ => true, owned),
                            first with
                            {
                                InChannels = config.AggregationChannels[k],
                            }
                        )
                    );
                    continue;
                }

                SabwConfig its = SabwConfig.Load(folder);
                (Sabw aggregator, CheckpointParameters read) = DiffusionModel.ReadComponent(
                    ops.Device,
                    [folder],
                    p => new Sabw(p, its),
                    null,
                    "aggregator"
                );
                owned.Add(read);
                aggregators.Add(aggregator);
            }

            for (int i = 0; c.Has($"{i}.in.sample", "io.safetensors"); i++)
            {
                using TensorScope scope = ops.Scope();
                Tensor sample = OpCases.Map(c, ops, $"{i}.in.sample", "io.safetensors");
                new AfaEnsemble(unet, aggregators).Predict(
                    ops,
                    sample,
                    Timesteps(c, $"{i}.in.timestep", sample.Shape.Batch),
                    new Conditioning(Contexts(c, ops, $"{i}.in.ctx", "io.safetensors")),
                    ComparePoint(c, ops, compare, i)
                );
            }
        }
        finally
        {
            foreach (IDisposable one in owned)
                one.Dispose();
            foreach (Checkpoint checkpoint in checkpoints)
                checkpoint.Dispose();
        }
    }

    private static Action<int, Tensor, Tensor> ComparePoint(GoldenCase c, Ops ops, Comparer compare, int set) =>
        (k, fused, maps) =>
        {
            Beside("attn", "attn_maps.safetensors", maps);
            Beside("feat", "features.safetensors", fused);

            void Beside(string kind, string file, Tensor tensor)
            {
                string name = $"{set}.{kind}.{k}";
                if (c.HasFile(file) && c.Has(name, file))
                    compare.Close(name, ops.DownloadNchw(tensor), c.Values(name, file), Tolerance);
            }
        };

    // With conv_out = 0 every map is exactly 1/N.
    private static void ZeroInit(GoldenCase c, Ops ops, Comparer compare, DiffusionModel model)
    {
        var owned = new List<IDisposable>();
        try
        {
            UNetConfig config = model.Ensemble.Config;
            (UNetModel unet, CheckpointParameters parameters) = DiffusionModel.ReadComponent(
                ops.Device,
                model.Folder.UNets,
                p => new UNetModel(p, config)
            );
            owned.Add(parameters);
            var aggregators = new List<Sabw>();
            foreach (string folder in model.Folder.Aggregators)
            {
                SabwConfig sabw = SabwConfig.Load(folder);
                (Sabw aggregator, CheckpointParameters its) = DiffusionModel.ReadComponent(
                    ops.Device,
                    [folder],
                    p => new Sabw(new ZeroedParameters(p, ops.Device, n => n == "conv_out.weight", owned), sabw),
                    n => n == "conv_out.weight",
                    "aggregator"
                );
                owned.Add(its);
                aggregators.Add(aggregator);
            }

            using TensorScope scope = ops.Scope();
            Tensor sample = OpCases.Map(c, ops, "0.in.sample", "io.safetensors");
            double deviation = 0;
            Tensor predicted = new AfaEnsemble(unet, aggregators).Predict(
                ops,
                sample,
                Timesteps(c, "0.in.timestep", sample.Shape.Batch),
                new Conditioning(Contexts(c, ops, "0.in.ctx", "io.safetensors")),
                (_, _, maps) =>
                {
                    foreach (float weight in ops.Download(maps))
                        deviation = Math.Max(deviation, Math.Abs(weight - 1f / aggregators[0].Config.NumExperts));
                }
            );
            compare.Exact(
                "zero_init maps",
                deviation <= compare.Floor,
                string.Create(CultureInfo.InvariantCulture, $"maps differ from 1/N by up to {deviation:E2}")
            );
            compare.Close(
                "zero_init.out.noise_pred",
                ops.DownloadNchw(predicted),
                c.Values("out.noise_pred", "zero_init.safetensors"),
                Tolerance
            );
        }
        finally
        {
            foreach (IDisposable one in owned)
                one.Dispose();
        }
    }

    private static void TrainForward(GoldenCase c, Ops ops, Comparer compare, DiffusionModel model)
    {
        const string file = "train_forward.safetensors";
        using TensorScope scope = ops.Scope();
        int[] ids = [.. c.File(file).ReadInt64("input_ids").Select(i => (int)i)],
            timesteps = [.. c.File(file).ReadInt64("timesteps").Select(i => (int)i)];
        int[] dims = c.Dims("latents", file);
        Tensor text = model.TextEncoder.Encode(ops, ids, c.Dims("input_ids", file)[1]);
        compare.Close(
            "train_forward.encoder_hidden_states",
            ops.Download(text),
            c.Values("encoder_hidden_states", file),
            Tolerance
        );
        float[] moments = ops.DownloadNchw(model.Vae.Encode(ops, OpCases.Map(c, ops, "pixel_values", file)));
        (float[] mean, float[] logVariance) = Split(moments, [dims[0], 2 * dims[1], dims[2], dims[3]]);
        float[] latents = Posterior(mean, logVariance, c.Values("posterior_noise", file)),
            noise = c.Values("noise", file),
            noisy = new float[latents.Length];
        for (int i = 0; i < latents.Length; i++)
            latents[i] *= model.Vae.Config.ScalingFactor;
        compare.Close("train_forward.latents", latents, c.Values("latents", file), Tolerance);
        var schedule = new NoiseSchedule(model.Scheduler);
        int per = latents.Length / dims[0];
        for (int b = 0; b < dims[0]; b++)
            schedule.AddNoise(latents.AsSpan(b * per, per), noise.AsSpan(b * per, per), timesteps[b], noisy.AsSpan(b * per, per));
        compare.Close("train_forward.noisy_latents", noisy, c.Values("noisy_latents", file), Tolerance);
        Tensor predicted = model.Ensemble.Predict(
            ops,
            ops.UploadNchw(noisy, new Shape(1, dims[0], dims[2], dims[3], dims[1])),
            [.. timesteps.Select(t => (float)t)],
            new Conditioning(text)
        );
        compare.Close(
            "train_forward.loss",
            [Losses.MeanSquaredError(ops.DownloadNchw(predicted), noise)],
            c.Values("loss", file),
            Tolerance
        );
    }

    /// <summary>[N, B, T, D].</summary>
    internal static Tensor Contexts(GoldenCase c, Ops ops, string name, string file)
    {
        int[] d = c.Dims(name, file);
        return ops.Upload(c.Values(name, file), new Shape(d[0], d[1], d[2], 1, d[3]));
    }
}
