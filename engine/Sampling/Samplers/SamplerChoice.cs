using AfaNative.Engine.Core;

namespace AfaNative.Engine.Sampling.Samplers;

/// <summary>A sampler by name.</summary>
/// <param name="Id">As diffusers and ComfyUI write it.</param>
/// <param name="Name">
/// As A1111 writes it; settings that are not what the name alone says follow in brackets, and <see cref="Find"/> reads them back.
/// </param>
/// <param name="SchedulerClass">The class in diffusers.</param>
/// <param name="About">What it is, in a few words.</param>
/// <param name="Settings">The method's settings.</param>
/// <param name="Build">Makes one from a schedule, a number of steps, an eta and settings.</param>
/// <param name="Aliases">Other names.</param>
public sealed record SamplerChoice(
    string Id,
    string Name,
    string SchedulerClass,
    string About,
    SamplerSettings Settings,
    Func<NoiseSchedule, int, double, SamplerSettings, Sampler> Build,
    params string[] Aliases
)
{
    /// <summary>What a model is sampled with when nothing is said.</summary>
    public static SamplerChoice Default => All[0];

    private static SamplerSettings Usual { get; } = new();

    private static SamplerSettings Karras { get; } = new() { Spacing = SigmaSpacing.Karras };

    private static SamplerSettings Stochastic { get; } = new() { Algorithm = DpmAlgorithm.StochasticPlusPlus };

    /// <summary>Every sampler there is.</summary>
    public static IReadOnlyList<SamplerChoice> All { get; } =
    [
        new(
            "ddim",
            "DDIM",
            "DDIMScheduler",
            "deterministic with eta 0; what the paper uses",
            Usual,
            (s, n, eta, _) => new DdimSampler(s, n, eta)
        )
        {
            DefaultEta = 0,
        },
        new("ddpm", "DDPM", "DDPMScheduler", "ancestral, for many steps", Usual, (s, n, _, o) => new DdpmSampler(s, n, o)),
        new(
            "pndm",
            "PLMS",
            "PNDMScheduler",
            "linear multistep; Stable Diffusion's first default",
            Usual,
            (s, n, _, o) => new PndmSampler(s, n, o),
            "k_plms"
        ),
        new(
            "euler",
            "Euler",
            "EulerDiscreteScheduler",
            "simple and fast",
            Usual,
            (s, n, _, o) => new EulerSampler(s, n, o),
            "k_euler"
        ),
        new(
            "euler_karras",
            "Euler Karras",
            "EulerDiscreteScheduler",
            "Euler on Karras' noise levels",
            Karras,
            (s, n, _, o) => new EulerSampler(s, n, o)
        ),
        new(
            "euler_a",
            "Euler a",
            "EulerAncestralDiscreteScheduler",
            "ancestral: renews noise at every step; eta 1 unless said",
            Usual,
            (s, n, eta, o) => new EulerAncestralSampler(s, n, o, eta),
            "euler_ancestral",
            "k_euler_a",
            "k_euler_ancestral"
        )
        {
            DefaultEta = 1,
        },
        new(
            "heun",
            "Heun",
            "HeunDiscreteScheduler",
            "second order, two evaluations a step",
            Usual,
            (s, n, _, o) => new HeunSampler(s, n, o),
            "k_heun"
        ),
        new(
            "heun_karras",
            "Heun Karras",
            "HeunDiscreteScheduler",
            "Heun on Karras' noise levels",
            Karras,
            (s, n, _, o) => new HeunSampler(s, n, o)
        ),
        new(
            "lms",
            "LMS",
            "LMSDiscreteScheduler",
            "linear multistep on noise levels",
            Usual,
            (s, n, _, o) => new LmsSampler(s, n, o),
            "k_lms"
        ),
        new(
            "lms_karras",
            "LMS Karras",
            "LMSDiscreteScheduler",
            "LMS on Karras' noise levels",
            Karras,
            (s, n, _, o) => new LmsSampler(s, n, o)
        ),
        new("dpmpp_2m", "DPM++ 2M", "DPMSolverMultistepScheduler", "second order multistep", Usual, Dpm),
        new(
            "dpmpp_2m_karras",
            "DPM++ 2M Karras",
            "DPMSolverMultistepScheduler",
            "the usual choice for 20 to 30 steps",
            Karras,
            Dpm
        ),
        new(
            "dpmpp_2m_sde",
            "DPM++ 2M SDE",
            "DPMSolverMultistepScheduler",
            "2M with fresh noise; eta 1 unless said",
            Stochastic,
            Dpm
        )
        {
            DefaultEta = 1,
        },
        new(
            "dpmpp_2m_sde_karras",
            "DPM++ 2M SDE Karras",
            "DPMSolverMultistepScheduler",
            "2M SDE on Karras' noise levels",
            Stochastic with
            {
                Spacing = SigmaSpacing.Karras,
            },
            Dpm
        )
        {
            DefaultEta = 1,
        },
        new(
            "unipc",
            "UniPC",
            "UniPCMultistepScheduler",
            "predictor and corrector, good at few steps",
            Usual,
            UniPc,
            "uni_pc",
            "uni_pc_bh2"
        ),
        new("unipc_karras", "UniPC Karras", "UniPCMultistepScheduler", "UniPC on Karras' noise levels", Karras, UniPc),
        new(
            "lcm",
            "LCM",
            "LCMScheduler",
            "4 to 8 steps, for models and LoRAs distilled for it",
            Usual,
            (s, n, _, o) => new LcmSampler(s, n, o)
        ),
    ];

    /// <summary>The eta when none is given: how much noise is renewed, 0 to 1; null: the method has none.</summary>
    public double? DefaultEta { get; init; }

    /// <summary>A sampler for one run.</summary>
    /// <param name="schedule">The model's noise schedule.</param>
    /// <param name="steps">From 1 to the number of training steps.</param>
    /// <param name="eta">0 to 1; null: <see cref="DefaultEta"/>. Of no effect where the method has none.</param>
    /// <exception cref="AfaException">The number of steps does not fit.</exception>
    public Sampler Create(NoiseSchedule schedule, int steps, double? eta = null) =>
        Build(schedule, steps, eta ?? DefaultEta ?? 0, Settings);

    /// <summary>
    /// Finds a sampler by any of its names; case, spaces, hyphens and "++" or "pp" do not matter. Settings may follow in
    /// brackets: <c>dpmpp_2m [solver_order=3]</c>.
    /// </summary>
    /// <exception cref="AfaException">There is none of that name, or a setting is none of its own.</exception>
    public static SamplerChoice Find(string name)
    {
        int bracket = name.IndexOf('[', StringComparison.Ordinal);
        string wanted = Plain(bracket < 0 ? name : name[..bracket]);
        SamplerChoice found =
            All.FirstOrDefault(s => Plain(s.Id) == wanted || Plain(s.Name) == wanted || s.Aliases.Any(a => Plain(a) == wanted))
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
        bool karras = settings.Spacing == SigmaSpacing.Karras,
            stochastic = settings.Algorithm == DpmAlgorithm.StochasticPlusPlus;
        SamplerChoice? nearest = All.FirstOrDefault(s =>
            s.SchedulerClass == schedulerClass
            && s.Settings.Spacing == SigmaSpacing.Karras == karras
            && s.Settings.Algorithm == DpmAlgorithm.StochasticPlusPlus == stochastic
        );
        if (nearest is null)
            return null;
        string differences = settings.Differences(nearest.Settings, schedulerClass);
        return differences.Length == 0
            ? nearest
            : nearest with
            {
                Id = $"{nearest.Id} [{differences}]",
                Name = $"{nearest.Name} [{differences}]",
                Settings = settings,
                Aliases = [],
            };
    }

    private static DpmSolverSampler Dpm(NoiseSchedule schedule, int steps, double eta, SamplerSettings settings) =>
        new(schedule, steps, settings, eta);

    private static LogSnrSampler UniPc(NoiseSchedule schedule, int steps, double eta, SamplerSettings settings) =>
        settings
            is { Order: 2, PlainB: false, LowerOrderFinal: true, EndsAtLeast: false, PredictClean: true, WithoutCorrector: "" }
            ? new UniPcSampler(schedule, steps, settings)
            : new UniPcVariantSampler(schedule, steps, settings);

    private static string Plain(string name) =>
        string.Concat(name.ToLowerInvariant().Replace("++", "pp", StringComparison.Ordinal).Where(char.IsLetterOrDigit));
}
