using System.CommandLine;
using AfaNative.Engine.Checkpoints;

namespace AfaNative.Tool.Commands;

/// <summary>Options of <c>afa-native sample</c> for what goes with a model: embeddings.</summary>
internal sealed class SampleExtras
{
    private readonly Option<string[]> _embeddings = new("--embedding") { Description = "A textual inversion (safetensors) as FILE or NAME=FILE; a prompt uses it by its name, the file's where none is given. May be given several times.", AllowMultipleArgumentsPerToken = true };
    private readonly Option<string?> _embeddingFolder = new("--embedding-dir") { Description = "A folder of textual inversions, as A1111's embeddings: prompts use them by their files' names." };

    /// <summary>Adds the options to the command.</summary>
    public void AddTo(Command command)
    {
        foreach (Option option in (Option[])[_embeddings, _embeddingFolder]) command.Options.Add(option);
    }

    /// <summary>The embeddings to load.</summary>
    public IReadOnlyList<EmbeddingRequest> Embeddings(ParseResult r) =>
        [.. (r.GetValue(_embeddings) ?? []).Select(EmbeddingRequest.Parse), .. r.GetValue(_embeddingFolder) is { } folder ? EmbeddingRequest.InFolder(folder) : []];
}
