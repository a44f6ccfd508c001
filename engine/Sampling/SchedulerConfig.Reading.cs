using System.Globalization;
using System.Text;
using System.Text.Json;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;
using AfaNative.Engine.Sampling.Samplers;

namespace AfaNative.Engine.Sampling;

public sealed partial record SchedulerConfig
{
    // Bytes; a schedule of a thousand trained betas has some 20,000.
    private const long MostBytes = 16 << 20;

    // Classes of the same method under other names.
    private static readonly Dictionary<string, string> s_sameClass = new()
    {
        ["DDIMParallelScheduler"] = "DDIMScheduler",
        ["DDPMParallelScheduler"] = "DDPMScheduler",
        ["FlaxDDIMScheduler"] = "DDIMScheduler",
        ["FlaxDDPMScheduler"] = "DDPMScheduler",
        ["FlaxPNDMScheduler"] = "PNDMScheduler",
        ["FlaxEulerDiscreteScheduler"] = "EulerDiscreteScheduler",
        ["FlaxLMSDiscreteScheduler"] = "LMSDiscreteScheduler",
        ["FlaxDPMSolverMultistepScheduler"] = "DPMSolverMultistepScheduler",
    };

    // What every class of a noise schedule by betas has.
    private static readonly string[] s_scheduleKeys =
    [
        "num_train_timesteps",
        "beta_start",
        "beta_end",
        "beta_schedule",
        "trained_betas",
        "prediction_type",
        "timestep_spacing",
        "steps_offset",
        "rescale_betas_zero_snr",
        "clip_sample",
        "clip_sample_range",
        "set_alpha_to_one",
        "thresholding",
        "dynamic_thresholding_ratio",
        "sample_max_value",
    ];

    // Keys of other classes and of ways that are refused where they are on: a configuration that went through several classes
    // keeps them, and diffusers looks at its own class's alone.
    private static readonly string[] s_othersKeys =
    [
        "use_flow_sigmas",
        "flow_shift",
        "use_dynamic_shifting",
        "time_shift_type",
        "solver_p",
        "predictor_order",
        "corrector_order",
        "tau_func",
        "noise_sampler_seed",
        "sigma_data",
        "sigma_schedule",
        "rho",
        "s_churn",
        "s_tmin",
        "s_tmax",
        "s_noise",
        "eta",
        "snr_shift_scale",
        "shift",
        "base_shift",
        "max_shift",
        "base_image_seq_len",
        "max_image_seq_len",
        "invert_sigmas",
        "shift_terminal",
        "stochastic_sampling",
        "tensor_format",
        "clip_model_output",
        "predict_epsilon",
        "dtype",
    ];

    /// <summary>
    /// Reads scheduler_config.json from a model's scheduler folder as diffusers' Stable Diffusion pipelines do: samples are not
    /// clipped and the leading spacing is moved by one, also where the file says nothing or something else; the latter is warned
    /// of.
    /// </summary>
    /// <exception cref="CheckpointException">The file is missing, broken, or holds what this engine does not have.</exception>
    public static SchedulerConfig Load(string schedulerFolder)
    {
        string path = Path.Combine(schedulerFolder, FileName);
        try
        {
            if (RegularFile.Kind(path) == FileKind.Missing)
                throw new FileNotFoundException("there is none", path);
            string json = Encoding
                .UTF8.GetString(RegularFile.ReadAllBytes(path, "a scheduler configuration", MostBytes))
                .TrimStart('\uFEFF');
            using JsonDocument document = JsonDocument.Parse(
                WithoutPythonsNumbers(json),
                new JsonDocumentOptions { MaxDepth = 32 }
            );
            return FromJson(document.RootElement, path, null).ForStableDiffusion(document.RootElement, path);
        }
        catch (JsonException e)
        {
            throw new CheckpointException(
                $"Expected a JSON scheduler configuration, but {path} is not valid JSON: {e.Message}",
                e
            );
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"Expected a scheduler configuration at {path}, but it cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Reads the configuration from parsed JSON, all keys as they stand.</summary>
    /// <param name="json">The configuration.</param>
    /// <param name="className">The scheduler's class where the JSON does not name it.</param>
    /// <exception cref="CheckpointException">A value is none of its key's, or this engine does not have it.</exception>
    public static SchedulerConfig FromJson(JsonElement json, string? className = null) => FromJson(json, FileName, className);

    private static SchedulerConfig FromJson(JsonElement json, string source, string? className)
    {
        try
        {
            return Read(json, source, className);
        }
        catch (InvalidOperationException e)
        {
            throw new CheckpointException(
                $"Expected a scheduler configuration, but a text in {source} holds half a surrogate pair.",
                e
            );
        }
    }

    private static SchedulerConfig Read(JsonElement json, string source, string? className)
    {
        if (json.ValueKind != JsonValueKind.Object)
        {
            throw new CheckpointException($"Expected a JSON object in {source}, but a JSON {json.ValueKind} came.");
        }
        SchedulerReader reader = new(json, source);
        var warnings = new List<string>();
        string? named = reader.Text("_class_name") ?? className;
        string schedulerClass = Class(reader, named, warnings);
        SchedulerConfig defaults = new();
        SamplerSettings settings = SamplerSettings.Read(reader, schedulerClass, warnings);
        SchedulerConfig config = new()
        {
            NumTrainTimesteps = reader.Integer("num_train_timesteps", defaults.NumTrainTimesteps),
            BetaStart = reader.Number("beta_start", defaults.BetaStart),
            BetaEnd = reader.Number("beta_end", defaults.BetaEnd),
            BetaSchedule = reader.Choice(
                "beta_schedule",
                defaults.BetaSchedule,
                ("scaled_linear", BetaSchedule.ScaledLinear),
                ("linear", BetaSchedule.Linear),
                ("squaredcos_cap_v2", BetaSchedule.SquaredCosine),
                ("sigmoid", BetaSchedule.Sigmoid)
            ),
            TrainedBetas = reader.Numbers("trained_betas"),
            ZeroTerminalSnr = reader.Flag("rescale_betas_zero_snr", false),
            // LCM's own default.
            ClipSample = reader.Flag("clip_sample", schedulerClass != "LCMScheduler"),
            ClipSampleRange = reader.Number("clip_sample_range", defaults.ClipSampleRange),
            Thresholding = reader.Flag("thresholding", false),
            ThresholdingRatio = reader.Number("dynamic_thresholding_ratio", defaults.ThresholdingRatio),
            SampleMaxValue = reader.Number("sample_max_value", defaults.SampleMaxValue),
            SetAlphaToOne = reader.Flag("set_alpha_to_one", defaults.SetAlphaToOne),
            StatesAlphaToOne = reader.Has("set_alpha_to_one"),
            StepsOffset = reader.Integer("steps_offset", defaults.StepsOffset),
            // What older versions of diffusers wrote; where both are there, the newer key counts, as it does there.
            PredictionType = reader.Choice(
                "prediction_type",
                reader.Flag("predict_epsilon", true) ? defaults.PredictionType : PredictionType.Sample,
                ("epsilon", PredictionType.Epsilon),
                ("v_prediction", PredictionType.VPrediction),
                ("sample", PredictionType.Sample)
            ),
            StatesSpacing = reader.Has("timestep_spacing"),
            TimestepSpacing = reader.Choice(
                "timestep_spacing",
                defaults.TimestepSpacing,
                ("leading", TimestepSpacing.Leading),
                ("linspace", TimestepSpacing.Linspace),
                ("trailing", TimestepSpacing.Trailing)
            ),
            ClassName = named,
            Sampler = SamplerChoice.Of(schedulerClass, settings) ?? SamplerChoice.Default,
        };
        config.Validate(source);
        Unknown(reader, warnings);
        if (!reader.Flag("predict_epsilon", true) && config.PredictionType != PredictionType.Sample)
        {
            warnings.Add(
                $"{source}: predict_epsilon is false, which prediction_type says otherwise: prediction_type counts, as "
                    + "in diffusers."
            );
        }
        if (config.ZeroTerminalSnr && config.PredictionType == PredictionType.Epsilon)
        {
            warnings.Add(
                $"{source}: rescale_betas_zero_snr leaves no signal in the last training step, where a model that "
                    + "predicts noise says nothing: samplers that start there give no picture."
            );
        }

        return config with
        {
            Warnings = warnings.Count == 0 ? [] : warnings,
        };
    }

    // The class whose keys count.
    private static string Class(SchedulerReader reader, string? named, List<string> warnings)
    {
        const string Usual = "DDIMScheduler";
        foreach (string key in (string[])["use_flow_sigmas", "use_dynamic_shifting"])
        {
            if (reader.Flag(key, false))
            {
                throw new CheckpointException(
                    $"Expected noise levels by betas in {reader.Source}, but {key} is true: the model was trained by flow "
                        + "matching, which this engine does not have."
                );
            }
        }

        if (named is null)
            return Usual;
        string known = s_sameClass.GetValueOrDefault(named, named);
        if (SamplerSettings.Keys.ContainsKey(known))
            return known;
        if (named.Contains("EDM", StringComparison.Ordinal) || named.Contains("FlowMatch", StringComparison.Ordinal))
        {
            throw new CheckpointException(
                $"Expected noise levels by betas in {reader.Source}, but {Printable.Shortened(named)} has others, which this "
                    + "engine does not have."
            );
        }

        string[] lost =
        [
            .. reader.Keys.Where(k => !k.StartsWith('_') && !s_scheduleKeys.Contains(k)).Select(k => Printable.Shortened(k)),
        ];
        warnings.Add(
            $"{reader.Source}: this engine has no {Printable.Shortened(named)}; DDIM takes its "
                + $"place{(lost.Length == 0 ? "" : $", and {Joined(lost)} {(lost.Length == 1 ? "has" : "have")} no effect")}."
        );
        return Usual;
    }

    private static void Unknown(SchedulerReader reader, List<string> warnings)
    {
        string[] unknown =
        [
            .. reader
                .Keys.Where(k =>
                    !k.StartsWith('_')
                    && !s_scheduleKeys.Contains(k)
                    && !s_othersKeys.Contains(k)
                    && !SamplerSettings.Keys.Values.Any(own => own.Contains(k))
                )
                .Distinct()
                .Select(k => Printable.Shortened(k)),
        ];
        if (unknown.Length > 0)
            warnings.Add(
                $"{reader.Source}: {Joined(unknown)} "
                    + (
                        unknown.Length == 1
                            ? "is no key of a scheduler and has no effect."
                            : "are no keys of a scheduler and have no effect."
                    )
            );
    }

    private static string Joined(string[] keys) =>
        keys.Length > 8 ? $"{string.Join(", ", keys[..8])} and {keys.Length - 8} more" : string.Join(", ", keys);

    // What diffusers' pipelines set for these models, with a sentence where the file says otherwise.
    private SchedulerConfig ForStableDiffusion(JsonElement json, string source)
    {
        SchedulerReader reader = new(json, source);
        var warnings = new List<string>(Warnings);
        if (reader.Has("clip_sample") && ClipSample)
            warnings.Add(
                $"{source}: clip_sample is true, but latents are not bounded by 1: they are sampled without clipping, as in "
                    + "diffusers' Stable Diffusion pipelines."
            );
        if (reader.Has("steps_offset") && StepsOffset != 1)
            warnings.Add(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{source}: steps_offset is {StepsOffset}; 1 is used, as in diffusers' Stable Diffusion pipelines."
                )
            );
        return this with { ClipSample = false, StepsOffset = 1, Warnings = warnings.Count == 0 ? [] : warnings };
    }

    // Python writes -Infinity, Infinity and NaN into JSON (lambda_min_clipped of every DPM-Solver), which has none; as texts they
    // can be read.
    internal static string WithoutPythonsNumbers(string json)
    {
        if (!json.Contains("Infinity", StringComparison.Ordinal) && !json.Contains("NaN", StringComparison.Ordinal))
            return json;
        var text = new StringBuilder(json.Length + 16);
        bool quoted = false;
        for (int i = 0; i < json.Length; i++)
        {
            if (quoted && json[i] == '\\' && i + 1 < json.Length)
            {
                text.Append(json, i++, 2);
                continue;
            }

            if (json[i] == '"')
                quoted = !quoted;
            string? word = quoted
                ? null
                : s_pythonsNumbers.FirstOrDefault(w => json.AsSpan(i).StartsWith(w, StringComparison.Ordinal));
            if (word is null)
            {
                text.Append(json[i]);
                continue;
            }

            text.Append('"').Append(word).Append('"');
            i += word.Length - 1;
        }

        return text.ToString();
    }

    private static readonly string[] s_pythonsNumbers = ["-Infinity", "Infinity", "NaN"];

    internal void Validate(string source)
    {
        if (NumTrainTimesteps is < 2 or > 1_000_000)
            throw new CheckpointException(
                $"Expected num_train_timesteps from 2 to 1000000 in {source}, but {NumTrainTimesteps} came."
            );
        if (!(BetaStart > 0 && BetaStart <= BetaEnd && BetaEnd < 1))
            throw new CheckpointException(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"Expected 0 < beta_start <= beta_end < 1 in {source}, but {BetaStart} and {BetaEnd} came."
                )
            );
        if (TrainedBetas is { } betas && (betas.Count != NumTrainTimesteps || betas.Any(b => !(b > 0 && b < 1))))
            throw new CheckpointException(
                $"Expected {NumTrainTimesteps} trained_betas between 0 and 1 in {source}, as many as num_train_timesteps, but "
                    + $"{betas.Count} came{(betas.Count == NumTrainTimesteps ? ", not all of them between" : "")}."
            );
        if (!(ClipSampleRange > 0))
            throw new CheckpointException(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"Expected a positive clip_sample_range in {source}, but {ClipSampleRange} came."
                )
            );
        if (!(ThresholdingRatio is >= 0 and <= 1 && SampleMaxValue > 0))
            throw new CheckpointException(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"Expected a dynamic_thresholding_ratio from 0 to 1 and a positive sample_max_value in {source}, but "
                        + $"{ThresholdingRatio} and {SampleMaxValue} came."
                )
            );
        if (StepsOffset < 0 || StepsOffset >= NumTrainTimesteps)
            throw new CheckpointException(
                $"Expected steps_offset from 0 to {NumTrainTimesteps - 1} in {source}, but {StepsOffset} came."
            );
    }
}
