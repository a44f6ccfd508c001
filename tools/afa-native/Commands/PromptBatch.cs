using System.Globalization;
using System.Text.Json;
using AfaNative.Engine;
using AfaNative.Engine.Diffusion;
using AfaNative.Engine.Diffusion.Samplers;

namespace AfaNative.Tool.Commands;

/// <summary>One picture of a file of prompts.</summary>
/// <param name="Number">From 1, over the whole file.</param>
/// <param name="Options">Its prompt, its seed and its settings.</param>
internal sealed record PromptJob(int Number, GenerationOptions Options)
{
    /// <summary>The file's name without extension: depends on number and seed alone, so that a run knows what is done.</summary>
    public string Name => string.Create(CultureInfo.InvariantCulture, $"{Number:D5}-{Options.Seeds[0]}");
}

/// <summary>A file of prompts: one a line, or JSON objects with settings of their own.</summary>
internal static class PromptBatch
{
    /// <summary>All pictures of a file, <paramref name="count"/> of every prompt; picture i has seed first + i unless its line says otherwise.</summary>
    /// <exception cref="AfaException">A line cannot be understood.</exception>
    public static IReadOnlyList<PromptJob> Read(string path, GenerationOptions defaults, int count, ulong first)
    {
        string[] lines;
        try
        {
            lines = File.ReadAllLines(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new AfaException($"{path}: the prompts could not be read: {e.Message}", e);
        }

        var jobs = new List<PromptJob>();
        for (int i = 0; i < lines.Length; i++)
        {
            string line = lines[i].Trim();
            if (line.Length == 0) continue;
            (GenerationOptions options, ulong? seed) = line.StartsWith('{') ? FromJson(line, defaults, $"{path}, line {i + 1}") : (defaults with { Prompt = line }, null);
            for (int k = 0; k < count; k++) jobs.Add(new PromptJob(jobs.Count + 1, options with { Seeds = [seed is { } own ? own + (ulong)k : first + (ulong)jobs.Count] }));
        }

        return jobs.Count > 0 ? jobs : throw new AfaException($"{path}: it holds no prompt.");
    }

    /// <summary>Every n-th picture, starting with the i-th: <c>i/n</c>, i from 0.</summary>
    /// <exception cref="AfaException">It is written otherwise.</exception>
    public static IReadOnlyList<PromptJob> Shard(IReadOnlyList<PromptJob> jobs, string shard)
    {
        string[] parts = shard.Split('/');
        if (parts.Length != 2 || !int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out int index) || !int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out int of) || of < 1 || index >= of)
        {
            throw new AfaException($"--shard is written i/n with i from 0 to n - 1, not '{shard}'.");
        }

        return [.. jobs.Where((_, i) => i % of == index)];
    }

    /// <summary>Neighbours that differ in prompt and seed alone, up to <paramref name="size"/> at once.</summary>
    public static IEnumerable<IReadOnlyList<PromptJob>> Batches(IReadOnlyList<PromptJob> jobs, int size)
    {
        var batch = new List<PromptJob>();
        foreach (PromptJob job in jobs)
        {
            if (batch.Count == size || (batch.Count > 0 && !Alike(batch[0].Options, job.Options)))
            {
                yield return batch;
                batch = [];
            }

            batch.Add(job);
        }

        if (batch.Count > 0) yield return batch;
    }

    private static bool Alike(GenerationOptions a, GenerationOptions b) => a with { Prompt = "", Seeds = Array.Empty<ulong>() } == b with { Prompt = "", Seeds = Array.Empty<ulong>() };

    private static (GenerationOptions, ulong?) FromJson(string line, GenerationOptions options, string where)
    {
        ulong? seed = null;
        bool prompt = false;
        try
        {
            using JsonDocument document = JsonDocument.Parse(line);
            foreach (JsonProperty p in document.RootElement.EnumerateObject())
            {
                switch (p.Name)
                {
                    case "prompt":
                        options = options with { Prompt = p.Value.GetString()! };
                        prompt = true;
                        break;
                    case "negative" or "negative_prompt": options = options with { NegativePrompt = p.Value.GetString()! }; break;
                    case "seed": seed = p.Value.GetUInt64(); break;
                    case "steps": options = options with { Steps = p.Value.GetInt32() }; break;
                    case "guidance" or "cfg_scale": options = options with { GuidanceScale = p.Value.GetSingle() }; break;
                    case "sampler": options = options with { Sampler = SamplerChoice.Find(p.Value.GetString()!) }; break;
                    case "width": options = options with { Width = p.Value.GetInt32() }; break;
                    case "height": options = options with { Height = p.Value.GetInt32() }; break;
                    case "clip_skip": options = options with { ClipSkip = p.Value.GetInt32() }; break;
                    default: throw new AfaException($"{where}: '{p.Name}' is no setting; there are prompt, negative, seed, steps, guidance, sampler, width, height, clip_skip.");
                }
            }
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException)
        {
            throw new AfaException($"{where}: it cannot be read as settings: {e.Message}", e);
        }

        return prompt ? (options, seed) : throw new AfaException($"{where}: it has no 'prompt'.");
    }
}
