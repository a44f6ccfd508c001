using System.CommandLine;
using AfaNative.Engine;

namespace AfaNative.Tool.Commands;

/// <summary>What a run of <c>sample</c> does besides drawing.</summary>
/// <param name="Preview">A quick picture every so many steps; null: none.</param>
internal sealed record SampleExtras(int? Preview);

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
        return new SampleExtras(preview);
    }
}
