using System.CommandLine;
using System.Text.Json.Nodes;
using AfaNative.Engine.Pipeline;

namespace AfaNative.Tool.Commands;

/// <summary>What a run of <c>sample</c> does besides drawing.</summary>
/// <param name="Preview">A quick picture every so many steps; null: none.</param>
/// <param name="Plot">A plot instead of single pictures; null: none.</param>
/// <param name="Results">Where finished pictures are told of.</param>
internal sealed record SampleExtras(int? Preview, Plot? Plot, ResultLines Results)
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
            ["settings"] = Settings(options),
        };

    // Every setting that is not as it is where nothing is said, as files of prompts name them.
    private static JsonObject Settings(GenerationOptions options)
    {
        var all = new JsonObject();
        foreach (Setting setting in SettingTable.All)
        {
            if (setting.Print(options) is not { } text || text == setting.Default)
                continue;
            bool number = setting.Kind is SettingKind.Whole or SettingKind.Number;
            all[setting.Name.Replace('-', '_')] = number ? JsonNode.Parse(text) : text;
        }

        return all;
    }
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

    /// <summary>Numbers in and out.</summary>
    public TensorOptions Tensors { get; } = new();

    /// <summary>Lets shells complete the names of axes.</summary>
    public SampleExtraOptions()
    {
        foreach (Option<string?> axis in new[] { X, Y })
            axis.CompletionSources.Add([.. PlotAxis.Names.Select(n => n + "=")]);
    }

    /// <summary>
    /// Their values; <paramref name="single"/>: the run draws pictures of one prompt alone.
    /// </summary>
    /// <exception cref="AfaException">They make no sense.</exception>
    public SampleExtras Read(ParseResult result, bool single)
    {
        return new SampleExtras(result.GetValue(Preview), Plot.Of(result.GetValue(X), result.GetValue(Y)), ResultLines.Of(result))
        {
            Tensors = Tensors.Read(result, single && result.GetValue(X) is null && result.GetValue(Y) is null),
        };
    }
}
