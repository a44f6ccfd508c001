using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Guidance;
using AfaNative.Engine.Sampling.Samplers;

namespace AfaNative.Engine.Pipeline;

/// <summary>
/// One pass of a run from noise, or from a picture at some noise, to latents: all that is held from one evaluation of the
/// denoiser to the next.
/// </summary>
internal sealed class DenoisingPass : IDisposable
{
    private readonly GenerationOptions _options;
    private readonly GenerationObserver? _observer;
    private readonly NoiseSchedule _schedule;
    private readonly Sampler _sampler;
    private readonly IGuidance _guidance;
    private readonly LatentShape _shape;
    private readonly NoiseStream[] _streams;
    private readonly TensorScope _scope;
    private readonly IDenoiser _denoiser;
    private readonly ConditioningSchedule _conditioning;
    private readonly InitialPicture? _picture;
    private readonly float[] _shown;
    private readonly float[] _noise;

    // The sampler's first evaluation: a picture to start from leaves out those before it.
    private readonly int _begin;

    /// <summary>Prepares a pass: encodes prompts and the picture, and draws the noise.</summary>
    /// <param name="model">What denoises.</param>
    /// <param name="options">Checked already, without a second pass.</param>
    /// <param name="conditioning">Null: that of the options' prompts.</param>
    /// <param name="picture">Latents to start from; null: the options' picture, or noise alone.</param>
    /// <param name="observer">Told how it goes.</param>
    /// <param name="cancellation">Looked at before every op.</param>
    /// <exception cref="AfaException">The options make no sense for this model.</exception>
    public DenoisingPass(
        DiffusionModel model,
        GenerationOptions options,
        ConditioningSchedule? conditioning,
        InitialPicture? picture,
        GenerationObserver? observer,
        CancellationToken cancellation
    )
    {
        (_options, _observer) = (options, observer);
        options.CheckFusion(model.Ensemble.Experts, model.Ensemble.AggregationPoints > 0);
        int factor = model.Vae.Config.Downscale;
        _shape = new LatentShape(
            options.Seeds.Count,
            model.Ensemble.Config.InChannels,
            options.Height / factor,
            options.Width / factor
        );
        _schedule = new NoiseSchedule(model.Scheduler);
        _sampler = options.Sampler.Create(_schedule, options.Steps, options.Eta);
        _sampler.Pictures = _shape.Count;
        _guidance = options.CreateGuidance();
        _streams = [.. options.Seeds.Select(s => NoiseStream.Of(options.Noise, s))];
        (_shown, _noise) = (new float[_shape.Length], new float[_shape.Length]);
        var ops = new Ops(model.Device, cancellation);
        _scope = ops.Scope();
        try
        {
            _conditioning = conditioning ?? Encode(model, ops);
            Check(_conditioning, model.Ensemble.Experts);
            _picture = picture ?? (options.InitImage is null ? null : InitialPicture.Encode(model, ops, options));
            _begin = Begin(_sampler, options, _picture is not null);
            Evaluations = Math.Max(0, _sampler.Timesteps.Count - _begin);
            Latents = Start();
            _denoiser = Denoiser.Create(model.Ensemble, ops, options, _shape, _guidance.Conditions, Aggregation());
        }
        catch
        {
            _scope.Dispose();
            throw;
        }
    }

    /// <summary>Evaluations of the denoiser, in all.</summary>
    public int Evaluations { get; }

    /// <summary>Evaluations that are done.</summary>
    public int Done { get; private set; }

    /// <summary>The latents [count, C, h, w] after those, as the sampler holds them.</summary>
    public float[] Latents { get; }

    /// <summary>A picture to start from leaves out the first steps: the evaluation that is the first.</summary>
    public static int Begin(Sampler sampler, GenerationOptions options, bool fromPicture) =>
        fromPicture ? sampler.Begin(options.Steps - InitialPicture.StepsToRun(options)) : 0;

    /// <summary>One evaluation of the denoiser, and the sampler's step after it.</summary>
    /// <exception cref="AfaException">What came is not finite.</exception>
    /// <exception cref="OperationCanceledException">The run was cancelled.</exception>
    public void Step()
    {
        int evaluation = _begin + Done;
        double trainingStep = _sampler.TrainingStep(evaluation);
        float[] predicted = _guidance.Guide(Predict(evaluation), trainingStep);
        if (!_options.Unchecked)
            FiniteCheck.Prediction(predicted, _options.Seeds, Done + 1, Evaluations);
        _observer?.Predicted?.Invoke(Done, predicted);
        if (_observer?.Denoised is { } denoised)
        {
            var clean = new float[_shape.Length];
            _schedule.EstimateClean(_shown, predicted, trainingStep, clean);
            denoised(Done + 1, clean, _shape.Height, _shape.Width);
        }

        Advance(evaluation, predicted);
        if (!_options.Unchecked)
            FiniteCheck.Latents(Latents, _options.Seeds, Done + 1, Evaluations);
        Done++;
        _observer?.Latents?.Invoke(Done, Latents);
        _observer?.Step?.Invoke(Done, Evaluations);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _denoiser.Dispose();
        _scope.Dispose();
    }

    // Under all conditions.
    private Predictions Predict(int evaluation)
    {
        _sampler.ScaleInput(evaluation, Latents, _shown);
        float[] input = _guidance.Conditions == 1 ? _shown : [.. _shown, .. _shown];
        float time = (float)_sampler.Timesteps[evaluation];
        float[] predicted = _denoiser.Predict(input, time, _conditioning.At(Done, Evaluations));
        return new Predictions(predicted, _denoiser.Experts, _guidance.Conditions, _shape);
    }

    // From the latents of an evaluation to those of the next.
    private void Advance(int evaluation, float[] predicted)
    {
        // Every picture has its own stream: it does not depend on its batch.
        for (int i = 0; _sampler.NeedsNoise(evaluation) && i < _shape.Count; i++)
            _streams[i].Fill(Of(_noise, i), evaluation + 1);
        _sampler.Step(evaluation, predicted, _noise, Latents);
        _picture?.Keep(_sampler, evaluation + 1, _begin + Evaluations, Latents);
    }

    private ConditioningSchedule Encode(DiffusionModel model, Ops ops)
    {
        int count = _shape.Count;
        var encoder = new PromptEncoder(model, ops, _options.ClipSkip, _options.Syntax);
        return new ConditioningSchedule(
            encoder.Encode([
                .. _guidance.Conditions == 2 ? Enumerable.Repeat(_options.NegativePrompt, count) : [],
                .. _options.Prompts ?? [.. Enumerable.Repeat(_options.Prompt, count)],
            ])
        );
    }

    private void Check(ConditioningSchedule conditioning, int experts)
    {
        int batch = _guidance.Conditions * _shape.Count;
        foreach (Conditioning one in conditioning.All)
        {
            Shape came = one.HiddenStates.Shape;
            if (came.Batch != batch || came.Experts != experts)
                throw new AfaException(
                    $"Expected a conditioning of {experts} experts for {batch} latents ({_shape.Count} pictures under "
                        + $"{_guidance.Conditions} conditions), but one of {came.Experts} for {came.Batch} came."
                );
        }
    }

    // The latents of the first evaluation: noise, or the picture with noise.
    private float[] Start()
    {
        float[] latents = UnitNoise();
        _observer?.Noise?.Invoke([.. latents]);
        if (_picture is { } picture)
        {
            picture.Noise = [.. latents];
            for (int i = 0; i < _shape.Count; i++)
            {
                if (Evaluations > 0)
                    _sampler.AddNoise(_begin, picture.Of(i), Of(picture.Noise, i), Of(latents, i));
                else
                    picture.Of(i).CopyTo(Of(latents, i));
            }
        }
        else
        {
            float deviation = _sampler.InitNoiseSigma;
            for (int i = 0; i < latents.Length; i++)
                latents[i] *= deviation;
        }

        _observer?.Latents?.Invoke(0, latents);
        _observer?.Step?.Invoke(0, Evaluations);
        return latents;
    }

    private float[] UnitNoise()
    {
        var latents = new float[_shape.Length];
        if (_options.InitialLatents is { } given)
        {
            if (given.Length != latents.Length)
                throw new AfaException(
                    $"The initial latents hold {given.Length} values, {_shape.Count} picture(s) of this size need "
                        + $"{latents.Length}."
                );
            given.CopyTo(latents, 0);
        }
        else
        {
            for (int i = 0; i < _streams.Length; i++)
                _streams[i].Fill(Of(latents, i), 0);
        }

        return latents;
    }

    private Action<int, Tensor, Tensor>? Aggregation() =>
        _observer?.Aggregation is { } told ? (point, fused, maps) => told(Done, point, fused, maps) : null;

    private Span<float> Of(float[] batch, int picture) => batch.AsSpan(picture * _shape.Each, _shape.Each);
}
