using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;
using AfaNative.Kernels.Gpu;

namespace AfaNative.Engine.Training;

/// <summary>
/// One self-contained HTML page about a run, drawn from its <c>log.jsonl</c>: losses, gradient norm, how the experts share the
/// work over time and at every point.
/// </summary>
public static class TrainingReport
{
    private const int Width = 860,
        Height = 260,
        Left = 60,
        Bottom = 30,
        Top = 12;
    private static readonly string[] s_colors =
    [
        "#3366cc",
        "#dc3912",
        "#109618",
        "#ff9900",
        "#990099",
        "#0099c6",
        "#dd4477",
        "#66aa00",
    ];

    private sealed record StepEntry(int Step, double Loss, double Norm);

    private sealed record Evaluation(int Step, double Loss, double[][] Weights, double[] FromUniform);

    /// <summary>Writes the page, whole or not at all.</summary>
    /// <returns>What of the log is left out, sentence by sentence.</returns>
    /// <exception cref="AfaException">The run has no log, or the page cannot be written.</exception>
    public static IReadOnlyList<string> Write(string run, string path)
    {
        string file = Path.Combine(run, "log.jsonl");
        if (!File.Exists(file))
            throw new AfaException($"{run}: no log.jsonl; expected the folder of a training run.");
        JsonLog<(StepEntry? Step, Evaluation? Evaluation)> log = JsonLines.Read(file, Entry);
        StepEntry[] steps = [.. log.Entries.Select(e => e.Value.Step).OfType<StepEntry>()];
        Evaluation[] evaluations = [.. log.Entries.Select(e => e.Value.Evaluation).OfType<Evaluation>()];
        var page = new StringBuilder(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Training "
                + "report</title><style>body{font:15px/1.45 system-ui,sans-serif;margin:2em "
                + "auto;max-width:900px;color:#222}svg{background:#fafafa;border:1px solid #ddd}td,th{padding:2px "
                + "8px;text-align:right}h2{margin-top:1.6em}</style>"
        );
        page.Append(
            CultureInfo.InvariantCulture,
            $"<h1>Training of {WebUtility.HtmlEncode(Path.GetFileName(Path.GetFullPath(run)))}</h1><p>{steps.Length} updates."
        );
        if (evaluations.Length > 1)
            page.Append(
                CultureInfo.InvariantCulture,
                $" Held-out loss {evaluations[0].Loss:F5} at the start, {evaluations[^1].Loss:F5} after "
                    + $"{evaluations[^1].Step} updates ({(evaluations[^1].Loss / evaluations[0].Loss - 1) * 100:+0.0;-0.0} %)."
            );
        page.Append("</p>");
        if (steps.Length > 0)
        {
            Chart(
                page,
                "Training loss (thin: every update; thick: running mean)",
                [("loss", [.. steps.Select(s => ((double)s.Step, s.Loss))], 0.6), ("mean", Smooth(steps), 2.2)]
            );
            Chart(page, "Gradient norm before clipping", [("norm", [.. steps.Select(s => ((double)s.Step, s.Norm))], 1)]);
        }

        if (evaluations.Length > 0)
        {
            Chart(page, "Held-out loss", [("loss", [.. evaluations.Select(e => ((double)e.Step, e.Loss))], 2)]);
            int experts = evaluations[0].Weights[0].Length;
            Chart(
                page,
                "Mean weight of every expert",
                [
                    .. Enumerable
                        .Range(0, experts)
                        .Select(n =>
                            (
                                $"expert {n}",
                                (List<(double, double)>)
                                    [.. evaluations.Select(e => ((double)e.Step, e.Weights.Average(w => w[n])))],
                                2.0
                            )
                        ),
                ]
            );
            HeatMap(page, evaluations[^1]);
        }

        WholeFile.WriteText(path, page.Append("</html>\n").ToString());
        return log.Damage;
    }

    private static (StepEntry? Step, Evaluation? Evaluation) Entry(JsonElement entry)
    {
        int step = entry.GetProperty("step").GetInt32();
        double loss = entry.GetProperty("loss").GetDouble();
        if (entry.GetProperty("kind").GetString() == "step")
            return (new StepEntry(step, loss, entry.GetProperty("gradient_norm").GetDouble()), null);
        double[][] weights = Matrix(entry.GetProperty("weights"));
        double[] distance = Row(entry.GetProperty("from_uniform"));
        // What the page draws must be there.
        if (
            weights.Length == 0
            || distance.Length != weights.Length
            || weights.Any(w => w.Length == 0 || w.Length != weights[0].Length)
        )
            throw new FormatException();
        return (null, new Evaluation(step, loss, weights, distance));
    }

    private static void Chart(
        StringBuilder page,
        string title,
        List<(string Name, List<(double X, double Y)> Points, double Thickness)> series
    )
    {
        double x0 = series.Min(s => s.Points.Min(p => p.X)),
            x1 = Math.Max(x0 + 1, series.Max(s => s.Points.Max(p => p.X)));
        double y0 = Math.Min(0, series.Min(s => s.Points.Min(p => p.Y))),
            y1 = series.Max(s => s.Points.Max(p => p.Y));
        if (y1 <= y0)
            y1 = y0 + 1;
        double X(double x) => Left + (x - x0) / (x1 - x0) * (Width - Left - 10);
        double Y(double y) => Height - Bottom - (y - y0) / (y1 - y0) * (Height - Bottom - Top);
        page.Append(
            CultureInfo.InvariantCulture,
            $"<h2>{WebUtility.HtmlEncode(title)}</h2><svg viewBox=\"0 0 {Width} {Height}\" width=\"{Width}\" height=\"{Height}\">"
        );
        for (int i = 0; i <= 4; i++)
        {
            double y = y0 + (y1 - y0) * i / 4,
                x = x0 + (x1 - x0) * i / 4;
            page.Append(
                CultureInfo.InvariantCulture,
                $"<line x1=\"{Left}\" x2=\"{Width - 10}\" y1=\"{Y(y):F1}\" y2=\"{Y(y):F1}\" stroke=\"#e4e4e4\"/><text "
                    + $"x=\"{Left - 6}\" y=\"{Y(y) + 4:F1}\" font-size=\"11\" text-anchor=\"end\">{y:G3}</text>"
            );
            page.Append(
                CultureInfo.InvariantCulture,
                $"<text x=\"{X(x):F1}\" y=\"{Height - 10}\" font-size=\"11\" text-anchor=\"middle\">{x:F0}</text>"
            );
        }

        for (int i = 0; i < series.Count; i++)
        {
            string color = s_colors[i % s_colors.Length];
            IEnumerable<string> corners = series[i]
                .Points.Select(p => string.Create(CultureInfo.InvariantCulture, $"{X(p.X):F1},{Y(p.Y):F1}"));
            string points = string.Join(' ', corners);
            page.Append(
                CultureInfo.InvariantCulture,
                $"<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"{series[i].Thickness}\" " + $"points=\"{points}\"/>"
            );
            if (series.Count > 1)
                page.Append(
                    CultureInfo.InvariantCulture,
                    $"<text x=\"{Width - 16}\" y=\"{Top + 14 * (i + 1)}\" font-size=\"12\" text-anchor=\"end\" "
                        + $"fill=\"{color}\">{series[i].Name}</text>"
                );
        }

        page.Append("</svg>");
    }

    private static void HeatMap(StringBuilder page, Evaluation last)
    {
        int experts = last.Weights[0].Length;
        page.Append(
            CultureInfo.InvariantCulture,
            $"<h2>Weights by aggregation point after {last.Step} updates</h2><table><tr><th>point</th>"
        );
        for (int n = 0; n < experts; n++)
            page.Append(CultureInfo.InvariantCulture, $"<th>expert {n}</th>");
        page.Append("<th>distance from uniform</th></tr>");
        for (int k = 0; k < last.Weights.Length; k++)
        {
            page.Append(CultureInfo.InvariantCulture, $"<tr><td>{k}</td>");
            foreach (double weight in last.Weights[k])
            {
                int shade = (int)(255 - 190 * Math.Clamp(weight, 0, 1));
                page.Append(
                    CultureInfo.InvariantCulture,
                    $"<td style=\"background:rgb({shade},{shade},255)\">{weight * 100:F1} %</td>"
                );
            }

            page.Append(CultureInfo.InvariantCulture, $"<td>{last.FromUniform[k]:F4}</td></tr>");
        }

        page.Append("</table>");
    }

    private static List<(double, double)> Smooth(StepEntry[] steps)
    {
        double mean = steps[0].Loss,
            keep = 1 - 1.0 / Math.Clamp(steps.Length / 20.0, 1, 100);
        return [.. steps.Select(s => ((double)s.Step, mean = keep * mean + (1 - keep) * s.Loss))];
    }

    private static double[][] Matrix(JsonElement element) => [.. element.EnumerateArray().Select(Row)];

    private static double[] Row(JsonElement element) => [.. element.EnumerateArray().Select(e => e.GetDouble())];
}
