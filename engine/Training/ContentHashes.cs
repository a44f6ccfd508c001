using System.Text.Json;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;

namespace AfaNative.Engine.Training;

/// <summary>
/// SHA-256 of what files hold, remembered between runs so that gigabytes of weights are read once: a hash counts as long as size,
/// place and the times of change (that of the status too, which no program sets back) are the same.
/// </summary>
public sealed class ContentHashes
{
    // Changes within a clock's tick look like none: what is this young is hashed again next time.
    private static readonly TimeSpan s_settled = TimeSpan.FromSeconds(3);

    private readonly string? _memory;
    private readonly Dictionary<string, string> _known = new(StringComparer.Ordinal);

    /// <summary>Hashes that are remembered in a file, or, for null, not at all.</summary>
    public ContentHashes(string? memory = null)
    {
        _memory = memory;
        if (memory is null || RegularFile.Kind(memory) != FileKind.Regular)
            return;
        try
        {
            foreach (
                (string stamp, string hash) in JsonSerializer.Deserialize<Dictionary<string, string>>(
                    RegularFile.ReadAllBytes(memory, "hashes", 1 << 24)
                ) ?? []
            )
                _known[stamp] = hash;
        }
        catch (Exception e) when (e is JsonException or CheckpointException or InvalidOperationException)
        {
            // It only saves time; what cannot be read is made again.
            _known.Clear();
        }
    }

    /// <summary>Bytes that had to be read.</summary>
    public long BytesRead { get; private set; }

    /// <summary>
    /// Hexadecimal digits for a component: its weight files in the order of their names, or the one file it is.
    /// </summary>
    /// <exception cref="AfaException">It cannot be read.</exception>
    public string OfWeights(string component, CancellationToken cancellation = default) =>
        string.Join('-', FileHash.WeightFiles(component).Select(f => Of(f, cancellation)));

    /// <summary>64 hexadecimal digits for a file.</summary>
    /// <exception cref="CheckpointException">It cannot be read.</exception>
    public string Of(string file, CancellationToken cancellation = default)
    {
        var before = RegularFile.Stamp(file);
        if (before is { } known && _known.TryGetValue(known.Stamp, out string? remembered))
            return remembered;
        using var hash = new Sha256();
        using (FileStream stream = RegularFile.Open(file, "a file to train from", 0))
        {
            var buffer = new byte[1 << 20];
            int read;
            while ((read = stream.Read(buffer)) > 0)
            {
                cancellation.ThrowIfCancellationRequested();
                hash.Append(buffer.AsSpan(0, read));
                BytesRead += read;
            }
        }

        string digits = Convert.ToHexStringLower(hash.Finish());
        if (before is { } stamp && DateTime.UtcNow - stamp.Changed > s_settled && RegularFile.Stamp(file)?.Stamp == stamp.Stamp)
        {
            _known[stamp.Stamp] = digits;
            Remember();
        }

        return digits;
    }

    private void Remember()
    {
        if (_memory is null)
            return;
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(_memory))!);
            WholeFile.WriteText(_memory, JsonSerializer.Serialize(_known));
        }
        catch (Exception e)
            when (e is IOException or UnauthorizedAccessException
                || e is AfaException { InnerException: IOException or UnauthorizedAccessException }
            )
        {
            // It only saves time; without it the next run reads the weights again.
        }
    }
}
