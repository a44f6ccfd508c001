using System.Globalization;
using System.Text.Json;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Samplers;

namespace AfaNative.Engine.Pipeline;

/// <summary>
/// Keeps a run's numbers and writes a safetensors file per picture, all tensors float32 [C, h, w]: <c>latents</c>, the noise of
/// unit variance it starts from (given back with <see cref="LatentFile"/> it draws the same picture); <c>latents.K</c> of the
/// steps that are kept, after K evaluations and as the sampler holds them (0 is the start at its noise level);
/// <c>prediction.K</c>, what the model predicts of them under guidance; and <c>latents.final</c>.
/// </summary>
public sealed class LatentRecorder
{
    private readonly DiffusionModel _model;
    private readonly GenerationOptions _options;
    private readonly RecordedSteps _steps;
    private readonly IReadOnlyList<double> _timesteps;
    private readonly SortedDictionary<int, float[]> _latents = [],
        _predictions = [];
    private float[] _noise = [],
        _final = [];

    /// <summary>For one run of a batch.</summary>
    /// <exception cref="AfaNative.Engine.Core.AfaException">There is no such step in it.</exception>
    public LatentRecorder(DiffusionModel model, GenerationOptions options, RecordedSteps steps)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(steps);
        (_model, _options, _steps) = (model, options, steps);
        _timesteps = new TextToImagePipeline(model).Timesteps(options);
        steps.Check("the steps to keep", Evaluations);
    }

    private int Evaluations => _timesteps.Count;

    /// <summary>An observer that keeps numbers and passes everything on to another.</summary>
    public GenerationObserver Observe(GenerationObserver? other = null) =>
        (other ?? new GenerationObserver()) with
        {
            Noise = values =>
            {
                _noise = values;
                other?.Noise?.Invoke(values);
            },
            Predicted = (step, values) =>
            {
                if (_steps.Contains(step, Evaluations))
                    _predictions[step] = [.. values];
                other?.Predicted?.Invoke(step, values);
            },
            Latents = (done, values) =>
            {
                // A second pass begins with the first one's end, enlarged.
                if (_steps.Contains(done, Evaluations))
                    _latents[done] = [.. values];
                if (done == Evaluations)
                    _final = [.. values];
                other?.Latents?.Invoke(done, values);
            },
        };

    /// <summary>Writes a picture's numbers, whole or not at all.</summary>
    /// <param name="path">The file.</param>
    /// <param name="picture">The picture of the batch.</param>
    /// <exception cref="AfaNative.Engine.Core.CheckpointException">The file cannot be written.</exception>
    public void Write(string path, int picture)
    {
        var tensors = new List<TensorEntry> { One(LatentFile.TensorName, _noise, picture) };
        foreach ((int step, float[] values) in _latents)
            tensors.Add(One(string.Create(CultureInfo.InvariantCulture, $"latents.{step}"), values, picture));
        foreach ((int step, float[] values) in _predictions)
            tensors.Add(One(string.Create(CultureInfo.InvariantCulture, $"prediction.{step}"), values, picture));
        tensors.Add(One("latents.final", _final, picture));
        SafetensorsWriter.Write(
            path,
            tensors,
            new Dictionary<string, string>
            {
                ["format"] = "pt",
                ["content"] = "AfaNative latents",
                ["seed"] = _options.Seeds[picture].ToString(CultureInfo.InvariantCulture),
                ["sampler"] = _options.Sampler.Id,
                ["evaluations"] = Evaluations.ToString(CultureInfo.InvariantCulture),
                ["timesteps"] = JsonSerializer.Serialize(_timesteps),
                ["prediction_type"] = _model.Scheduler.PredictionType switch
                {
                    PredictionType.Epsilon => "epsilon",
                    PredictionType.VPrediction => "v_prediction",
                    _ => "sample",
                },
                ["guidance"] = _options.GuidanceScale.ToString("R", CultureInfo.InvariantCulture),
                ["scaling_factor"] = _model.Vae.Config.ScalingFactor.ToString("R", CultureInfo.InvariantCulture),
            }
        );
    }

    private TensorEntry One(string name, float[] values, int picture)
    {
        int each = values.Length / _options.Seeds.Count,
            channels = _model.Ensemble.Config.InChannels,
            factor = _model.Vae.Config.Downscale;
        (int height, int width) = (_options.Height / factor, _options.Width / factor);
        if (each != channels * height * width)
            (height, width) = (_options.OutputHeight / factor, _options.OutputWidth / factor);
        return TensorEntry.FromFloat32(name, [channels, height, width], values.AsSpan(picture * each, each).ToArray());
    }
}
