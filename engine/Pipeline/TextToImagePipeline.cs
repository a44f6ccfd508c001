using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Engine.Prompts;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Samplers;

namespace AfaNative.Engine.Pipeline;

/// <summary>What to draw, and how.</summary>
public sealed partial record GenerationOptions
{
    /// <summary>What the picture shows.</summary>
    public required string Prompt { get; init; }

    /// <summary>A prompt for every seed instead of the same for all.</summary>
    public IReadOnlyList<string>? Prompts { get; init; }

    /// <summary>What it should not show; used when <see cref="GuidanceScale"/> is above 1.</summary>
    public string NegativePrompt { get; init; } = "";

    /// <summary>Denoising steps.</summary>
    public int Steps { get; init; } = 50;

    /// <summary>Classifier-free guidance; 1 or less runs the model without the negative prompt.</summary>
    public float GuidanceScale { get; init; } = 7.5f;

    /// <summary>Pixels, a multiple of the VAE's factor (8).</summary>
    public int Width { get; init; } = 512;

    /// <summary>Pixels, a multiple of the VAE's factor (8).</summary>
    public int Height { get; init; } = 512;

    /// <summary>
    /// Share of the noise that is renewed at every step, 0 to 1; null: what is usual for the sampler (DDIM 0, Euler a and DPM++
    /// 2M SDE 1). Others have none.
    /// </summary>
    public float? Eta { get; init; }

    /// <summary>A picture to start from [Height, Width, 3], 0 to 1, instead of noise alone.</summary>
    public float[]? InitImage { get; init; }

    /// <summary>How much of the picture to start from is changed: the share of the steps that are run, 0 to 1.</summary>
    public double Strength { get; init; } = 0.75;

    /// <summary>Where a picture is repainted [Height, Width], 0 (kept) to 1; needs a picture to start from.</summary>
    public float[]? Mask { get; init; }

    /// <summary>A second pass at a larger size, or null.</summary>
    public HighResolutionPass? HighResolution { get; init; }

    /// <summary>Width of the finished picture.</summary>
    public int OutputWidth => HighResolution?.Size(Width, Height).Width ?? Width;

    /// <summary>Height of the finished picture.</summary>
    public int OutputHeight => HighResolution?.Size(Width, Height).Height ?? Height;

    /// <summary>Decode in tiles (<see cref="TiledDecoder"/>), not at once; null: for pictures beyond 1024 x 1024.</summary>
    public bool? TiledVae { get; init; }

    /// <summary>Whose random numbers seeds stand for.</summary>
    public NoiseSource Noise { get; init; }

    /// <summary>How prompts are read.</summary>
    public PromptSyntax Syntax { get; init; }

    /// <summary>How noise becomes a picture.</summary>
    public SamplerChoice Sampler { get; init; } = SamplerChoice.Default;

    /// <summary>Text encoder layers left out at the end (diffusers' counting; A1111's "Clip skip" minus one).</summary>
    public int ClipSkip { get; init; }

    /// <summary>One seed per picture of this batch.</summary>
    public required IReadOnlyList<ulong> Seeds { get; init; }

    /// <summary>
    /// How the experts are joined; those that were loaded apart (without aggregators) by <see cref="FusionMode.Mean"/> or
    /// <see cref="FusionMode.Magic"/> alone.
    /// </summary>
    public FusionMode Fusion { get; init; }

    /// <summary>
    /// The experts that take part (see <see cref="ExpertSubset"/>; a fusion of noise leaves out the others' predictions); null:
    /// all.
    /// </summary>
    public IReadOnlyList<int>? Experts { get; init; }

    /// <summary>Settings of <see cref="FusionMode.Magic"/>.</summary>
    public MagicFusionOptions Magic { get; init; } = new();

    /// <summary>Start from these latents [count, C, H/8, W/8] (unit variance) instead of the seeds' noise.</summary>
    public float[]? InitialLatents { get; init; }
}

/// <summary>Text to image with classifier-free guidance, for an ensemble or a single model.</summary>
public sealed class TextToImagePipeline(DiffusionModel model)
{
    /// <summary>The model that denoises.</summary>
    public DiffusionModel Model => model;

    /// <summary>
    /// The conditioning of prompts, every expert's by its own text encoder, hidden states [N, B, chunks * tokens, 1, D]. Prompts
    /// of fewer chunks get empty ones. A weight multiplies its token's hidden state, and the chunk is then brought back to its
    /// mean (as A1111 does by default).
    /// </summary>
    public Conditioning EncodePrompts(
        Ops ops,
        IReadOnlyList<string> prompts,
        int clipSkip = 0,
        PromptSyntax syntax = PromptSyntax.Plain
    ) => new PromptEncoder(model, ops, clipSkip, syntax).Encode(prompts);

    /// <summary>How often a run evaluates the denoiser, both passes of a high-resolution run together.</summary>
    public int Evaluations(GenerationOptions options) =>
        options.HighResolution is { } pass
            ? Evaluations(options with { HighResolution = null }, false)
                + Evaluations(pass.Second(options, model.Scheduler.NumTrainTimesteps), true)
            : Evaluations(options, options.InitImage is not null);

    private int Evaluations(GenerationOptions options, bool fromPicture) => Timesteps(options, fromPicture).Count;

    /// <summary>The training step of every evaluation of a run, both passes' of a high-resolution one.</summary>
    public IReadOnlyList<double> Timesteps(GenerationOptions options) =>
        options.HighResolution is { } pass
            ? [.. Timesteps(options, false), .. Timesteps(pass.Second(options, model.Scheduler.NumTrainTimesteps), true)]
            : Timesteps(options, options.InitImage is not null);

    private IReadOnlyList<double> Timesteps(GenerationOptions options, bool fromPicture)
    {
        Sampler sampler = options.Sampler.Create(new NoiseSchedule(model.Scheduler), options.Steps, options.Eta);
        // Leaving out steps may change how the others are evaluated.
        int begin = DenoisingPass.Begin(sampler, options, fromPicture);
        return [.. sampler.Timesteps.Skip(begin)];
    }

    /// <summary>Draws one batch: pictures [count][H * W * 3] in 0..1.</summary>
    /// <exception cref="AfaException">The options make no sense for this model.</exception>
    /// <exception cref="OperationCanceledException">The run was cancelled.</exception>
    public IReadOnlyList<float[]> Generate(
        GenerationOptions options,
        GenerationObserver? observer = null,
        CancellationToken cancellation = default
    )
    {
        float[] latents = GenerateLatents(options, observer, cancellation);
        return DecodeImages(latents, options, cancellation);
    }

    /// <summary>The denoising loop, or both of a high-resolution run: final latents [count, C, h, w].</summary>
    public float[] GenerateLatents(
        GenerationOptions options,
        GenerationObserver? observer = null,
        CancellationToken cancellation = default
    )
    {
        using GenerationRun run = Begin(options, null, observer, cancellation);
        while (run.Step())
            continue;
        return run.Latents;
    }

    /// <summary>Prepares a run, which the caller takes from step to step.</summary>
    /// <param name="options">What to draw, and how.</param>
    /// <param name="conditioning">
    /// What the denoiser is told instead of the options' prompts: for two conditions a picture under guidance, all negative ones
    /// first. Its tensors have to live as long as the run.
    /// </param>
    /// <param name="observer">Told how it goes.</param>
    /// <param name="cancellation">Ends the run between two ops.</param>
    /// <exception cref="AfaException">The options make no sense for this model.</exception>
    /// <exception cref="OperationCanceledException">The run was cancelled.</exception>
    public GenerationRun Begin(
        GenerationOptions options,
        ConditioningSchedule? conditioning = null,
        GenerationObserver? observer = null,
        CancellationToken cancellation = default
    ) => new(this, options, conditioning, observer, cancellation);

    /// <summary>Latents [count, C, h, w] to pictures [count][H * W * 3] in 0..1, one at a time.</summary>
    public IReadOnlyList<float[]> DecodeImages(
        float[] latents,
        GenerationOptions options,
        CancellationToken cancellation = default
    )
    {
        int factor = model.Vae.Config.Downscale,
            channels = model.Ensemble.Config.InChannels,
            count = options.Seeds.Count;
        int height = options.OutputHeight / factor,
            width = options.OutputWidth / factor,
            perImage = latents.Length / count;
        var ops = new Ops(model.Device, cancellation);
        var images = new List<float[]>();
        for (int i = 0; i < count; i++)
        {
            using TensorScope scope = ops.Scope();
            float[] unscaled = latents.AsSpan(i * perImage, perImage).ToArray();
            for (int j = 0; j < unscaled.Length; j++)
                unscaled[j] /= model.Vae.Config.ScalingFactor;
            bool tiled = options.TiledVae ?? height * width > TiledDecoder.AutomaticFrom;
            float[] image = tiled
                ? TiledDecoder.Decode(ops, model.Vae, unscaled, height, width)
                : ops.Download(model.Vae.Decode(ops, ops.UploadNchw(unscaled, new Shape(1, 1, height, width, channels))));
            if (!options.Unchecked)
                FiniteCheck.Autoencoder(image, $"a picture of seed {options.Seeds[i]}");
            for (int j = 0; j < image.Length; j++)
                image[j] = Math.Clamp(image[j] / 2 + 0.5f, 0f, 1f);
            if (options is { Mask: { } mask, InitImage: { } original })
                InitialPicture.Paste(image, original, mask);
            images.Add(image);
        }

        return images;
    }
}
