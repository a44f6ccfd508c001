using System.Text.Json;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Diffusion;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Tensors;
using AfaNative.Engine.Text;

namespace AfaNative.Engine.Verification;

/// <summary>Cases of tokenizer, samplers and the whole way from prompt to picture.</summary>
internal static class PipelineCases
{
    /// <summary>Runs the case if its kind is one of these; the text says why a known kind is skipped.</summary>
    public static bool TryRun(GoldenCase c, Ops ops, Comparer compare, out string? skipped)
    {
        skipped = null;
        switch (c.Op)
        {
            case "clip_tokenizer": Tokenize(c, compare); return true;
            case "scheduler":
                if (c.Json.String("scheduler") != "DDIMScheduler") skipped = $"sampler {c.Json.String("scheduler")} is not implemented";
                else Schedule(c, compare);
                return true;
            case "pipeline_afa": Generate(c, ops, compare, null, null); return true;
            case "pipeline_plain":
                if (c.Json.String("scheduler") != "DDIMScheduler") skipped = $"sampler {c.Json.String("scheduler")} is not implemented";
                else Generate(c, ops, compare, c.Json.Int("expert", 0), SchedulerConfig.FromJson(GoldenCase.Get(c.Root, "scheduler_config")));
                return true;
            default: return false;
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
                if (!one.TryGetProperty("variants", out JsonElement variants) || !variants.TryGetProperty("hf_fast_rust", out expected)) continue;
            }

            JsonElement ids = expected.ValueKind == JsonValueKind.Array ? expected : expected.GetProperty("ids");
            int[] wanted = [.. ids.EnumerateArray().Select(v => v.GetInt32())], came = tokenizer.Tokenize(text);
            compare.Exact("ids", wanted.AsSpan().SequenceEqual(came), $"\"{text}\" gives [{string.Join(", ", came)}] instead of [{string.Join(", ", wanted)}]");
            if (expected.ValueKind == JsonValueKind.Object && expected.TryGetProperty("ids77", out JsonElement padded))
            {
                compare.Exact("ids77", padded.EnumerateArray().Select(v => v.GetInt32()).SequenceEqual(tokenizer.Encode(text)), $"\"{text}\" is padded or cut differently");
            }
        }
    }

    private static void Schedule(GoldenCase c, Comparer compare)
    {
        var schedule = new NoiseSchedule(SchedulerConfig.FromJson(GoldenCase.Get(c.Root, "config")));
        double eta = GoldenCase.Get(c.Root, "step_kwargs").TryGetProperty("eta", out JsonElement e) ? e.GetDouble() : 0;
        string file = c.HasFile("tensors.safetensors") ? "tensors.safetensors" : "tensors_v0310.safetensors";
        foreach (JsonProperty entry in GoldenCase.Get(c.Root, "schedule").EnumerateObject())
        {
            if (!int.TryParse(entry.Name, out int steps)) continue;
            var sampler = new DdimSampler(schedule, steps, eta);
            double[] wanted = [.. entry.Value.GetProperty("timesteps").EnumerateArray().Select(v => v.GetDouble())];
            compare.Exact($"{steps} timesteps", wanted.SequenceEqual(sampler.Timesteps.Select(t => (double)t)), $"[{string.Join(", ", sampler.Timesteps)}]");
            string prefix = Prefix(c, file, steps);
            if (!c.Has(prefix + "sample.0", file)) continue;
            float[] sample = c.Values(prefix + "sample.0", file);
            for (int k = 0; k < steps; k++)
            {
                int t = sampler.Timesteps[k];
                var output = new float[sample.Length];
                float slope = (float)(0.5 + t / 2000.0);
                for (int i = 0; i < output.Length; i++) output[i] = slope * sample[i] / (1 + 0.25f * sample[i] * sample[i]) + 0.05f;
                string noise = $"{prefix}noise.{k}";
                sampler.Step(k, output, c.Has(noise, file) ? c.Values(noise, file) : [], sample);
                compare.Close($"{prefix}sample.{k + 1}", sample, c.Values($"{prefix}sample.{k + 1}", file), OpCases.Tolerance);
            }
        }
    }

    private static string Prefix(GoldenCase c, string file, int steps)
    {
        foreach (string candidate in new[] { $"{steps}.", $"n{steps}.", $"traj{steps}.", "" })
        {
            if (c.Has(candidate + "sample.0", file)) return candidate;
        }

        return $"{steps}.";
    }

    private static void Generate(GoldenCase c, Ops ops, Comparer compare, int? expert, SchedulerConfig? scheduler)
    {
        using DiffusionModel model = DiffusionModel.Load(ops.Device, c.Resolve(c.Json.String("model_dir")), expert, schedulerOverride: scheduler);
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
        };
        var pipeline = new TextToImagePipeline(model);
        if (c.Has("prompt_embeds"))
        {
            using TensorScope scope = ops.Scope();
            int count = start[0];
            bool guided = options.GuidanceScale > 1;
            Tensor text = pipeline.EncodePrompts(ops, [.. guided ? Enumerable.Repeat(options.NegativePrompt, count) : [], .. Enumerable.Repeat(options.Prompt, count)]);
            compare.Close("prompt_embeds", ops.Download(text), c.Values("prompt_embeds"), NetworkCases.Tolerance);
        }

        bool maps = c.HasFile("attn_maps.safetensors");
        float[] latents = pipeline.GenerateLatents(options, new GenerationObserver
        {
            Latents = (k, values) => compare.Close($"latents.{k}", values, c.Values($"latents.{k}"), NetworkCases.Tolerance),
            Aggregation = !maps ? null : (step, k, _, weights) =>
            {
                if (c.Has($"attn.{step}.{k}", "attn_maps.safetensors")) compare.Close($"attn.{step}.{k}", ops.DownloadNchw(weights), c.Values($"attn.{step}.{k}", "attn_maps.safetensors"), NetworkCases.Tolerance);
            },
        });
        float[] image = [.. pipeline.DecodeImages(latents, options).SelectMany(i => i)], expected = c.Values("image");
        long far = 0;
        for (int i = 0; i < expected.Length; i++)
        {
            if (Math.Abs(Math.Round(image[i] * 255.0, MidpointRounding.ToEven) - Math.Round(expected[i] * 255.0, MidpointRounding.ToEven)) > 1) far++;
        }

        compare.Close("image", image, expected, NetworkCases.Tolerance * 10);
        if (compare.Floor == 0) compare.Exact("image, 8 bit", far <= expected.Length / 1000, $"{far} of {expected.Length} values are more than 1/255 away");
    }
}
