using System.Text.Json;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;

namespace AfaNative.Tool.Bench;

/// <summary>What was measured of one kernel.</summary>
/// <param name="Name">Op and sizes; the same in every report.</param>
/// <param name="Op">The op alone.</param>
/// <param name="Sizes">Every size by name.</param>
/// <param name="Calls">How often one evaluation of the network calls it; 0 when unknown.</param>
/// <param name="Samples">Times measured.</param>
/// <param name="MedianMs">Median milliseconds of a call.</param>
/// <param name="Q1Ms">First quartile.</param>
/// <param name="Q3Ms">Third quartile.</param>
/// <param name="SpreadMs">
/// 1.4826 times the median distance from the median: what a standard deviation would be without the outliers.
/// </param>
/// <param name="MinMs">The fastest.</param>
/// <param name="Tflops">TFLOP/s at the median, by the op's definition.</param>
/// <param name="Gbs">GB/s at the median, of the bytes that must move at least.</param>
/// <param name="OfRoofline">Share of the roofline.</param>
internal sealed record KernelResult(
    string Name,
    string Op,
    IReadOnlyDictionary<string, long> Sizes,
    int Calls,
    int Samples,
    double MedianMs,
    double Q1Ms,
    double Q3Ms,
    double SpreadMs,
    double MinMs,
    double Tflops,
    double Gbs,
    double OfRoofline
);

/// <summary>A run of <c>bench kernels</c>, as its JSON holds it.</summary>
internal sealed record KernelReport(
    string Kind,
    string Device,
    string Hardware,
    string Precision,
    string Weights,
    string Date,
    Roofline Roofline,
    IReadOnlyList<KernelResult> Kernels
)
{
    /// <summary>What <see cref="Kind"/> says.</summary>
    public const string Kernel = "kernels";

    private const long MostBytes = 64 << 20;

    private static readonly JsonSerializerOptions s_json = new()
    {
        WriteIndented = true,
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        RespectRequiredConstructorParameters = true,
        RespectNullableAnnotations = true,
    };

    /// <summary>Writes the report, whole or not at all.</summary>
    public void Write(string path) => WholeFile.WriteText(path, JsonSerializer.Serialize(this, s_json) + "\n");

    /// <summary>Reads a report.</summary>
    /// <exception cref="AfaException">It is none.</exception>
    public static KernelReport Read(string path)
    {
        try
        {
            if (new FileInfo(path) is { Exists: true, Length: > MostBytes } large)
            {
                throw new AfaException($"{path}: a report of bench kernels has not {large.Length} bytes.");
            }

            KernelReport? report = JsonSerializer.Deserialize<KernelReport>(File.ReadAllBytes(path), s_json);
            if (report is not { Kind: Kernel })
            {
                throw new AfaException($"{path}: expected a report that bench kernels --json wrote.");
            }

            if (report.Kernels.FirstOrDefault(k => k is null || !(k.MedianMs > 0) || !(k.SpreadMs >= 0)) is { } bad)
            {
                throw new AfaException($"{path}: the times of '{Printable.Shortened(bad.Name)}' are no times.");
            }

            if (report.Kernels.GroupBy(k => k.Name).FirstOrDefault(g => g.Count() > 1) is { } twice)
            {
                throw new AfaException($"{path}: '{Printable.Shortened(twice.Key)}' is in it twice.");
            }

            return report;
        }
        catch (Exception e) when (e is JsonException or NotSupportedException)
        {
            throw new AfaException($"{path}: expected a report that bench kernels --json wrote: {e.Message}", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new AfaException($"{path}: the report could not be read: {e.Message}", e);
        }
    }
}

/// <summary>One kernel now and in a baseline.</summary>
internal sealed record KernelChange(string Name, double WasMs, double IsMs, bool Slower, bool Faster);

/// <summary>A report beside an earlier one.</summary>
/// <param name="Changes">Kernels in both.</param>
/// <param name="Missing">Only in the baseline.</param>
/// <param name="New">Not in the baseline.</param>
internal sealed record KernelComparison(
    IReadOnlyList<KernelChange> Changes,
    IReadOnlyList<string> Missing,
    IReadOnlyList<string> New
)
{
    /// <summary>The rule, for people.</summary>
    public const string Rule = "more than 3 combined spreads and more than 5 %";

    /// <summary>Kernels that became slower beyond the noise.</summary>
    public IEnumerable<KernelChange> Slower => Changes.Where(c => c.Slower);

    /// <summary>
    /// Compares medians. A kernel is slower (faster) when the medians differ by more than three combined spreads, the root of the
    /// sum of both spreads' squares, and by more than 5 % of the smaller.
    /// </summary>
    /// <exception cref="AfaException">
    /// The reports are of different devices, precisions, weights or threads, or have no kernel in common.
    /// </exception>
    public static KernelComparison Of(KernelReport report, KernelReport baseline, string path)
    {
        (string what, string now, string then) = new[]
        {
            ("device", report.Device, baseline.Device),
            ("hardware", report.Hardware, baseline.Hardware),
            ("precision", report.Precision, baseline.Precision),
            ("weights", report.Weights, baseline.Weights),
        }.FirstOrDefault(p => p.Item2 != p.Item3);
        if (what is not null)
        {
            throw new AfaException(
                $"{path}: its {what} is '{Printable.Shortened(then)}', this run's '{now}': such times cannot be compared."
            );
        }

        Dictionary<string, KernelResult> before = baseline.Kernels.ToDictionary(k => k.Name);
        var changes = new List<KernelChange>();
        var fresh = new List<string>();
        foreach (KernelResult k in report.Kernels)
        {
            if (!before.Remove(k.Name, out KernelResult? was))
            {
                fresh.Add(k.Name);
                continue;
            }

            double noise = 3 * Math.Sqrt(k.SpreadMs * k.SpreadMs + was.SpreadMs * was.SpreadMs),
                by = k.MedianMs - was.MedianMs;
            bool beyond = Math.Abs(by) > noise && Math.Abs(by) > 0.05 * Math.Min(k.MedianMs, was.MedianMs);
            changes.Add(new KernelChange(k.Name, was.MedianMs, k.MedianMs, beyond && by > 0, beyond && by < 0));
        }

        if (changes.Count > 0)
            return new KernelComparison(changes, [.. before.Keys], fresh);
        throw new AfaException($"{path}: it has none of the {report.Kernels.Count} kernels that were timed.");
    }
}
