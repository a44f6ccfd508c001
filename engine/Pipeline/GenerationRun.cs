using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;

namespace AfaNative.Engine.Pipeline;

/// <summary>
/// A batch of pictures on its way from noise to latents, one evaluation of the denoiser at a time; both passes of a
/// high-resolution run one after the other. Other work may be done between its steps, and it may be left at any time.
/// </summary>
public sealed class GenerationRun : IDisposable
{
    private readonly TextToImagePipeline _pipeline;
    private readonly GenerationOptions _first;
    private readonly HighResolutionPass? _highResolution;
    private readonly GenerationOptions? _second;
    private readonly ConditioningSchedule? _conditioning;
    private readonly GenerationObserver? _observer;
    private readonly CancellationToken _cancellation;
    private readonly int _before;
    private DenoisingPass _pass;
    private bool _inSecond;

    internal GenerationRun(
        TextToImagePipeline pipeline,
        GenerationOptions options,
        ConditioningSchedule? conditioning,
        GenerationObserver? observer,
        CancellationToken cancellation
    )
    {
        options.Validate();
        (_pipeline, _conditioning, _observer, _cancellation) = (pipeline, conditioning, observer, cancellation);
        _highResolution = options.HighResolution;
        _first = options with { HighResolution = null };
        _second = _highResolution?.Second(options, Model.Scheduler.NumTrainTimesteps);
        CheckSize(_second ?? _first);
        CheckSize(_first);
        if (options.Prompts is { } prompts && prompts.Count != options.Seeds.Count)
            throw new AfaException($"{prompts.Count} prompts came for {options.Seeds.Count} seeds.");
        Evaluations = pipeline.Evaluations(options);
        GenerationObserver? told = _observer;
        if (_second is not null)
        {
            _before = pipeline.Evaluations(_first);
            told = _observer?.Part(0, Evaluations);
        }

        _pass = new DenoisingPass(Model, _first, conditioning, null, told, cancellation);
        GoOn();
    }

    /// <summary>Evaluations of the denoiser in all, of both passes together.</summary>
    public int Evaluations { get; }

    /// <summary>Evaluations that are done.</summary>
    public int Done => _pass.Done + (_inSecond ? _before : 0);

    /// <summary>Whether there is nothing left to do.</summary>
    public bool Finished => Done == Evaluations;

    /// <summary>
    /// The latents [count, C, h, w] as they are, larger in a second pass; when the run is finished what
    /// <see cref="TextToImagePipeline.DecodeImages"/> takes.
    /// </summary>
    public float[] Latents => _pass.Latents;

    private DiffusionModel Model => _pipeline.Model;

    /// <summary>One more evaluation of the denoiser; false: the run is finished already.</summary>
    /// <exception cref="AfaException">What came is not finite.</exception>
    /// <exception cref="OperationCanceledException">The run was cancelled.</exception>
    public bool Step()
    {
        if (Finished)
            return false;
        _pass.Step();
        GoOn();
        return true;
    }

    /// <inheritdoc/>
    public void Dispose() => _pass.Dispose();

    // From the end of the first pass to the beginning of the second.
    private void GoOn()
    {
        if (_inSecond || _second is null || _pass.Done < _pass.Evaluations)
            return;
        float[] first = _pass.Latents;
        _pass.Dispose();
        var picture = InitialPicture.Of(Enlarge(first, _second), _first.Seeds.Count);
        GenerationObserver? told = _observer?.Part(_before, Evaluations);
        _pass = new DenoisingPass(Model, _second, _conditioning, picture, told, _cancellation);
        _inSecond = true;
    }

    private float[] Enlarge(float[] latents, GenerationOptions second) =>
        _highResolution!.Enlarge(
            latents,
            _first.Seeds.Count,
            (_first.Height, _first.Width),
            (second.Height, second.Width),
            Model.Vae.Config.Downscale,
            l => _pipeline.DecodeImages(l, _first, _cancellation),
            p => InitialPicture.EncodeLatents(Model, new Ops(Model.Device, _cancellation), p, second.Width, second.Height)
        );

    private void CheckSize(GenerationOptions options)
    {
        int factor = Model.Vae.Config.Downscale;
        if (options.Width < factor || options.Height < factor || options.Width % factor != 0 || options.Height % factor != 0)
        {
            throw new AfaException(
                $"The picture size {options.Width}x{options.Height} must be a multiple of {factor} in both directions."
            );
        }
    }
}
