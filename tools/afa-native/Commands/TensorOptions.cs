using System.CommandLine;
using System.Globalization;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Files;
using AfaNative.Engine.Pipeline;

namespace AfaNative.Tool.Commands;

/// <summary>Options of <c>afa-native sample</c> for numbers in and out.</summary>
internal sealed class TensorOptions
{
    private readonly Option<string?> _latents = new("--latents")
    {
        Description =
            "A safetensors file with the noise the pictures start from instead of their seeds': a tensor 'latents' "
            + "[n, C, h, w] or [C, h, w] of unit variance. --count is n when left out.",
    };

    private readonly Option<string?> _saveLatents = new("--save-latents")
    {
        Description =
            "Folder for a safetensors file per picture: the noise it starts from (which --latents reads), latents and "
            + "predictions of --save-steps, and the final latents.",
    };

    private readonly Option<string?> _saveSteps = new("--save-steps")
    {
        Description =
            "--save-latents: the steps to keep, counted in evaluations of the model, as 0,5,last or all; all when " + "left out.",
    };

    private readonly Option<string?> _saveMaps = new("--save-maps")
    {
        Description =
            "Attention maps of every step and aggregation point as numbers: a .safetensors file for one picture, or a "
            + "folder for a file per picture.",
    };

    /// <summary>Adds the options.</summary>
    public void AddTo(Command command)
    {
        foreach (Option option in (Option[])[_latents, _saveLatents, _saveSteps, _saveMaps])
            command.Options.Add(option);
    }

    /// <summary>Their values.</summary>
    /// <param name="result">What was parsed.</param>
    /// <param name="single">Whether the run draws pictures of one prompt, one after another.</param>
    /// <exception cref="AfaException">They make no sense, or the latents cannot be read.</exception>
    public TensorRequest Read(ParseResult result, bool single)
    {
        if (
            ((Option<string?>[])[_latents, _saveLatents, _saveMaps]).FirstOrDefault(o => result.GetValue(o) is not null)
                is { } given
            && !single
        )
            throw new AfaException($"{given.Name} does not go with --prompts, --x or --y yet.");
        if (result.GetValue(_saveSteps) is not null && result.GetValue(_saveLatents) is null)
        {
            throw new AfaException("--save-steps says which steps --save-latents keeps; there is none.");
        }
        return new TensorRequest(
            result.GetValue(_latents) is { } file ? LatentFile.Open(file) : null,
            result.GetValue(_saveLatents),
            result.GetValue(_saveSteps) is { } steps ? RecordedSteps.Parse("--save-steps", steps) : RecordedSteps.All,
            result.GetValue(_saveMaps)
        );
    }
}

/// <summary>Numbers in and out of a run.</summary>
/// <param name="Latents">What the pictures start from, or null.</param>
/// <param name="LatentFolder">Folder for latents, or null.</param>
/// <param name="Steps">The steps whose latents are kept.</param>
/// <param name="Maps">File or folder for attention maps, or null.</param>
internal sealed record TensorRequest(LatentFile? Latents, string? LatentFolder, RecordedSteps Steps, string? Maps)
{
    /// <summary>Nothing in, nothing out.</summary>
    public static TensorRequest None { get; } = new(null, null, RecordedSteps.All, null);

    private bool ToFile =>
        Maps is not null && Maps.EndsWith(".safetensors", StringComparison.OrdinalIgnoreCase) && !Directory.Exists(Maps);

    /// <summary>Refuses outputs that cannot be written, before anything is loaded.</summary>
    /// <exception cref="AfaException">One is something else already, or its folder cannot be written to.</exception>
    public void CheckOutputs()
    {
        OutputFolder.Check("--save-latents", LatentFolder);
        if (!ToFile)
        {
            OutputFolder.Check("--save-maps", Maps);
            return;
        }

        if (RegularFile.Kind(Maps!) is not FileKind.Missing)
            throw new AfaException($"--save-maps {Maps}: the file is there already.");
        OutputFolder.Check("--save-maps", Path.GetDirectoryName(Path.GetFullPath(Maps!)));
    }

    /// <summary>Refuses what the run cannot do, and makes the folders.</summary>
    /// <exception cref="AfaException">There is something.</exception>
    public void Prepare(DiffusionModel model, GenerationOptions options, int count)
    {
        Latents?.For(
            count,
            model.Ensemble.Config.InChannels,
            options.Height / model.Vae.Config.Downscale,
            options.Width / model.Vae.Config.Downscale,
            0,
            0
        );
        if (Maps is not null && model.Ensemble.AggregationPoints == 0)
        {
            throw new AfaException($"{model.Folder.Path}: --save-maps needs an ensemble; a single model has no aggregators.");
        }
        if (Maps is not null && options.Fusion is FusionMode.Mean or FusionMode.Magic)
        {
            throw new AfaException("--save-maps writes the aggregators' weights; --fusion mean and magic have none.");
        }
        if (ToFile && File.Exists(Maps))
            throw new AfaException($"--save-maps {Maps}: the file is there already.");
        if (ToFile && count > 1)
        {
            throw new AfaException($"--save-maps {Maps} is one file, {count} pictures need a folder (or --count 1).");
        }
        if (LatentFolder is not null)
            Steps.Check("--save-steps", new TextToImagePipeline(model).Evaluations(options));
        foreach (string? folder in (string?[])[LatentFolder, ToFile ? Path.GetDirectoryName(Path.GetFullPath(Maps!)) : Maps])
        {
            if (folder is not null)
                Directory.CreateDirectory(folder);
        }
    }

    /// <summary>The settings of some pictures of a run, from the first on, with the noise they start from.</summary>
    public GenerationOptions Start(DiffusionModel model, GenerationOptions options, int count, int first) =>
        Latents is null
            ? options
            : options with
            {
                InitialLatents = Latents.For(
                    count,
                    model.Ensemble.Config.InChannels,
                    options.Height / model.Vae.Config.Downscale,
                    options.Width / model.Vae.Config.Downscale,
                    first,
                    options.Seeds.Count
                ),
            };

    /// <summary>What keeps a batch's numbers; null where none are asked for.</summary>
    public TensorRecorder? Record(DiffusionModel model, GenerationOptions options) =>
        LatentFolder is null && Maps is null ? null : new TensorRecorder(this, model, options);

    /// <summary>The file of a picture's maps.</summary>
    public string MapFile(string name) => ToFile ? Maps! : Path.Combine(Maps!, $"{name}-maps.safetensors");
}

/// <summary>Keeps the numbers of one batch.</summary>
internal sealed class TensorRecorder(TensorRequest request, DiffusionModel model, GenerationOptions options)
{
    private readonly LatentRecorder? _latents = request.LatentFolder is null
        ? null
        : new LatentRecorder(model, options, request.Steps);
    private readonly AttentionRecorder? _maps = request.Maps is null
        ? null
        : new AttentionRecorder(model, new TextToImagePipeline(model).Evaluations(options), options.Seeds.Count, int.MaxValue);

    /// <summary>The observer that keeps them, and passes everything on to another.</summary>
    public GenerationObserver Observe(GenerationObserver other)
    {
        GenerationObserver observer = _latents?.Observe(other) ?? other;
        if (_maps is null)
            return observer;
        return observer with
        {
            Aggregation = (step, point, fused, maps) =>
            {
                _maps.Record(step, point, fused, maps);
                other.Aggregation?.Invoke(step, point, fused, maps);
            },
        };
    }

    /// <summary>Writes a picture's numbers; returns the files.</summary>
    /// <param name="name">The picture's name without extension.</param>
    /// <param name="picture">The picture of the batch.</param>
    public IEnumerable<string> Write(string name, int picture)
    {
        var files = new List<string>();
        if (_latents is not null)
        {
            string wanted = Path.Combine(request.LatentFolder!, $"{name}-latents.safetensors");
            files.Add(WriteNew(wanted, path => _latents.Write(path, picture)));
        }

        if (_maps is not null)
        {
            IReadOnlyList<AttentionRecord> records = _maps.For(picture);
            files.Add(WriteNew(request.MapFile(name), path => AttentionMapFile.Write(path, model, options, picture, records)));
        }

        return files;
    }

    // Under a name that nobody has: another run may have written the same picture's numbers there.
    private static string WriteNew(string wanted, Action<string> write)
    {
        string path = wanted;
        for (int i = 2; !Claim(path); i++)
        {
            path = string.Create(CultureInfo.InvariantCulture, $"{wanted[..^".safetensors".Length]}-{i}.safetensors");
        }

        try
        {
            write(path);
            return path;
        }
        catch
        {
            File.Delete(path);
            throw;
        }
    }

    private static bool Claim(string path)
    {
        try
        {
            using var claimed = new FileStream(path, FileMode.CreateNew);
            return true;
        }
        catch (IOException) when (File.Exists(path))
        {
            return false;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new AfaException($"{path}: it cannot be written: {e.Message}", e);
        }
    }
}
