using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;

namespace AfaNative.Engine.Pipeline;

/// <summary>
/// The experts of an ensemble side by side, without its aggregators: each predicts for itself, and those that do not take part
/// are left out of what is given.
/// </summary>
internal sealed class ApartDenoiser(AfaEnsemble ensemble, Ops ops, Shape latents, IReadOnlyList<int>? members) : IDenoiser
{
    private readonly EnsembleDenoiser _all = new(ensemble.Apart(), ops, latents);

    /// <inheritdoc/>
    public int Experts => members?.Count ?? ensemble.Experts;

    /// <inheritdoc/>
    public float[] Predict(ReadOnlySpan<float> latents, float time, Conditioning conditioning)
    {
        float[] predicted = _all.Predict(latents, time, conditioning);
        int each = predicted.Length / ensemble.Experts;
        return members is null ? predicted : [.. members.SelectMany(m => predicted[(m * each)..((m + 1) * each)])];
    }

    /// <inheritdoc/>
    public void Dispose() => _all.Dispose();
}
