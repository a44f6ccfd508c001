using System.CommandLine;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Prompts;
using AfaNative.Kernels.Embedding;

namespace AfaNative.Tool.Commands;

/// <summary>
/// Options of <c>afa-native sample</c> for what goes beyond one prompt and one pass: embeddings, LoRAs that prompts ask for, and
/// a second pass at a larger size.
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
    private readonly Option<double> _scale = new Option<double>("--hires-scale")
    {
        Description = "Draws a second pass that many times as large (A1111's Hires. fix); 0 leaves out that of --from.",
    }.Within(0, 16);
    private readonly Option<int> _width = new Option<int>("--hires-width")
    {
        Description = "Second pass: final width in pixels instead of a scale; the height follows where not given.",
    }.Within(0, Limits.Edge);
    private readonly Option<int> _height = new Option<int>("--hires-height")
    {
        Description = "Second pass: final height in pixels instead of a scale; the width follows where not given.",
    }.Within(0, Limits.Edge);
    private readonly Option<int> _steps = new Option<int>("--hires-steps")
    {
        Description = "Second pass: steps that are run, whatever its strength, as A1111 counts; 0 is as many as --steps.",
    }.Within(0, Limits.Steps);
    private readonly Option<double> _strength = new Option<double>("--hires-strength")
    {
        Description = "Second pass: how much is changed, 0 to 1 (A1111's denoising strength).",
        DefaultValueFactory = _ => new HighResolutionPass().Strength,
    }.Within(0, 1);
    private readonly Option<string> _upscaler = new("--hires-upscaler")
    {
        Description =
            "Second pass: what is enlarged, latent (the latents, bilinearly; A1111's default, for strengths of 0.5 and "
            + "more) or lanczos (the decoded picture).",
        DefaultValueFactory = _ => "latent",
    };

    public PromptOptions() => _upscaler.AcceptOnlyFromAmong("latent", "lanczos");

    /// <summary>Adds the options to the command.</summary>
    public void AddTo(Command command)
    {
        foreach (
            Option option in (Option[])
                [_embeddings, _embeddingFolder, _loraFolder, _scale, _width, _height, _steps, _strength, _upscaler]
        )
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

    /// <summary>The second pass: what the options say, and what an old picture says where they say nothing.</summary>
    /// <exception cref="AfaException">They do not go together.</exception>
    public HighResolutionPass? HighResolution(ParseResult r, GenerationMetadata? old, bool single)
    {
        bool scaled = Given(_scale),
            sized = Given(_width) || Given(_height);
        if (scaled && sized)
            throw new AfaException("--hires-scale and --hires-width or --hires-height say the same thing twice.");
        HiresSettings? before = single ? null : old?.Hires;
        if ((scaled && r.GetValue(_scale) == 0) || (!scaled && !sized && before is null))
        {
            if (((Option[])[_steps, _strength, _upscaler]).FirstOrDefault(Given) is { } lone)
                throw new AfaException(
                    $"{lone.Name} is for a second pass: --hires-scale, --hires-width or --hires-height asks for one."
                );
            return null;
        }

        if (single)
            throw new AfaException(
                "A second pass (--hires-scale, --hires-width, --hires-height) does not go with --init-image or "
                    + "--attention-maps yet."
            );
        return new HighResolutionPass
        {
            Scale = scaled ? r.GetValue(_scale) : before?.Scale ?? 2,
            Width =
                scaled ? 0
                : sized ? r.GetValue(_width)
                : before!.Width,
            Height =
                scaled ? 0
                : sized ? r.GetValue(_height)
                : before!.Height,
            Steps = Given(_steps) ? r.GetValue(_steps) : before?.Steps ?? 0,
            Strength = Given(_strength) || before is null ? r.GetValue(_strength) : old!.Strength ?? r.GetValue(_strength),
            Upscaler = Upscaler(Given(_upscaler) || before is null ? r.GetValue(_upscaler)! : before.Upscaler),
        };

        bool Given(Option option) => r.GetResult(option) is { Implicit: false };
    }

    /// <summary>A second pass as pictures record it.</summary>
    public static HiresSettings? Recorded(HighResolutionPass? pass) =>
        pass is null ? null : new HiresSettings(pass.Scale, pass.Width, pass.Height, pass.Steps, pass.Upscaler.ToString());

    private static HighResolutionUpscaler Upscaler(string name) =>
        name.ToLowerInvariant() switch
        {
            "latent" => HighResolutionUpscaler.Latent,
            "lanczos" => HighResolutionUpscaler.Lanczos,
            _ => throw new AfaException(
                $"The picture was enlarged by '{name}', which this program does not have: --hires-upscaler latent or "
                    + $"lanczos chooses another."
            ),
        };
}
