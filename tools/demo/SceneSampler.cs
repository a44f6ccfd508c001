using AfaNative.Engine.Core;

namespace AfaNative.Demo;

/// <summary>What scenes are drawn: shapes allowed, and how many have two objects.</summary>
/// <param name="Shapes">Shapes of every object.</param>
/// <param name="TwoObjects">Share of scenes with two.</param>
/// <param name="MixedFamilies">Two objects always come from different families.</param>
public sealed record SceneDistribution(IReadOnlyList<SceneShape> Shapes, double TwoObjects = 0.6, bool MixedFamilies = false)
{
    /// <summary>All shapes.</summary>
    public static SceneDistribution All { get; } = new([.. Enum.GetValues<SceneShape>()]);

    /// <summary>The shapes of one family.</summary>
    public static SceneDistribution OfFamily(int family) => new(Scene.Family(family));

    /// <summary>Two objects of two families.</summary>
    public static SceneDistribution Mixed { get; } = All with { TwoObjects = 1, MixedFamilies = true };
}

/// <summary>
/// Draws scenes from a seed and an index. Objects lie on a grid of eighths of the edge (whole cells of the latents of a 64 x 64
/// picture) and come in two sizes, and patterns start at one of two places: a small model learns such a world in minutes instead
/// of hours.
/// </summary>
public static class SceneSampler
{
    private const int Grid = 8;
    private const double Small = 0.14,
        Large = 0.20,
        Near = 0.25,
        Far = 0.75;

    /// <summary>Scene <paramref name="index"/> of a seed.</summary>
    public static Scene Draw(SceneDistribution distribution, ulong seed, ulong index)
    {
        var random = new SceneRandom(seed, index);
        SceneTone tone = random.Of(Enum.GetValues<SceneTone>());
        ScenePattern pattern = random.Of(Enum.GetValues<ScenePattern>());
        double phase = random.Next() < 0.5 ? 0 : 0.5;
        if (random.Next() >= distribution.TwoObjects)
        {
            double radius = Radius(random);
            return new Scene(
                [Object(random, distribution.Shapes, radius, Place(random, 0.06 + radius), Place(random, 0.06 + radius))],
                null,
                pattern,
                tone,
                phase
            );
        }

        SceneRelation relation = random.Of(Enum.GetValues<SceneRelation>());
        double first = Radius(random),
            second = Radius(random);
        // Along the relation's axis the two keep apart; across it they may differ a little.
        double a = Place(random, 0.375),
            b = Place(random, 0.375);
        bool vertical = relation == SceneRelation.Above;
        SceneObject one = Object(random, distribution.Shapes, first, vertical ? a : Near, vertical ? Near : a);
        SceneShape[] others =
        [
            .. distribution.Shapes.Where(s => !distribution.MixedFamilies || Scene.FamilyOf(s) != Scene.FamilyOf(one.Shape)),
        ];
        SceneObject two = Object(random, others, second, vertical ? b : Far, vertical ? Far : b);
        // Two of a kind could not be told apart by a caption.
        if (two.Shape == one.Shape && two.Color == one.Color)
            two = two with { Color = (SceneColor)(((int)two.Color + 1 + random.Next(5)) % 6) };
        return new Scene([one, two], relation, pattern, tone, phase);
    }

    private static double Radius(SceneRandom random) => random.Next() < 0.5 ? Small : Large;

    // A place of the grid that keeps a margin on both sides.
    private static double Place(SceneRandom random, double margin)
    {
        int first = (int)Math.Ceiling(margin * Grid);
        return (double)(first + random.Next(Grid - 2 * first + 1)) / Grid;
    }

    private static SceneObject Object(SceneRandom random, IReadOnlyList<SceneShape> shapes, double radius, double x, double y) =>
        new(random.Of(shapes), random.Of(Enum.GetValues<SceneColor>()), x, y, radius);
}
