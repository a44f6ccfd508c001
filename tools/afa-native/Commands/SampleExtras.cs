using System.CommandLine;
using System.Text.Json.Nodes;
using AfaNative.Engine;
using AfaNative.Engine.Diffusion;

namespace AfaNative.Tool.Commands;

/// <summary>What a run of <c>sample</c> does besides drawing.</summary>
/// <param name="Preview">A quick picture every so many steps; null: none.</param>
/// <param name="Results">Where finished pictures are told of.</param>
internal sealed record SampleExtras(int? Preview, ResultLines Results)
{
    /// <summary>A finished picture, as --json tells of it; <paramref name="time"/> is its share of its batch's.</summary>
    public static JsonObject Describe(string path, GenerationOptions options, TimeSpan time) => new()
    {
        ["file"] = path,
        ["seed"] = options.Seeds[0],
        ["prompt"] = options.Prompt,
        ["width"] = options.Width,
        ["height"] = options.Height,
        ["seconds"] = Math.Round(time.TotalSeconds, 3),
    };
}

/// <summary>The options behind <see cref="SampleExtras"/>.</summary>
internal sealed class SampleExtraOptions
{
    public Option<int?> Preview { get; } = new("--preview") { Description = "Every so many steps, write OUT/preview.png: a quick picture of what the model expects to come out. It goes when the run ends." };

    /// <summary>Their values.</summary>
    /// <exception cref="AfaException">They make no sense.</exception>
    public SampleExtras Read(ParseResult result)
    {
        int? preview = result.GetValue(Preview);
        if (preview < 1) throw new AfaException($"--preview takes a number of steps from 1 on, not {preview}.");
        return new SampleExtras(preview, ResultLines.Of(result));
    }
}
