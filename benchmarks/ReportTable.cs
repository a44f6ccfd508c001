using System.Globalization;
using System.Text;
using System.Text.Json;

namespace AfaNative.Benchmarks;

/// <summary>Joins the JSON of our benchmarks and of a PyTorch peer into one Markdown page.</summary>
internal static class ReportTable
{
    /// <summary>Files of either kind; ratios are to the peer's eager mode of the same case, experts, batch and latents.</summary>
    public static string Write(IEnumerable<string> files)
    {
        var rows = new List<(string Who, string Mode, string Case, int Experts, int Batch, int Latent, double Ms, double Min, double Max)>();
        var ops = new StringBuilder();
        foreach (string file in files.Where(File.Exists))
        {
            using JsonDocument json = JsonDocument.Parse(File.ReadAllText(file));
            if (json.RootElement.ValueKind == JsonValueKind.Array)
            {
                foreach (JsonElement row in json.RootElement.EnumerateArray()) rows.Add(Row(row.GetProperty("peer").GetString()!, row));
                continue;
            }

            string who = $"AfaNative {json.RootElement.GetProperty("storage").GetString()}, {json.RootElement.GetProperty("hardware").GetString()}";
            foreach (JsonElement one in json.RootElement.GetProperty("cases").EnumerateArray())
            {
                rows.Add(Row(who, one));
                if (one.GetProperty("ops") is not { ValueKind: JsonValueKind.Array } list) continue;
                ops.AppendLine(CultureInfo.InvariantCulture, $"\n{who}: ops of {one.GetProperty("case").GetString()}, {one.GetProperty("experts").GetInt32()} expert(s), batch {one.GetProperty("batch").GetInt32()}\n");
                ops.AppendLine("| op | calls | ms | TFLOP/s | GB/s | of the roofline |\n|---|---|---|---|---|---|");
                foreach (JsonElement op in list.EnumerateArray())
                {
                    ops.AppendLine(CultureInfo.InvariantCulture, $"| {op.GetProperty("name").GetString()} | {op.GetProperty("calls").GetInt32()} | {op.GetProperty("ms").GetDouble():F3} | {op.GetProperty("tflops").GetDouble():F1} | {op.GetProperty("gbs").GetDouble():F0} | {op.GetProperty("of_roofline").GetDouble():P0} |");
                }
            }
        }

        var page = new StringBuilder("| case | experts | batch | latents | who | mode | median ms | range | of PyTorch eager |\n|---|---|---|---|---|---|---|---|---|\n");
        foreach (var r in rows.OrderBy(r => r.Case, StringComparer.Ordinal).ThenBy(r => r.Who.StartsWith("torch", StringComparison.Ordinal) ? 0 : 1))
        {
            var peer = rows.FirstOrDefault(p => p.Who.StartsWith("torch", StringComparison.Ordinal) && p.Mode == "eager" && p.Case == r.Case && p.Batch == r.Batch && p.Latent == r.Latent && (p.Experts == r.Experts || r.Case == "unet_forward"));
            string ratio = peer.Ms > 0 ? string.Create(CultureInfo.InvariantCulture, $"{r.Ms / peer.Ms:F2}") : "";
            page.AppendLine(CultureInfo.InvariantCulture, $"| {r.Case} | {r.Experts} | {r.Batch} | {r.Latent} x {r.Latent} | {r.Who} | {r.Mode} | {r.Ms:F2} | {r.Min:F2} to {r.Max:F2} | {ratio} |");
        }

        return page.Append(ops).ToString();

        static (string, string, string, int, int, int, double, double, double) Row(string who, JsonElement e) =>
            (who, e.GetProperty("mode").GetString()!, e.GetProperty("case").GetString()!, e.GetProperty("experts").GetInt32(), e.GetProperty("batch").GetInt32(), e.GetProperty("latent").GetInt32(),
                e.GetProperty("ms").GetDouble(), e.GetProperty("min").GetDouble(), e.GetProperty("max").GetDouble());
    }
}
