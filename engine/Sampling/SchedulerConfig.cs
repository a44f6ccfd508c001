using System.Text.Json;
using AfaNative.Engine.Core;
using AfaNative.Engine.Sampling.Samplers;

namespace AfaNative.Engine.Sampling;

/// <summary>How the betas run from first to last training step.</summary>
public enum BetaSchedule
{
    /// <summary>Evenly spaced betas ("linear").</summary>
    Linear,

    /// <summary>Evenly spaced square roots of betas ("scaled_linear"), as Stable Diffusion was trained.</summary>
    ScaledLinear,

    /// <summary>
    /// Betas that let alpha fall as a squared cosine ("squaredcos_cap_v2"; Nichol and Dhariwal 2021); start and end do not count.
    /// </summary>
    SquaredCosine,

    /// <summary>Betas along a sigmoid ("sigmoid").</summary>
    Sigmoid,
}

/// <summary>What the denoiser's output stands for.</summary>
public enum PredictionType
{
    /// <summary>The noise in the sample ("epsilon").</summary>
    Epsilon,

    /// <summary>The velocity of progressive distillation ("v_prediction").</summary>
    VPrediction,

    /// <summary>The clean sample itself ("sample").</summary>
    Sample,
}

/// <summary>How sampling steps are spread over the training steps.</summary>
public enum TimestepSpacing
{
    /// <summary>Multiples of a whole step ratio, plus the offset ("leading").</summary>
    Leading,

    /// <summary>Evenly spaced, both ends included ("linspace").</summary>
    Linspace,

    /// <summary>Evenly spaced back from the last training step ("trailing").</summary>
    Trailing,
}

/// <summary>
/// A model's noise schedule and its own sampler, as its scheduler_config.json gives them. Keys the file lacks have the defaults
/// of a DDIM scheduler; of each sampler's own keys see <see cref="SamplerSettings"/>. Keys nobody knows are named in
/// <see cref="Warnings"/>.
/// </summary>
public sealed partial record SchedulerConfig
{
    /// <summary>The file's name inside a model's scheduler folder.</summary>
    public const string FileName = "scheduler_config.json";

    /// <summary>The schedule of Stable Diffusion 1.x and of the 2.x base models.</summary>
    public static SchedulerConfig StableDiffusion { get; } =
        new()
        {
            BetaStart = 0.00085,
            BetaEnd = 0.012,
            BetaSchedule = BetaSchedule.ScaledLinear,
            ClipSample = false,
            SetAlphaToOne = false,
            StatesAlphaToOne = true,
            StepsOffset = 1,
        };

    /// <summary>Number of training steps.</summary>
    public int NumTrainTimesteps { get; init; } = 1000;

    /// <summary>Beta of the first training step.</summary>
    public double BetaStart { get; init; } = 0.0001;

    /// <summary>Beta of the last training step.</summary>
    public double BetaEnd { get; init; } = 0.02;

    /// <summary>How betas run between the two.</summary>
    public BetaSchedule BetaSchedule { get; init; } = BetaSchedule.Linear;

    /// <summary>Whether the predicted clean sample is clamped.</summary>
    public bool ClipSample { get; init; } = true;

    /// <summary>The clamp's bound.</summary>
    public double ClipSampleRange { get; init; } = 1.0;

    /// <summary>Whether the step before the first training step is noiseless; else it has the first step's alpha.</summary>
    public bool SetAlphaToOne { get; init; } = true;

    /// <summary>Whether the file says so; where it does not, PNDM has the first step's alpha and all others none.</summary>
    public bool StatesAlphaToOne { get; init; }

    /// <summary>Added to the timesteps of the leading spacing.</summary>
    public int StepsOffset { get; init; }

    /// <summary>What the denoiser predicts.</summary>
    public PredictionType PredictionType { get; init; } = PredictionType.Epsilon;

    /// <summary>How sampling steps are spread.</summary>
    public TimestepSpacing TimestepSpacing { get; init; } = TimestepSpacing.Leading;

    /// <summary>Whether the file says how steps are spread; where it does not, each sampler has its own way.</summary>
    public bool StatesSpacing { get; init; }

    /// <summary>The betas themselves, one per training step, instead of a schedule; null: there are none.</summary>
    public IReadOnlyList<double>? TrainedBetas { get; init; }

    /// <summary>Whether the betas are rescaled so that the last training step holds no signal (Lin et al. 2023).</summary>
    public bool ZeroTerminalSnr { get; init; }

    /// <summary>
    /// Whether the predicted clean sample is bounded by a quantile of its own and brought back (Saharia et al. 2022); DDIM, DDPM,
    /// LCM, DPM-Solver and UniPC do.
    /// </summary>
    public bool Thresholding { get; init; }

    /// <summary>The quantile, 0 to 1.</summary>
    public double ThresholdingRatio { get; init; } = 0.995;

    /// <summary>The most that the bound may be.</summary>
    public double SampleMaxValue { get; init; } = 1;

    /// <summary>The scheduler's class in diffusers; null: the file does not say.</summary>
    public string? ClassName { get; init; }

    /// <summary>The sampler that class and keys stand for: what the model is sampled with where nothing else is said.</summary>
    public SamplerChoice Sampler { get; init; } = SamplerChoice.Default;

    /// <summary>Whole sentences about keys of the file that do not count as they stand there.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];
}
