using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Files;
using AfaNative.Engine.Pipeline;

namespace AfaNative.Tool.Commands;

/// <summary>
/// What all pictures of a run record beside their own settings: weights by their hashes, and everything else that decides how
/// they look.
/// </summary>
/// <param name="Models">Short hashes of the experts.</param>
/// <param name="Aggregators">Short hash of the aggregators.</param>
internal sealed record RunRecord(IReadOnlyList<string> Models, string? Aggregators)
{
    /// <summary>Files of LoRAs, the prompt's as well.</summary>
    public IReadOnlyList<string> Files { get; init; } = [];

    /// <summary>Their names and hashes.</summary>
    public IReadOnlyList<(string Name, string Hash)> LoraHashes { get; init; } = [];

    /// <summary>LoRAs beside the prompt's.</summary>
    public IReadOnlyList<LoraRequest> Loras { get; init; } = [];

    /// <summary>The VAE instead of the model's, and its hash.</summary>
    public (string Path, string Hash)? Vae { get; init; }

    /// <summary>The one expert that draws.</summary>
    public int? Expert { get; init; }

    /// <summary>The picture that is started from.</summary>
    public StartPicture? Start { get; init; }

    /// <summary>--precision.</summary>
    public string Precision { get; init; } = "f32";

    /// <summary>--device.</summary>
    public string Device { get; init; } = "cpu";

    /// <summary>Hashes a run's weights.</summary>
    public static RunRecord Of(
        EnsembleFolder folder,
        IReadOnlyList<LoraRequest> all,
        IReadOnlyList<LoraRequest> given,
        string? vae,
        CancellationToken cancellation
    )
    {
        string[] files = [.. all.Select(l => l.Path).Distinct()];
        return new RunRecord(
            [.. folder.UNets.Select(u => FileHash.Short(FileHash.WeightFiles(u), cancellation))],
            folder.Aggregators.Count == 0
                ? null
                : FileHash.Short(folder.Aggregators.SelectMany(FileHash.WeightFiles), cancellation)
        )
        {
            Files = files,
            LoraHashes = [.. files.Select(f => (Path.GetFileNameWithoutExtension(f), LoraHash.Short(f, cancellation)))],
            Loras = given,
            Vae = vae is null
                ? null
                : (
                    Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(vae))),
                    FileHash.Short(FileHash.WeightFiles(vae), cancellation)
                ),
        };
    }

    /// <summary>A picture's text with all that.</summary>
    public GenerationMetadata Add(GenerationMetadata picture) =>
        picture with
        {
            ModelHashes = Models,
            AggregatorHash = Aggregators,
            Expert = Expert,
            Loras = [.. Loras.Select(l => new RecordedLora(Path.GetFileNameWithoutExtension(l.Path), l.Weight, l.Expert))],
            LoraHashes = LoraHashes,
            Vae = Vae?.Path,
            VaeHash = Vae?.Hash,
            InitImageHash = Start?.Hash,
            MaskHash = Start?.MaskHash,
            Resize = Start?.Resize,
            Background = Start?.Background,
            Precision = Precision == "f32" ? null : Precision,
            Device = Device == "cpu" ? null : Device,
        };
}
