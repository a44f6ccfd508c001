using AfaNative.Engine.Core;

namespace AfaNative.Demo;

/// <summary>Shapes of the demo world, in families of two: each expert knows one family best.</summary>
public enum SceneShape
{
    /// <summary>A disc.</summary>
    Circle,

    /// <summary>A disc with a hole.</summary>
    Ring,

    /// <summary>A square, upright.</summary>
    Square,

    /// <summary>A plus sign.</summary>
    Cross,

    /// <summary>A triangle, point up.</summary>
    Triangle,

    /// <summary>A five-pointed star, point up.</summary>
    Star,
}

/// <summary>Colours of objects; backgrounds are grey.</summary>
public enum SceneColor
{
    /// <summary>Red.</summary>
    Red,

    /// <summary>Green.</summary>
    Green,

    /// <summary>Blue.</summary>
    Blue,

    /// <summary>Yellow.</summary>
    Yellow,

    /// <summary>Purple.</summary>
    Purple,

    /// <summary>Cyan.</summary>
    Cyan,
}

/// <summary>What covers a background.</summary>
public enum ScenePattern
{
    /// <summary>One tone.</summary>
    Plain,

    /// <summary>Vertical bands of two tones.</summary>
    Striped,

    /// <summary>Squares of two tones.</summary>
    Checkered,
}

/// <summary>The tone of a background.</summary>
public enum SceneTone
{
    /// <summary>Near white.</summary>
    White,

    /// <summary>Mid grey.</summary>
    Gray,

    /// <summary>Near black.</summary>
    Black,
}

/// <summary>
/// How the first of two objects lies to the second: the one named first is always the left or upper one, which spares a small
/// model half of what words can say.
/// </summary>
public enum SceneRelation
{
    /// <summary>To its left.</summary>
    LeftOf,

    /// <summary>Over it.</summary>
    Above,
}

/// <summary>One object.</summary>
/// <param name="Shape">Its shape.</param>
/// <param name="Color">Its colour.</param>
/// <param name="X">Centre, 0 left to 1 right.</param>
/// <param name="Y">Centre, 0 top to 1 bottom.</param>
/// <param name="Radius">Half its extent, as a share of the picture's edge.</param>
public sealed record SceneObject(SceneShape Shape, SceneColor Color, double X, double Y, double Radius);

/// <summary>A picture of the demo world, as what it shows: one or two objects on a background.</summary>
/// <param name="Objects">One or two.</param>
/// <param name="Relation">Of the first to the second; null for one object.</param>
/// <param name="Pattern">Of the background.</param>
/// <param name="Tone">Of the background.</param>
/// <param name="Phase">Where the background's pattern starts, as a share of its period.</param>
public sealed record Scene(
    IReadOnlyList<SceneObject> Objects,
    SceneRelation? Relation,
    ScenePattern Pattern,
    SceneTone Tone,
    double Phase
)
{
    /// <summary>Families of shapes: what an expert is best at.</summary>
    public const int Families = 3;

    /// <summary>Radius from which an object is called large; smaller ones are small.</summary>
    public const double LargeRadius = 0.165;

    /// <summary>Family of a shape.</summary>
    public static int FamilyOf(SceneShape shape) => (int)shape / 2;

    /// <summary>The two shapes of a family.</summary>
    public static IReadOnlyList<SceneShape> Family(int family) => [(SceneShape)(2 * family), (SceneShape)(2 * family + 1)];
}
