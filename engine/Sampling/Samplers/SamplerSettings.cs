using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using AfaNative.Engine.Core;

namespace AfaNative.Engine.Sampling.Samplers;

/// <summary>What DPM-Solver integrates.</summary>
public enum DpmAlgorithm
{
    /// <summary>The predicted clean sample ("dpmsolver++").</summary>
    PlusPlus,

    /// <summary>The predicted noise ("dpmsolver").</summary>
    Noise,

    /// <summary>The predicted clean sample, with fresh noise ("sde-dpmsolver++").</summary>
    StochasticPlusPlus,

    /// <summary>The predicted noise, with fresh noise ("sde-dpmsolver").</summary>
    StochasticNoise,
}

/// <summary>
/// The settings of a sampling method, by the keys and with the defaults of diffusers' schedulers; a method looks at those that
/// are its own. They are part of a sampler's name where they are not what the name says alone: <c>DPM++ 2M [solver_order=3
/// solver_type=heun]</c>.
/// </summary>
public sealed record SamplerSettings
{
    /// <summary>Keys of each class, beyond those of the noise schedule.</summary>
    internal static readonly IReadOnlyDictionary<string, string[]> Keys = new Dictionary<string, string[]>
    {
        ["DDIMScheduler"] = [],
        ["DDPMScheduler"] = ["variance_type"],
        ["PNDMScheduler"] = ["skip_prk_steps"],
        ["EulerDiscreteScheduler"] =
        [
            .. Spreads,
            "interpolation_type",
            "final_sigmas_type",
            "timestep_type",
            "sigma_min",
            "sigma_max",
        ],
        ["EulerAncestralDiscreteScheduler"] = [],
        ["HeunDiscreteScheduler"] = Spreads,
        ["LMSDiscreteScheduler"] = Spreads,
        ["DPMSolverMultistepScheduler"] =
        [
            .. Spreads,
            "use_lu_lambdas",
            "solver_order",
            "algorithm_type",
            "solver_type",
            "lower_order_final",
            "euler_at_final",
            "final_sigmas_type",
            "lambda_min_clipped",
            "variance_type",
        ],
        ["UniPCMultistepScheduler"] =
        [
            .. Spreads,
            "solver_order",
            "solver_type",
            "lower_order_final",
            "predict_x0",
            "disable_corrector",
            "final_sigmas_type",
            "sigma_min",
            "sigma_max",
        ],
        ["LCMScheduler"] = ["original_inference_steps", "timestep_scaling"],
    };

    private static string[] Spreads => ["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"];

    /// <summary>How noise levels are spread.</summary>
    public NoiseLevels Levels { get; init; } = NoiseLevels.Trained;

    /// <summary>Order of DPM-Solver and UniPC, 1 to 3.</summary>
    public int Order { get; init; } = 2;

    /// <summary>What DPM-Solver integrates.</summary>
    public DpmAlgorithm Algorithm { get; init; }

    /// <summary>DPM-Solver: the exact integral of the slope ("heun") instead of its middle ("midpoint").</summary>
    public bool Heun { get; init; }

    /// <summary>UniPC: B(h) = h ("bh1") instead of e^h - 1 ("bh2").</summary>
    public bool PlainB { get; init; }

    /// <summary>Lower orders in the last steps.</summary>
    public bool LowerOrderFinal { get; init; } = true;

    /// <summary>DPM-Solver: first order in the last step.</summary>
    public bool EulerAtFinal { get; init; }

    /// <summary>Ends at the lowest trained noise level, not without noise.</summary>
    public bool EndsAtLeast { get; init; }

    /// <summary>Euler: noise levels between training steps evenly in their logarithm.</summary>
    public bool LogLinear { get; init; }

    /// <summary>Euler: the network is told a quarter of the noise level's logarithm; for v-predictions.</summary>
    public bool Continuous { get; init; }

    /// <summary>The least noise level of a spread; null: the schedule's.</summary>
    public double? SigmaMin { get; init; }

    /// <summary>The greatest noise level of a spread; null: the schedule's.</summary>
    public double? SigmaMax { get; init; }

    /// <summary>DPM-Solver: training steps of a lower half log signal-to-noise ratio are left out.</summary>
    public double LambdaMin { get; init; } = double.NegativeInfinity;

    /// <summary>UniPC: integrates the predicted clean sample, not the noise.</summary>
    public bool PredictClean { get; init; } = true;

    /// <summary>UniPC: steps after which nothing is corrected, joined by plus signs.</summary>
    public string WithoutCorrector { get; init; } = "";

    /// <summary>DDPM: the large variance instead of the small one.</summary>
    public bool LargeVariance { get; init; }

    /// <summary>LCM: steps of the solver it was distilled from.</summary>
    public int OriginalSteps { get; init; } = 50;

    /// <summary>LCM: how fast its boundary condition fades.</summary>
    public double TimestepScaling { get; init; } = 10;

    /// <summary>
    /// PNDM: starts with the linear multistep, without Runge and Kutta's steps. That is what the name PLMS means; diffusers'
    /// class has it the other way when nothing is said.
    /// </summary>
    public bool SkipRungeKutta { get; init; } = true;

    /// <summary>Reads the settings of a class of scheduler.</summary>
    /// <exception cref="CheckpointException">A value is of another kind, or there is none such.</exception>
    internal static SamplerSettings Read(SchedulerReader reader, string schedulerClass, ICollection<string> warnings)
    {
        string[] keys = Keys.GetValueOrDefault(schedulerClass, []);
        var settings = new SamplerSettings();
        NoiseLevels[] spreads = [.. NoiseLevels.All.Where(l => keys.Contains(l.Key) && reader.Flag(l.Key, false))];
        if (spreads.Length > 1)
            throw new CheckpointException(
                $"Expected one way to spread noise levels in {reader.Source}, but several of use_karras_sigmas, use_lu_lambdas, "
                    + "use_exponential_sigmas and use_beta_sigmas are true."
            );
        if (spreads.Length == 1)
            settings = settings with { Levels = spreads[0] };
        foreach (string key in keys)
        {
            settings = key switch
            {
                "solver_order" => settings with { Order = reader.Integer(key, 2, 1, 3) },
                "algorithm_type" => settings with
                {
                    Algorithm = reader.Choice(
                        key,
                        DpmAlgorithm.PlusPlus,
                        ("dpmsolver++", DpmAlgorithm.PlusPlus),
                        ("dpmsolver", DpmAlgorithm.Noise),
                        ("sde-dpmsolver++", DpmAlgorithm.StochasticPlusPlus),
                        ("sde-dpmsolver", DpmAlgorithm.StochasticNoise),
                        ("deis", DpmAlgorithm.PlusPlus)
                    ),
                },
                // Configurations that came from another class hold its names; diffusers takes them for the default, too.
                "solver_type" when schedulerClass.StartsWith("UniPC", StringComparison.Ordinal) => settings with
                {
                    PlainB = reader.Choice(
                        key,
                        false,
                        ("bh1", true),
                        ("bh2", false),
                        ("midpoint", false),
                        ("heun", false),
                        ("logrho", false)
                    ),
                },
                "solver_type" => settings with
                {
                    Heun = reader.Choice(
                        key,
                        false,
                        ("heun", true),
                        ("midpoint", false),
                        ("logrho", false),
                        ("bh1", false),
                        ("bh2", false)
                    ),
                },
                "lower_order_final" => settings with { LowerOrderFinal = reader.Flag(key, true) },
                "euler_at_final" => settings with { EulerAtFinal = reader.Flag(key, false) },
                "final_sigmas_type" => settings with
                {
                    EndsAtLeast = reader.Choice(key, false, ("zero", false), ("sigma_min", true)),
                },
                "interpolation_type" => settings with
                {
                    LogLinear = reader.Choice(key, false, ("linear", false), ("log_linear", true)),
                },
                "timestep_type" => settings with
                {
                    Continuous = reader.Choice(key, false, ("discrete", false), ("continuous", true)),
                },
                "sigma_min" => settings with { SigmaMin = reader.Has(key) ? reader.Number(key, 0) : null },
                "sigma_max" => settings with { SigmaMax = reader.Has(key) ? reader.Number(key, 0) : null },
                "lambda_min_clipped" => settings with { LambdaMin = reader.Bound(key, double.NegativeInfinity) },
                "predict_x0" => settings with { PredictClean = reader.Flag(key, true) },
                "disable_corrector" => settings with { WithoutCorrector = string.Join('+', reader.Numbers(key) ?? []) },
                "skip_prk_steps" => settings with { SkipRungeKutta = reader.Flag(key, false) },
                "original_inference_steps" => settings with { OriginalSteps = reader.Integer(key, 50, 1, 1_000_000) },
                "timestep_scaling" => settings with { TimestepScaling = reader.Number(key, 10) },
                "variance_type" => settings with { LargeVariance = Variance(reader, schedulerClass, warnings) },
                _ => settings,
            };
        }

        return settings.Settled(reader, schedulerClass, warnings);
    }

    // What diffusers itself cannot compute.
    private SamplerSettings Settled(SchedulerReader reader, string schedulerClass, ICollection<string> warnings)
    {
        SamplerSettings settings = this;
        if (SigmaMin is <= 0 || SigmaMax is <= 0 || SigmaMin >= SigmaMax)
        {
            throw new CheckpointException(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"Expected 0 < sigma_min < sigma_max in {reader.Source}, but {SigmaMin} and {SigmaMax} came."
                )
            );
        }
        if (!(TimestepScaling > 0))
        {
            throw new CheckpointException(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"Expected a positive timestep_scaling in {reader.Source}, but {TimestepScaling} came."
                )
            );
        }
        bool ofNoise = Algorithm is DpmAlgorithm.Noise or DpmAlgorithm.StochasticNoise || !PredictClean;
        if (ofNoise && !EndsAtLeast)
        {
            warnings.Add(
                $"{reader.Source}: a solver of the noise cannot end at noise 0; it ends at the lowest trained noise "
                    + "level (final_sigmas_type \"sigma_min\")."
            );
            settings = settings with { EndsAtLeast = true };
        }

        if (Algorithm == DpmAlgorithm.StochasticNoise && Order == 3)
        {
            warnings.Add($"{reader.Source}: there is no sde-dpmsolver of order 3; solver_order 2 is used.");
            settings = settings with { Order = 2 };
        }

        if (
            Continuous
            && reader.Text("prediction_type") != "v_prediction"
            && schedulerClass == "EulerDiscreteScheduler"
            && reader.Has("prediction_type")
        )
        {
            warnings.Add($"{reader.Source}: timestep_type \"continuous\" is for v-predictions alone and has no effect.");
            settings = settings with { Continuous = false };
        }

        return settings;
    }

    private static bool Variance(SchedulerReader reader, string schedulerClass, ICollection<string> warnings)
    {
        string type = reader.Text("variance_type") ?? "fixed_small";
        if (type.StartsWith("learned", StringComparison.Ordinal))
        {
            warnings.Add(
                $"{reader.Source}: variance_type \"{Printable.Shortened(type)}\" needs a U-Net that gives variances; a "
                    + "fixed one is used."
            );
            return false;
        }

        if (schedulerClass != "DDPMScheduler")
            return false;
        if (type == "fixed_large_log")
            warnings.Add(
                $"{reader.Source}: variance_type \"fixed_large_log\" is no number in diffusers; \"fixed_large\" is used."
            );
        return reader.Choice(
            "variance_type",
            false,
            ("fixed_small", false),
            ("fixed_small_log", false),
            ("fixed_large", true),
            ("fixed_large_log", true)
        );
    }

    /// <summary>The keys whose values differ from another's, as <c>key=value</c> with spaces between.</summary>
    internal string Differences(SamplerSettings other, string schedulerClass) =>
        string.Join(
            ' ',
            Keys.GetValueOrDefault(schedulerClass, [])
                .Select(key => (key, Now: Text(key), Then: other.Text(key)))
                .Where(k => k.Now != k.Then)
                .Select(k => $"{k.key}={k.Now}")
        );

    // As Differences writes a value and Parse reads it.
    private string Text(string key) =>
        key switch
        {
            _ when key.StartsWith("use_", StringComparison.Ordinal) => Word(Levels.Key == key),
            "solver_order" => Order.ToString(CultureInfo.InvariantCulture),
            "algorithm_type" => Algorithm switch
            {
                DpmAlgorithm.PlusPlus => "dpmsolver++",
                DpmAlgorithm.Noise => "dpmsolver",
                DpmAlgorithm.StochasticPlusPlus => "sde-dpmsolver++",
                _ => "sde-dpmsolver",
            },
            "solver_type" => PlainB ? "bh1"
            : Heun ? "heun"
            : "default",
            "lower_order_final" => Word(LowerOrderFinal),
            "euler_at_final" => Word(EulerAtFinal),
            "final_sigmas_type" => EndsAtLeast ? "sigma_min" : "zero",
            "interpolation_type" => LogLinear ? "log_linear" : "linear",
            "timestep_type" => Continuous ? "continuous" : "discrete",
            "sigma_min" => SigmaMin?.ToString("R", CultureInfo.InvariantCulture) ?? "null",
            "sigma_max" => SigmaMax?.ToString("R", CultureInfo.InvariantCulture) ?? "null",
            "lambda_min_clipped" => double.IsNegativeInfinity(LambdaMin)
                ? "-Infinity"
                : LambdaMin.ToString("R", CultureInfo.InvariantCulture),
            "predict_x0" => Word(PredictClean),
            "disable_corrector" => WithoutCorrector,
            "skip_prk_steps" => Word(SkipRungeKutta),
            "original_inference_steps" => OriginalSteps.ToString(CultureInfo.InvariantCulture),
            "timestep_scaling" => TimestepScaling.ToString("R", CultureInfo.InvariantCulture),
            _ => LargeVariance ? "fixed_large" : "fixed_small",
        };

    private static string Word(bool value) => value ? "true" : "false";

    /// <summary>These settings with those of a text such as <c>solver_order=3 solver_type=heun</c>.</summary>
    /// <exception cref="AfaException">A key is none of the class's, or a value none of the key's.</exception>
    internal SamplerSettings With(string text, string schedulerClass, string sampler)
    {
        string[] keys = Keys.GetValueOrDefault(schedulerClass, []);
        var json = new JsonObject();
        // What is not in the text is as it is here.
        foreach (string key in keys)
            json[key] = Json(key, Text(key));
        foreach (string part in text.Split([' ', ','], StringSplitOptions.RemoveEmptyEntries))
        {
            int equals = part.IndexOf('=', StringComparison.Ordinal);
            string key = equals < 0 ? part : part[..equals];
            if (equals < 0 || !keys.Contains(key))
            {
                string there = keys.Length == 0 ? "it has none" : $"there are {string.Join(", ", keys)}";
                throw new AfaException(
                    $"The sampler {sampler} has no setting '{Printable.Shortened(key)}'; {there}, written key=value."
                );
            }

            if (key.StartsWith("use_", StringComparison.Ordinal))
            {
                foreach (string other in keys.Where(k => k.StartsWith("use_", StringComparison.Ordinal)))
                    json[other] = false;
            }
            json[key] = Json(key, part[(equals + 1)..]);
        }

        using JsonDocument document = JsonDocument.Parse(json.ToJsonString());
        return Read(new SchedulerReader(document.RootElement, $"the sampler {sampler}"), schedulerClass, []);
    }

    private static JsonNode? Json(string key, string value) =>
        value switch
        {
            "true" => true,
            "false" => false,
            "null" or "default" => null,
            _ when key == "disable_corrector" => new JsonArray([
                .. value.Split('+', StringSplitOptions.RemoveEmptyEntries).Select(v => (JsonNode?)Numbers.Int32(key, v, 0)),
            ]),
            _ when Numbers.TryDouble(value, out double number) => number == Math.Floor(number) && Math.Abs(number) < 1e9
                ? (int)number
                : number,
            _ => value,
        };

    /// <summary>UniPC: whether nothing is corrected after a step.</summary>
    internal bool Uncorrected(int step) => WithoutCorrector.Split('+').Contains(step.ToString(CultureInfo.InvariantCulture));
}
