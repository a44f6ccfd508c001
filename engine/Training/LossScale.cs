using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Training;

/// <summary>
/// What the loss is multiplied by before going back, so that small gradients survive float16's narrow range (Micikevicius et al.,
/// Mixed precision training,
/// ICLR 2018). Halved when a gradient overflows, doubled after a run of updates without; always a power of two, so that dividing
/// by it is exact.
/// </summary>
public sealed class LossScale
{
    private const double Start = 65536,
        Least = 1,
        Most = 1 << 24;

    /// <summary>Updates without overflow after which the scale doubles.</summary>
    public const int GrowthInterval = 2000;

    private readonly bool _dynamic;

    /// <summary>
    /// A scale for gradients stored as <paramref name="storage"/>: only float16 needs one, and all others keep 1.
    /// </summary>
    public LossScale(ElementType storage)
    {
        _dynamic = storage == ElementType.Float16;
        Value = _dynamic ? Start : 1;
    }

    /// <summary>The factor.</summary>
    public double Value { get; private set; }

    /// <summary>Updates since the last overflow or growth.</summary>
    public int Good { get; private set; }

    /// <summary>Goes on as a run left off.</summary>
    public void Restore(double value, int good)
    {
        if (!_dynamic)
            return;
        Value = Math.Clamp(double.IsFinite(value) ? value : Start, Least, Most);
        Good = good;
    }

    /// <summary>An update's gradients were finite.</summary>
    public void Succeeded()
    {
        if (!_dynamic || ++Good < GrowthInterval)
            return;
        Good = 0;
        Value = Math.Min(Most, Value * 2);
    }

    /// <summary>
    /// The gradients of an update, divided by the scale again. An overflow repeats the update with a smaller scale: no picture is
    /// lost, and the run stays a function of the seed.
    /// </summary>
    /// <param name="optimizer">Whose parameters get them.</param>
    /// <param name="compute">Goes forward and back from nothing, with gradients multiplied by what it is given; returns the
    /// loss.</param>
    /// <param name="step">Updates done, for the message.</param>
    /// <returns>The loss, and the norm over all gradients.</returns>
    /// <exception cref="AfaException">The loss or a gradient is no number, whatever the scale.</exception>
    internal (double Loss, double Norm) Gradients(Optimizer optimizer, Func<float, double> compute, int step)
    {
        while (true)
        {
            double loss = compute((float)Value);
            optimizer.Unscale(Value);
            double norm = optimizer.GradientNorm();
            if (double.IsFinite(loss) && double.IsFinite(norm))
            {
                Succeeded();
                return (loss, norm);
            }

            if (double.IsFinite(loss) && Overflowed())
                continue;
            string other = _dynamic ? ", or --precision bf16 or f32, whose numbers go further," : "";
            throw new AfaException(
                $"The loss is no longer a number after {step} updates; a lower --learning-rate{other} helps. What was "
                    + $"saved last is good."
            );
        }
    }

    /// <summary>An update's gradients overflowed: true when a smaller scale is worth another try.</summary>
    public bool Overflowed()
    {
        if (!_dynamic || Value <= Least)
            return false;
        Good = 0;
        Value /= 2;
        return true;
    }
}
