using System.Collections;
using System.Globalization;
using AfaNative.Engine.Core;
using AfaNative.Engine.Pipeline;

namespace AfaNative.Tool.Commands;

/// <summary>One picture of a file of prompts.</summary>
/// <param name="Number">From 1, over the whole file.</param>
/// <param name="Options">Its prompt, its seed and its settings.</param>
internal sealed record PromptJob(int Number, GenerationOptions Options)
{
    /// <summary>The file's name without extension: depends on number and seed alone, so that a run knows what is done.</summary>
    public string Name => string.Create(CultureInfo.InvariantCulture, $"{Number:D5}-{Options.Seeds[0]}");
}

/// <summary>
/// The pictures of a file of prompts, or of a shard of it: counted, and made as they are asked for, so that a million need no
/// list.
/// </summary>
/// <param name="lines">The prompts, at least one.</param>
/// <param name="count">Pictures of every prompt.</param>
/// <param name="first">The first picture's seed.</param>
/// <param name="index">The first picture of the shard, from 0.</param>
/// <param name="of">Every so many pictures one is the shard's.</param>
internal sealed class PromptJobs(IReadOnlyList<PromptLine> lines, int count, ulong first, int index = 0, int of = 1)
    : IReadOnlyList<PromptJob>
{
    /// <summary>Whole sentences about lines that may not be meant as they are taken.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];

    /// <summary>The prompts with their settings; their seeds are not set.</summary>
    public IReadOnlyList<PromptLine> Lines => lines;

    /// <summary>Those of the prompts of which the shard has a picture.</summary>
    public IEnumerable<PromptLine> Drawn
    {
        get
        {
            int last = -1;
            for (int i = 0; i < Count; i++)
            {
                int line = (index + i * of) / count;
                if (line != last)
                    yield return lines[last = line];
            }
        }
    }

    /// <inheritdoc/>
    public int Count => (int)(((long)lines.Count * count - index + of - 1) / of);

    /// <inheritdoc/>
    public PromptJob this[int i]
    {
        get
        {
            ArgumentOutOfRangeException.ThrowIfNegative(i);
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(i, Count);
            int number = index + i * of;
            PromptLine line = lines[number / count];
            ulong seed = line.Seed is { } own ? own + (ulong)(number % count) : first + (ulong)number;
            return new PromptJob(number + 1, line.Options with { Seeds = [seed] });
        }
    }

    /// <summary>Every n-th picture, starting with the i-th: <c>i/n</c>, i from 0.</summary>
    /// <exception cref="AfaException">It is written otherwise.</exception>
    public PromptJobs Shard(string shard)
    {
        string[] parts = shard.Split('/');
        if (
            parts.Length != 2
            || !Numbers.TryInt32(parts[0], out int i)
            || !Numbers.TryInt32(parts[1], out int n)
            || n < 1
            || i < 0
            || i >= n
        )
        {
            throw new AfaException($"--shard is written i/n with i from 0 to n - 1, not '{Printable.Shortened(shard)}'.");
        }

        return new PromptJobs(lines, count, first, i, n) { Warnings = Warnings };
    }

    /// <summary>Asks something of every line, and names the lines that cannot answer.</summary>
    /// <exception cref="AfaException">Some cannot: up to ten are named.</exception>
    public void Check(string path, Action<GenerationOptions> ask)
    {
        var faults = new PromptFaults(path);
        foreach (PromptLine line in lines)
            faults.Try(line.Number, () => ask(line.Options with { Seeds = [0] }));
        faults.Throw();
    }

    /// <inheritdoc/>
    public IEnumerator<PromptJob> GetEnumerator()
    {
        for (int i = 0; i < Count; i++)
            yield return this[i];
    }

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}

/// <summary>A file of prompts: one a line, or JSON objects with settings of their own.</summary>
internal static class PromptBatch
{
    private const long MostBytes = 32 << 20;
    private const int MostLines = 200_000;

    /// <summary>
    /// All pictures of a file, <paramref name="count"/> of every prompt; picture i has seed first + i unless its line says
    /// otherwise.
    /// </summary>
    /// <param name="path">UTF-8 text.</param>
    /// <param name="defaults">What a line does not say.</param>
    /// <param name="count">Pictures of every prompt.</param>
    /// <param name="first">The first picture's seed.</param>
    /// <param name="multiple">Pictures' edges are multiples of that.</param>
    /// <exception cref="AfaException">Lines cannot be understood: up to ten are named.</exception>
    public static PromptJobs Read(string path, GenerationOptions defaults, int count, ulong first, int multiple = 8)
    {
        var lines = new List<PromptLine>();
        var words = new List<(int, string)>();
        var faults = new PromptFaults(path);
        int number = 0;
        foreach (ReadOnlySpan<char> raw in TextFile.Read(path, "a file of prompts", MostBytes).AsSpan().EnumerateLines())
        {
            number++;
            string line = raw.Trim().ToString();
            if (line.Length == 0)
                continue;
            if (lines.Count == MostLines)
                throw new AfaException(
                    $"{path}, line {number}: a file holds at most {MostLines} prompts; several files have room for more."
                );
            faults.Try(number, () => lines.Add(PromptLine.Parse(number, line, defaults, multiple)));
            if (line[0] != '{')
                words.Add((number, line));
        }

        faults.Throw();
        if (lines.Count == 0)
            throw new AfaException($"{path}: it holds no prompt.");
        if ((long)lines.Count * count > int.MaxValue)
            throw new AfaException(
                $"{path}: {lines.Count} prompts with {count} pictures each are more than the {int.MaxValue} pictures of a run."
            );
        return new PromptJobs(lines, count, first) { Warnings = PromptChecks.OddLines(path, words) };
    }

    /// <summary>Neighbours that differ in prompt and seed alone, up to <paramref name="size"/> at once.</summary>
    public static IEnumerable<IReadOnlyList<PromptJob>> Batches(IEnumerable<PromptJob> jobs, int size)
    {
        var batch = new List<PromptJob>();
        foreach (PromptJob job in jobs)
        {
            if (batch.Count == size || (batch.Count > 0 && !Alike(batch[0].Options, job.Options)))
            {
                yield return batch;
                batch = [];
            }

            batch.Add(job);
        }

        if (batch.Count > 0)
            yield return batch;
    }

    private static bool Alike(GenerationOptions a, GenerationOptions b) =>
        a with { Prompt = "", Seeds = Array.Empty<ulong>() } == b with { Prompt = "", Seeds = Array.Empty<ulong>() };
}
