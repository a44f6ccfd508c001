using System.CommandLine;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Prompts;
using AfaNative.Kernels.Embedding;

namespace AfaNative.Tool.Commands;

/// <summary>
/// Options of <c>afa-native sample</c> for files that prompts name: embeddings and LoRAs.
/// </summary>
internal sealed class PromptOptions
{
    private readonly Option<string[]> _embeddings = new("--embedding")
    {
        Description =
            "A textual inversion (safetensors) as FILE or NAME=FILE; a prompt uses it by its name, the file's where none "
            + "is given. May be given several times.",
        AllowMultipleArgumentsPerToken = true,
    };
    private readonly Option<string?> _embeddingFolder = new("--embedding-dir")
    {
        Description = "A folder of textual inversions, as A1111's embeddings: prompts use them by their files' names.",
    };
    private readonly Option<string?> _loraFolder = new("--lora-dir")
    {
        Description =
            "A folder of LoRAs that prompts ask for by their files' names, as A1111 does: <lora:name:weight>, and "
            + "<lora:name:weight@1> for expert 1 alone.",
    };

    /// <summary>Adds the options to the command.</summary>
    public void AddTo(Command command)
    {
        foreach (Option option in (Option[])[_embeddings, _embeddingFolder, _loraFolder])
            command.Options.Add(option);
    }

    /// <summary>The embeddings to load.</summary>
    public IReadOnlyList<EmbeddingRequest> Embeddings(ParseResult r) =>
        [
            .. (r.GetValue(_embeddings) ?? []).Select(EmbeddingRequest.Parse),
            .. r.GetValue(_embeddingFolder) is { } folder ? EmbeddingRequest.InFolder(folder) : [],
        ];

    /// <summary>The folder of LoRAs that prompts ask for, or null.</summary>
    public string? LoraFolder(ParseResult r) => r.GetValue(_loraFolder);

    /// <summary>The LoRAs to load: those of --lora and those the run's prompts ask for.</summary>
    /// <exception cref="AfaException">One is not to be found, or prompts differ.</exception>
    public IReadOnlyList<LoraRequest> Loras(
        ParseResult r,
        IReadOnlyList<LoraRequest> given,
        GenerationOptions options,
        PromptJobs? jobs
    )
    {
        if (r.GetValue(_loraFolder) is { } folder && !Directory.Exists(folder))
            throw new AfaException($"--lora-dir {folder}: there is no such folder of LoRAs.");
        bool weighted = options.Syntax == PromptSyntax.Weighted;
        if (
            weighted
            && (jobs?.Drawn.Select(l => l.Options) ?? [options]).Any(o => PromptLora.Remove(o.NegativePrompt) != o.NegativePrompt)
        )
            Terminal.Warn("<lora:...> does nothing in a negative prompt, and was left out");
        string[] prompts = weighted ? [.. (jobs?.Drawn.Select(l => l.Options.Prompt) ?? [options.Prompt]).Distinct()] : [];
        if (
            r.GetValue(_loraFolder) is { } idle
            && prompts.All(p => PromptLora.In(p).Count == 0)
            && !given.Any(g => Path.GetFullPath(g.Path).StartsWith(Path.GetFullPath(idle), StringComparison.Ordinal))
        )
            Terminal.Note($"--lora-dir {idle}: no prompt asks for a LoRA (<lora:name:weight>), so it has no effect");
        return Engine.Prompts.LoraFolder.Collect(given, prompts, r.GetValue(_loraFolder));
    }
}
