using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Kernels.Devices;

namespace AfaNative.Engine.Pipeline;

/// <summary>
/// Evaluates an ensemble at one step after another of a run: same text, same shape. On a device that records work (CUDA graphs)
/// the first step is
/// launched op by op, the second recorded, and all others replayed in one call.
/// </summary>
internal sealed class NoisePredictor : IDisposable
{
    private readonly AfaEnsemble _ensemble;
    private readonly ExpertSubset? _subset;
    private readonly Ops _ops;
    private readonly Tensor _text,
        _latents,
        _sinusoids;
    private IRecordedWork? _recorded;
    private Tensor? _result;
    private int _launched;

    /// <summary>
    /// For latents [1, B, H, W, C] and text [N, B, tokens, 1, D], <paramref name="subset"/> of the experts taking part; its
    /// tensors live in the current scope of <paramref name="ops"/>.
    /// </summary>
    public NoisePredictor(AfaEnsemble ensemble, Ops ops, Tensor text, Shape latents, ExpertSubset? subset = null)
    {
        _ensemble = ensemble;
        _subset = subset;
        _ops = ops;
        _text = text;
        _latents = ops.Allocate(latents);
        _sinusoids = ops.Allocate(new Shape(1, latents.Batch, 1, 1, ensemble.Config.BlockOutChannels[0]));
    }

    /// <summary>Noise [B, C, H, W] predicted in latents [B, C, H, W], all at one time step.</summary>
    public float[] Predict(ReadOnlySpan<float> latents, float timestep, Action<int, Tensor, Tensor>? onAggregate)
    {
        var timesteps = new float[_latents.Shape.Batch];
        Array.Fill(timesteps, timestep);
        _ops.Device.Upload(Layout.ToChannelsLast(latents, _latents.Shape), _latents.Buffer);
        _ops.Device.Kernels.TimestepEmbedding(timesteps, _sinusoids.Shape.Channels, _sinusoids.Buffer);
        if (onAggregate is not null || _ops.Observer is not null)
            return Launch(onAggregate);
        _ops.ThrowIfCancelled();
        if (_recorded is not null && _recorded.TryReplay())
            return _ops.DownloadNchw(_result!);
        Forget();
        if (_launched++ != 1)
            return Launch(null);
        _recorded = _ops.Device.Record(() =>
        {
            using TensorScope scope = _ops.Scope();
            _result = scope.Keep(_ensemble.Predict(_ops, _latents, _sinusoids, _text, subset: _subset));
        });
        return _recorded is not null && _recorded.TryReplay() ? _ops.DownloadNchw(_result!) : Launch(null);
    }

    /// <inheritdoc/>
    public void Dispose() => Forget();

    private float[] Launch(Action<int, Tensor, Tensor>? onAggregate)
    {
        using TensorScope scope = _ops.Scope();
        return _ops.DownloadNchw(_ensemble.Predict(_ops, _latents, _sinusoids, _text, onAggregate, _subset));
    }

    private void Forget()
    {
        _recorded?.Dispose();
        _recorded = null;
        _result?.Dispose();
        _result = null;
    }
}
