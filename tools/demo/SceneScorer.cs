using AfaNative.Engine.Core;

namespace AfaNative.Demo;

/// <summary>An object found in a picture.</summary>
/// <param name="Shape">The shape whose template fits best, or null when none fits.</param>
/// <param name="Color">The nearest colour, or null when none is near.</param>
/// <param name="X">Centre, 0 left to 1 right.</param>
/// <param name="Y">Centre, 0 top to 1 bottom.</param>
/// <param name="Radius">Half its extent, as a share of the picture's edge.</param>
/// <param name="Fit">Intersection over union with that template, 0 to 1.</param>
public sealed record FoundObject(SceneShape? Shape, SceneColor? Color, double X, double Y, double Radius, double Fit);

/// <summary>How a picture answers a request.</summary>
/// <param name="Correct">Exactly the objects asked for, each of its shape and colour, lying as asked.</param>
/// <param name="Objects">Share of the objects asked for that are there in shape and colour.</param>
/// <param name="Found">What was found.</param>
public sealed record SceneVerdict(bool Correct, double Objects, IReadOnlyList<FoundObject> Found);

/// <summary>
/// Judges pictures of the demo world exactly: pixels with colour in them are objects (backgrounds are grey), connected ones are
/// one object, its colour is the nearest
/// of six, and its shape the one whose rendered outline, fitted to its box, overlaps it best.
/// </summary>
public static class SceneScorer
{
    private const double LeastChroma = 0.22,
        LeastArea = 0.004,
        LeastFit = 0.7,
        MostColorDistance = 0.4,
        LeastDistance = 0.08;

    /// <summary>Judges a picture [size, size, 3], 0 to 1.</summary>
    public static SceneVerdict Judge(ReadOnlySpan<float> pixels, int size, SceneRequest request)
    {
        IReadOnlyList<FoundObject> found = Find(pixels, size);
        int best = 0;
        bool correct = false;
        foreach (int[] order in Orders(request.Objects.Count, found.Count))
        {
            int matched = 0;
            for (int i = 0; i < order.Length; i++)
            {
                if (
                    order[i] >= 0
                    && found[order[i]].Shape == request.Objects[i].Shape
                    && found[order[i]].Color == request.Objects[i].Color
                )
                    matched++;
            }

            best = Math.Max(best, matched);
            correct |=
                matched == request.Objects.Count
                && found.Count == matched
                && (request.Relation is not { } relation || Holds(relation, found[order[0]], found[order[1]]));
        }

        return new SceneVerdict(correct, (double)best / request.Objects.Count, found);
    }

    /// <summary>The objects in a picture [size, size, 3], 0 to 1, the largest first.</summary>
    public static IReadOnlyList<FoundObject> Find(ReadOnlySpan<float> pixels, int size)
    {
        var chroma = new float[size * size];
        for (int i = 0; i < chroma.Length; i++)
        {
            float r = Math.Clamp(pixels[3 * i], 0, 1),
                g = Math.Clamp(pixels[3 * i + 1], 0, 1),
                b = Math.Clamp(pixels[3 * i + 2], 0, 1);
            chroma[i] = Math.Max(r, Math.Max(g, b)) - Math.Min(r, Math.Min(g, b));
        }

        var found = new List<(int Area, FoundObject Object)>();
        foreach (List<int> component in Components(chroma, size))
        {
            if (component.Count >= LeastArea * chroma.Length)
                found.Add((component.Count, Describe(pixels, chroma, size, component)));
        }

        return [.. found.OrderByDescending(f => f.Area).Select(f => f.Object)];
    }

    private static bool Holds(SceneRelation relation, FoundObject a, FoundObject b)
    {
        double dx = b.X - a.X,
            dy = b.Y - a.Y;
        return relation switch
        {
            SceneRelation.LeftOf => dx > LeastDistance && dx > Math.Abs(dy),
            _ => dy > LeastDistance && dy > Math.Abs(dx),
        };
    }

    // Which found object stands for which wanted one; -1 for none.
    private static IEnumerable<int[]> Orders(int wanted, int found)
    {
        for (int i = -1; i < found; i++)
        {
            if (wanted == 1)
                yield return [i];
            for (int j = -1; wanted == 2 && j < found; j++)
            {
                if (i != j || i < 0)
                    yield return [i, j];
            }
        }
    }

    private static IEnumerable<List<int>> Components(float[] chroma, int size)
    {
        var seen = new bool[chroma.Length];
        for (int start = 0; start < chroma.Length; start++)
        {
            if (seen[start] || !(chroma[start] >= LeastChroma))
                continue;
            var component = new List<int> { start };
            seen[start] = true;
            for (int next = 0; next < component.Count; next++)
            {
                int at = component[next],
                    x = at % size;
                if (x > 0)
                    Visit(at - 1);
                if (x < size - 1)
                    Visit(at + 1);
                if (at >= size)
                    Visit(at - size);
                if (at + size < chroma.Length)
                    Visit(at + size);
            }

            yield return component;

            void Visit(int to)
            {
                if (seen[to] || !(chroma[to] >= LeastChroma))
                    return;
                seen[to] = true;
                component.Add(to);
            }
        }
    }

    private static FoundObject Describe(ReadOnlySpan<float> pixels, float[] chroma, int size, List<int> component)
    {
        float strongest = component.Max(i => chroma[i]);
        // The core decides the colour: an outline's pixels are mixed with the background.
        int[] core = [.. component.Where(i => chroma[i] >= 0.75f * strongest)];
        double r = 0,
            g = 0,
            b = 0;
        foreach (int i in core)
            (r, g, b) = (r + pixels[3 * i], g + pixels[3 * i + 1], b + pixels[3 * i + 2]);
        (r, g, b) = (r / core.Length, g / core.Length, b / core.Length);
        SceneColor? color = null;
        double least = MostColorDistance;
        foreach (SceneColor candidate in Enum.GetValues<SceneColor>())
        {
            (float cr, float cg, float cb) = SceneRenderer.Rgb(candidate);
            double distance = Math.Sqrt((r - cr) * (r - cr) + (g - cg) * (g - cg) + (b - cb) * (b - cb));
            if (distance < least)
                (least, color) = (distance, candidate);
        }

        // Shares of the object in every pixel around it, and the box where they reach a half.
        int pad = 2,
            left = Math.Max(0, component.Min(i => i % size) - pad),
            right = Math.Min(size - 1, component.Max(i => i % size) + pad),
            top = Math.Max(0, component.Min(i => i / size) - pad),
            bottom = Math.Min(size - 1, component.Max(i => i / size) + pad);
        double full = core.Average(i => chroma[i]);
        var own = new HashSet<int>(component);
        double Share(int i) => own.Contains(i) ? Math.Clamp(chroma[i] / full, 0, 1) : 0;
        double boxLeft = 1,
            boxRight = 0,
            boxTop = 1,
            boxBottom = 0;
        foreach (int i in component)
        {
            if (Share(i) < 0.5)
                continue;
            double x = (double)(i % size) / size,
                y = (double)(i / size) / size,
                pixel = 1.0 / size;
            (boxLeft, boxRight, boxTop, boxBottom) = (
                Math.Min(boxLeft, x),
                Math.Max(boxRight, x + pixel),
                Math.Min(boxTop, y),
                Math.Max(boxBottom, y + pixel)
            );
        }

        SceneShape? shape = null;
        double best = 0,
            radiusOfBest = (boxRight - boxLeft + boxBottom - boxTop) / 4;
        foreach (SceneShape candidate in Enum.GetValues<SceneShape>())
        {
            (double l, double t, double rt, double bt) = SceneRenderer.Bounds(candidate);
            double radius = ((boxRight - boxLeft) / (rt - l) + (boxBottom - boxTop) / (bt - t)) / 2;
            double cx = (boxLeft + boxRight) / 2 - radius * (l + rt) / 2,
                cy = (boxTop + boxBottom) / 2 - radius * (t + bt) / 2,
                both = 0,
                either = 0;
            for (int y = top; y <= bottom; y++)
            {
                for (int x = left; x <= right; x++)
                {
                    double a = Share(y * size + x),
                        c = SceneRenderer.Coverage(candidate, (x + 0.5) / size - cx, (y + 0.5) / size - cy, radius, size);
                    both += Math.Min(a, c);
                    either += Math.Max(a, c);
                }
            }

            double fit = either > 0 ? both / either : 0;
            if (fit > best)
                (best, shape, radiusOfBest) = (fit, candidate, radius);
        }

        return new FoundObject(
            best >= LeastFit ? shape : null,
            color,
            (boxLeft + boxRight) / 2,
            (boxTop + boxBottom) / 2,
            radiusOfBest,
            best
        );
    }
}
