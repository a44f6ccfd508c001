using AfaNative.Engine.Core;

namespace AfaNative.Engine.Sampling.Samplers;

/// <summary>A sampler by name: a method with its settings, noise levels among them.</summary>
public sealed record SamplerChoice
{
    private SamplerChoice(SamplerMethod method, SamplerSettings settings)
    {
        (Method, Settings) = (method, settings);
        SamplerSettings named = method.Settings;
        (Id, Name, About) = (method.Id, method.Name, method.About);
        if (settings.Levels.InNames)
        {
            named = named with { Levels = settings.Levels };
            (Id, Name) = ($"{Id}_{settings.Levels.Id}", $"{Name} {settings.Levels.Name}");
            About = $"{method.Name} on {settings.Levels.Name}' noise levels";
        }

        string differences = settings.Differences(named, method.SchedulerClass);
        if (differences.Length > 0)
            (Id, Name) = ($"{Id} [{differences}]", $"{Name} [{differences}]");
    }

    /// <summary>What a model is sampled with when nothing is said.</summary>
    public static SamplerChoice Default => All[0];

    /// <summary>Every method, and those at noise levels that samplers are named after.</summary>
    public static IReadOnlyList<SamplerChoice> All { get; } =
    [
        .. SamplerMethod.All.SelectMany(m =>
            m.Levels.Where(l => l == NoiseLevels.Trained || l.InNames)
                .Select(l => new SamplerChoice(m, m.Settings with { Levels = l }))
        ),
    ];

    /// <summary>The method.</summary>
    public SamplerMethod Method { get; }

    /// <summary>The method's settings.</summary>
    public SamplerSettings Settings { get; }

    /// <summary>As diffusers and ComfyUI write it.</summary>
    public string Id { get; }

    /// <summary>
    /// As A1111 writes it; settings that are not what the name alone says follow in brackets, and <see cref="Find"/> reads them
    /// back.
    /// </summary>
    public string Name { get; }

    /// <summary>What it is, in a few words.</summary>
    public string About { get; }

    /// <summary>The class in diffusers.</summary>
    public string SchedulerClass => Method.SchedulerClass;

    /// <summary>The eta when none is given: how much noise is renewed, 0 to 1; null: the method has none.</summary>
    public double? DefaultEta => Method.DefaultEta;

    /// <summary>A sampler for one run.</summary>
    /// <param name="schedule">The model's noise schedule.</param>
    /// <param name="steps">From 1 to the number of training steps.</param>
    /// <param name="eta">0 to 1; null: <see cref="DefaultEta"/>. Of no effect where the method has none.</param>
    /// <exception cref="AfaException">The number of steps does not fit.</exception>
    public Sampler Create(NoiseSchedule schedule, int steps, double? eta = null) =>
        Method.Create(schedule, steps, eta ?? DefaultEta ?? 0, Settings);

    /// <summary>The same method with the same settings at other noise levels.</summary>
    /// <exception cref="AfaException">The method does not take them.</exception>
    public SamplerChoice At(NoiseLevels levels)
    {
        if (Method.Levels.Contains(levels))
            return new SamplerChoice(Method, Settings with { Levels = levels });
        throw new AfaException(
            $"The sampler {Method.Name} takes noise levels {string.Join(", ", Method.Levels.Select(l => l.Id))}, not {levels.Id}."
        );
    }

    /// <summary>
    /// Finds a sampler by any of its names, with noise levels behind it or without; case, spaces, hyphens and "++" or "pp" do
    /// not matter. Settings may follow in brackets: <c>dpmpp_2m [solver_order=3]</c>.
    /// </summary>
    /// <exception cref="AfaException">There is none of that name, or a setting is none of its own.</exception>
    public static SamplerChoice Find(string name)
    {
        int bracket = name.IndexOf('[', StringComparison.Ordinal);
        SamplerChoice found =
            Named(Plain(bracket < 0 ? name : name[..bracket]))
            ?? throw new AfaException(
                $"There is no sampler '{Printable.Shortened(name)}'"
                    + $"{Nearest.Hint(bracket < 0 ? name : name[..bracket], All.SelectMany(s => (string[])[s.Id, s.Name]))}; "
                    + $"there are {string.Join(", ", All.Select(s => s.Id))}."
            );
        if (bracket < 0)
            return found;
        string settings = name[(bracket + 1)..].Trim();
        if (!settings.EndsWith(']'))
        {
            throw new AfaException(
                $"The settings of a sampler end with a bracket, as in 'dpmpp_2m [solver_order=3]', not as in "
                    + $"'{Printable.Shortened(name)}'."
            );
        }
        return Of(found.SchedulerClass, found.Settings.With(settings[..^1], found.SchedulerClass, found.Name))!;
    }

    /// <summary>The sampler that a diffusers scheduler class and its settings stand for; null where there is none.</summary>
    public static SamplerChoice? Of(string schedulerClass, SamplerSettings settings)
    {
        ArgumentNullException.ThrowIfNull(settings);
        return
            SamplerMethod.All.FirstOrDefault(m => m.SchedulerClass == schedulerClass && m.Has(settings)) is { } method
            && method.Levels.Contains(settings.Levels)
            ? new SamplerChoice(method, settings)
            : null;
    }

    private static SamplerChoice? Named(string wanted)
    {
        foreach (SamplerMethod method in SamplerMethod.All)
        {
            string[] names = [method.Id, method.Name, .. method.Aliases];
            foreach (NoiseLevels levels in method.Levels)
            {
                string suffix = levels == NoiseLevels.Trained ? "" : levels.Id;
                if (names.Any(n => Plain(n) + suffix == wanted))
                    return new SamplerChoice(method, method.Settings with { Levels = levels });
            }
        }

        return null;
    }

    private static string Plain(string name) =>
        string.Concat(name.ToLowerInvariant().Replace("++", "pp", StringComparison.Ordinal).Where(char.IsLetterOrDigit));
}
