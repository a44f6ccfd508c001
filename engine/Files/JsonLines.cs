using System.Globalization;
using System.Text;
using System.Text.Json;
using AfaNative.Engine.Core;

namespace AfaNative.Engine.Files;

/// <summary>An entry of a log.</summary>
/// <param name="Number">Its line, from 1.</param>
/// <param name="Text">The line.</param>
/// <param name="Value">What it says.</param>
internal readonly record struct JsonLine<T>(int Number, string Text, T Value);

/// <summary>A log of JSON, an object a line, as it is on disk.</summary>
/// <param name="Entries">Its lines, in order.</param>
/// <param name="Damage">What is not among them, sentence by sentence: a last line that was cut off while it was written, lines
/// that hold something else.</param>
/// <param name="Torn">The last line is cut off: a writer that was killed, or one that writes just now.</param>
internal sealed record JsonLog<T>(IReadOnlyList<JsonLine<T>> Entries, IReadOnlyList<string> Damage, bool Torn);

/// <summary>Logs of JSON lines that are written line by line and read back: by reports, and by runs that go on.</summary>
internal static class JsonLines
{
    /// <summary>Reads a log; nothing that is not there.</summary>
    /// <param name="path">The file.</param>
    /// <param name="parse">An entry's value; what it throws of <see cref="JsonException"/>, <see cref="KeyNotFoundException"/>,
    /// <see cref="InvalidOperationException"/> and <see cref="FormatException"/> makes the line none.</param>
    /// <exception cref="AfaException">It cannot be read.</exception>
    public static JsonLog<T> Read<T>(string path, Func<JsonElement, T> parse)
    {
        if (!File.Exists(path))
            return new JsonLog<T>([], [], false);
        try
        {
            var entries = new List<JsonLine<T>>();
            var damage = new List<string>();
            bool torn = !EndsWhole(path);
            int number = 0;
            string? before = null;
            foreach (string line in File.ReadLines(path))
            {
                if (before is not null)
                    Add(before);
                before = line;
            }

            if (torn)
            {
                damage.Add(
                    string.Create(
                        CultureInfo.InvariantCulture,
                        $"{path}: line {number + 1}, the last, was cut off while it was written; it is left out"
                    )
                );
            }
            else if (before is not null)
            {
                Add(before);
            }

            return new JsonLog<T>(entries, damage, torn);

            void Add(string line)
            {
                number++;
                if (line.Length == 0)
                    return;
                try
                {
                    using JsonDocument document = JsonDocument.Parse(line);
                    entries.Add(new JsonLine<T>(number, line, parse(document.RootElement)));
                }
                catch (Exception e)
                    when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
                {
                    damage.Add(
                        string.Create(
                            CultureInfo.InvariantCulture,
                            $"{path}: line {number} is no entry of such a log; it is left out"
                        )
                    );
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new AfaException($"{path}: it could not be read: {e.Message}", e);
        }
    }

    /// <summary>Adds lines to the end, in one write; where that fails, the log ends where it did.</summary>
    /// <exception cref="AfaException">They cannot be written.</exception>
    public static void Append(string path, params IEnumerable<string> lines)
    {
        byte[] bytes = new UTF8Encoding(false).GetBytes(string.Concat(lines.Select(l => l + "\n")));
        try
        {
            using var stream = new FileStream(path, FileMode.Append, FileAccess.Write, FileShare.Read, 0);
            long end = stream.Length;
            try
            {
                stream.Write(bytes);
            }
            catch (IOException)
            {
                stream.SetLength(end);
                throw;
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new AfaException($"{path}: it could not be written: {WholeFile.Reason(e)}", e);
        }
    }

    /// <summary>Writes a log anew with these lines.</summary>
    /// <exception cref="AfaException">They cannot be written.</exception>
    public static void Rewrite(string path, IEnumerable<string> lines) =>
        WholeFile.WriteText(path, string.Concat(lines.Select(l => l + "\n")));

    private static bool EndsWhole(string path)
    {
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, 1);
        if (stream.Length == 0)
            return true;
        stream.Position = stream.Length - 1;
        return stream.ReadByte() == '\n';
    }
}
