using System.Text.Json;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Prompts;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Samplers;

namespace AfaNative.Verification;

/// <summary>Cases of tokenizer, samplers and the whole way from prompt to picture.</summary>
internal static class PipelineCases
{
    /// <summary>Runs the case if its kind is one of these; the text says why a known kind is skipped.</summary>
    public static bool TryRun(GoldenCase c, Ops ops, Comparer compare, out string? skipped)
    {
        skipped = null;
        switch (c.Op)
        {
            case "clip_tokenizer":
                Tokenize(c, compare);
                return true;
            case "scheduler":
                skipped = Unsupported(c);
                if (skipped is null)
                    Schedule(c, compare, Configuration(c, "config"));
                return true;
            case "pipeline_afa":
                Generate(c, ops, compare, null, null, SamplerChoice.Default);
                return true;
            case "pipeline_plain":
                SchedulerConfig config = Configuration(c, "scheduler_config");
                Generate(c, ops, compare, c.Json.Int("expert", 0), config, config.Sampler);
                return true;
            default:
                return false;
        }
    }

    private static void Tokenize(GoldenCase c, Comparer compare)
    {
        ClipTokenizer tokenizer = ClipTokenizer.Load(c.Resolve(c.Json.String("vocab")));
        using JsonDocument cases = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(c.Folder, "cases.json")));
        foreach (JsonElement one in cases.RootElement.EnumerateArray())
        {
            string text = one.GetProperty("text").GetString()!;
            JsonElement expected = one;
            if (!one.GetProperty("all_agree").GetBoolean())
            {
                if (
                    !one.TryGetProperty("variants", out JsonElement variants)
                    || !variants.TryGetProperty("hf_fast_rust", out expected)
                )
                    continue;
            }

            JsonElement ids = expected.ValueKind == JsonValueKind.Array ? expected : expected.GetProperty("ids");
            int[] wanted = [.. ids.EnumerateArray().Select(v => v.GetInt32())],
                came = tokenizer.Tokenize(text);
            compare.Exact(
                "ids",
                wanted.AsSpan().SequenceEqual(came),
                $"\"{text}\" gives [{string.Join(", ", came)}] instead of [{string.Join(", ", wanted)}]"
            );
            if (expected.ValueKind == JsonValueKind.Object && expected.TryGetProperty("ids77", out JsonElement padded))
            {
                compare.Exact(
                    "ids77",
                    padded.EnumerateArray().Select(v => v.GetInt32()).SequenceEqual(tokenizer.Encode(text)),
                    $"\"{text}\" is padded or cut differently"
                );
            }
        }
    }

    // A case's schedule and the sampler its class stands for.
    private static SchedulerConfig Configuration(GoldenCase c, string config) =>
        SchedulerConfig.FromJson(GoldenCase.Get(c.Root, config), c.Json.String("scheduler"));

    // Why a scheduler's case cannot be run here; null: it can.
    private static string? Unsupported(GoldenCase c)
    {
        string name = c.Json.String("scheduler");
        if (name.StartsWith("EDM", StringComparison.Ordinal))
            return $"{name}: noise levels that are not of betas";
        if (Configuration(c, "config").Sampler.SchedulerClass != name)
            return $"there is no {name}";
        string[] unknown =
        [
            .. GoldenCase.Get(c.Root, "step_kwargs").EnumerateObject().Select(p => p.Name).Where(n => n != "eta"),
        ];
        return unknown.Length == 0 ? null : $"{name} is not steered by {string.Join(", ", unknown)}";
    }

    private static void Schedule(GoldenCase c, Comparer compare, SchedulerConfig config)
    {
        var schedule = new NoiseSchedule(config);
        double? eta = GoldenCase.Get(c.Root, "step_kwargs").TryGetProperty("eta", out JsonElement e) ? e.GetDouble() : null;
        // Without signal the start is 4096 times a sample: what rounding leaves of it is seen in the next ones.
        double tolerance = OpCases.Tolerance * (config.ZeroTerminalSnr ? 10 : 1);
        // Where the two versions of diffusers differ, the newer counts.
        string file = c.HasFile("tensors.safetensors") ? "tensors.safetensors" : "tensors_v0310.safetensors";
        JsonElement entries =
            c.Root.TryGetProperty("schedule_by_version", out JsonElement versions)
            && versions.TryGetProperty("v0310", out JsonElement newer)
                ? newer
                : GoldenCase.Get(c.Root, "schedule");
        foreach (JsonProperty entry in entries.EnumerateObject())
        {
            if (!int.TryParse(entry.Name, out int steps))
                continue;
            // Diffusers starts a single step at the lowest noise level, except where steps trail; here it is the highest.
            if (steps == 1)
                continue;
            Sampler sampler = config.Sampler.Create(schedule, steps, eta);
            double[] wanted = [.. entry.Value.GetProperty("timesteps").EnumerateArray().Select(v => v.GetDouble())];
            // Whole steps are exact; interpolated ones are float32 there.
            compare.Exact(
                $"{steps} timesteps",
                wanted.Length == sampler.Timesteps.Count
                    && wanted
                        .Zip(sampler.Timesteps)
                        .All(p => p.First == p.Second || (p.First != Math.Floor(p.First) && Math.Abs(p.First - p.Second) < 2e-3)),
                $"[{string.Join(", ", sampler.Timesteps)}] instead of [{string.Join(", ", wanted)}]"
            );
            if (entry.Value.TryGetProperty("init_noise_sigma", out JsonElement sigma))
                compare.Close(
                    $"{steps} init_noise_sigma",
                    [sampler.InitNoiseSigma],
                    [(float)sigma.GetDouble()],
                    OpCases.Tolerance
                );
            string prefix = Prefix(c, file, steps);
            if (!c.Has(prefix + "sample.0", file))
                continue;
            sampler.Pictures = c.Dims(prefix + "sample.0", file)[0];
            float[] sample = c.Values(prefix + "sample.0", file),
                input = new float[sample.Length],
                output = new float[sample.Length];
            for (int k = 0; k < sampler.Timesteps.Count; k++)
            {
                sampler.ScaleInput(k, sample, input);
                if (c.Has($"{prefix}input.{k}", file))
                    compare.Close($"{prefix}input.{k}", input, c.Values($"{prefix}input.{k}", file), tolerance);
                float slope = (float)(0.5 + sampler.Timesteps[k] / 2000);
                for (int i = 0; i < output.Length; i++)
                    output[i] = slope * input[i] / (1 + 0.25f * input[i] * input[i]) + 0.05f;
                string noise = $"{prefix}noise.{k}";
                sampler.Step(k, output, c.Has(noise, file) ? c.Values(noise, file) : [], sample);
                compare.Close($"{prefix}sample.{k + 1}", sample, c.Values($"{prefix}sample.{k + 1}", file), tolerance);
            }
        }
    }

    private static string Prefix(GoldenCase c, string file, int steps)
    {
        foreach (string candidate in new[] { $"{steps}.", $"n{steps}.", $"traj{steps}.", "" })
        {
            if (c.Has(candidate + "sample.0", file))
                return candidate;
        }

        return $"{steps}.";
    }

    private static void Generate(
        GoldenCase c,
        Ops ops,
        Comparer compare,
        int? expert,
        SchedulerConfig? scheduler,
        SamplerChoice sampler
    )
    {
        using DiffusionModel model = DiffusionModel.Load(
            ops.Device,
            c.Resolve(c.Json.String("model_dir")),
            expert,
            schedulerOverride: scheduler
        );
        compare.ForGeneration();
        int[] start = c.Dims("latents.0");
        var options = new GenerationOptions
        {
            Prompt = c.Json.String("prompt"),
            NegativePrompt = c.Json.String("negative_prompt", ""),
            Steps = c.Json.Int("num_inference_steps"),
            GuidanceScale = c.Json.Float("guidance_scale"),
            Width = c.Json.Int("width"),
            Height = c.Json.Int("height"),
            Seeds = new ulong[start[0]],
            InitialLatents = c.Values("latents.0"),
            Sampler = sampler,
        };
        if (c.Root.TryGetProperty("seed", out JsonElement seed))
        {
            // The start was drawn by torch on the CPU.
            var noise = new float[options.InitialLatents!.Length];
            NoiseStream.Of(NoiseSource.TorchCpu, seed.GetUInt64()).Fill(noise, 0);
            compare.Close("torch noise", noise, options.InitialLatents, OpCases.Tolerance);
        }

        var pipeline = new TextToImagePipeline(model);
        if (c.Has("prompt_embeds"))
        {
            using TensorScope scope = ops.Scope();
            int count = start[0];
            bool guided = options.GuidanceScale > 1;
            Conditioning text = pipeline.EncodePrompts(
                ops,
                [.. guided ? Enumerable.Repeat(options.NegativePrompt, count) : [], .. Enumerable.Repeat(options.Prompt, count)]
            );
            compare.Close("prompt_embeds", ops.Download(text.HiddenStates), c.Values("prompt_embeds"), NetworkCases.Tolerance);
        }

        bool maps = c.HasFile("attn_maps.safetensors");
        float[] latents = pipeline.GenerateLatents(
            options,
            new GenerationObserver
            {
                // The start is stored before it is brought to the first noise level, and of samplers that evaluate more often
                // than they step only some latents are.
                Latents = (k, values) =>
                {
                    if (k > 0 && c.Has($"latents.{k}"))
                        compare.Close($"latents.{k}", values, c.Values($"latents.{k}"), NetworkCases.Tolerance);
                },
                Aggregation = !maps
                    ? null
                    : (step, k, _, weights) =>
                    {
                        if (c.Has($"attn.{step}.{k}", "attn_maps.safetensors"))
                            compare.Close(
                                $"attn.{step}.{k}",
                                ops.DownloadNchw(weights),
                                c.Values($"attn.{step}.{k}", "attn_maps.safetensors"),
                                NetworkCases.Tolerance
                            );
                    },
            }
        );
        float[] image = [.. pipeline.DecodeImages(latents, options).SelectMany(i => i)],
            expected = c.Values("image");
        long far = 0;
        for (int i = 0; i < expected.Length; i++)
        {
            if (
                Math.Abs(
                    Math.Round(image[i] * 255.0, MidpointRounding.ToEven)
                        - Math.Round(expected[i] * 255.0, MidpointRounding.ToEven)
                ) > 1
            )
                far++;
        }

        compare.Close("image", image, expected, NetworkCases.Tolerance * 10);
        if (compare.Floor == 0)
            compare.Exact(
                "image, 8 bit",
                far <= expected.Length / 1000,
                $"{far} of {expected.Length} values are more than 1/255 away"
            );
    }
}
