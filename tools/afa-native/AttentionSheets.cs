using System.Globalization;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Pipeline;

namespace AfaNative.Tool;

/// <summary>Writes one contact sheet per aggregation point, and an overview of all.</summary>
internal static class AttentionSheets
{
    /// <summary>Writes the sheets of one picture; returns their names, with an asterisk for what differs.</summary>
    public static string Write(
        string folder,
        string name,
        DiffusionModel model,
        GenerationOptions options,
        RgbImage picture,
        IReadOnlyList<AttentionRecord> records
    )
    {
        IReadOnlyList<string> points = AttentionRecorder.PointNames(model.Ensemble.Config);
        IReadOnlyList<double> timesteps = new TextToImagePipeline(model).Timesteps(options);
        string[] experts = [.. model.Folder.UNets.Select((u, i) => $"expert {i}")];
        // The overview takes the name for all of them: another run may show its pictures in the same folder.
        string wanted = name;
        RgbImage overview = AttentionOverview.Draw(
            options.Prompt,
            picture,
            experts,
            records.Select(r => (r.Height, r.Width, r.Maps))
        );
        for (int i = 2; !PngFile.WriteNew(Path.Combine(folder, $"{name}-overview.png"), overview, null); i++)
            name = string.Create(CultureInfo.InvariantCulture, $"{wanted}-{i}");
        foreach (IGrouping<int, AttentionRecord> point in records.GroupBy(r => r.Point).OrderBy(g => g.Key))
        {
            AttentionStep[] steps =
            [
                .. point
                    .OrderBy(r => r.Step)
                    .Select(r => new AttentionStep(r.Step + 1, (int)Math.Round(timesteps[r.Step]), r.Height, r.Width, r.Maps)),
            ];
            AttentionRecord first = point.First();
            string title = $"point {point.Key} of {points.Count}: after {points[point.Key]} ({first.Height} x {first.Width})";
            string path = Path.Combine(folder, string.Create(CultureInfo.InvariantCulture, $"{name}-point-{point.Key:D2}.png"));
            PngFile.Write(path, AttentionContactSheet.Draw(new AttentionSheet(title, picture, experts, steps)), null);
        }

        return Path.Combine(folder, $"{name}-*.png");
    }
}
