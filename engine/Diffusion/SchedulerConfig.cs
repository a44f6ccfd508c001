using System.Text.Json;

namespace AfaNative.Engine.Diffusion;

/// <summary>How the betas run from first to last training step.</summary>
public enum BetaSchedule
{
    /// <summary>Evenly spaced betas ("linear").</summary>
    Linear,

    /// <summary>Evenly spaced square roots of betas ("scaled_linear"), as Stable Diffusion was trained.</summary>
    ScaledLinear,
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
/// A model's noise schedule, as its scheduler_config.json gives it. Keys the file lacks have the defaults of a DDIM
/// scheduler; keys that do not matter here are ignored.
/// </summary>
public sealed record SchedulerConfig
{
    /// <summary>The file's name inside a model's scheduler folder.</summary>
    public const string FileName = "scheduler_config.json";

    /// <summary>The schedule of Stable Diffusion 1.x and of the 2.x base models.</summary>
    public static SchedulerConfig StableDiffusion { get; } = new()
    {
        BetaStart = 0.00085,
        BetaEnd = 0.012,
        BetaSchedule = BetaSchedule.ScaledLinear,
        ClipSample = false,
        SetAlphaToOne = false,
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

    /// <summary>Added to the timesteps of the leading spacing.</summary>
    public int StepsOffset { get; init; }

    /// <summary>What the denoiser predicts.</summary>
    public PredictionType PredictionType { get; init; } = PredictionType.Epsilon;

    /// <summary>How sampling steps are spread.</summary>
    public TimestepSpacing TimestepSpacing { get; init; } = TimestepSpacing.Leading;

    /// <summary>Whether the file says how steps are spread; where it does not, each sampler has its own way.</summary>
    public bool StatesSpacing { get; init; }

    /// <summary>Whole sentences about keys of the file that do not count as they stand there.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];

    /// <summary>Reads scheduler_config.json from a model's scheduler folder.</summary>
    public static SchedulerConfig Load(string schedulerFolder)
    {
        string path = Path.Combine(schedulerFolder, FileName);
        try
        {
            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(path));
            return FromJson(document.RootElement, path);
        }
        catch (JsonException e)
        {
            throw new CheckpointException($"Expected a JSON scheduler configuration, but {path} is not valid JSON: {e.Message}", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"Expected a scheduler configuration at {path}, but it cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Reads the configuration from parsed JSON.</summary>
    public static SchedulerConfig FromJson(JsonElement json) => FromJson(json, FileName);

    private static SchedulerConfig FromJson(JsonElement json, string source)
    {
        if (json.ValueKind != JsonValueKind.Object)
            throw new CheckpointException($"Expected a JSON object in {source}, but a JSON {json.ValueKind} came.");
        Reader reader = new(json, source);
        SchedulerConfig defaults = new();
        reader.Refuse("trained_betas", value => value.ValueKind is not JsonValueKind.Null);
        reader.Refuse("thresholding", value => value.ValueKind is JsonValueKind.True);
        reader.Refuse("rescale_betas_zero_snr", value => value.ValueKind is JsonValueKind.True);
        SchedulerConfig config = new()
        {
            NumTrainTimesteps = reader.Integer("num_train_timesteps", defaults.NumTrainTimesteps),
            BetaStart = reader.Number("beta_start", defaults.BetaStart),
            BetaEnd = reader.Number("beta_end", defaults.BetaEnd),
            BetaSchedule = reader.Choice("beta_schedule", defaults.BetaSchedule, ("scaled_linear", BetaSchedule.ScaledLinear), ("linear", BetaSchedule.Linear)),
            ClipSample = reader.Flag("clip_sample", defaults.ClipSample),
            ClipSampleRange = reader.Number("clip_sample_range", defaults.ClipSampleRange),
            SetAlphaToOne = reader.Flag("set_alpha_to_one", defaults.SetAlphaToOne),
            StepsOffset = reader.Integer("steps_offset", defaults.StepsOffset),
            PredictionType = reader.Choice(
                "prediction_type", defaults.PredictionType,
                ("epsilon", PredictionType.Epsilon), ("v_prediction", PredictionType.VPrediction), ("sample", PredictionType.Sample)),
            StatesSpacing = json.TryGetProperty("timestep_spacing", out JsonElement spacing) && spacing.ValueKind != JsonValueKind.Null,
            TimestepSpacing = reader.Choice(
                "timestep_spacing", defaults.TimestepSpacing,
                ("leading", TimestepSpacing.Leading), ("linspace", TimestepSpacing.Linspace), ("trailing", TimestepSpacing.Trailing)),
        };
        config.Validate(source);
        return config;
    }

    internal void Validate(string source)
    {
        if (NumTrainTimesteps is < 2 or > 1_000_000)
            throw new CheckpointException($"Expected num_train_timesteps from 2 to 1000000 in {source}, but {NumTrainTimesteps} came.");
        if (!(BetaStart > 0 && BetaStart <= BetaEnd && BetaEnd < 1))
            throw new CheckpointException($"Expected 0 < beta_start <= beta_end < 1 in {source}, but {BetaStart} and {BetaEnd} came.");
        if (!(ClipSampleRange > 0))
            throw new CheckpointException($"Expected a positive clip_sample_range in {source}, but {ClipSampleRange} came.");
        if (StepsOffset < 0 || StepsOffset >= NumTrainTimesteps)
            throw new CheckpointException($"Expected steps_offset from 0 to {NumTrainTimesteps - 1} in {source}, but {StepsOffset} came.");
    }

    private readonly struct Reader(JsonElement json, string source)
    {
        public double Number(string key, double fallback)
        {
            if (!TryGet(key, out JsonElement value)) return fallback;
            return value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double number) && double.IsFinite(number)
                ? number
                : throw Bad(key, "a number", value);
        }

        public int Integer(string key, int fallback)
        {
            if (!TryGet(key, out JsonElement value)) return fallback;
            return value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int number) ? number : throw Bad(key, "a whole number", value);
        }

        public bool Flag(string key, bool fallback)
        {
            if (!TryGet(key, out JsonElement value)) return fallback;
            return value.ValueKind switch
            {
                JsonValueKind.True => true,
                JsonValueKind.False => false,
                _ => throw Bad(key, "true or false", value),
            };
        }

        public T Choice<T>(string key, T fallback, params (string Name, T Value)[] choices)
        {
            if (!TryGet(key, out JsonElement value)) return fallback;
            foreach ((string name, T choice) in choices)
                if (value.ValueKind == JsonValueKind.String && value.ValueEquals(name)) return choice;
            throw Bad(key, string.Join(" or ", choices.Select(choice => $"\"{choice.Name}\"")), value);
        }

        public void Refuse(string key, Func<JsonElement, bool> unsupported)
        {
            if (json.TryGetProperty(key, out JsonElement value) && unsupported(value))
                throw new CheckpointException($"Expected a schedule without {key} in {source}, but it is set, and this engine does not support it.");
        }

        private bool TryGet(string key, out JsonElement value) =>
            json.TryGetProperty(key, out value) && value.ValueKind != JsonValueKind.Null;

        private CheckpointException Bad(string key, string expected, JsonElement value)
        {
            string text = value.GetRawText();
            return new CheckpointException($"Expected {expected} for {key} in {source}, but {(text.Length > 60 ? text[..60] + "..." : text)} came.");
        }
    }
}
