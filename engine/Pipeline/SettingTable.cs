using AfaNative.Engine.Core;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Guidance;

namespace AfaNative.Engine.Pipeline;

/// <summary>
/// All settings of a picture, in the order in which they are applied. Whoever adds one adds a row here, a property of
/// <see cref="GenerationOptions"/>, and what it does; the command line, configurations, files of prompts, axes of plots,
/// pictures' texts and what is told of finished pictures follow.
/// </summary>
public static partial class SettingTable
{
    /// <summary>Longest edge of a picture in pixels.</summary>
    public const int MostEdge = 16384;

    /// <summary>Least edge of a picture in pixels.</summary>
    public const int LeastEdge = 8;

    /// <summary>Most denoising steps.</summary>
    public const int MostSteps = 10_000;

    /// <summary>Most classifier-free guidance: beyond it only saturated noise comes; A1111's slider ends at 30.</summary>
    public const int MostGuidance = 1000;

    /// <summary>Most text encoder layers that can be left out.</summary>
    public const int MostClipSkip = 100;

    // Before the rows, which name them.
    private static readonly (FusionMode Mode, string Name, string? Recorded)[] s_fusions =
    [
        (FusionMode.Afa, "afa", null),
        (FusionMode.Average, "average", "feature mean"),
        (FusionMode.Mean, "mean", "noise mean"),
        (FusionMode.Magic, "magic", "MagicFusion"),
    ];

    private static readonly (NoiseSource Source, string Name, string? Recorded)[] s_noises =
    [
        (NoiseSource.Own, "own", null),
        (NoiseSource.TorchCpu, "cpu", "CPU"),
        (NoiseSource.TorchCuda, "cuda-philox", "GPU"),
    ];

    // What single values are checked with: a run that has everything a setting may need.
    internal static GenerationOptions Anything { get; } =
        new()
        {
            Prompt = "",
            Seeds = [0],
            HighResolution = new HighResolutionPass(),
        };

    /// <summary>The rows.</summary>
    public static IReadOnlyList<Setting> All { get; } =
    [.. Prompts(), .. Noise(), .. Steps(), .. Size(), .. Fusion(), .. SecondPass()];

    /// <summary>A setting by its name or an alias, with dashes or underscores; null where there is none.</summary>
    public static Setting? Find(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return All.FirstOrDefault(s => s.Answers(name));
    }

    /// <summary>What a picture says of itself, with all settings added.</summary>
    public static GenerationMetadata Record(GenerationOptions options, GenerationMetadata picture)
    {
        foreach (Setting setting in All)
            picture = setting.Record(options, picture);
        return picture;
    }

    /// <summary>The settings a picture records, one after another.</summary>
    /// <param name="options">What counts where it says nothing.</param>
    /// <param name="picture">What it says.</param>
    /// <param name="path">Where it lies: sentences begin with it.</param>
    /// <param name="wanted">Which to take over; null: all.</param>
    /// <exception cref="AfaException">One is no value of this program's.</exception>
    public static GenerationOptions Restore(
        GenerationOptions options,
        GenerationMetadata picture,
        string path,
        Func<Setting, bool>? wanted = null
    )
    {
        foreach (Setting setting in All.Where(wanted ?? (_ => true)))
        {
            string? text;
            try
            {
                text = setting.Recorded(picture);
            }
            catch (AfaException e)
            {
                throw new AfaException($"{path}: {e.Message}", e);
            }

            if (text is not null)
                options = setting.Apply($"{path}: the picture's {setting.Name}", text, options);
        }

        return options;
    }
}
