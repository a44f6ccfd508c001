namespace AfaNative.Engine.Diffusion.Samplers;

/// <summary>A sampler by name.</summary>
/// <param name="Id">As diffusers and ComfyUI write it.</param>
/// <param name="Name">As A1111 writes it.</param>
/// <param name="SchedulerClass">The class in diffusers.</param>
/// <param name="About">What it is, in a few words.</param>
/// <param name="Create">Makes one from a schedule, a number of steps and an eta (DDIM's).</param>
/// <param name="Aliases">Other names.</param>
public sealed record SamplerChoice(string Id, string Name, string SchedulerClass, string About, Func<NoiseSchedule, int, double, Sampler> Create, params string[] Aliases)
{
    /// <summary>What a model is sampled with when nothing is said.</summary>
    public static SamplerChoice Default => All[0];

    /// <summary>Every sampler there is.</summary>
    public static IReadOnlyList<SamplerChoice> All { get; } =
    [
        new("ddim", "DDIM", "DDIMScheduler", "deterministic with eta 0; what the paper uses", (s, n, eta) => new DdimSampler(s, n, eta)),
        new("ddpm", "DDPM", "DDPMScheduler", "ancestral, for many steps", (s, n, _) => new DdpmSampler(s, n)),
        new("pndm", "PLMS", "PNDMScheduler", "linear multistep; Stable Diffusion's first default", (s, n, _) => new PndmSampler(s, n), "k_plms"),
        new("euler", "Euler", "EulerDiscreteScheduler", "simple and fast", (s, n, _) => new EulerSampler(s, n, false), "k_euler"),
        new("euler_karras", "Euler Karras", "EulerDiscreteScheduler", "Euler on Karras' noise levels", (s, n, _) => new EulerSampler(s, n, true)),
        new("euler_a", "Euler a", "EulerAncestralDiscreteScheduler", "ancestral: renews noise at every step", (s, n, _) => new EulerAncestralSampler(s, n, false), "euler_ancestral", "k_euler_a", "k_euler_ancestral"),
        new("heun", "Heun", "HeunDiscreteScheduler", "second order, two evaluations a step", (s, n, _) => new HeunSampler(s, n, false), "k_heun"),
        new("heun_karras", "Heun Karras", "HeunDiscreteScheduler", "Heun on Karras' noise levels", (s, n, _) => new HeunSampler(s, n, true)),
        new("lms", "LMS", "LMSDiscreteScheduler", "linear multistep on noise levels", (s, n, _) => new LmsSampler(s, n, false), "k_lms"),
        new("lms_karras", "LMS Karras", "LMSDiscreteScheduler", "LMS on Karras' noise levels", (s, n, _) => new LmsSampler(s, n, true)),
        new("dpmpp_2m", "DPM++ 2M", "DPMSolverMultistepScheduler", "second order multistep", (s, n, _) => new DpmSolverSampler(s, n, false, false)),
        new("dpmpp_2m_karras", "DPM++ 2M Karras", "DPMSolverMultistepScheduler", "the usual choice for 20 to 30 steps", (s, n, _) => new DpmSolverSampler(s, n, true, false)),
        new("dpmpp_2m_sde", "DPM++ 2M SDE", "DPMSolverMultistepScheduler", "2M with fresh noise", (s, n, _) => new DpmSolverSampler(s, n, false, true)),
        new("dpmpp_2m_sde_karras", "DPM++ 2M SDE Karras", "DPMSolverMultistepScheduler", "2M SDE on Karras' noise levels", (s, n, _) => new DpmSolverSampler(s, n, true, true)),
        new("unipc", "UniPC", "UniPCMultistepScheduler", "predictor and corrector, good at few steps", (s, n, _) => new UniPcSampler(s, n, false), "uni_pc", "uni_pc_bh2"),
        new("unipc_karras", "UniPC Karras", "UniPCMultistepScheduler", "UniPC on Karras' noise levels", (s, n, _) => new UniPcSampler(s, n, true)),
        new("lcm", "LCM", "LCMScheduler", "4 to 8 steps, for models and LoRAs distilled for it", (s, n, _) => new LcmSampler(s, n)),
    ];

    /// <summary>Finds a sampler by any of its names; case, spaces, hyphens and "++" or "pp" do not matter.</summary>
    /// <exception cref="AfaException">There is none of that name.</exception>
    public static SamplerChoice Find(string name)
    {
        string wanted = Plain(name);
        return All.FirstOrDefault(s => Plain(s.Id) == wanted || Plain(s.Name) == wanted || s.Aliases.Any(a => Plain(a) == wanted))
            ?? throw new AfaException($"There is no sampler '{name}'; there are {string.Join(", ", All.Select(s => s.Id))}.");
    }

    /// <summary>The sampler a diffusers scheduler class and configuration stand for, or null.</summary>
    public static SamplerChoice? ForScheduler(string schedulerClass, bool karras, bool stochastic) =>
        All.FirstOrDefault(s => s.SchedulerClass == schedulerClass && s.Id.EndsWith("_karras", StringComparison.Ordinal) == karras && s.Id.Contains("_sde", StringComparison.Ordinal) == stochastic);

    private static string Plain(string name) => string.Concat(name.ToLowerInvariant().Replace("++", "pp", StringComparison.Ordinal).Where(char.IsLetterOrDigit));
}
