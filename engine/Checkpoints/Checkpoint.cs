using System.Diagnostics.CodeAnalysis;
using System.Text.Json;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;

namespace AfaNative.Engine.Checkpoints;

/// <summary>The weights of one component, from one safetensors file or from shards with an index.</summary>
public sealed class Checkpoint : IDisposable
{
    private static readonly string[] PickleExtensions = [".bin", ".ckpt", ".pt", ".pth"];

    private readonly List<SafetensorsFile> _files;
    private readonly Dictionary<string, SafetensorsFile> _owners = new(StringComparer.Ordinal);
    private readonly IReadOnlyDictionary<string, string>? _names;

    private Checkpoint(string description, List<SafetensorsFile> files)
    {
        Description = description;
        _files = files;
        foreach (SafetensorsFile file in files)
        {
            foreach (string name in file.Tensors.Keys)
            {
                if (!_owners.TryAdd(name, file))
                    throw new CheckpointException(
                        $"Expected every tensor in one shard, but '{name}' is in '{_owners[name].Path}' and in '{file.Path}'."
                    );
            }
        }

        try
        {
            IsOriginal = OriginalNames.Recognises(_owners.Keys);
            _names = IsOriginal ? OriginalNames.Map(_owners.Keys) : NetworkNames.Unwrap(_owners.Keys);
        }
        catch (CheckpointException e)
        {
            throw new CheckpointException($"{description}: {e.Message}", e);
        }
    }

    /// <summary>The path of the file or of the index.</summary>
    public string Description { get; }

    /// <summary>
    /// The names of all tensors, as diffusers has them: a file in the original layout shows the tensors of all its networks under
    /// their new names, one whose
    /// networks are wrapped in others shows them without.
    /// </summary>
    public IReadOnlyCollection<string> Names => _names is { } map ? [.. map.Keys] : _owners.Keys;

    /// <summary>The names as the file has them.</summary>
    public IReadOnlyCollection<string> FileNames => _owners.Keys;

    /// <summary>The file has original (CompVis) names and holds all networks of a model.</summary>
    public bool IsOriginal { get; }

    /// <summary>A file that stands for itself, so that its configuration comes from a base model's folder.</summary>
    internal bool IsAlone =>
        File.Exists(Description)
        && !File.Exists(Path.Combine(Path.GetDirectoryName(Path.GetFullPath(Description))!, "config.json"));

    /// <summary>
    /// The tensors that belong to none of a model's networks, by the file's names, without schedules, counters and position
    /// numbers.
    /// </summary>
    internal IReadOnlyList<string> Strays
    {
        get
        {
            HashSet<string> used = _names is { } map
                ? [.. map.Where(n => NetworkNames.Of(n.Key) != NetworkNames.Network.None).Select(n => n.Value)]
                : [.. _owners.Keys.Where(n => NetworkNames.Of(n) != NetworkNames.Network.None)];
            return [.. _owners.Keys.Where(n => !used.Contains(n) && !KnownExtras.IsSilent(n)).Order(StringComparer.Ordinal)];
        }
    }

    /// <summary>A tensor by the file's own name, or null.</summary>
    public SafetensorsTensor? FileTensor(string name) =>
        _owners.TryGetValue(name, out SafetensorsFile? file) ? file.Tensors[name] : null;

    /// <summary>Opens one file.</summary>
    public static Checkpoint OpenFile(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        if (PickleExtensions.Contains(Path.GetExtension(path), StringComparer.OrdinalIgnoreCase))
            throw Pickle(path);
        SafetensorsFile file = SafetensorsFile.Open(path);
        try
        {
            return new Checkpoint(path, [file]);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Opens the first of the base names that the folder holds: as one file, as shards with an index, or as a float16 variant. A
    /// path to a file opens it.
    /// </summary>
    public static Checkpoint Open(string folder, params string[] baseNames)
    {
        ArgumentNullException.ThrowIfNull(folder);
        ArgumentNullException.ThrowIfNull(baseNames);
        if (File.Exists(folder))
            return OpenFile(folder);
        if (!Directory.Exists(folder))
            throw new CheckpointException($"Expected a folder of weights at '{folder}', but there is none.");
        foreach (string name in baseNames)
        {
            foreach (string variant in (string[])["", ".fp16"])
            {
                string single = Path.Combine(folder, $"{name}{variant}.safetensors");
                if (File.Exists(single))
                    return OpenFile(single);
                string index =
                    variant.Length == 0 ? single + ".index.json" : Path.Combine(folder, $"{name}.safetensors.index.fp16.json");
                if (File.Exists(index))
                    return OpenShards(folder, index);
            }
        }

        string? pickle = Directory
            .EnumerateFiles(folder)
            .FirstOrDefault(f => PickleExtensions.Contains(Path.GetExtension(f), StringComparer.OrdinalIgnoreCase));
        throw pickle is not null
            ? Pickle(pickle)
            : new CheckpointException(
                $"Expected {string.Join(" or ", baseNames.Select(n => n + ".safetensors"))}, but '{folder}' holds none."
            );
    }

    /// <summary>Finds a tensor by diffusers' name, and the file it lies in.</summary>
    public bool TryGet(
        string name,
        [NotNullWhen(true)] out SafetensorsFile? file,
        [NotNullWhen(true)] out SafetensorsTensor? tensor
    )
    {
        tensor = null;
        file = null;
        if (_names is not null)
        {
            if (!_names.TryGetValue(name, out string? original))
                return false;
            name = original;
        }

        return _owners.TryGetValue(name, out file) && file.Tensors.TryGetValue(name, out tensor);
    }

    /// <summary>The tensor of a parameter, under its name or an older one.</summary>
    /// <exception cref="CheckpointException">There is none.</exception>
    internal (SafetensorsFile File, SafetensorsTensor Tensor) Get(ParameterSpec spec)
    {
        foreach (string name in spec.Aliases.Prepend(spec.Name))
        {
            if (TryGet(name, out SafetensorsFile? file, out SafetensorsTensor? tensor))
                return (file, tensor);
        }

        throw new CheckpointException($"{Description}: expected the tensor '{spec.Name}', but it is not there.");
    }

    /// <inheritdoc/>
    public void Dispose() => _files.ForEach(f => f.Dispose());

    private static CheckpointException Pickle(string path) =>
        new(
            $"Expected safetensors weights, but '{path}' is a pickle, which can run code when it is read: convert it with "
                + $"pipe.save_pretrained(dir, safe_serialization=True) in diffusers."
        );

    private static Checkpoint OpenShards(string folder, string index)
    {
        Dictionary<string, string> map = ReadIndex(index);
        var files = new Dictionary<string, SafetensorsFile>(StringComparer.Ordinal);
        try
        {
            foreach (string shard in map.Values.Distinct(StringComparer.Ordinal))
            {
                string path = Path.Combine(folder, shard);
                if (!File.Exists(path))
                    throw new CheckpointException($"Expected the shard '{shard}' beside '{index}', but it is missing.");
                files.Add(shard, SafetensorsFile.Open(path));
            }

            foreach ((string name, string shard) in map)
            {
                if (!files[shard].Tensors.ContainsKey(name))
                    throw new CheckpointException(
                        $"Expected the tensor '{name}' in the shard '{shard}' as '{index}' says, but it is not there."
                    );
            }

            return new Checkpoint(index, [.. files.Values]);
        }
        catch
        {
            foreach (SafetensorsFile file in files.Values)
                file.Dispose();
            throw;
        }
    }

    private static Dictionary<string, string> ReadIndex(string index)
    {
        var map = new Dictionary<string, string>(StringComparer.Ordinal);
        try
        {
            using var document = JsonDocument.Parse(
                RegularFile.ReadAllBytes(index, "an index of shards", SafetensorsHeader.MaximumLength),
                new JsonDocumentOptions { MaxDepth = 8 }
            );
            if (
                document.RootElement.ValueKind != JsonValueKind.Object
                || !document.RootElement.TryGetProperty("weight_map", out JsonElement weights)
                || weights.ValueKind != JsonValueKind.Object
            )
                throw new CheckpointException($"Expected an object weight_map, but '{index}' holds none.");
            foreach (JsonProperty entry in weights.EnumerateObject())
            {
                string? shard = entry.Value.ValueKind == JsonValueKind.String ? entry.Value.GetString() : null;
                if (
                    string.IsNullOrEmpty(shard)
                    || shard is "." or ".."
                    || shard.AsSpan().IndexOfAny("/\\:\0") >= 0
                    || !shard.EndsWith(".safetensors", StringComparison.Ordinal)
                )
                    throw new CheckpointException(
                        $"Expected a plain .safetensors file name for the tensor '{entry.Name}', but '{index}' gives "
                            + $"{entry.Value.GetRawText()}."
                    );
                if (!map.TryAdd(entry.Name, shard))
                    throw new CheckpointException($"Expected every tensor once, but '{index}' lists '{entry.Name}' again.");
            }
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"Expected a readable JSON index, but '{index}' is not: {e.Message}", e);
        }

        return map;
    }
}
