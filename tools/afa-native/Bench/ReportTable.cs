using System.Globalization;
using System.Text;
using System.Text.Json;
using AfaNative.Engine.Core;

namespace AfaNative.Tool.Bench;

/// <summary>Joins the JSON of our benchmarks and of a PyTorch peer into one Markdown page.</summary>
internal static class ReportTable
{
    private sealed record Line(
        string Who,
        string Mode,
        string Case,
        int Experts,
        int Batch,
        int Latent,
        double Ms,
        double Min,
        double Max
    )
    {
        public bool IsPeer => Who.StartsWith("torch", StringComparison.Ordinal);

        public bool IsPeerOf(Line ours) =>
            IsPeer
            && Mode == "eager"
            && Case == ours.Case
            && Batch == ours.Batch
            && Latent == ours.Latent
            && (Experts == ours.Experts || ours.Case == "unet_forward");
    }

    /// <summary>Files of either kind; ratios are to the peer's eager mode of the same case, experts, batch and latents.</summary>
    /// <exception cref="AfaException">A file is no such report.</exception>
    public static string Write(IEnumerable<string> files)
    {
        var rows = new List<Line>();
        var ops = new StringBuilder();
        foreach (string file in files)
        {
            try
            {
                Read(file, rows, ops);
            }
            catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
            {
                throw new AfaException(
                    $"{file}: expected a report that bench --json or torch_afa_bench.py wrote: {e.Message}",
                    e
                );
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
            {
                throw new AfaException($"{file}: the report could not be read: {e.Message}", e);
            }
        }

        var page = new StringBuilder();
        page.Append("| case | experts | batch | latents | who | mode | median ms | range | of PyTorch eager |\n");
        page.Append("|---|---|---|---|---|---|---|---|---|\n");
        foreach (Line r in rows.OrderBy(r => r.Case, StringComparer.Ordinal).ThenBy(r => r.IsPeer ? 0 : 1))
        {
            string ratio = rows.FirstOrDefault(p => p.IsPeerOf(r)) is { Ms: > 0 } peer
                ? string.Create(CultureInfo.InvariantCulture, $"{r.Ms / peer.Ms:F2}")
                : "";
            page.Append(
                CultureInfo.InvariantCulture,
                $"| {r.Case} | {r.Experts} | {r.Batch} | {r.Latent} x {r.Latent} | {r.Who} | {r.Mode} "
            );
            page.AppendLine(CultureInfo.InvariantCulture, $"| {r.Ms:F2} | {r.Min:F2} to {r.Max:F2} | {ratio} |");
        }

        return page.Append(ops).ToString();
    }

    private static void Read(string file, List<Line> rows, StringBuilder ops)
    {
        using JsonDocument json = JsonDocument.Parse(File.ReadAllText(file));
        JsonElement root = json.RootElement;
        if (root.ValueKind == JsonValueKind.Array)
        {
            foreach (JsonElement row in root.EnumerateArray())
                rows.Add(Row(Text(row, "peer"), row));
            return;
        }

        string who = $"AfaNative {Text(root, "storage")}, {Text(root, "hardware")}";
        foreach (JsonElement one in root.GetProperty("cases").EnumerateArray())
        {
            Line line = Row(who, one);
            rows.Add(line);
            if (!one.TryGetProperty("ops", out JsonElement list) || list.ValueKind != JsonValueKind.Array)
                continue;
            ops.AppendLine(
                CultureInfo.InvariantCulture,
                $"\n{who}: ops of {line.Case}, {line.Experts} expert(s), batch {line.Batch}\n"
            );
            ops.AppendLine("| op | calls | ms | TFLOP/s | GB/s | of the roofline |\n|---|---|---|---|---|---|");
            foreach (JsonElement op in list.EnumerateArray())
            {
                ops.Append(
                    CultureInfo.InvariantCulture,
                    $"| {Text(op, "name")} | {op.GetProperty("calls").GetInt32()} | {Number(op, "ms"):F3} "
                );
                ops.AppendLine(
                    CultureInfo.InvariantCulture,
                    $"| {Number(op, "tflops"):F1} | {Number(op, "gbs"):F0} | {Number(op, "of_roofline"):P0} |"
                );
            }
        }
    }

    private static Line Row(string who, JsonElement e) =>
        new(
            who,
            Text(e, "mode"),
            Text(e, "case"),
            e.GetProperty("experts").GetInt32(),
            e.GetProperty("batch").GetInt32(),
            e.GetProperty("latent").GetInt32(),
            Number(e, "ms"),
            Number(e, "min"),
            Number(e, "max")
        );

    private static string Text(JsonElement e, string name) =>
        e.GetProperty(name).GetString() ?? throw new FormatException($"'{name}' is null");

    private static double Number(JsonElement e, string name) => e.GetProperty(name).GetDouble();
}
