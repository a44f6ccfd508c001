using AfaNative.Engine.Core;

namespace AfaNative.Engine.Ensemble;

/// <summary>
/// Which widths of aggregators can see the time step. It is added as one shift per channel before a norm of 32 groups: in an
/// aggregator 32 wide every channel is a group
/// of its own, and the norm takes the shift away again.
/// </summary>
public static class AggregatorWidth
{
    /// <summary>Groups of an aggregator's norms.</summary>
    public const int Groups = 32;

    /// <summary>
    /// The least width at which the time step gets through: two channels a group. The method's authors take 128.
    /// </summary>
    public const int Least = 2 * Groups;

    /// <summary>Refuses widths for new aggregators.</summary>
    /// <exception cref="AfaException">It is no multiple of <see cref="Groups"/>, or below <see cref="Least"/>.</exception>
    public static void Check(int width)
    {
        if (width >= Groups && width % Groups == 0 && width < Least)
        {
            throw new AfaException(
                $"`hidden-size` takes {Least} or more, not {width}: in so narrow an aggregator each of its {Groups} norm groups "
                    + $"is one channel, and the norms take the time step away."
            );
        }
        if (width < Least || width % Groups != 0)
        {
            throw new AfaException($"`hidden-size` takes a multiple of {Groups} from {Least} on, not {width}.");
        }
    }

    /// <summary>One sentence for aggregators that are there and cannot see the time step, or none.</summary>
    public static IReadOnlyList<string> Warnings(IEnumerable<SabwConfig> aggregators)
    {
        int[] narrow = [.. aggregators.Select(a => a.HiddenSize).Where(h => h < Least)];
        if (narrow.Length == 0)
            return [];
        return
        [
            $"{narrow.Length} aggregators are {narrow.Min()} wide: each of their {Groups} norm groups is one channel, so "
                + $"they cannot see the time step; make new ones with `hidden-size` {Least} or more (the method's authors: 128)",
        ];
    }
}
