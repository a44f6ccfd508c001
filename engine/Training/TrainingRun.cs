using System.Text.Json;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Files;

namespace AfaNative.Engine.Training;

/// <summary>
/// A run's folder, and what in it the run may replace. <c>written.json</c> says what <c>model/</c> held when the run wrote it,
/// file by file: a folder that holds anything else is somebody else's, whatever its name, and stays.
/// </summary>
public static class TrainingRun
{
    /// <summary>The trained model in a run's folder.</summary>
    internal const string Model = "model";

    private const string Written = "written.json";

    /// <summary>
    /// Refuses a run that would write into the model it trains, or whose model lies where the run writes; links are followed.
    /// </summary>
    /// <exception cref="AfaException">It would.</exception>
    public static void Check(EnsembleFolder models, string run)
    {
        if (RealPath.IsInside(models.Path, run))
            throw new AfaException(
                $"{models.Path}: it lies in {run}, where this run writes and replaces files; name another `out`."
            );
        if (RealPath.IsInside(run, models.Path))
            throw new AfaException(
                $"{run}: it lies in {models.Path}, the model that is trained, which stays as it is; name another `out`."
            );
        string result = Path.Combine(run, Model);
        string[] parts =
        [
            .. models.UNets,
            .. models.TextEncoders,
            .. models.Aggregators,
            models.Vae,
            models.Tokenizer,
            models.Scheduler,
        ];
        if (parts.FirstOrDefault(p => RealPath.IsInside(p, result)) is { } part)
            throw new AfaException($"{part}: it leads into {result}, which this run replaces; name another `out`.");
    }

    /// <summary>Refuses to go on where <c>model/</c> is not what the run wrote: found out before training, not after.</summary>
    /// <exception cref="AfaException">It is something else.</exception>
    public static void MayReplaceModel(string run)
    {
        string model = Path.Combine(run, Model);
        if (Directory.Exists(run))
            TemporaryName.Sweep(RealPath.Of(run));
        if (!Path.Exists(model))
            return;
        if (!Directory.Exists(model) || new DirectoryInfo(model).LinkTarget is not null)
            throw new AfaException($"{model}: it is no folder that this run wrote; move it away.");
        Dictionary<string, string> holds = Contents(model);
        if (!Known(run).Any(k => k.Count == holds.Count && k.All(e => holds.GetValueOrDefault(e.Key) == e.Value)))
        {
            throw new AfaException(
                $"{model}: this run did not write it, or it was changed since, so it is not replaced; move it away, or "
                    + $"name another `out`."
            );
        }
    }

    /// <summary>Writes <c>model/</c> in place of what the run wrote there before.</summary>
    /// <exception cref="AfaException">What is there is something else, or it cannot be written.</exception>
    internal static void WriteModel(string run, Action<string> fill)
    {
        MayReplaceModel(run);
        string model = Path.Combine(run, Model),
            written = Path.Combine(run, Written);
        Dictionary<string, string>? whole = null;
        WholeFolder.Replace(
            model,
            fill,
            to =>
            {
                whole = Contents(to);
                // Whichever of the two a killed run leaves is known.
                Save(written, Directory.Exists(model) ? [Contents(model), whole] : [whole]);
            }
        );
        Save(written, [whole!]);
    }

    private static void Save(string path, Dictionary<string, string>[] contents) =>
        WholeFile.WriteText(path, JsonSerializer.Serialize(new { model = contents }) + "\n");

    private static IReadOnlyList<Dictionary<string, string>> Known(string run)
    {
        string path = Path.Combine(run, Written);
        if (!File.Exists(path))
            return [];
        try
        {
            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(path));
            return document.RootElement.GetProperty("model").Deserialize<Dictionary<string, string>[]>() ?? [];
        }
        catch (Exception e)
            when (e
                    is IOException
                        or UnauthorizedAccessException
                        or JsonException
                        or InvalidOperationException
                        or KeyNotFoundException
            )
        {
            throw new AfaException($"{path}: what this run wrote could not be read: {e.Message}", e);
        }
    }

    // Every file by a hash of its bytes, every link by where it leads; what links lead to is not the folder's.
    private static Dictionary<string, string> Contents(string folder)
    {
        var contents = new Dictionary<string, string>(StringComparer.Ordinal);
        Add(folder, "");
        return contents;

        void Add(string at, string name)
        {
            foreach (string entry in Directory.EnumerateFileSystemEntries(at))
            {
                string path = name + Path.GetFileName(entry);
                if (new FileInfo(entry).LinkTarget is { } target)
                {
                    contents[path] = "-> " + target;
                }
                else if (Directory.Exists(entry))
                {
                    contents[path + "/"] = "";
                    Add(entry, path + "/");
                }
                else
                {
                    contents[path] = FileHash.Short([entry]);
                }
            }
        }
    }
}
