using System.Text.Json;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;
using AfaNative.Engine.Models;
using AfaNative.Engine.Prompts;
using AfaNative.Engine.Sampling;

namespace AfaNative.Engine.Ensemble;

/// <summary>
/// Whether the parts of a model folder fit each other: every configuration against the weights beside it, and against the other
/// configurations. Whatever writes a folder asks before it appears, because
/// other programs believe configurations that this one does not need.
/// </summary>
public static class FolderConsistency
{
    // What transformers wrote for every CLIP before it looked at these ids; all programs know the values for what they are.
    private static readonly HashSet<int> s_legacyIds = [0, 1, 2];

    /// <summary>Refuses a folder whose parts do not fit.</summary>
    /// <param name="folder">Where it is.</param>
    /// <param name="shown">The name it will have, for the message.</param>
    /// <exception cref="CheckpointException">
    /// Something does not fit; all of it is named, and the cure is the model it was made from.
    /// </exception>
    public static void Require(string folder, string shown)
    {
        IReadOnlyList<string> problems = Problems(folder);
        if (problems.Count > 0)
        {
            throw new CheckpointException(
                $"{shown}: it would not load elsewhere, so it was not written: {string.Join("; ", problems)}."
            );
        }
    }

    /// <summary>All that does not fit, each as part of a sentence; none where all is well.</summary>
    public static IReadOnlyList<string> Problems(string folder)
    {
        var found = new List<string>();
        EnsembleFolder? model = Try(() => EnsembleFolder.Open(folder));
        if (model is null)
            return found;
        UNetConfig[] unets = [.. model.UNets.Select(u => Try(() => UNetConfig.Load(u))).OfType<UNetConfig>()];
        ClipTextConfig[] texts = [.. model.TextEncoders.Select(t => Try(() => ClipTextConfig.Load(t))).OfType<ClipTextConfig>()];
        SabwConfig[] aggregators = [.. model.Aggregators.Select(a => Try(() => SabwConfig.Load(a))).OfType<SabwConfig>()];
        VaeConfig? vae = Try(() => VaeConfig.Load(model.Vae));
        Try(() => SchedulerConfig.Load(model.Scheduler));
        if (
            unets.Length < model.UNets.Count
            || texts.Length < model.TextEncoders.Count
            || aggregators.Length < model.Aggregators.Count
            || vae is null
        )
            return found;
        for (int e = 0; e < unets.Length; e++)
            Expert(e);
        if (vae.LatentChannels != unets[0].InChannels)
            found.Add($"the VAE has {vae.LatentChannels} latent channels, the U-Net's in_channels is {unets[0].InChannels}");
        Divides("vae", "norm_num_groups", vae.NormGroups, vae.BlockOutChannels);
        Aggregators();
        Tokens();
        Index();
        // Weights last: what they are compared with is known to make sense.
        if (found.Count > 0)
            return found;
        Weights(model.Vae, p => new VaeModel(p, vae));
        for (int e = 0; e < unets.Length; e++)
        {
            Weights(model.UNets[e], p => new UNetModel(p, unets[e]));
            Weights(model.TextEncoders[e], p => new ClipTextEncoder(p, texts[e]), KnownExtras.IsIgnorable);
        }

        for (int k = 0; k < aggregators.Length; k++)
            Weights(model.Aggregators[k], p => new Sabw(p, aggregators[k]));
        return found;

        void Expert(int e)
        {
            string unet = Name(model.UNets[e]),
                text = Name(model.TextEncoders[e]);
            UNetConfig u = unets[e];
            if (texts[e].HiddenSize != u.CrossAttentionDim)
                found.Add(
                    $"{text} is {texts[e].HiddenSize} wide (hidden_size), {unet} expects {u.CrossAttentionDim} "
                        + $"(cross_attention_dim)"
                );
            if (u.OutChannels != u.InChannels)
                found.Add($"{unet} has {u.InChannels} in_channels and {u.OutChannels} out_channels");
            if (u.SampleSize < 1)
                found.Add($"{unet} has a sample_size of {u.SampleSize}");
            if (texts[e].MaxPositions < 3)
                found.Add(
                    $"{text} has {texts[e].MaxPositions} positions (max_position_embeddings), which leaves no room for a word"
                );
            Divides(unet, "norm_num_groups", u.NormGroups, u.BlockOutChannels);
            for (int i = 0; i < u.Heads.Count; i++)
                Divides(unet, "attention_head_dim", u.Heads[i], [u.BlockOutChannels[i]]);
            Divides(text, "num_attention_heads", texts[e].Heads, [texts[e].HiddenSize]);
            // Neither the size a model was trained at nor the legacy end-of-text id is part of an architecture.
            if (!Same(u with { SampleSize = 1 }, unets[0] with { SampleSize = 1 }))
                found.Add($"{unet} has another architecture than unet");
            if (!Same(texts[e] with { EosTokenId = 2 }, texts[0] with { EosTokenId = 2 }))
                found.Add($"{text} has another architecture than text_encoder");
        }

        void Aggregators()
        {
            IReadOnlyList<int> channels = unets[0].AggregationChannels;
            if (unets.Length == 1 && aggregators.Length == 0)
                return;
            if (aggregators.Length != channels.Count)
                found.Add($"there are {aggregators.Length} aggregators, the U-Nets have {channels.Count} aggregation points");
            for (int k = 0; k < Math.Min(channels.Count, aggregators.Length); k++)
            {
                SabwConfig a = aggregators[k];
                Equal(k, "in_channels", a.InChannels, channels[k]);
                Equal(k, "num_experts", a.NumExperts, unets.Length);
                Equal(k, "cross_attn_dim", a.CrossAttentionDim, unets[0].CrossAttentionDim);
                Equal(k, "temb_channels", a.TimeEmbeddingChannels, unets[0].TimeEmbeddingDim);
                Divides($"aggregator_{k}", "num_attn_heads", a.NumAttentionHeads, [a.HiddenSize]);
            }

            string path = Path.Combine(folder, "model_config.json");
            if (!File.Exists(path))
            {
                found.Add("model_config.json is missing");
                return;
            }

            // That the numbers are the folder's was looked at when it was opened.
            using JsonFile json = JsonFile.Open(path);
            foreach (string key in (string[])["num_models", "num_aggregators"])
            {
                if (!json.Has(key))
                    found.Add($"model_config.json does not state '{key}'");
            }
        }

        void Tokens()
        {
            if (Try(() => ClipTokenizer.Load(model.Tokenizer)) is not { } tokenizer)
                return;
            string path = Path.Combine(model.Tokenizer, "tokenizer_config.json");
            int? longest = null;
            if (File.Exists(path))
            {
                using JsonFile json = JsonFile.Open(path);
                // Where it is not stated other programs have ways of their own; a tokenizer without limit states a number beyond
                // whole ones.
                if (json.Has("model_max_length"))
                {
                    longest = json.Root.GetProperty("model_max_length").TryGetInt32(out int v) ? v : int.MaxValue;
                }
            }

            for (int e = 0; e < texts.Length; e++)
            {
                ClipTextConfig text = texts[e];
                string name = Name(model.TextEncoders[e]);
                if (longest is { } length && length != text.MaxPositions)
                    found.Add(
                        $"the tokenizer makes {(length == int.MaxValue ? "any number of" : length)} tokens (model_max_length), "
                            + $"{name} has {text.MaxPositions} positions (max_position_embeddings)"
                    );
                if (tokenizer.VocabularySize > text.VocabularySize)
                    found.Add(
                        $"the tokenizer knows {tokenizer.VocabularySize} tokens, {name} has {text.VocabularySize} (vocab_size)"
                    );
                using JsonFile json = JsonFile.Open(Path.Combine(model.TextEncoders[e], "config.json"));
                Id(json, name, "bos_token_id", tokenizer.BosId);
                Id(json, name, "eos_token_id", tokenizer.EosId);
                Id(json, name, "pad_token_id", tokenizer.PadId);
            }
        }

        void Id(JsonFile json, string name, string key, int expected)
        {
            if (!json.Has(key))
                return;
            int id = json.Int(key);
            if (id != expected && !s_legacyIds.Contains(id))
                found.Add($"{name} states {id} as {key}, the tokenizer has {expected}");
        }

        void Index()
        {
            string path = Path.Combine(folder, "model_index.json");
            if (!File.Exists(path))
            {
                found.Add("model_index.json is missing");
                return;
            }

            using JsonFile json = JsonFile.Open(path);
            foreach (JsonProperty part in json.Root.EnumerateObject().Where(ModelIndex.IsPart))
            {
                if (!Directory.Exists(Path.Combine(folder, part.Name)))
                    found.Add($"model_index.json names {part.Name}, which is not in the folder");
            }
        }

        void Equal(int k, string key, int came, int expected)
        {
            if (came != expected)
                found.Add($"aggregator_{k} states {came} as {key}, there it is {expected}");
        }

        void Divides(string part, string key, int divisor, IReadOnlyList<int> numbers)
        {
            int[] others = [.. numbers.Where(n => divisor < 1 || n % divisor != 0).Distinct()];
            if (others.Length > 0)
                found.Add($"{part} has {divisor} as {key}, which does not divide {string.Join(", ", others)}");
        }

        void Weights(string at, Action<Parameters> build, Func<string, bool>? ignore = null) =>
            Try(() =>
            {
                using Checkpoint checkpoint = Checkpoint.Open(at, "diffusion_pytorch_model", "model", "aggregator");
                CheckpointParameters.Check(checkpoint, EnsembleBuilder.Specs(build), ignore);
                return checkpoint;
            });

        T? Try<T>(Func<T> read)
            where T : class
        {
            try
            {
                return read();
            }
            catch (AfaException e)
            {
                found.Add(e.Message.TrimEnd('.').Replace(folder + Path.DirectorySeparatorChar, "", StringComparison.Ordinal));
                return null;
            }
        }
    }

    private static string Name(string path) => Path.GetFileName(path);

    private static bool Same<T>(T a, T b) => JsonSerializer.Serialize(a) == JsonSerializer.Serialize(b);
}
