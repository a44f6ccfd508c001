using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Prompts;
using AfaNative.Kernels.Embedding;

namespace AfaNative.Tool.Commands;

/// <summary>A run of <c>sample</c>, read and checked as far as it can be before a model is loaded.</summary>
internal sealed record SampleRequest
{
    /// <summary>Path of the model.</summary>
    public required string Model { get; init; }

    /// <summary>Settings of the first picture.</summary>
    public required GenerationOptions Options { get; init; }

    /// <summary>Pictures; for a file of prompts, of each.</summary>
    public required int Count { get; init; }

    /// <summary>Pictures drawn at once.</summary>
    public required int BatchSize { get; init; }

    /// <summary>Folder for the pictures.</summary>
    public required string Output { get; init; }

    /// <summary>Where to compute, with how many threads, in what storage.</summary>
    public required (string Name, int Threads, string Precision) Device { get; init; }

    /// <summary>Previews, plots, numbers in and out.</summary>
    public required SampleExtras Extras { get; init; }

    /// <summary>Folder for contact sheets of attention maps, or null.</summary>
    public string? Maps { get; init; }

    /// <summary>Most memory to use, as it is written, or null.</summary>
    public string? Budget { get; init; }

    /// <summary>Begin even where the plan says that there is too little memory.</summary>
    public bool Force { get; init; }

    /// <summary>The one expert that draws, or null.</summary>
    public int? Expert { get; init; }

    /// <summary>What lends a single file a tokenizer and configurations, or null.</summary>
    public string? Base { get; init; }

    /// <summary>The VAE instead of the model's, or null.</summary>
    public string? Vae { get; init; }

    /// <summary>LoRAs beside the prompts'.</summary>
    public IReadOnlyList<LoraRequest> GivenLoras { get; init; } = [];

    /// <summary>All LoRAs, the prompts' as well.</summary>
    public IReadOnlyList<LoraRequest> Loras { get; init; } = [];

    /// <summary>Textual inversions.</summary>
    public IReadOnlyList<EmbeddingRequest> Embeddings { get; init; } = [];

    /// <summary>The file of prompts, or null.</summary>
    public string? Prompts { get; init; }

    /// <summary>Its pictures.</summary>
    public PromptJobs? Jobs { get; init; }

    /// <summary>The picture that is drawn again, or null.</summary>
    public PictureSettings? From { get; init; }

    /// <summary>The picture that is started from, or null.</summary>
    public StartPicture? Start { get; init; }

    /// <summary>The settings of everything that is drawn, seeds aside.</summary>
    public IEnumerable<GenerationOptions> Runs =>
        Jobs?.Lines.Select(l => l.Options with { Seeds = [0] })
        ?? Extras.Plot?.Cells(Options, "").Select(c => c.Options)
        ?? [Options];
}
