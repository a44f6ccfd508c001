using System.Globalization;
using AfaNative.Engine.Imaging;

namespace AfaNative.Demo;

/// <summary>An evaluation as pictures: how often every method is right, and how far AFA is ahead of it.</summary>
public static class DemoCharts
{
    private const int LabelWidth = 250,
        Plot = 560,
        RowHeight = 30,
        Margin = 24,
        Title = 46,
        Axis = 30;
    private static readonly (byte, byte, byte) s_paper = (250, 250, 248),
        s_ink = (34, 34, 38),
        s_faint = (200, 200, 200),
        s_ours = (33, 146, 140),
        s_other = (150, 160, 178),
        s_whisker = (60, 60, 66);

    /// <summary>One bar of a chart.</summary>
    /// <param name="Label">Names it.</param>
    /// <param name="Value">Its length, and half its whisker.</param>
    /// <param name="Ours">Drawn in the colour of what is shown.</param>
    public sealed record Bar(string Label, Estimate Value, bool Ours);

    /// <summary>
    /// Draws <c>correct-CLASS.png</c> for mixed prompts and for those of one family, and <c>difference.png</c>, into a folder.
    /// </summary>
    public static void Write(IReadOnlyList<DemoVerdict> verdicts, string folder)
    {
        string[] methods = [.. DemoEvaluation.Methods.Where(m => verdicts.Any(v => v.Method == m))];
        foreach (
            (string name, string title, Func<string, bool> chosen) in ((string, string, Func<string, bool>)[])
                [
                    ("mixed", "Prompts that mix two families: correct pictures, %", c => c == "mixed"),
                    ("family", "Prompts of one family: correct pictures, %", c => c != "mixed"),
                ]
        )
        {
            DemoVerdict[] part = [.. verdicts.Where(v => chosen(v.Class))];
            if (part.Length == 0)
                continue;
            PngFile.Write(
                Path.Combine(folder, $"correct-{name}.png"),
                Draw(title, [.. methods.Select(m => new Bar(m, Percent(DemoReport.Correct(part, m)), IsOurs(m)))]),
                null
            );
        }

        if (!methods.Contains("AFA"))
            return;
        Bar[] ahead =
        [
            .. methods
                .Where(m => m != "AFA")
                .Select(m => new Bar(
                    "AFA minus " + m,
                    Percent(DemoReport.Difference(verdicts, "AFA", m, "mixed", v => v.Correct ? 1 : 0)) is var d
                        ? d with
                        {
                            Error = 2 * d.Error,
                        }
                        : d,
                    false
                )),
        ];
        PngFile.Write(
            Path.Combine(folder, "difference.png"),
            Draw("Mixed prompts: percentage points AFA is ahead, with 2 standard errors", ahead),
            null
        );
    }

    /// <summary>Horizontal bars from zero with whiskers, values printed beside them.</summary>
    public static RgbImage Draw(string title, IReadOnlyList<Bar> bars)
    {
        double low = Math.Min(0, bars.Min(b => b.Value.Mean - b.Value.Error)),
            high = Math.Max(1, bars.Max(b => b.Value.Mean + b.Value.Error));
        double step = Step(high - low),
            first = Math.Floor(low / step) * step,
            last = Math.Ceiling(high / step) * step;
        int left = Margin + LabelWidth,
            top = Margin + Title,
            bottom = top + bars.Count * RowHeight;
        RgbImage image = RgbImage.Filled(left + Plot + 150, bottom + Axis + Margin, s_paper);
        int At(double v) => left + (int)Math.Round((v - first) / (last - first) * Plot);
        BitmapFont.Draw(image, Margin, Margin, BitmapFont.Fit(title, image.Width - 2 * Margin, 2), s_ink, 2);
        for (double tick = first; tick <= last + step / 2; tick += step)
        {
            string text = tick.ToString("0.##", CultureInfo.InvariantCulture);
            image.FillRectangle(At(tick), top - 4, 1, bottom - top + 8, Math.Abs(tick) < step / 1000 ? s_ink : s_faint);
            BitmapFont.Draw(image, At(tick) - BitmapFont.Measure(text) / 2, bottom + 10, text, s_ink);
        }

        for (int i = 0; i < bars.Count; i++)
        {
            (string label, Estimate value, bool ours) = bars[i];
            int y = top + i * RowHeight + 5,
                height = RowHeight - 10,
                from = At(Math.Min(0, value.Mean)),
                to = At(Math.Max(0, value.Mean)),
                middle = y + height / 2;
            BitmapFont.Draw(
                image,
                Margin,
                middle - 7,
                BitmapFont.Fit(label, LabelWidth - 8, label.Length > 20 ? 1 : 2),
                s_ink,
                label.Length > 20 ? 1 : 2
            );
            image.FillRectangle(from, y, Math.Max(1, to - from), height, ours ? s_ours : s_other);
            int a = At(value.Mean - value.Error),
                b = At(value.Mean + value.Error);
            image.FillRectangle(a, middle, Math.Max(1, b - a), 1, s_whisker);
            image.FillRectangle(a, middle - 4, 1, 9, s_whisker);
            image.FillRectangle(b, middle - 4, 1, 9, s_whisker);
            // The font has no plus-minus.
            BitmapFont.Draw(
                image,
                left + Plot + 16,
                middle - 7,
                string.Create(CultureInfo.InvariantCulture, $"{value.Mean:F1} +-{value.Error:F1}"),
                s_ink,
                2
            );
        }

        return image;
    }

    private static bool IsOurs(string method) => method.StartsWith("AFA", StringComparison.Ordinal) && method != "AFA untrained";

    private static Estimate Percent(Estimate e) => new(100 * e.Mean, 100 * e.Error);

    // 1, 2 or 5 times a power of ten, for four to nine ticks.
    private static double Step(double span)
    {
        double power = Math.Pow(10, Math.Floor(Math.Log10(span / 4)));
        return ((double[])[1, 2, 5, 10]).Select(f => f * power).First(s => span / s <= 8);
    }
}
