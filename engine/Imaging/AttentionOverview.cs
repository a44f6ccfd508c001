using System.Globalization;
using AfaNative.Engine.Core;

namespace AfaNative.Engine.Imaging;

/// <summary>
/// One picture and, beside it, where every expert counted: its weights averaged over all aggregation points and steps that were
/// recorded.
/// </summary>
public static class AttentionOverview
{
    private const int Cell = 256,
        Gap = 12,
        Margin = 20,
        Line = 20,
        Legend = 26;
    private static readonly (byte, byte, byte) s_paper = (250, 250, 248),
        s_ink = (34, 34, 38),
        s_faint = (110, 110, 116);

    /// <summary>Draws it.</summary>
    /// <param name="title">What the picture shows.</param>
    /// <param name="picture">The finished picture.</param>
    /// <param name="experts">A label each.</param>
    /// <param name="maps">Height, width and weights [N, height, width] of every point and step.</param>
    public static RgbImage Draw(
        string title,
        RgbImage picture,
        IReadOnlyList<string> experts,
        IEnumerable<(int Height, int Width, float[] Maps)> maps
    )
    {
        ArgumentNullException.ThrowIfNull(picture);
        int height = Math.Max(16, Cell * picture.Height / picture.Width),
            n = experts.Count;
        float[] mean = Mean(maps, n, height, Cell);
        float low = mean.Min(),
            high = Math.Max(mean.Max(), low + 0.01f);
        int top = Margin + 2 * Line + 8;
        RgbImage image = RgbImage.Filled(2 * Margin + (n + 1) * Cell + n * Gap, top + height + Line + Legend + Margin, s_paper);
        BitmapFont.Draw(image, Margin, Margin, BitmapFont.Fit(title, image.Width - 2 * Margin, 2), s_ink, 2);
        RgbImage shown = AttentionContactSheet.Resize(picture, Cell, height);
        AttentionContactSheet.Paste(image, shown, Margin, top);
        for (int e = 0; e < n; e++)
        {
            int left = Margin + (e + 1) * (Cell + Gap);
            ReadOnlySpan<float> own = mean.AsSpan(e * height * Cell, height * Cell);
            BitmapFont.Draw(image, left, top - Line + 2, BitmapFont.Fit(experts[e], Cell, 2), s_ink, 2);
            double average = 0;
            for (int i = 0; i < own.Length; i++)
            {
                average += own[i] / own.Length;
                (byte r, byte g, byte b) = shown.Get(i % Cell, i / Cell);
                image.Set(
                    left + i % Cell,
                    top + i / Cell,
                    AttentionContactSheet.Shade(ColorMap.At((own[i] - low) / (high - low)), r, g, b)
                );
            }

            BitmapFont.Draw(
                image,
                left,
                top + height + 5,
                string.Create(CultureInfo.InvariantCulture, $"mean weight {average:F2}"),
                s_faint,
                1
            );
        }

        int y = top + height + Line + 4,
            bar = 240;
        for (int i = 0; i < bar; i++)
            image.FillRectangle(Margin + Cell + Gap + i, y, 1, 12, ColorMap.At(i / (bar - 1f)));
        BitmapFont.Draw(
            image,
            Margin + Cell + Gap + bar + 8,
            y + 3,
            string.Create(
                CultureInfo.InvariantCulture,
                $"weight {low:F2} to {high:F2}, mean over {(n > 1 ? "aggregation points and steps" : "steps")}"
            ),
            s_faint
        );
        return image;
    }

    /// <summary>The mean [N, height, width] of maps of different sizes, each blended to the size asked for.</summary>
    internal static float[] Mean(IEnumerable<(int Height, int Width, float[] Maps)> maps, int experts, int height, int width)
    {
        var mean = new float[experts * height * width];
        int count = 0;
        foreach ((int h, int w, float[] values) in maps)
        {
            count++;
            for (int e = 0; e < experts; e++)
            {
                ReadOnlySpan<float> own = values.AsSpan(e * h * w, h * w);
                for (int y = 0; y < height; y++)
                {
                    for (int x = 0; x < width; x++)
                        mean[(e * height + y) * width + x] += AttentionContactSheet.Sample(
                            own,
                            h,
                            w,
                            (y + 0.5f) * h / height - 0.5f,
                            (x + 0.5f) * w / width - 0.5f
                        );
                }
            }
        }

        if (count == 0)
            throw new AfaException("No attention maps were recorded.");
        for (int i = 0; i < mean.Length; i++)
            mean[i] /= count;
        return mean;
    }
}
