using System.Globalization;
using AfaNative.Engine.Core;
using AfaNative.Engine.Models;

namespace AfaNative.Engine.Pipeline;

/// <summary>
/// Which conditioning holds at which of a run's evaluations: one for all of them, or several in turn, each from a share of them
/// on. In a run of two passes every pass begins with the first.
/// </summary>
public sealed class ConditioningSchedule
{
    private readonly IReadOnlyList<(double From, Conditioning Conditioning)> _parts;

    /// <summary>One conditioning for all evaluations.</summary>
    public ConditioningSchedule(Conditioning conditioning)
        : this([(0, conditioning)]) { }

    /// <summary>Several, each from a share of the evaluations on, 0 to 1.</summary>
    /// <exception cref="AfaException">The first does not begin at 0, or one not after the one before it.</exception>
    public ConditioningSchedule(IReadOnlyList<(double From, Conditioning Conditioning)> parts)
    {
        ArgumentNullException.ThrowIfNull(parts);
        if (parts.Count == 0)
            throw new AfaException("Expected at least one conditioning for a run, but none came.");
        for (int i = 0; i < parts.Count; i++)
        {
            double from = parts[i].From;
            bool fits = i == 0 ? from == 0 : from > parts[i - 1].From && from <= 1;
            if (!fits)
            {
                throw new AfaException(
                    string.Create(
                        CultureInfo.InvariantCulture,
                        $"Expected shares of a run that begin at 0 and rise to at most 1, but conditioning {i} begins at {from}."
                    )
                );
            }
        }

        _parts = parts;
    }

    /// <summary>All conditionings, in turn.</summary>
    public IEnumerable<Conditioning> All => _parts.Select(p => p.Conditioning);

    /// <summary>What holds at one of a run's evaluations, from 0: with a share of 0.5 the second half, rounded up.</summary>
    public Conditioning At(int evaluation, int evaluations) =>
        _parts.Last(p => p.From == 0 || evaluation >= p.From * evaluations).Conditioning;
}
