using System.Text.Json;
using System.Text.Json.Nodes;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;
using AfaNative.Kernels.Random;

namespace AfaNative.Engine.Ensemble;

/// <summary>How finely block weights are searched.</summary>
public enum SearchResolution
{
    /// <summary>One weight per model for the whole U-Net.</summary>
    Model,

    /// <summary>One per resolution level: four of the input, the middle, four of the output.</summary>
    Levels,

    /// <summary>One per block: 25.</summary>
    Blocks,
}

/// <summary>What is searched, and for how long.</summary>
public sealed record BlockWeightSearchOptions
{
    /// <summary>Models merged, at least 2.</summary>
    public required int Models { get; init; }

    /// <summary>Merged models to score, all in all.</summary>
    public int Trials { get; init; } = 60;

    /// <summary>Decides every proposal.</summary>
    public ulong Seed { get; init; }

    /// <summary>How finely weights are searched.</summary>
    public SearchResolution Resolution { get; init; } = SearchResolution.Levels;

    /// <summary>What a log must agree on to be continued: names the models and the scorer.</summary>
    public required string Subject { get; init; }
}

/// <summary>One merged model and its score.</summary>
/// <param name="Trial">From 0.</param>
/// <param name="Blocks">Weights [models][25], which add up to 1 in every block.</param>
/// <param name="Score">Higher is better.</param>
public sealed record SearchTrial(int Trial, double[][] Blocks, double Score);

/// <summary>
/// autoMBW: a search over block weights that maximises a score. First the plain average and every model alone, then random
/// mixtures for a quarter of the
/// budget, then steps from the best so far: a few groups at a time, the opposite way where one fails, and half as far when
/// several in a row do. Every trial is a line of JSON in a log before the next starts, and a proposal depends on
/// the seed and the scores before it alone: a search cut off anywhere continues as if it had not been.
/// </summary>
public static class BlockWeightSearch
{
    private const double FirstStep = 0.5,
        LastStep = 0.1,
        LeastWeight = 0.01,
        ThreeInTen = 0.5244;
    private const int Patience = 8;

    /// <summary>Runs the search and returns the best trial, the earliest among equals.</summary>
    /// <param name="options">What to search.</param>
    /// <param name="score">Scores weights [models][25]; NaN counts as worst.</param>
    /// <param name="log">File of trials to continue and to write, or null.</param>
    /// <param name="done">Told every trial, those of the log included.</param>
    /// <param name="cancellation">Stops between trials.</param>
    /// <param name="warn">Told of a last line that was cut off: that trial is run again.</param>
    /// <exception cref="AfaException">The log belongs to another search, is damaged in its middle, is written by another process,
    /// or cannot be written.</exception>
    public static SearchTrial Run(
        BlockWeightSearchOptions options,
        Func<double[][], double> score,
        string? log = null,
        Action<SearchTrial>? done = null,
        CancellationToken cancellation = default,
        Action<string>? warn = null
    )
    {
        if (options.Models < 2)
            throw new AfaException("A search over block weights needs at least two models.");
        if (options.Trials < 1)
            throw new AfaException($"A search takes at least one trial, not {options.Trials}.");
        using OutputLock? held = log is null ? null : OutputLock.Take(log);
        List<double> known = log is null ? [] : Resume(log, options, warn);
        var trials = new List<SearchTrial>();
        for (int i = 0; i < options.Trials; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            double[][] groups = Propose(options, trials),
                blocks = Spread(options.Resolution, groups);
            double came = i < known.Count ? known[i] : score(blocks);
            if (double.IsNaN(came))
                came = double.NegativeInfinity;
            var trial = new SearchTrial(i, blocks, came);
            trials.Add(trial);
            if (log is not null && i >= known.Count)
                JsonLines.Append(log, Line(trial));
            done?.Invoke(trial);
        }

        return Best(trials);
    }

    /// <summary>Groups of blocks that share a weight.</summary>
    internal static int[] GroupOfBlock(SearchResolution resolution) =>
        [
            .. Enumerable
                .Range(0, BlockWeights.Count)
                .Select(b =>
                    resolution switch
                    {
                        SearchResolution.Model => 0,
                        SearchResolution.Blocks => b,
                        // Three blocks a level on the way down and up; the middle between them.
                        _ => b < 12 ? b / 3
                        : b == 12 ? 4
                        : 5 + (b - 13) / 3,
                    }
                ),
        ];

    private static double[][] Propose(BlockWeightSearchOptions options, List<SearchTrial> trials)
    {
        int[] groupOf = GroupOfBlock(options.Resolution);
        int groups = groupOf.Max() + 1,
            i = trials.Count;
        var weights = new double[groups][];
        if (i <= options.Models)
        {
            for (int g = 0; g < groups; g++)
                weights[g] =
                [
                    .. Enumerable
                        .Range(0, options.Models)
                        .Select(m =>
                            i == 0 ? 1.0 / options.Models
                            : m == i - 1 ? 1
                            : 0
                        ),
                ];
            return weights;
        }

        int explored = Math.Max(options.Models + 1, options.Trials / 4);
        SearchTrial best = Best(trials);
        bool random = i < explored;
        int failures = i - Math.Max(best.Trial, explored - 1) - 1;
        bool back = !random && failures % 2 == 1;
        double step = random ? 1.5 : Math.Max(LastStep, FirstStep * Math.Pow(0.5, failures / Patience)) * (back ? -1 : 1);
        var noise = new float[groups * (options.Models + 1)];
        GaussianNoise.Fill(noise, options.Seed, (ulong)(back ? i - 1 : i));
        for (int g = 0; g < groups; g++)
        {
            ReadOnlySpan<float> draw = noise.AsSpan(g * (options.Models + 1), options.Models + 1);
            int block = Array.IndexOf(groupOf, g);
            // The last draw decides whether a group moves at all: steps along a few coordinates find more than steps along all.
            bool moves = random || groups == 1 || draw[^1] > ThreeInTen;
            var logits = new double[options.Models];
            for (int m = 0; m < options.Models; m++)
                logits[m] = (random ? 0 : Math.Log(Math.Max(LeastWeight, best.Blocks[m][block]))) + (moves ? step * draw[m] : 0);
            double top = logits.Max(),
                sum = logits.Sum(l => Math.Exp(l - top));
            weights[g] = moves ? [.. logits.Select(l => Math.Exp(l - top) / sum)] : [.. best.Blocks.Select(b => b[block])];
        }

        return weights;
    }

    private static double[][] Spread(SearchResolution resolution, double[][] groups)
    {
        int[] groupOf = GroupOfBlock(resolution);
        return [.. Enumerable.Range(0, groups[0].Length).Select(m => groupOf.Select(g => groups[g][m]).ToArray())];
    }

    private static SearchTrial Best(List<SearchTrial> trials) => trials.MaxBy(t => t.Score)!;

    private static string Header(BlockWeightSearchOptions options) =>
        new JsonObject
        {
            ["search"] = "block weights",
            ["models"] = options.Models,
            ["trials"] = options.Trials,
            ["seed"] = options.Seed,
            ["resolution"] = options.Resolution.ToString(),
            ["subject"] = options.Subject,
        }.ToJsonString();

    private static string Line(SearchTrial trial) =>
        new JsonObject
        {
            ["trial"] = trial.Trial,
            ["score"] = double.IsFinite(trial.Score) ? trial.Score : null,
            ["blocks"] = new JsonArray([.. trial.Blocks.Select(b => new JsonArray([.. b.Select(w => JsonValue.Create(w))]))]),
        }.ToJsonString();

    private static List<double> Resume(string log, BlockWeightSearchOptions options, Action<string>? warn)
    {
        string header = Header(options);
        // The first line is the search's description, the others are trials; a score that is not there was no number.
        JsonLog<double?> read = JsonLines.Read(log, e => e.TryGetProperty("search", out _) ? (double?)null : Score(e));
        if (read.Entries.Count == 0 && (!File.Exists(log) || IsBeginning(log, header)))
        {
            if (read.Torn)
                warn?.Invoke(read.Damage[0]);
            JsonLines.Rewrite(log, [header]);
            return [];
        }

        if (read.Entries.Count == 0 || read.Entries[0].Text != header)
            throw new AfaException(
                $"{log}: it is the log of another search (other models, scorer, seed, resolution or number of trials); "
                    + $"name another file."
            );
        // A proposal depends on all scores before it: none can be left out.
        if (read.Damage.Count > (read.Torn ? 1 : 0))
            throw new AfaException(
                $"{read.Damage[0]}, but a search cannot go on without one of its trials; cut the log off before that "
                    + $"line, or name another file."
            );
        if (read.Torn)
        {
            warn?.Invoke(read.Damage[0]);
            JsonLines.Rewrite(log, read.Entries.Select(e => e.Text));
        }

        return [.. read.Entries.Skip(1).Select(e => e.Value ?? double.NegativeInfinity)];
    }

    // A search that was killed while it wrote its first line; no file of anybody else's.
    private static bool IsBeginning(string log, string header)
    {
        try
        {
            return new FileInfo(log).Length <= 4 * header.Length
                && header.StartsWith(File.ReadAllText(log), StringComparison.Ordinal);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new AfaException($"{log}: the log of trials could not be read: {e.Message}", e);
        }
    }

    private static double? Score(JsonElement trial) =>
        trial.GetProperty("score") is { ValueKind: not JsonValueKind.Null } score ? score.GetDouble() : null;
}
