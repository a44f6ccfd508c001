using System.CommandLine;
using System.Text.Json.Nodes;
using AfaNative.Engine.Core;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Sampling.Samplers;

namespace AfaNative.Tool.Commands;

/// <summary>What a run of <c>sample</c> does besides drawing.</summary>
/// <param name="Preview">A quick picture every so many steps; null: none.</param>
/// <param name="Plot">A plot instead of single pictures; null: none.</param>
/// <param name="Experts">The experts that take part; null: all.</param>
/// <param name="Results">Where finished pictures are told of.</param>
internal sealed record SampleExtras(int? Preview, Plot? Plot, IReadOnlyList<int>? Experts, ResultLines Results)
{
    /// <summary>Numbers in and out.</summary>
    public TensorRequest Tensors { get; init; } = TensorRequest.None;

    /// <summary>A finished picture, as --json tells of it; <paramref name="time"/> is its share of its batch's.</summary>
    public static JsonObject Describe(string path, GenerationOptions options, TimeSpan time) =>
        new()
        {
            ["file"] = path,
            ["seed"] = options.Seeds[0],
            ["prompt"] = options.Prompt,
            ["width"] = options.OutputWidth,
            ["height"] = options.OutputHeight,
            ["seconds"] = Math.Round(time.TotalSeconds, 3),
        };

    /// <summary>Experts joined by plus signs (<c>0+2</c>), or <c>all</c>: null.</summary>
    /// <exception cref="AfaException">It is written otherwise.</exception>
    public static IReadOnlyList<int>? ParseExperts(string option, string text) =>
        text.Trim().Equals("all", StringComparison.OrdinalIgnoreCase)
            ? null
            :
            [
                .. text.Split('+')
                    .Select(p =>
                        Numbers.TryInt32(p, out int e) && e >= 0
                            ? e
                            : throw new AfaException($"{option}: experts are written 0+2 or all, not '{text}'.")
                    ),
            ];

    /// <summary>A fusion by its name, or null.</summary>
    public static FusionMode? ParseFusion(string text) =>
        text.Trim().ToLowerInvariant() switch
        {
            "afa" => FusionMode.Afa,
            "average" => FusionMode.Average,
            "mean" => FusionMode.Mean,
            "magic" => FusionMode.Magic,
            _ => null,
        };

    private static readonly (FusionMode Mode, string Name)[] s_recorded =
    [
        (FusionMode.Average, "feature mean"),
        (FusionMode.Mean, "noise mean"),
        (FusionMode.Magic, "MagicFusion"),
    ];

    /// <summary>What a picture's text says of its fusion; null for the aggregators'.</summary>
    public static string? RecordedFusion(FusionMode mode) => s_recorded.FirstOrDefault(r => r.Mode == mode).Name;

    /// <summary>The fusion that a picture's text records.</summary>
    /// <exception cref="AfaException">There is none of that name.</exception>
    public static FusionMode FusionOf(GenerationMetadata? picture) =>
        picture?.Fusion is not { } name ? FusionMode.Afa
        : s_recorded.Any(r => r.Name == name) ? s_recorded.First(r => r.Name == name).Mode
        : throw new AfaException(
            $"The picture's experts were joined by '{Printable.Shortened(name)}', which this program "
                + $"does not know; --fusion afa, average, mean or magic chooses another way."
        );
}

/// <summary>The options behind <see cref="SampleExtras"/>.</summary>
internal sealed class SampleExtraOptions
{
    public Option<int?> Preview { get; } =
        new Option<int?>("--preview")
        {
            Description =
                "Every so many steps, write OUT/preview.png: a quick picture of what the model expects to come out. It "
                + "goes when the run ends.",
        }.Within(1, Limits.Steps);

    public Option<string?> X { get; } =
        new("--x")
        {
            Description =
                $"Draws a plot instead: a column for every value, as NAME=v1,v2,... with NAME "
                + $"{string.Join(", ", PlotAxis.Names)}. Values may be ranges (1-5, 1-9(+2), 1-9[3]) or \"quoted\"; "
                + $"prompt-sr=cat,dog replaces the first in both prompts; experts=0,0+1,all.",
        };

    public Option<string?> Y { get; } =
        new("--y")
        {
            Description =
                "The same, a row for every value. Every cell is a PNG of its own; those that are there already are not "
                + "drawn again.",
        };

    public Option<string?> Experts { get; } =
        new("--experts")
        {
            Description =
                "The experts of an ensemble that take part, as 0+2: the others' weights are 0 everywhere, and the rest is "
                + "shared out in proportion. Left out: all.",
        };

    /// <summary>Numbers in and out.</summary>
    public TensorOptions Tensors { get; } = new();

    /// <summary>Lets shells complete values that are not a fixed set, <paramref name="sampler"/>'s as well.</summary>
    public SampleExtraOptions(Option<string?> sampler)
    {
        sampler.CompletionSources.Add([.. SamplerChoice.All.Select(s => s.Id)]);
        foreach (Option<string?> axis in new[] { X, Y })
            axis.CompletionSources.Add([.. PlotAxis.Names.Select(n => n + "=")]);
    }

    /// <summary>
    /// Their values; <paramref name="single"/>: the run draws pictures of one prompt alone; <paramref name="recordedExperts"/> is
    /// what a picture that is drawn again says of its experts.
    /// </summary>
    /// <exception cref="AfaException">They make no sense.</exception>
    public SampleExtras Read(ParseResult result, string? recordedExperts, bool single)
    {
        return new SampleExtras(
            result.GetValue(Preview),
            Plot.Of(result.GetValue(X), result.GetValue(Y)),
            (result.GetValue(Experts) ?? recordedExperts) is { } experts ? SampleExtras.ParseExperts("--experts", experts) : null,
            ResultLines.Of(result)
        )
        {
            Tensors = Tensors.Read(result, single && result.GetValue(X) is null && result.GetValue(Y) is null),
        };
    }
}
