using AfaNative.Engine.Core;

namespace AfaNative.Demo;

/// <summary>What a caption of the demo world asks for; null where it leaves things open.</summary>
/// <param name="Objects">Shape, colour and size of one or two objects.</param>
/// <param name="Relation">Of the first to the second.</param>
/// <param name="Pattern">Of the background.</param>
/// <param name="Tone">Of the background.</param>
public sealed record SceneRequest(
    IReadOnlyList<(SceneShape Shape, SceneColor Color, bool? Large)> Objects,
    SceneRelation? Relation,
    ScenePattern? Pattern,
    SceneTone? Tone
);

/// <summary>
/// Captions of scenes, and captions back to what they ask for:
/// <c>a [small|large] COLOUR SHAPE [left of|above a [small|large] COLOUR SHAPE] [on a [plain|striped|checkered]
/// [white|gray|black] background]</c>.
/// </summary>
public static class SceneGrammar
{
    private static readonly (SceneRelation Relation, string[] Words)[] s_relations =
    [
        (SceneRelation.LeftOf, ["left", "of"]),
        (SceneRelation.Above, ["above"]),
    ];

    /// <summary>Every word a caption can hold.</summary>
    public static IReadOnlyList<string> Words { get; } =
    [
        "a",
        "on",
        "of",
        "left",
        "above",
        "small",
        "large",
        "background",
        .. Enum.GetValues<SceneShape>().Select(Word),
        .. Enum.GetValues<SceneColor>().Select(Word),
        .. Enum.GetValues<ScenePattern>().Select(Word),
        .. Enum.GetValues<SceneTone>().Select(Word),
    ];

    /// <summary>The caption of a scene; <paramref name="seed"/> and <paramref name="index"/> decide what it leaves out.</summary>
    public static string Describe(Scene scene, ulong seed, ulong index)
    {
        // A stream of its own: the scene's draws stay what they are.
        var random = new SceneRandom(seed ^ 0x9E3779B97F4A7C15, index);
        string text = Noun(scene.Objects[0], random);
        if (scene.Relation is { } relation)
            text += $" {string.Join(' ', s_relations.First(r => r.Relation == relation).Words)} {Noun(scene.Objects[1], random)}";
        double much = random.Next();
        if (much < 0.25)
            return text;
        string pattern = much < 0.75 || scene.Pattern != ScenePattern.Plain ? Word(scene.Pattern) + " " : "",
            tone = much >= 0.5 ? Word(scene.Tone) + " " : "";
        return $"{text} on a {pattern}{tone}background";
    }

    /// <summary>What a caption asks for.</summary>
    /// <exception cref="AfaException">It is no sentence of the grammar.</exception>
    public static SceneRequest Parse(string caption)
    {
        string[] words = caption.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        int at = 0;
        var objects = new List<(SceneShape, SceneColor, bool?)> { Noun() };
        SceneRelation? relation = null;
        foreach ((SceneRelation r, string[] phrase) in s_relations)
        {
            if (!words.AsSpan(at).StartsWith(phrase))
                continue;
            at += phrase.Length;
            relation = r;
            objects.Add(Noun());
            break;
        }

        ScenePattern? pattern = null;
        SceneTone? tone = null;
        if (at < words.Length)
        {
            Expect("on");
            Expect("a");
            pattern = Optional<ScenePattern>();
            tone = Optional<SceneTone>();
            Expect("background");
        }

        if (at < words.Length)
            throw Error($"'{words[at]}' follows where the sentence should end");
        return new SceneRequest(objects, relation, pattern, tone);

        (SceneShape, SceneColor, bool?) Noun()
        {
            Expect("a");
            bool? large = at < words.Length && words[at] is "small" or "large" ? words[at++] == "large" : null;
            SceneColor color =
                Optional<SceneColor>()
                ?? throw Error(
                    $"a colour should stand where '{Here()}' does "
                        + $"({string.Join(", ", Enum.GetValues<SceneColor>().Select(Word))})"
                );
            return (
                Optional<SceneShape>()
                    ?? throw Error(
                        $"a shape should stand where '{Here()}' does "
                            + $"({string.Join(", ", Enum.GetValues<SceneShape>().Select(Word))})"
                    ),
                color,
                large
            );
        }

        T? Optional<T>()
            where T : struct, Enum
        {
            foreach (T value in Enum.GetValues<T>())
            {
                if (at < words.Length && words[at] == Word(value))
                {
                    at++;
                    return value;
                }
            }

            return null;
        }

        void Expect(string word)
        {
            if (at >= words.Length || words[at] != word)
                throw Error($"'{word}' should stand where '{Here()}' does");
            at++;
        }

        string Here() => at < words.Length ? words[at] : "the end";

        AfaException Error(string what) => new($"'{caption}' is no sentence of the demo world: {what}.");
    }

    private static string Noun(SceneObject o, SceneRandom random) =>
        $"a {(random.Next() < 0.5 ? "" : o.Radius >= Scene.LargeRadius ? "large " : "small ")}{Word(o.Color)} {Word(o.Shape)}";

    private static string Word<T>(T value)
        where T : struct, Enum => value.ToString().ToLowerInvariant();
}
