using System.Globalization;
using AfaNative.Engine.Core;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Samplers;

namespace AfaNative.Engine.Pipeline;

public sealed partial record GenerationMetadata
{
    // Say nothing of how a picture looks, or say it of the program alone.
    private static readonly HashSet<string> s_harmless = new(StringComparer.OrdinalIgnoreCase)
    {
        "Hashes",
        "Civitai resources",
        "Civitai metadata",
        "User",
        "App",
        "Backend",
        "Operations",
        "Pipeline",
        "Batch size",
        "Batch pos",
        "Batch count",
        "Time taken",
        "Metadata Scheme",
        "Raw prompt",
        "Raw negative prompt",
        "Performance",
        "Script",
        "X Type",
        "X Values",
        "Fixed X Values",
        "Y Type",
        "Y Values",
        "Fixed Y Values",
        "Z Type",
        "Z Values",
        "Fixed Z Values",
        "TI",
        "Model type",
        "Parser",
        "Comment",
        "Source",
        "Date",
        "Wildcard prompt",
        "Original prompt",
        "Original negative prompt",
        "Memory",
    };

    // What does nothing at this value.
    private static readonly Dictionary<string, string[]> s_without = new(StringComparer.OrdinalIgnoreCase)
    {
        ["Emphasis"] = ["Original"],
        ["FP8 weight"] = ["Disable"],
        ["Hires sampler"] = ["Use same sampler"],
        ["Hires schedule type"] = ["Use same scheduler"],
        ["Hires checkpoint"] = ["Use same checkpoint"],
        ["Hires prompt"] = [""],
        ["Hires negative prompt"] = [""],
        ["Mask mode"] = ["Inpaint masked"],
        ["Inpaint area"] = ["Whole picture"],
        ["Masked content"] = ["original"],
        ["Mask blur"] = ["0"],
        ["Conditional mask weight"] = ["1", "1.0"],
        ["Variation seed strength"] = ["0", "0.0"],
        ["Seed resize from"] = ["-1x-1", "0x0"],
        ["Face restoration"] = ["None"],
        ["Tiling"] = ["False"],
        ["Discard penultimate sigma"] = ["False"],
        ["SGM noise multiplier"] = ["False"],
        ["VAE Encoder"] = ["Full"],
        ["VAE Decoder"] = ["Full"],
        ["Noise Schedule"] = ["Default"],
        ["Sigma churn"] = ["0", "0.0"],
        ["Sigma noise"] = ["1", "1.0"],
        ["Token merging ratio"] = ["0", "0.0"],
        ["Refine"] = ["False"],
        ["NGMS"] = ["0", "0.0"],
        ["ENSD"] = ["0"],
        ["VAE"] = ["Automatic", "None", "Default (model)"],
    };

    // Recorded by others with numbers of another source: ComfyUI, on which it is built, draws them on the processor.
    private const string OnTheProcessor = "Fooocus";

    /// <summary>
    /// Settings of a text that this program does not understand, each as <c>key: value</c>, and lines of an unknown kind after
    /// them.
    /// </summary>
    public IReadOnlyList<string> NotUnderstood { get; init; } = [];

    /// <summary>This program wrote the text.</summary>
    public bool Own { get; init; }

    /// <summary>
    /// The picture was made from another one (A1111's img2img): <see cref="Strength"/> is how much of that was changed.
    /// </summary>
    public bool FromPicture => InitImageHash is not null || (Strength is not null && Hires is null);

    /// <summary>
    /// Whose random numbers the seed stands for: <c>own</c>, <c>cpu</c>, <c>cuda-philox</c>, or what the text says where that is
    /// none of these. Other programs' seeds stand for CUDA's where the text says nothing.
    /// </summary>
    public string NoiseSource =>
        Noise?.ToUpperInvariant() switch
        {
            "CPU" => "cpu",
            "GPU" or "NV" => "cuda-philox",
            null => Own ? "own"
            : Version.StartsWith(OnTheProcessor, StringComparison.OrdinalIgnoreCase) ? "cpu"
            : "cuda-philox",
            _ => Noise,
        };

    /// <summary>
    /// Reads such a text back, also as A1111 and its relatives write it; what it does not say has the values of a new record.
    /// Nothing is left out in silence: see <see cref="NotUnderstood"/>.
    /// </summary>
    /// <exception cref="AfaException">It has no line of settings, or a setting is no number or out of range.</exception>
    public static GenerationMetadata Parse(string text)
    {
        ParameterText parts =
            ParameterText.Read(text)
            ?? throw new AfaException(
                text.AsSpan().TrimStart().StartsWith("{")
                    ? "The picture's text is JSON, as Fooocus and SwarmUI write it; expected a line of settings (Steps: ..., "
                        + "Sampler: ...)."
                    : "The picture's text has no line of settings (Steps: ..., Sampler: ...)."
            );
        return new Reader(parts).Read();
    }

    /// <summary>The fields of a line of settings; of a key that comes twice the last value counts.</summary>
    internal static Dictionary<string, string> Fields(string line)
    {
        var fields = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        foreach ((string key, string value) in ParameterText.Split(line))
            fields[key] = value;
        return fields;
    }

    // Takes fields one by one; what is left at the end was not understood.
    private sealed class Reader
    {
        private readonly ParameterText _parts;
        private readonly Dictionary<string, string> _fields = new(StringComparer.OrdinalIgnoreCase);
        private readonly HashSet<string> _taken = new(StringComparer.OrdinalIgnoreCase);

        public Reader(ParameterText parts)
        {
            _parts = parts;
            foreach ((string key, string value) in parts.Fields)
                _fields[key] = value;
        }

        public GenerationMetadata Read()
        {
            string version = Text("Version") ?? "";
            bool own = version.StartsWith(Program, StringComparison.Ordinal);
            string sampler = Text("Sampler") is { Length: > 0 } named ? named : "DDIM";
            (int width, int height) = Size("Size");
            HiresSettings? hires = Hires(ref width, ref height);
            // A1111 has an eta for DDIM and another for ancestral samplers, and may write both.
            double? eta =
                !own && sampler.StartsWith("DDIM", StringComparison.OrdinalIgnoreCase) ? Number("Eta DDIM") : Number("Eta");
            var read = new GenerationMetadata
            {
                Prompt = own && Text("Prompt text") is { } prompt ? prompt : _parts.Prompt,
                NegativePrompt = own && Text("Negative prompt text") is { } negative ? negative : _parts.Negative,
                Steps = Whole("Steps", 1, 100_000) ?? 20,
                Sampler = sampler,
                // Fooocus names it so.
                ScheduleType = Text("Schedule type") ?? Text("Scheduler"),
                CfgScale = Number("CFG scale") ?? 7,
                Seed =
                    Text("Seed") is not { } seed ? 0
                    : Numbers.TryUInt64(seed, out ulong value) ? value
                    : throw Bad("Seed"),
                Width = width,
                Height = height,
                ClipSkip = Math.Max(0, (Whole("Clip skip", 0, 1000) ?? 1) - 1),
                Eta = eta,
                Latents = Text("Latents"),
                Strength = Number("Denoising strength"),
                Hires = hires,
                Noise = Text("RNG"),
                PlainPrompt = Choice("Prompt syntax", "a1111", "plain") == "plain",
                Settings =
                [
                    .. SettingTable
                        .All.Select(s => s.MetadataKey)
                        .OfType<string>()
                        .Select(k => new KeyValuePair<string, string?>(k, Text(k)))
                        .Where(f => f.Value is { Length: > 0 })
                        .Select(f => new KeyValuePair<string, string>(f.Key, f.Value!)),
                ],
                ModelHashes = Text("Model hash") is { Length: > 0 } hashes ? hashes.Split(" + ") : [],
                Models = Text("Model") is { Length: > 0 } models ? models.Split(" + ") : [],
                AggregatorHash = Text("Aggregator hash"),
                Fusion = Text("Fusion"),
                TextInversions = HashList("TI hashes"),
                Experts = Text("Experts"),
                Expert = Whole("Expert", 0, int.MaxValue),
                MagicWeights = Text("Magic weights") is { Length: > 0 } weights
                    ?
                    [
                        .. weights
                            .Split(" + ")
                            .Select(w => Numbers.TryDouble(w, out double one) ? one : throw Bad("Magic weights")),
                    ]
                    : [],
                MagicSwitch = Whole("Magic switch", int.MinValue, int.MaxValue),
                Loras = Text("LoRAs") is { Length: > 0 } loras
                    ? RecordedLora.Split(loras) ?? throw Bad("LoRAs", "a list of LoRAs and their weights")
                    : [],
                LoraHashes = HashList("Lora hashes"),
                VaeHash = Text("VAE hash"),
                Vae = Without("VAE") ? null : Text("VAE"),
                VaeTiling = Choice("VAE tiling", "on", "off") is { } tiling ? tiling == "on" : null,
                InitImageHash = Text("Init image hash"),
                MaskHash = Text("Mask hash"),
                Resize = Text("Resize mode"),
                Background = Text("Background"),
                Precision = Text("Precision"),
                Device = Text("Device"),
                Plot = Text("Plot"),
                Version = own ? version[Program.Length..].TrimStart() : version,
                Own = own,
            };
            return read with { NotUnderstood = [.. Rest()] };
        }

        private IEnumerable<string> Rest()
        {
            foreach ((string key, string value) in _parts.Fields)
            {
                if (!_taken.Contains(key) && !s_harmless.Contains(key) && !Without(key))
                    yield return $"{key}: {value}";
            }

            foreach (string line in _parts.After)
            {
                if (
                    !line.StartsWith("Template:", StringComparison.OrdinalIgnoreCase)
                    && !line.StartsWith("Negative Template:", StringComparison.OrdinalIgnoreCase)
                    && !line.StartsWith("Wildcard", StringComparison.OrdinalIgnoreCase)
                )
                    yield return $"the line '{line}'";
            }
        }

        private bool Without(string key) =>
            s_without.TryGetValue(key, out string[]? values)
            && _fields.TryGetValue(key, out string? value)
            && values.Contains(value, StringComparer.OrdinalIgnoreCase);

        private string? Text(string key)
        {
            _taken.Add(key);
            return _fields.GetValueOrDefault(key);
        }

        // Blank values are as good as none, as A1111 reads them.
        private double? Number(string key) =>
            Text(key) is not { } text || text.Length == 0 ? null
            : Numbers.TryDouble(text, out double value) ? value
            : throw Bad(key);

        // SD.Next writes 2.0.
        private int? Whole(string key, int least, int most)
        {
            if (Number(key) is not { } value)
                return null;
            if (value != Math.Floor(value))
                throw Bad(key);
            return value >= least && value <= most
                ? (int)value
                : throw Bad(key, string.Create(CultureInfo.InvariantCulture, $"from {least} to {most}"));
        }

        private (int Width, int Height) Size(string key)
        {
            if (Text(key) is not { } text)
                return (0, 0);
            string[] edges = text.Split('x');
            if (edges.Length != 2 || !Numbers.TryInt32(edges[0], out int width) || !Numbers.TryInt32(edges[1], out int height))
                throw Bad(key);
            return width is >= 0 and <= 1 << 20 && height is >= 0 and <= 1 << 20 ? (width, height) : throw Bad(key, "a size");
        }

        private string? Choice(string key, params string[] known) =>
            Text(key) is not { } text ? null
            : known.Contains(text) ? text
            : throw Bad(key, string.Join(" or ", known));

        private (string, string)[] HashList(string key) =>
            Text(key) is not { Length: > 0 } text
                ? []
                :
                [
                    .. text.Split(", ")
                        .Select(t =>
                            t.LastIndexOf(": ", StringComparison.Ordinal) is var colon and > 0
                                ? (t[..colon], t[(colon + 2)..])
                                : (t, "")
                        ),
                ];

        // Before 1.0 A1111 recorded the final size, and the first pass's or that it followed from the final one.
        private HiresSettings? Hires(ref int width, ref int height)
        {
            if (_fields.ContainsKey("First pass size"))
            {
                (int firstWidth, int firstHeight) = Size("First pass size");
                (int finalWidth, int finalHeight) = (width, height);
                if (firstWidth == 0 || firstHeight == 0)
                {
                    double scale = Math.Sqrt(512.0 * 512 / Math.Max(1, (double)width * height));
                    (firstWidth, firstHeight) = (
                        (int)Math.Ceiling(scale * width / 64) * 64,
                        (int)Math.Ceiling(scale * height / 64) * 64
                    );
                }

                (width, height) = (firstWidth, firstHeight);
                return new HiresSettings(2, finalWidth, finalHeight, 0, "Latent");
            }

            HiresSettings? hires = HiresSettings.Parse(_fields);
            if (hires is not null)
                _taken.UnionWith(["Hires upscale", "Hires resize", "Hires steps", "Hires upscaler"]);
            return hires;
        }

        private AfaException Bad(string key, string expected = "no number") =>
            new(
                $"The picture's text says '{key}: {Printable.Shortened(_fields[key])}', which is "
                    + $"{(expected == "no number" ? expected : $"not {expected}")}."
            );
    }
}
