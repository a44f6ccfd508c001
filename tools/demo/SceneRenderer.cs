using AfaNative.Engine.Core;

namespace AfaNative.Demo;

/// <summary>
/// Draws scenes, anti-aliased: a pixel's share of an object is half minus the signed distance of its centre from the outline, in
/// pixels.
/// </summary>
public static class SceneRenderer
{
    private const double StripePeriod = 0.25,
        RingHole = 0.5;

    private static readonly (double X, double Y)[][] s_outlines =
    [
        [],
        [],
        [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
        [
            (-0.34, -1),
            (0.34, -1),
            (0.34, -0.34),
            (1, -0.34),
            (1, 0.34),
            (0.34, 0.34),
            (0.34, 1),
            (-0.34, 1),
            (-0.34, 0.34),
            (-1, 0.34),
            (-1, -0.34),
            (-0.34, -0.34),
        ],
        [(0, -1), (0.95, 0.8), (-0.95, 0.8)],
        [
            .. Enumerable
                .Range(0, 10)
                .Select(i => (Radius: i % 2 == 0 ? 1.05 : 0.45, Angle: Math.PI * i / 5))
                .Select(p => (p.Radius * Math.Sin(p.Angle), -p.Radius * Math.Cos(p.Angle))),
        ],
    ];

    /// <summary>Red, green and blue of an object's colour, 0 to 1.</summary>
    public static (float R, float G, float B) Rgb(SceneColor color) =>
        color switch
        {
            SceneColor.Red => (0.90f, 0.12f, 0.12f),
            SceneColor.Green => (0.12f, 0.68f, 0.20f),
            SceneColor.Blue => (0.12f, 0.28f, 0.92f),
            SceneColor.Yellow => (0.95f, 0.85f, 0.12f),
            SceneColor.Purple => (0.62f, 0.16f, 0.78f),
            _ => (0.10f, 0.80f, 0.88f),
        };

    /// <summary>A scene of <paramref name="size"/> x <paramref name="size"/> pixels, [size, size, 3], 0 to 1.</summary>
    public static float[] Render(Scene scene, int size)
    {
        var pixels = new float[size * size * 3];
        (float light, float dark) = scene.Tone switch
        {
            SceneTone.White => (0.94f, 0.80f),
            SceneTone.Gray => (0.60f, 0.46f),
            _ => (0.24f, 0.10f),
        };
        for (int y = 0; y < size; y++)
        {
            for (int x = 0; x < size; x++)
            {
                double px = (x + 0.5) / size,
                    py = (y + 0.5) / size;
                double share = scene.Pattern switch
                {
                    ScenePattern.Striped => Band(px, scene.Phase, size),
                    ScenePattern.Checkered => 0.5
                        + (2 * Band(px, scene.Phase, size) - 1) * (2 * Band(py, scene.Phase, size) - 1) / 2,
                    _ => scene.Tone == SceneTone.Black ? 0 : 1,
                };
                float tone = (float)(dark + (light - dark) * share),
                    r = tone,
                    g = tone,
                    b = tone;
                foreach (SceneObject o in scene.Objects)
                {
                    float a = (float)Coverage(o.Shape, px - o.X, py - o.Y, o.Radius, size);
                    if (a <= 0)
                        continue;
                    (float or, float og, float ob) = Rgb(o.Color);
                    (r, g, b) = (r + (or - r) * a, g + (og - g) * a, b + (ob - b) * a);
                }

                int at = (y * size + x) * 3;
                (pixels[at], pixels[at + 1], pixels[at + 2]) = (r, g, b);
            }
        }

        return pixels;
    }

    /// <summary>
    /// What a shape covers of the pixel whose centre lies (dx, dy) from its own, all in shares of the picture's edge.
    /// </summary>
    internal static double Coverage(SceneShape shape, double dx, double dy, double radius, int size)
    {
        double x = dx / radius,
            y = dy / radius,
            distance = Math.Sqrt(x * x + y * y) - 1;
        if (shape == SceneShape.Ring)
            distance = Math.Max(distance, RingHole - (distance + 1));
        else if (shape != SceneShape.Circle)
            distance = Polygon(s_outlines[(int)shape], x, y);
        return Math.Clamp(0.5 - distance * radius * size, 0, 1);
    }

    /// <summary>The box around a shape of radius 1.</summary>
    internal static (double Left, double Top, double Right, double Bottom) Bounds(SceneShape shape)
    {
        (double X, double Y)[] outline = s_outlines[(int)shape];
        return outline.Length == 0
            ? (-1, -1, 1, 1)
            : (outline.Min(p => p.X), outline.Min(p => p.Y), outline.Max(p => p.X), outline.Max(p => p.Y));
    }

    // 1 in the light half of a period, 0 in the dark one, blended over a pixel.
    private static double Band(double at, double phase, int size)
    {
        double t = at / StripePeriod + phase;
        t -= Math.Floor(t);
        double edge = Math.Min(0.5, Math.Min(Math.Min(t, Math.Abs(t - 0.5)), 1 - t) * StripePeriod * size);
        return t < 0.5 ? 0.5 + edge : 0.5 - edge;
    }

    // Distance to the nearest edge, negative inside (even-odd rule).
    private static double Polygon((double X, double Y)[] points, double x, double y)
    {
        double nearest = double.MaxValue;
        bool inside = false;
        for (int i = 0, j = points.Length - 1; i < points.Length; j = i++)
        {
            (double ax, double ay) = points[i];
            (double bx, double by) = points[j];
            double ex = bx - ax,
                ey = by - ay,
                wx = x - ax,
                wy = y - ay,
                t = Math.Clamp((wx * ex + wy * ey) / (ex * ex + ey * ey), 0, 1);
            nearest = Math.Min(nearest, (wx - ex * t) * (wx - ex * t) + (wy - ey * t) * (wy - ey * t));
            if (ay > y != by > y && x < ex * (y - ay) / ey + ax)
                inside = !inside;
        }

        return inside ? -Math.Sqrt(nearest) : Math.Sqrt(nearest);
    }
}
