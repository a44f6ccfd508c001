using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Pipeline;

/// <summary>
/// An ensemble as a denoiser. On a device that records work (CUDA graphs) the first evaluation under a conditioning is launched
/// op by op, the second recorded, and all others are replayed in one call.
/// </summary>
internal sealed class EnsembleDenoiser : IDenoiser
{
    private readonly AfaEnsemble _ensemble;
    private readonly Ops _ops;
    private readonly ExpertSubset? _subset;
    private readonly Action<int, Tensor, Tensor>? _onAggregate;
    private readonly Tensor _latents;
    private readonly Tensor _sinusoids;
    private Conditioning? _conditioning;
    private IRecordedWork? _recorded;
    private Tensor? _result;
    private int _launched;

    /// <summary>
    /// For latents [1, B, H, W, C]; its tensors live in the current scope of <paramref name="ops"/>. It owns
    /// <paramref name="subset"/>, the experts that take part; null: all.
    /// </summary>
    public EnsembleDenoiser(
        AfaEnsemble ensemble,
        Ops ops,
        Shape latents,
        ExpertSubset? subset = null,
        Action<int, Tensor, Tensor>? onAggregate = null
    )
    {
        _ensemble = ensemble;
        _ops = ops;
        _subset = subset;
        _onAggregate = onAggregate;
        _latents = ops.Allocate(latents);
        _sinusoids = ops.Allocate(new Shape(1, latents.Batch, 1, 1, ensemble.Config.BlockOutChannels[0]));
    }

    /// <inheritdoc/>
    public int Experts => _ensemble.AggregationPoints > 0 ? 1 : _ensemble.Experts;

    /// <inheritdoc/>
    public float[] Predict(ReadOnlySpan<float> latents, float time, Conditioning conditioning)
    {
        if (!ReferenceEquals(conditioning, _conditioning))
        {
            // What was recorded reads the other's tensors.
            Forget();
            _launched = 0;
            _conditioning = conditioning;
        }

        var times = new float[_latents.Shape.Batch];
        Array.Fill(times, time);
        _ops.Device.Upload(Layout.ToChannelsLast(latents, _latents.Shape), _latents.Buffer);
        _ops.Device.Kernels.TimestepEmbedding(times, _sinusoids.Shape.Channels, _sinusoids.Buffer);
        if (_onAggregate is not null || _ops.Observer is not null)
            return Launch(conditioning);
        _ops.ThrowIfCancelled();
        if (_recorded is not null && _recorded.TryReplay())
            return _ops.DownloadNchw(_result!);
        Forget();
        if (_launched++ != 1)
            return Launch(conditioning);
        _recorded = _ops.Device.Record(() =>
        {
            using TensorScope scope = _ops.Scope();
            _result = scope.Keep(_ensemble.Predict(_ops, _latents, _sinusoids, conditioning, subset: _subset));
        });
        return _recorded is not null && _recorded.TryReplay() ? _ops.DownloadNchw(_result!) : Launch(conditioning);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Forget();
        _subset?.Dispose();
    }

    private float[] Launch(Conditioning conditioning)
    {
        using TensorScope scope = _ops.Scope();
        return _ops.DownloadNchw(_ensemble.Predict(_ops, _latents, _sinusoids, conditioning, _onAggregate, _subset));
    }

    private void Forget()
    {
        _recorded?.Dispose();
        _recorded = null;
        _result?.Dispose();
        _result = null;
    }
}
