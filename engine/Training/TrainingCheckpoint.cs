using System.Globalization;
using System.Text.Json;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Files;

namespace AfaNative.Engine.Training;

/// <summary>
/// Checkpoints of a training run: <c>checkpoints/step-00000100/aggregator_k/</c> in the AFA authors' layout, the optimizer's
/// moments and the step. Everything
/// else that is random follows from the seed and the step, so this is all a run needs to go on bit for bit. Folders appear whole
/// or not at all.
/// </summary>
internal static class TrainingCheckpoint
{
    /// <summary>Running means beside the weights themselves.</summary>
    public const string MeansFile = "mean.safetensors";

    private const string Prefix = "step-";

    /// <summary>Writes a checkpoint and removes all but the newest <paramref name="keep"/>.</summary>
    public static string Save(
        string run,
        EnsembleFolder models,
        TrainedAggregators trained,
        Optimizer optimizer,
        LossScale scale,
        string options,
        int keep
    )
    {
        string target = Path.Combine(run, "checkpoints", Prefix + optimizer.Steps.ToString("D8", CultureInfo.InvariantCulture));
        WholeFolder.Replace(target, to => Fill(to, models, trained, optimizer, scale, options));
        foreach (string old in All(run).SkipLast(keep))
            Remove(old);
        return target;
    }

    private static void Fill(
        string to,
        EnsembleFolder models,
        TrainedAggregators trained,
        Optimizer optimizer,
        LossScale scale,
        string options
    )
    {
        for (int k = 0; k < trained.Aggregators.Count; k++)
        {
            string folder = Path.Combine(to, $"aggregator_{k}"),
                prefix = $"aggregator_{k}.";
            Directory.CreateDirectory(folder);
            File.Copy(Path.Combine(models.Aggregators[k], "config.json"), Path.Combine(folder, "config.json"));
            List<TensorEntry> values = [],
                means = [];
            for (int i = 0; i < trained.Parameters.Count; i++)
            {
                (string full, Parameter p) = trained.Parameters[i];
                if (!full.StartsWith(prefix, StringComparison.Ordinal))
                    continue;
                values.Add(TensorEntry.FromFloat32(full[prefix.Length..], [.. p.Shape], p.Values));
                if (optimizer.Means is { } running)
                    means.Add(TensorEntry.FromFloat32(full[prefix.Length..], [.. p.Shape], running[i]));
            }

            SafetensorsWriter.Write(Path.Combine(folder, "aggregator.safetensors"), values);
            if (means.Count > 0)
                SafetensorsWriter.Write(Path.Combine(folder, MeansFile), means);
        }

        (IReadOnlyList<float[]> first, IReadOnlyList<float[]> second) = optimizer.Moments;
        var moments = new List<TensorEntry>();
        for (int i = 0; i < trained.Parameters.Count; i++)
        {
            moments.Add(TensorEntry.FromFloat32("first." + trained.Parameters[i].Name, [first[i].Length], first[i]));
            moments.Add(TensorEntry.FromFloat32("second." + trained.Parameters[i].Name, [second[i].Length], second[i]));
        }

        SafetensorsWriter.Write(Path.Combine(to, "optimizer.safetensors"), moments);
        WholeFile.WriteText(
            Path.Combine(to, "trainer.json"),
            JsonSerializer.Serialize(
                new
                {
                    step = optimizer.Steps,
                    loss_scale = scale.Value,
                    steps_at_scale = scale.Good,
                    options,
                }
            )
        );
    }

    private static void Remove(string folder)
    {
        try
        {
            Directory.Delete(folder, recursive: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new AfaException($"{folder}: a checkpoint that is no longer kept could not be removed: {e.Message}", e);
        }
    }

    /// <summary>The newest complete checkpoint, or null.</summary>
    public static string? Newest(string run) => All(run).LastOrDefault();

    /// <summary>What a checkpoint says of its run's <see cref="RunIdentity"/>.</summary>
    public static string Options(string folder)
    {
        using JsonFile json = JsonFile.Open(Path.Combine(folder, "trainer.json"));
        return json.String("options", "");
    }

    /// <summary>Brings a checkpoint's values, moments and step back.</summary>
    /// <exception cref="AfaException">It belongs to a run with other options, or to other aggregators.</exception>
    public static void Load(string folder, TrainedAggregators trained, Optimizer optimizer, LossScale scale, RunIdentity identity)
    {
        using (JsonFile json = JsonFile.Open(Path.Combine(folder, "trainer.json")))
        {
            identity.Require(folder, json.String("options", ""));
            optimizer.Steps = json.Int("step");
            scale.Restore(json.Float("loss_scale", (float)scale.Value), json.Int("steps_at_scale", 0));
        }

        using SafetensorsFile moments = SafetensorsFile.Open(Path.Combine(folder, "optimizer.safetensors"));
        (IReadOnlyList<float[]> first, IReadOnlyList<float[]> second) = optimizer.Moments;
        for (int i = 0; i < trained.Parameters.Count; i++)
        {
            (string name, Parameter parameter) = trained.Parameters[i];
            Copy(moments.ReadFloat32("first." + name), first[i], name);
            Copy(moments.ReadFloat32("second." + name), second[i], name);
            int dot = name.IndexOf('.', StringComparison.Ordinal);
            using SafetensorsFile weights = SafetensorsFile.Open(Path.Combine(folder, name[..dot], "aggregator.safetensors"));
            Copy(weights.ReadFloat32(name[(dot + 1)..]), parameter.Values, name);
            if (optimizer.Means is { } running)
            {
                using SafetensorsFile means = SafetensorsFile.Open(Path.Combine(folder, name[..dot], MeansFile));
                Copy(means.ReadFloat32(name[(dot + 1)..]), running[i], name);
            }

            parameter.Publish();
        }

        void Copy(float[] from, float[] to, string name)
        {
            if (from.Length != to.Length)
                throw new CheckpointException($"{folder}: {name} has {from.Length} values, the ensemble's has {to.Length}.");
            from.CopyTo(to, 0);
        }
    }

    // Only names this class gives: a copy a user put beside them is neither gone on from nor removed.
    private static IEnumerable<string> All(string run)
    {
        string parent = Path.Combine(run, "checkpoints");
        return Directory.Exists(parent)
            ? Directory
                .EnumerateDirectories(parent, Prefix + "*")
                .Where(d =>
                    Path.GetFileName(d).AsSpan(Prefix.Length) is { Length: >= 8 } n
                    && !n.ContainsAnyExceptInRange('0', '9')
                    && File.Exists(Path.Combine(d, "trainer.json"))
                )
                .OrderBy(d => long.Parse(Path.GetFileName(d).AsSpan(Prefix.Length), CultureInfo.InvariantCulture))
            : [];
    }
}
