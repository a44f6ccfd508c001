using System.Text;
using System.Text.Unicode;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;

namespace AfaNative.Engine.Training;

/// <summary>A picture and what it shows.</summary>
public sealed record TrainingRecord(string Image, string Caption);

/// <summary>Training data as it was found.</summary>
/// <param name="Records">Pictures with captions, in an order that depends on names alone.</param>
/// <param name="Warnings">
/// Whole sentences about what is there and was left out, or is not as one would think: counted, the first few named.
/// </param>
public sealed record TrainingData(IReadOnlyList<TrainingRecord> Records, IReadOnlyList<string> Warnings);

/// <summary>
/// Finds training data: the AFA authors' JSON file (<c>[{"image_file": ..., "text": ...}]</c>, also one object a line), a Hugging
/// Face image folder with
/// <c>metadata.jsonl</c> (<c>file_name</c>, <c>text</c>), or a folder of pictures with a <c>.txt</c> caption beside each.
/// </summary>
public static class TrainingRecords
{
    /// <summary>The longest caption file, in bytes.</summary>
    public const int LongestCaption = 1 << 20;

    private const string MetadataFile = "metadata.jsonl";

    private static readonly HashSet<string> s_extensions = new(StringComparer.OrdinalIgnoreCase)
    {
        ".png",
        ".jpg",
        ".jpeg",
        ".webp",
        ".bmp",
    };

    /// <summary>The records of <see cref="Read"/>.</summary>
    public static IReadOnlyList<TrainingRecord> Find(string path) => Read(path).Records;

    /// <summary>All records of a file or folder; no picture is opened.</summary>
    /// <exception cref="AfaException">
    /// Nothing usable is there, records are no JSON, or captions no UTF-8; the message says where and what was expected.
    /// </exception>
    public static TrainingData Read(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        var warnings = new List<string>();
        IReadOnlyList<TrainingRecord> records;
        switch (path.Contains('\0', StringComparison.Ordinal) ? FileKind.Missing : RegularFile.Kind(path))
        {
            case FileKind.Regular:
                records = RecordFile.Read(path, warnings);
                break;
            case FileKind.Folder:
                string metadata = Path.Combine(path, MetadataFile);
                records = File.Exists(metadata) ? FromMetadata(path, metadata, warnings) : FromCaptions(path, warnings);
                break;
            case FileKind.Missing:
                throw new AfaException($"{path}: no such file or folder of training data.");
            case var kind:
                throw new AfaException(
                    $"{path}: a file or folder of training data was expected, but it is {RegularFile.Name(kind)}."
                );
        }

        if (records.Count > 0)
            return new TrainingData(records, warnings);
        string why = warnings.Count > 0 ? $" ({warnings[0]})" : "";
        throw new AfaException(
            $"{path}: no training data; expected records with 'image_file' and 'text', a {MetadataFile}, or pictures with a "
                + $".txt caption beside each{why}."
        );
    }

    /// <summary>The first few of some names, and how many more there are.</summary>
    internal static string Some(IReadOnlyCollection<string> names, int most = 5) =>
        string.Join(", ", names.Take(most).Select(n => Printable.Shortened(n, 200)))
        + (names.Count > most ? $" and {names.Count - most} more" : "");

    /// <summary>Text of UTF-8 bytes, with or without a byte order mark; null where they are something else.</summary>
    internal static string? Utf8Text(ReadOnlySpan<byte> bytes)
    {
        ReadOnlySpan<byte> body = bytes.StartsWith("\uFEFF"u8) ? bytes[3..] : bytes;
        return Utf8.IsValid(body) ? Encoding.UTF8.GetString(body) : null;
    }

    /// <summary>Whether a name is a picture's.</summary>
    internal static bool IsPicture(string path) => s_extensions.Contains(Path.GetExtension(path));

    private static IReadOnlyList<TrainingRecord> FromMetadata(string folder, string metadata, List<string> warnings)
    {
        IReadOnlyList<TrainingRecord> records = RecordFile.Read(metadata, warnings);
        var named = records.Select(r => RegularFile.Look(r.Image).Identity).ToHashSet(StringComparer.Ordinal);
        string[] others =
        [
            .. Files(folder, warnings)
                .Where(f => IsPicture(f) && !named.Contains(RegularFile.Look(f).Identity))
                .Select(f => Path.GetRelativePath(folder, f)),
        ];
        if (others.Length > 0)
            warnings.Add(
                $"{Count(others, "picture is", "pictures are")} not named in {MetadataFile} and left out: {Some(others)}"
            );
        return records;
    }

    private static List<TrainingRecord> FromCaptions(string folder, List<string> warnings)
    {
        string[] files = [.. Files(folder, warnings).Order(StringComparer.Ordinal)];
        // By the path without extension; .txt itself before other spellings of it.
        var captions = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (string file in files.Where(f => Path.GetExtension(f).Equals(".txt", StringComparison.OrdinalIgnoreCase)))
        {
            string stem = Path.ChangeExtension(file, null);
            if (!captions.ContainsKey(stem) || file.EndsWith(".txt", StringComparison.Ordinal))
                captions[stem] = file;
        }

        List<TrainingRecord> records = [];
        List<string> bare = [],
            foreign = [],
            empty = [],
            unreadable = [];
        var stems = new HashSet<string>(StringComparer.Ordinal);
        foreach (string picture in Once(files.Where(IsPicture), folder, warnings))
        {
            string stem = Path.ChangeExtension(picture, null),
                shown = Path.GetRelativePath(folder, picture);
            stems.Add(stem);
            if (!captions.TryGetValue(stem, out string? caption))
            {
                bare.Add(shown);
                continue;
            }

            try
            {
                string? text = Utf8Text(RegularFile.ReadAllBytes(caption, "a caption", LongestCaption));
                if (text is null)
                {
                    foreign.Add(caption);
                    continue;
                }

                text = text.Trim();
                if (text.Length == 0)
                    empty.Add(shown);
                records.Add(new TrainingRecord(picture, text));
            }
            catch (CheckpointException e)
            {
                unreadable.Add(e.Message.TrimEnd('.'));
            }
        }

        if (foreign.Count > 0)
        {
            string others = foreign.Count > 1 ? $", as {foreign.Count - 1} more are not ({Some(foreign[1..])})" : "";
            throw new AfaException(
                $"{foreign[0]}: captions are expected in UTF-8, but this one is not{others}; save it as UTF-8."
            );
        }

        string[] lonely =
        [
            .. captions
                .Where(c => !stems.Contains(c.Key))
                .Select(c => Path.GetRelativePath(folder, c.Value))
                .Order(StringComparer.Ordinal),
        ];
        if (bare.Count > 0)
            warnings.Add(
                Count(bare, "picture without a .txt caption beside it is", "pictures without a .txt caption beside them are")
                    + $" left out: {Some(bare)}"
            );
        if (unreadable.Count > 0)
            warnings.Add(
                $"{Count(unreadable, "caption", "captions")} cannot be read, the pictures are left out: {Some(unreadable)}"
            );
        if (empty.Count > 0)
            warnings.Add($"{Count(empty, "picture has an empty caption", "pictures have empty captions")}: {Some(empty)}");
        if (lonely.Length > 0)
            warnings.Add(
                $"{Count(lonely, "caption has", "captions have")} no picture ({string.Join(", ", s_extensions)}) of that name: "
                    + $"{Some(lonely)}"
            );
        return records;
    }

    // Each real file once, under its own name where it has one here, else under the first of the links to it.
    private static IEnumerable<string> Once(IEnumerable<string> pictures, string folder, List<string> warnings)
    {
        var chosen = new Dictionary<string, string>(StringComparer.Ordinal);
        List<string> all = [],
            links = [];
        foreach (string picture in pictures)
        {
            all.Add(picture);
            string identity = RegularFile.Look(picture).Identity;
            if (
                !chosen.TryAdd(identity, picture)
                && new FileInfo(picture).LinkTarget is null
                && new FileInfo(chosen[identity]).LinkTarget is not null
            )
                chosen[identity] = picture;
        }

        var kept = chosen.Values.ToHashSet(StringComparer.Ordinal);
        foreach (string picture in all)
        {
            if (!kept.Contains(picture))
                links.Add(Path.GetRelativePath(folder, picture));
        }

        if (links.Count > 0)
            warnings.Add(
                $"{Count(links, "name leads", "names lead")} to pictures that are there under another name and are taken once: "
                    + $"{Some(links)}"
            );
        return all.Where(kept.Contains);
    }

    private static List<string> Files(string folder, List<string> warnings)
    {
        var skipped = new List<string>();
        List<string> files =
        [
            .. FolderFiles.Enumerate(
                folder,
                (path, why) => skipped.Add($"{Path.GetRelativePath(folder, path)} ({why})"),
                entered =>
                {
                    if (IsPicture(entered) && entered != folder)
                        skipped.Add($"{Path.GetRelativePath(folder, entered)} (it is a folder; pictures in it count)");
                }
            ),
        ];
        if (skipped.Count > 0)
            warnings.Add($"{Count(skipped, "entry is", "entries are")} no file and left out: {Some(skipped)}");
        return files;
    }

    private static string Count<T>(IReadOnlyCollection<T> of, string one, string many) =>
        of.Count == 1 ? $"1 {one}" : $"{of.Count} {many}";
}
