using System.Globalization;
using System.Text;
using System.Text.Json;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Training;

/// <summary>
/// All that a run of training depends on, part by part, so that going on with something else is refused with the name of what
/// differs. Files count by what they hold, not by where they lie.
/// </summary>
public sealed class RunIdentity
{
    private readonly List<(string Name, string Value)> _parts = [];

    // Marks values that say nothing to people.
    private const char HashMark = '#';

    /// <summary>Adds a part that people know by its value, such as an option.</summary>
    public RunIdentity Add(string name, string value)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(value);
        _parts.Add((name, value));
        return this;
    }

    /// <summary>Adds a part that is known by a hash of its contents, such as weights or pictures.</summary>
    /// <param name="name">In a sentence that begins with "other".</param>
    /// <param name="contents">What decides; texts of any length.</param>
    public RunIdentity AddContents(string name, params IEnumerable<string> contents)
    {
        using var hash = new Sha256();
        foreach (string one in contents)
        {
            byte[] bytes = Encoding.UTF8.GetBytes(one);
            // The length first: where one text ends is part of what is hashed.
            hash.Append(BitConverter.GetBytes(bytes.LongLength));
            hash.Append(bytes);
        }

        return Add(name, HashMark + Convert.ToHexStringLower(hash.Finish())[..32]);
    }

    /// <summary>
    /// Adds the options that decide what an update does; how often a run is saved or looked at is none of them.
    /// </summary>
    public RunIdentity Add(TrainingOptions options, ElementType storage, bool aggregators)
    {
        ArgumentNullException.ThrowIfNull(options);
        Add("--batch-size", Text(options.BatchSize));
        // Networks were trained without it at first, and their runs go on.
        if (aggregators || options.Accumulate > 1)
            Add("--accumulate", Text(options.Accumulate));
        if (aggregators)
            Add("--holdout", Text(options.Holdout));
        Add("--size", Text(options.Size))
            .Add("--learning-rate", Text(options.LearningRate))
            .Add("--weight-decay", Text(options.WeightDecay))
            .Add("AdamW's second decay", Text(options.Beta2));
        Add("--clip", Text(options.ClipNorm))
            .Add("--schedule", options.Schedule.ToString().ToLowerInvariant())
            .Add("--warmup", Text(options.WarmupSteps));
        // A constant rate is the same at every step, however many there will be.
        if (options.Schedule != LearningRateSchedule.Constant)
            Add("--steps", Text(options.Steps));
        Add("--text-dropout", Text(options.TextDropout))
            .Add("--posterior-means", options.PosteriorMeans ? "true" : "false")
            .Add("--seed", Text(options.Seed))
            .Add("--ema", Text(options.Ema));
        return Add(
            "--precision",
            storage switch
            {
                ElementType.Float16 => "f16",
                ElementType.BFloat16 => "bf16",
                _ => "f32",
            }
        );
    }

    /// <summary>The same parts, to be added to.</summary>
    public RunIdentity Copy()
    {
        var copy = new RunIdentity();
        copy._parts.AddRange(_parts);
        return copy;
    }

    /// <summary>What differs from another run, each as part of a sentence; none where all is the same.</summary>
    public IReadOnlyList<string> Differences(RunIdentity other)
    {
        ArgumentNullException.ThrowIfNull(other);
        Dictionary<string, string> theirs = other._parts.ToDictionary(p => p.Name, p => p.Value, StringComparer.Ordinal),
            mine = _parts.ToDictionary(p => p.Name, p => p.Value, StringComparer.Ordinal);
        List<string> found = [];
        foreach (string name in mine.Keys.Union(theirs.Keys, StringComparer.Ordinal))
        {
            string? came = mine.GetValueOrDefault(name),
                expected = theirs.GetValueOrDefault(name);
            if (came == expected)
                continue;
            found.Add(
                (came ?? expected)!.StartsWith(HashMark)
                    ? $"other {name}"
                    : $"{name} {came ?? "not given"} instead of {expected ?? "none"}"
            );
        }

        return found;
    }

    /// <summary>Refuses to go on with a run that is another.</summary>
    /// <param name="path">What is gone on with, for the message.</param>
    /// <param name="stored">What it holds of <see cref="ToString"/>; null where it holds nothing.</param>
    /// <exception cref="AfaException">It is of another run; the message says what differs.</exception>
    public void Require(string path, string? stored) => Require(path, Stored(path, stored));

    /// <summary>As <see cref="Require(string, string?)"/>, of those parts alone that this one has.</summary>
    /// <inheritdoc cref="Require(string, string?)"/>
    public void RequireOwn(string path, string? stored)
    {
        RunIdentity theirs = Stored(path, stored);
        theirs._parts.RemoveAll(p => !_parts.Any(own => own.Name == p.Name));
        Require(path, theirs);
    }

    private static RunIdentity Stored(string path, string? stored) =>
        Parse(stored)
        ?? throw new AfaException(
            $"{path}: it does not say what it was trained on, as runs of older versions; another `out` starts a new run."
        );

    private void Require(string path, RunIdentity theirs)
    {
        IReadOnlyList<string> differences = Differences(theirs);
        if (differences.Count > 0)
        {
            throw new AfaException(
                $"{path}: it was trained with other options, data or models; now there are {string.Join("; ", differences)}. "
                    + $"`resume` goes on only with the same, another `out` starts a new run."
            );
        }
    }

    /// <summary>Whether something stored is of the same run.</summary>
    public bool Is(string? stored) => Parse(stored) is { } theirs && Differences(theirs).Count == 0;

    /// <summary>As a JSON object, to be stored.</summary>
    public override string ToString() => JsonSerializer.Serialize(_parts.ToDictionary(p => p.Name, p => p.Value));

    private static RunIdentity? Parse(string? stored)
    {
        try
        {
            if (
                string.IsNullOrEmpty(stored)
                || JsonSerializer.Deserialize<Dictionary<string, string>>(stored) is not { Count: > 0 } parts
            )
                return null;
            var identity = new RunIdentity();
            foreach ((string name, string value) in parts)
                identity.Add(name, value);
            return identity;
        }
        catch (Exception e) when (e is JsonException or ArgumentException or InvalidOperationException)
        {
            // Something older, or not ours: the caller says so.
            return null;
        }
    }

    private static string Text<T>(T value)
        where T : IFormattable => value.ToString(null, CultureInfo.InvariantCulture);
}
