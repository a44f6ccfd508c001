using AfaNative.Engine.Core;
using AfaNative.Engine.Sampling.Samplers;

namespace AfaNative.Engine.Pipeline;

/// <summary>
/// The sampler that a picture's text names, also where it names the noise levels apart from it ("Sampler: DPM++ 2M, Schedule
/// type: Karras"), as A1111 does from 1.9 on.
/// </summary>
public static class RecordedSampler
{
    private const string Automatic = "Automatic";

    // A1111's names of noise levels; of those with a second name both.
    private static readonly (string Name, string[] Others)[] s_schedules =
    [
        (Automatic, []),
        ("Uniform", []),
        ("Karras", []),
        ("Exponential", []),
        ("Polyexponential", []),
        ("SGM Uniform", ["SGMUniform"]),
        ("KL Optimal", []),
        ("Align Your Steps", []),
        ("Simple", []),
        ("Normal", []),
        ("DDIM", ["ddim_uniform"]),
        ("Beta", []),
    ];

    // What A1111 means by Automatic, where it is not the model's own levels.
    private static readonly Dictionary<string, string> s_automatic = new(StringComparer.OrdinalIgnoreCase)
    {
        ["DPM++ 2M"] = "Karras",
        ["DPM++ SDE"] = "Karras",
        ["DPM++ 2S a"] = "Karras",
        ["DPM2"] = "Karras",
        ["DPM2 a"] = "Karras",
        ["Restart"] = "Karras",
        ["DPM++ 2M SDE"] = "Exponential",
        ["DPM++ 2M SDE Heun"] = "Exponential",
        ["DPM++ 3M SDE"] = "Exponential",
    };

    // They choose their time steps themselves, whatever the noise levels' name.
    private static readonly HashSet<string> s_without = new(StringComparer.OrdinalIgnoreCase) { "DDIM", "PLMS", "UniPC" };

    /// <summary>
    /// A sampler's name without its noise levels', and these; <c>Automatic</c> where they are the sampler's default, as A1111
    /// shows them.
    /// </summary>
    public static (string Sampler, string Schedule) Split(string name, string? schedule)
    {
        string? levels = Known(schedule);
        foreach ((string known, string[] others) in s_schedules)
        {
            if (
                new[] { known }.Concat(others).FirstOrDefault(o => name.EndsWith(" " + o, StringComparison.OrdinalIgnoreCase))
                is not { } suffix
            )
                continue;
            (name, levels) = (name[..^(suffix.Length + 1)], known);
            break;
        }

        return (name, levels is null || s_automatic.GetValueOrDefault(name) == levels ? Automatic : levels);
    }

    /// <summary>The sampler a picture was drawn with.</summary>
    /// <exception cref="AfaException">This program does not have it.</exception>
    public static SamplerChoice Find(GenerationMetadata picture)
    {
        string name = picture.Sampler,
            shown = picture.ScheduleType is null ? $"Sampler: {name}" : $"Sampler: {name}, Schedule type: {picture.ScheduleType}";
        string? levels = null;
        if (picture.ScheduleType is { } type && !s_without.Contains(name))
        {
            // One after the sampler's name counts more; of an unknown kind nothing can be said.
            levels = Known(type) ?? throw Missing(null);
            (string bare, string suffix) = Split(name, null);
            if (suffix != Automatic || bare.Length < name.Length)
                levels = Known(name[(bare.Length + 1)..]) ?? levels;
            name = bare;
            if (levels == Automatic)
                levels = s_automatic.GetValueOrDefault(name);
            if (levels is "Uniform" or "Normal")
                levels = null;
        }

        try
        {
            return SamplerChoice.Find(levels is null ? name : $"{name} {levels}");
        }
        catch (AfaException e)
        {
            throw Missing(e);
        }

        AfaException Missing(Exception? inner)
        {
            string text =
                $"The picture was drawn with '{Printable.Shortened(shown, 120)}', which this program does not have; "
                + $"`sampler` chooses another of {string.Join(", ", SamplerChoice.All.Select(s => s.Id))}.";
            return inner is null ? new AfaException(text) : new AfaException(text, inner);
        }
    }

    private static string? Known(string? schedule) =>
        schedule is null
            ? null
            : s_schedules
                .FirstOrDefault(s =>
                    s.Name.Equals(schedule, StringComparison.OrdinalIgnoreCase)
                    || s.Others.Contains(schedule, StringComparer.OrdinalIgnoreCase)
                )
                .Name;
}
