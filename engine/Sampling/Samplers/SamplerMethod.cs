namespace AfaNative.Engine.Sampling.Samplers;

/// <summary>Makes a sampler from a schedule, a number of steps, an eta and settings.</summary>
public delegate Sampler SamplerFactory(NoiseSchedule schedule, int steps, double eta, SamplerSettings settings);

/// <summary>A method of sampling, whatever its noise levels; a new one is a row of <see cref="All"/>.</summary>
/// <param name="Id">As diffusers and ComfyUI write it.</param>
/// <param name="Name">As A1111 writes it.</param>
/// <param name="SchedulerClass">The class in diffusers.</param>
/// <param name="About">What it is, in a few words.</param>
/// <param name="Create">Makes a sampler.</param>
/// <param name="Aliases">Other names.</param>
public sealed record SamplerMethod(
    string Id,
    string Name,
    string SchedulerClass,
    string About,
    SamplerFactory Create,
    params string[] Aliases
)
{
    /// <summary>Every method there is.</summary>
    public static IReadOnlyList<SamplerMethod> All { get; } =
    [
        new(
            "ddim",
            "DDIM",
            "DDIMScheduler",
            "deterministic with eta 0; what the paper uses",
            (s, n, eta, _) => new DdimSampler(s, n, eta)
        )
        {
            DefaultEta = 0,
        },
        new("ddpm", "DDPM", "DDPMScheduler", "ancestral, for many steps", (s, n, _, o) => new DdpmSampler(s, n, o)),
        new(
            "pndm",
            "PLMS",
            "PNDMScheduler",
            "linear multistep; Stable Diffusion's first default",
            (s, n, _, o) => new PndmSampler(s, n, o),
            "k_plms"
        ),
        new("euler", "Euler", "EulerDiscreteScheduler", "simple and fast", (s, n, _, o) => new EulerSampler(s, n, o), "k_euler"),
        new(
            "euler_a",
            "Euler a",
            "EulerAncestralDiscreteScheduler",
            "ancestral: renews noise at every step; eta 1 unless said",
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
            (s, n, _, o) => new HeunSampler(s, n, o),
            "k_heun"
        ),
        new(
            "lms",
            "LMS",
            "LMSDiscreteScheduler",
            "linear multistep on noise levels",
            (s, n, _, o) => new LmsSampler(s, n, o),
            "k_lms"
        ),
        new(
            "dpmpp_2m",
            "DPM++ 2M",
            "DPMSolverMultistepScheduler",
            "second order multistep; on Karras' noise levels the usual choice for 20 to 30 steps",
            (s, n, eta, o) => new DpmSolverSampler(s, n, o, eta)
        ),
        new(
            "dpmpp_2m_sde",
            "DPM++ 2M SDE",
            "DPMSolverMultistepScheduler",
            "2M with fresh noise; eta 1 unless said",
            (s, n, eta, o) => new DpmSolverSampler(s, n, o, eta)
        )
        {
            Settings = new SamplerSettings { Algorithm = DpmAlgorithm.StochasticPlusPlus },
            DefaultEta = 1,
        },
        new(
            "unipc",
            "UniPC",
            "UniPCMultistepScheduler",
            "predictor and corrector, good at few steps",
            UniPc,
            "uni_pc",
            "uni_pc_bh2"
        ),
        new(
            "lcm",
            "LCM",
            "LCMScheduler",
            "4 to 8 steps, for models and LoRAs distilled for it",
            (s, n, _, o) => new LcmSampler(s, n, o)
        ),
    ];

    /// <summary>The settings its name stands for, at trained noise levels.</summary>
    public SamplerSettings Settings { get; private init; } = new();

    /// <summary>The eta when none is given: how much noise is renewed, 0 to 1; null: the method has none.</summary>
    public double? DefaultEta { get; private init; }

    /// <summary>The noise levels it takes.</summary>
    public IEnumerable<NoiseLevels> Levels =>
        NoiseLevels.All.Where(l => l.Key.Length == 0 || SamplerSettings.Keys[SchedulerClass].Contains(l.Key));

    /// <summary>Whether settings are of this method, and not of another one of its class.</summary>
    internal bool Has(SamplerSettings settings) =>
        settings.Algorithm == DpmAlgorithm.StochasticPlusPlus == (Settings.Algorithm == DpmAlgorithm.StochasticPlusPlus);

    private static LogSnrSampler UniPc(NoiseSchedule schedule, int steps, double eta, SamplerSettings settings) =>
        settings
            is { Order: 2, PlainB: false, LowerOrderFinal: true, EndsAtLeast: false, PredictClean: true, WithoutCorrector: "" }
            ? new UniPcSampler(schedule, steps, settings)
            : new UniPcVariantSampler(schedule, steps, settings);
}
