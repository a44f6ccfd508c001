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

    /// <summary>
    /// A scale for gradients stored as <paramref name="storage"/>: only float16 needs one, and all others keep 1.
    /// </summary>
    public LossScale(ElementType storage)
    {
        IsDynamic = storage == ElementType.Float16;
        Value = IsDynamic ? Start : 1;
    }

    /// <summary>Whether it changes; else it stays 1.</summary>
    internal bool IsDynamic { get; }

    /// <summary>The factor.</summary>
    public double Value { get; private set; }

    /// <summary>Updates since the last overflow or growth.</summary>
    public int Good { get; private set; }

    /// <summary>Goes on as a run left off.</summary>
    public void Restore(double value, int good)
    {
        if (!IsDynamic)
            return;
        Value = Math.Clamp(double.IsFinite(value) ? value : Start, Least, Most);
        Good = good;
    }

    /// <summary>An update's gradients were finite.</summary>
    public void Succeeded()
    {
        if (!IsDynamic || ++Good < GrowthInterval)
            return;
        Good = 0;
        Value = Math.Min(Most, Value * 2);
    }

    /// <summary>An update's gradients overflowed: true when a smaller scale is worth another try.</summary>
    public bool Overflowed()
    {
        if (!IsDynamic || Value <= Least)
            return false;
        Good = 0;
        Value /= 2;
        return true;
    }
}
