using System.CommandLine;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Prompts;
using AfaNative.Engine.Sampling.Samplers;
using AfaNative.Kernels.Embedding;

namespace AfaNative.Tool.Commands;

/// <summary>The options of <c>afa-native sample</c>: the settings table's, and those of a run.</summary>
internal sealed class SampleOptions
{
    private readonly Argument<string?> _model = new("MODEL")
    {
        Description =
            "An AFA ensemble folder, a plain diffusers folder, or a single-file checkpoint with --base. Left out: the demo "
            + "ensemble that comes with the program.",
        Arity = ArgumentArity.ZeroOrOne,
    };

    private readonly Option<string?> _prompts = new("--prompts")
    {
        Description =
            "A file of prompts instead: one a line, or a JSON object a line with settings of its own "
            + $"({string.Join(", ", PromptLine.Names)}). Pictures that are there already are skipped; --count is per prompt.",
    };

    private readonly Option<string?> _shard = new("--shard")
    {
        Description =
            "--prompts: only every n-th picture from the i-th on, as i/n; all shards together give the same files as one run.",
    };

    private readonly Option<string?> _from = new("--from")
    {
        Description =
            "Takes prompt, seed and settings from a PNG drawn by this program or A1111; options given as well count more.",
    };

    private readonly Option<int> _count = new Option<int>("--count", "-c")
    {
        Description = "Pictures to draw.",
        DefaultValueFactory = _ => 4,
    }.Within(1, Limits.Count);

    private readonly Option<int> _batch = new Option<int>("--batch-size")
    {
        Description = "Pictures drawn at once; changes memory and speed, not the pictures.",
        DefaultValueFactory = _ => 1,
    }.Within(1, Limits.Batch);

    private readonly Option<string> _output = new("--out", "-o")
    {
        Description = "Folder for the pictures.",
        DefaultValueFactory = _ => "out",
    };

    private readonly Option<string?> _maps = new("--attention-maps")
    {
        Description = "Folder for contact sheets that show which expert counts where.",
    };

    private readonly Option<int?> _expert = new Option<int?>("--expert")
    {
        Description = "Run this expert of an ensemble alone (0, 1, ...).",
    }.Within(0, 1023);

    private readonly Option<string?> _base = new("--base")
    {
        Description = "Model folder that lends a single-file checkpoint its tokenizer, schedule and configuration.",
    };

    private readonly Option<string?> _vae = new("--vae")
    {
        Description = "Use this VAE instead: a folder, a VAE file, or a checkpoint with one baked in.",
    };

    private readonly Option<string[]> _loras = new("--lora")
    {
        Description = "A LoRA as FILE, FILE:WEIGHT, FILE@EXPERT or FILE:WEIGHT@EXPERT; may be given several times.",
        AllowMultipleArgumentsPerToken = true,
    };

    private readonly Option<string?> _budget = new("--memory-budget")
    {
        Description =
            "Most memory to use, such as 6GiB; an accelerator keeps weights on the host where they do not fit. Left out: what "
            + "the device has free.",
    };

    private readonly Option<string> _device = Devices.DeviceOption();
    private readonly Option<int> _threads = Devices.ThreadsOption();
    private readonly Option<string> _precision = Devices.PrecisionOption();
    private readonly SettingOptions _settings = new();
    private readonly StartPictureOptions _start;
    private readonly SampleExtraOptions _extras = new();
    private readonly PromptOptions _prompting = new();

    public SampleOptions() => _start = new StartPictureOptions(_settings);

    /// <summary>Adds the argument and all options.</summary>
    public void AddTo(Command command)
    {
        command.Arguments.Add(_model);
        _settings.AddTo(command);
        Option[] run =
        [
            _prompts,
            _shard,
            _from,
            _count,
            _batch,
            _start.Init,
            _start.Mask,
            _start.Resize,
            _start.Background,
            _extras.Preview,
            _extras.X,
            _extras.Y,
            ResultLines.Json,
            _output,
            _maps,
            _expert,
            _base,
            _vae,
            _loras,
            _device,
            _threads,
            _precision,
            _budget,
            MemoryGuard.Force,
        ];
        foreach (Option option in run)
            command.Options.Add(option);
        _prompting.AddTo(command);
        _extras.Tensors.AddTo(command);
    }

    /// <summary>The run that is asked for.</summary>
    /// <exception cref="AfaException">Options do not go together, or a file they name cannot be read.</exception>
    public SampleRequest Read(ParseResult r)
    {
        PictureSettings? picture = PictureSettings.Read(r.GetValue(_from));
        GenerationMetadata? old = picture?.Recorded;
        CheckSources(r, old is not null);
        // One expert alone has nothing to be joined with.
        bool chosen = _settings.Given(r, "fusion") || _settings.Given(r, "experts");
        int? alone = r.GetValue(_expert) ?? (chosen ? null : old?.Expert);
        bool batch = r.GetValue(_prompts) is not null;
        SampleExtras extras = _extras.Read(r, !batch);
        CheckPlot(r, extras.Plot);
        int pictures = Pictures(r, old is not null, extras);
        if (old?.Latents is { } lost && extras.Tensors.Latents is null)
            Terminal.Warn(
                $"the picture started from latents of its own ({lost}), not from its seed's: --latents FILE gives them"
            );
        ModelDefaults defaults = ModelDefaults.Of(r.GetValue(_model), r.GetValue(_base));
        StartPicture start = _start.Read(r, picture, defaults.Size);
        if (start.Pixels is not null && old?.Hires is not null)
            Terminal.Warn($"{picture!.Path}: the picture's second pass does not go with --init-image, and is left out");
        MemoryGuard.Check(
            MemoryGuard.Pictures(start.Width, start.Height, Math.Min(pictures, r.GetValue(_batch))),
            MemoryGuard.Machine,
            r.GetValue(MemoryGuard.Force),
            "smaller pictures or a smaller --batch-size"
        );
        GenerationOptions options = Options(r, picture, defaults, start, alone is null, batch || extras.Plot is not null);
        CheckMagic(r, options, extras.Plot);
        Limits.CheckPrompt("--prompt", options.Prompt, options.Syntax);
        Limits.CheckPrompt("--negative", options.NegativePrompt, options.Syntax);
        PromptJobs? jobs = Jobs(r, options, pictures);
        PromptChecks.Say(options, jobs, defaults.Size);
        if (extras.Plot?.Varies("fusion") != true)
            picture?.SayIdle(options.Fusion);
        IReadOnlyList<LoraRequest> given = PictureSettings.Loras(picture, r.GetValue(_loras) ?? [], _prompting.LoraFolder(r));
        return new SampleRequest
        {
            Model = defaults.Model,
            Options = options,
            Count = pictures,
            BatchSize = r.GetValue(_batch),
            Output = r.GetValue(_output)!,
            Device = (r.GetValue(_device)!, r.GetValue(_threads), r.GetValue(_precision)!),
            Extras = extras,
            Maps = r.GetValue(_maps),
            Budget = r.GetValue(_budget),
            Force = r.GetValue(MemoryGuard.Force),
            Expert = alone,
            Base = r.GetValue(_base),
            Vae = PictureSettings.Vae(picture, r.GetValue(_vae), defaults.Model),
            GivenLoras = given,
            Loras = _prompting.Loras(r, given, options, jobs),
            Embeddings = _prompting.Embeddings(r),
            Prompts = r.GetValue(_prompts),
            Jobs = jobs,
            From = picture,
            Start = start.Pixels is null ? null : start,
        };
    }

    // What the model takes where nothing is said, then what the picture says, then the command line.
    private GenerationOptions Options(
        ParseResult r,
        PictureSettings? picture,
        ModelDefaults defaults,
        StartPicture start,
        bool joined,
        bool repeatable
    )
    {
        var options = new GenerationOptions
        {
            Prompt = "",
            Syntax = PromptSyntax.Weighted,
            Steps = defaults.Steps,
            GuidanceScale = defaults.Guidance,
            // The first alone: the others follow as they are drawn. A file of prompts or a plot can be gone on with only if seeds
            // stay what they are.
            Seeds = [repeatable ? 0 : (ulong)Random.Shared.Next()],
        };
        if (picture is null && !_settings.Given(r, "sampler"))
            options = options with
            {
                Sampler = ModelSampler.OfModel(defaults.Model, r.GetValue(_base), r.GetValue(_model) is not null),
            };
        bool single = start.Pixels is not null || r.GetValue(_maps) is not null;
        // A scale of 0 leaves out the picture's second pass.
        bool leftOut = _settings.Text(r, "hires-scale") is { } scale && Numbers.Double("--hires-scale", scale) == 0;
        bool second = !single && !leftOut;
        if (picture is not null)
            options = SettingTable.Restore(options, picture.Recorded, picture.Path, s => IsRestored(r, s, joined, second));
        bool sized = _settings.Given(r, "hires-width") || _settings.Given(r, "hires-height");
        CheckSecondPass(r, sized, single);
        if (sized && options.HighResolution is { } before)
            options = options with { HighResolution = before with { Width = 0, Height = 0 } };
        options = _settings.Apply(r, options);
        return options with { Width = start.Width, Height = start.Height, InitImage = start.Pixels, Mask = start.Mask };
    }

    private static bool IsFusion(Setting s) => s.Name is "fusion" or "experts" or "magic-weights" or "magic-switch";

    private bool IsRestored(ParseResult r, Setting s, bool joined, bool second)
    {
        // What asks for a second pass comes before what says how it is made, whatever the command line changes of it.
        if (s.Name is "hires-scale" or "hires-width" or "hires-height")
            return second;
        return !_settings.Given(r, s.Name) && (second || !IsSecondPass(s)) && (joined || !IsFusion(s));
    }

    private static bool IsSecondPass(Setting s) => s.Name.StartsWith("hires-", StringComparison.Ordinal);

    private void CheckSources(ParseResult r, bool from)
    {
        bool prompt = _settings.Given(r, "prompt");
        bool prompts = r.GetValue(_prompts) is not null;
        if (!prompt && !prompts && !from)
        {
            string taken =
                r.GetValue(_model) is { } words && !Path.Exists(words)
                    ? $" ('{Printable.Shortened(words)}' was taken for MODEL)"
                    : "";
            throw new AfaException($"--prompt says what the pictures show; --prompts FILE and --from PICTURE do, too{taken}.");
        }

        if (prompts && (prompt || from))
            throw new AfaException("--prompts brings the prompts: it does not go with --prompt or --from.");
        if (r.GetValue(_shard) is not null && !prompts)
            throw new AfaException("--shard divides the pictures of --prompts; there are none.");
        if (prompts && (r.GetValue(_maps) is not null || r.GetValue(_start.Init) is not null))
            throw new AfaException("--prompts does not go with --attention-maps or --init-image yet.");
        LoneOptions.Check(r, r.GetValue(_start.Init) is not null, "--init-image", _settings["strength"]);
    }

    private void CheckPlot(ParseResult r, Plot? plot)
    {
        if (plot is null)
            return;
        if (r.GetValue(_prompts) is not null || r.GetValue(_maps) is not null)
            throw new AfaException("--x and --y do not go with --prompts or --attention-maps.");
        if (LoneOptions.Given(r, _count))
            throw new AfaException("--x and --y draw one picture a cell, not --count of them; an axis can vary the seed.");
    }

    private int Pictures(ParseResult r, bool from, SampleExtras extras)
    {
        if (extras.Plot is not null)
            return 1;
        if (LoneOptions.Given(r, _count))
            return r.GetValue(_count);
        if (extras.Tensors.Latents is { } noise)
            return noise.Count;
        return from || r.GetValue(_prompts) is not null ? 1 : r.GetValue(_count);
    }

    private void CheckMagic(ParseResult r, GenerationOptions options, Plot? plot)
    {
        bool magic = options.Fusion == FusionMode.Magic || plot?.Varies("fusion") == true || r.GetValue(_prompts) is not null;
        LoneOptions.Check(r, magic, "--fusion magic", _settings["magic-weights"], _settings["magic-switch"]);
    }

    private void CheckSecondPass(ParseResult r, bool sized, bool single)
    {
        bool scaled = _settings.Given(r, "hires-scale");
        if (scaled && sized)
            throw new AfaException("--hires-scale and --hires-width or --hires-height say the same thing twice.");
        // A scale of 0 leaves a second pass out.
        bool asked = sized || (scaled && Numbers.Double("--hires-scale", _settings.Text(r, "hires-scale")) > 0);
        if (asked && single)
            throw new AfaException(
                "A second pass (--hires-scale, --hires-width, --hires-height) does not go with --init-image or "
                    + "--attention-maps yet."
            );
    }

    private PromptJobs? Jobs(ParseResult r, GenerationOptions options, int pictures)
    {
        if (r.GetValue(_prompts) is not { } file)
            return null;
        PromptJobs all = PromptBatch.Read(file, options, pictures, options.Seeds[0]);
        return r.GetValue(_shard) is { } part ? all.Shard(part) : all;
    }
}
