namespace AfaNative.Engine.Imaging;

/// <summary>
/// A perceptually ordered colour map from dark violet over teal to light yellow, legible in grey and to colour-blind readers.
/// </summary>
internal static class ColorMap
{
    private static readonly (float R, float G, float B)[] s_anchors =
    [
        (66, 4, 86),
        (70, 48, 126),
        (56, 88, 140),
        (42, 120, 142),
        (33, 146, 140),
        (50, 176, 122),
        (110, 204, 88),
        (186, 222, 48),
        (252, 232, 40),
    ];

    /// <summary>The colour of a value in 0..1; values outside are clamped.</summary>
    public static (byte R, byte G, byte B) At(float value)
    {
        float position = Math.Clamp(float.IsNaN(value) ? 0 : value, 0, 1) * (s_anchors.Length - 1);
        int i = Math.Min((int)position, s_anchors.Length - 2);
        float f = position - i;
        (float R, float G, float B) a = s_anchors[i],
            b = s_anchors[i + 1];
        return ((byte)(a.R + (b.R - a.R) * f), (byte)(a.G + (b.G - a.G) * f), (byte)(a.B + (b.B - a.B) * f));
    }
}
