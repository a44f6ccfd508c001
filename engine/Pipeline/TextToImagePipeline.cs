using System.Globalization;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Prompts;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Samplers;
using AfaNative.Engine.Training;
using AfaNative.Kernels;
using AfaNative.Kernels.Embedding;

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
    /// <summary>
    /// Hidden states [N, B, chunks * tokens, 1, D] of prompts, every expert's by its own text encoder. Prompts of fewer chunks
    /// get empty ones. A weight multiplies its token's hidden state, and the chunk is then
    /// brought back to its mean (as A1111 does by default).
    /// </summary>
    public Tensor EncodePrompts(
        Ops ops,
        IReadOnlyList<string> prompts,
        int clipSkip = 0,
        PromptSyntax syntax = PromptSyntax.Plain
    )
    {
        int length = model.TextEncoder.Config.MaxPositions;
        IReadOnlyList<PromptChunk>[] chunks =
        [
            .. prompts.Select(p => PromptChunks.Split(model.Tokenizer, p, length, syntax, model.Embeddings)),
        ];
        int most = chunks.Max(c => c.Count);
        bool plain = most == 1 && chunks.All(c => c[0].Weights.All(w => w == 1));
        if (plain)
            return Encode([.. chunks.Select(c => c[0])]);
        PromptChunk empty = PromptChunks.Split(model.Tokenizer, "", length, syntax)[0];
        float[] all = [];
        int experts = 0,
            width = 0;
        for (int c = 0; c < most; c++)
        {
            using TensorScope scope = ops.Scope();
            PromptChunk[] row = [.. chunks.Select(p => c < p.Count ? p[c] : empty)];
            Tensor hidden = Encode(row);
            float[] values = ops.Download(hidden);
            (experts, width) = (hidden.Shape.Experts, hidden.Shape.Channels);
            if (c == 0)
                all = new float[(long)values.Length * most];
            for (int i = 0; i < experts * prompts.Count; i++)
            {
                Span<float> one = values.AsSpan(i * length * width, length * width);
                Weigh(one, row[i % prompts.Count].Weights, width);
                one.CopyTo(all.AsSpan((i * most + c) * length * width));
            }
        }

        return ops.Upload(all, new Shape(experts, prompts.Count, most * length, 1, width));

        Tensor Encode(PromptChunk[] row) =>
            model.TextEncoder.Encode(
                ops,
                [.. row.SelectMany(r => r.Ids)],
                length,
                clipSkip,
                [.. row.SelectMany((r, i) => r.Vectors.Select(v => v with { Position = i * length + v.Position }))]
            );
    }

    private static void Weigh(Span<float> hidden, float[] weights, int width)
    {
        if (weights.All(w => w == 1))
            return;
        double before = 0,
            after = 0;
        for (int i = 0; i < hidden.Length; i++)
        {
            before += hidden[i];
            hidden[i] *= weights[i / width];
            after += hidden[i];
        }

        // A mean of nothing cannot be kept.
        float back = Math.Abs(after) < 1e-12 ? 1 : (float)(before / after);
        for (int i = 0; i < hidden.Length; i++)
            hidden[i] *= back;
    }

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
        int begin = Begin(sampler, options, fromPicture);
        return [.. sampler.Timesteps.Skip(begin)];
    }

    // A picture to start from leaves out the first steps.
    private static int Begin(Sampler sampler, GenerationOptions options, bool fromPicture) =>
        fromPicture ? sampler.Begin(options.Steps - InitialPicture.StepsToRun(options)) : 0;

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
        options.Validate();
        if (options.HighResolution is not { } pass)
            return Denoise(options, null, observer, cancellation);
        GenerationOptions first = options with { HighResolution = null },
            second = pass.Second(options, model.Scheduler.NumTrainTimesteps);
        CheckSize(second);
        int before = Evaluations(first, false),
            total = before + Evaluations(second, true),
            count = options.Seeds.Count;
        float[] latents = Denoise(first, null, observer?.Part(0, total), cancellation);
        latents = pass.Enlarge(
            latents,
            count,
            (first.Height, first.Width),
            (second.Height, second.Width),
            model.Vae.Config.Downscale,
            l => DecodeImages(l, first, cancellation),
            p => InitialPicture.EncodeLatents(model, new Ops(model.Device, cancellation), p, second.Width, second.Height)
        );
        return Denoise(second, InitialPicture.Of(latents, count), observer?.Part(before, total), cancellation);
    }

    private void CheckSize(GenerationOptions options)
    {
        int factor = model.Vae.Config.Downscale;
        if (options.Width < factor || options.Height < factor || options.Width % factor != 0 || options.Height % factor != 0)
        {
            throw new AfaException(
                $"The picture size {options.Width}x{options.Height} must be a multiple of {factor} in both directions."
            );
        }
    }

    private float[] Denoise(
        GenerationOptions options,
        InitialPicture? picture,
        GenerationObserver? observer,
        CancellationToken cancellation
    )
    {
        int factor = model.Vae.Config.Downscale,
            channels = model.Ensemble.Config.InChannels,
            count = options.Seeds.Count;
        CheckSize(options);
        if (options.Prompts is { } prompts && prompts.Count != count)
            throw new AfaException($"{prompts.Count} prompts came for {count} seeds.");
        int experts = model.Ensemble.Experts;
        bool noisy = options.Fusion is FusionMode.Mean or FusionMode.Magic;
        if (experts == 1 && (options.Fusion != FusionMode.Afa || options.Experts is not null))
            throw new AfaException($"Choosing a fusion ({options.Fusion}) or experts needs several experts; this model has one.");
        if (experts > 1 && model.Ensemble.AggregationPoints == 0 && !noisy)
            throw new AfaException($"{experts} experts without aggregators: choose a fusion of their noise (Mean or Magic).");
        if (options.Experts is { } members)
            ExpertSubset.Check(experts, members);
        if (options.Fusion == FusionMode.Magic && options.GuidanceScale <= 1)
            throw new AfaException(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"MagicFusion compares predictions with and without the prompt: it needs a guidance above 1, not "
                        + $"{options.GuidanceScale}."
                )
            );
        if (options.Fusion == FusionMode.Magic && options.Magic.Weights is { } weights && weights.Count != experts)
            throw new AfaException($"MagicFusion was given {weights.Count} weights for {experts} experts.");
        int height = options.Height / factor,
            width = options.Width / factor,
            perImage = channels * height * width;
        var schedule = new NoiseSchedule(model.Scheduler);
        Sampler sampler = options.Sampler.Create(schedule, options.Steps, options.Eta);
        sampler.Pictures = count;
        var ops = new Ops(model.Device, cancellation);
        using TensorScope scope = ops.Scope();
        bool guided = options.GuidanceScale > 1;
        Tensor text = EncodePrompts(
            ops,
            [
                .. guided ? Enumerable.Repeat(options.NegativePrompt, count) : [],
                .. options.Prompts ?? [.. Enumerable.Repeat(options.Prompt, count)],
            ],
            options.ClipSkip,
            options.Syntax
        );
        NoiseStream[] streams = [.. options.Seeds.Select(s => NoiseStream.Of(options.Noise, s))];
        picture ??= options.InitImage is null ? null : InitialPicture.Encode(model, ops, options);
        int begin = Begin(sampler, options, picture is not null),
            evaluations = sampler.Timesteps.Count;

        float[] latents = Start(options, streams, perImage);
        observer?.Noise?.Invoke([.. latents]);
        float initial = picture is null ? sampler.InitNoiseSigma : 1;
        for (int i = 0; i < latents.Length; i++)
            latents[i] *= initial;
        if (picture is not null)
        {
            picture.Noise = [.. latents];
            for (int i = 0; begin < evaluations && i < count; i++)
                sampler.AddNoise(
                    begin,
                    picture.Of(i),
                    picture.Noise.AsSpan(i * perImage, perImage),
                    latents.AsSpan(i * perImage, perImage)
                );
            if (begin >= evaluations)
                for (int i = 0; i < count; i++)
                    picture.Of(i).CopyTo(latents.AsSpan(i * perImage));
        }

        var noise = new float[latents.Length];
        var scaled = new float[latents.Length];
        observer?.Latents?.Invoke(0, latents);
        observer?.Step?.Invoke(0, Math.Max(0, evaluations - begin));
        using ExpertSubset? subset =
            noisy || (options.Experts is null && options.Fusion == FusionMode.Afa)
                ? null
                : new ExpertSubset(experts, options.Experts, options.Fusion == FusionMode.Average);
        using var predictor = new NoisePredictor(
            noisy ? model.Ensemble.Apart() : model.Ensemble,
            ops,
            text,
            new Shape(1, guided ? 2 * count : count, height, width, channels),
            subset
        );
        int predictors = noisy ? options.Experts?.Count ?? experts : 1;
        MagicFusionOptions magic = options is { Fusion: FusionMode.Magic, Experts: { } chosen, Magic.Weights: { } all }
            ? options.Magic with
            {
                Weights = [.. chosen.Select(e => all[e])],
            }
            : options.Magic;
        for (int step = begin; step < evaluations; step++)
        {
            sampler.ScaleInput(step, latents, scaled);
            float[] input = guided ? [.. scaled, .. scaled] : scaled;
            int index = step - begin;
            Action<int, Tensor, Tensor>? onAggregate = observer?.Aggregation is { } told
                ? (point, fused, maps) => told(index, point, fused, maps)
                : null;
            float[] predicted = predictor.Predict(input, (float)sampler.Timesteps[step], onAggregate);
            if (noisy)
                predicted = NoiseFusion.Select(predicted, experts, options.Experts);
            predicted = options.Fusion switch
            {
                FusionMode.Mean => NoiseFusion.Mean(predicted, predictors, guided, options.GuidanceScale),
                FusionMode.Magic => NoiseFusion.Magic(
                    predicted,
                    predictors,
                    options.GuidanceScale,
                    count,
                    channels,
                    height,
                    width,
                    (int)sampler.TrainingStep(step),
                    magic
                ),
                _ => NoiseFusion.Guide(predicted, 1, guided, options.GuidanceScale)[0],
            };

            if (!options.Unchecked)
                FiniteCheck.Prediction(predicted, options.Seeds, index + 1, evaluations - begin);
            observer?.Predicted?.Invoke(index, predicted);
            if (observer?.Denoised is { } denoised)
            {
                var clean = new float[latents.Length];
                schedule.EstimateClean(scaled, predicted, sampler.TrainingStep(step), clean);
                denoised(index + 1, clean, height, width);
            }

            // Every picture has its own stream: it does not depend on its batch.
            for (int i = 0; sampler.NeedsNoise(step) && i < count; i++)
                streams[i].Fill(noise.AsSpan(i * perImage, perImage), step + 1);
            sampler.Step(step, predicted, noise, latents);
            picture?.Keep(sampler, step + 1, evaluations, latents);
            if (!options.Unchecked)
                FiniteCheck.Latents(latents, options.Seeds, index + 1, evaluations - begin);
            observer?.Latents?.Invoke(index + 1, latents);
            observer?.Step?.Invoke(step + 1 - begin, evaluations - begin);
        }

        return latents;
    }

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

    private static float[] Start(GenerationOptions options, NoiseStream[] streams, int perImage)
    {
        int count = streams.Length;
        var latents = new float[count * perImage];
        if (options.InitialLatents is { } given)
        {
            if (given.Length != latents.Length)
                throw new AfaException(
                    $"The initial latents hold {given.Length} values, {count} picture(s) of this size need {latents.Length}."
                );
            given.CopyTo(latents, 0);
        }
        else
        {
            for (int i = 0; i < count; i++)
                streams[i].Fill(latents.AsSpan(i * perImage, perImage), 0);
        }

        return latents;
    }
}
