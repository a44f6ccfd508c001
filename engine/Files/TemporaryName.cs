using System.Text.RegularExpressions;

namespace AfaNative.Engine.Files;

/// <summary>
/// Names under which files and folders are written before they get their own: nobody can foresee them, they lie beside what they
/// will become (on the same file system), and they say which process they belong to. What a killed process
/// left is removed when the next one is about to write in the same folder; nothing else ever is.
/// </summary>
public static partial class TemporaryName
{
    private const string Prefix = ".afa-native-";

    // What other machines and containers left can only be told by its age.
    private static readonly TimeSpan s_patience = TimeSpan.FromDays(1);
    private static readonly HashSet<string> s_swept = new(StringComparer.Ordinal);

    /// <summary>This process, as names tell it.</summary>
    public static string Owner => ProcessIdentity.Current;

    /// <summary>Whether the process that <see cref="Owner"/> named is known to have ended.</summary>
    public static bool IsDeadOwner(string owner) => ProcessIdentity.IsRunning(owner) == false;

    /// <summary>A new name in a folder; what dead processes left there is removed first, once per process and folder.</summary>
    internal static string In(string folder)
    {
        lock (s_swept)
        {
            if (s_swept.Add(Path.GetFullPath(folder)))
                Sweep(folder);
        }

        return Path.Combine(folder, $"{Prefix}{ProcessIdentity.Current}-{ProcessIdentity.Random()}.tmp");
    }

    /// <summary>
    /// Where a folder that is about to be replaced goes for that moment; <see cref="Sweep"/> brings it back if the moment never
    /// ended.
    /// </summary>
    internal static string ForReplaced(string path) =>
        Path.Combine(
            Path.GetDirectoryName(path)!,
            $"{Prefix}{ProcessIdentity.Current}-{ProcessIdentity.Random()}.{Path.GetFileName(path)}.old"
        );

    /// <summary>Whether a name is one of these.</summary>
    internal static bool IsOurs(string name) => Pattern().IsMatch(name);

    /// <summary>Removes what dead processes left in a folder, and brings back what they were replacing.</summary>
    internal static void Sweep(string folder)
    {
        try
        {
            foreach (string path in Directory.EnumerateFileSystemEntries(folder))
            {
                string name = Path.GetFileName(path);
                if (name.EndsWith(OutputLock.InsideName, StringComparison.Ordinal))
                    OutputLock.Sweep(path);
                if (!name.EndsWith(".tmp", StringComparison.Ordinal) && !name.EndsWith(".old", StringComparison.Ordinal))
                    continue;
                Match match = Pattern().Match(name);
                if (match.Success ? !IsDead(match.Groups["process"].Value, path) : !IsDeadOfOldVersion(name, path))
                    continue;
                string original = Path.Combine(folder, match.Groups["original"].Value);
                if (match.Groups["original"].Success && !Path.Exists(original))
                    Directory.Move(path, original);
                else
                    Remove(path);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Another process sweeps too, or it belongs to another user: they will do it.
        }
    }

    /// <summary>
    /// Removes a temporary file or folder after a failure, of which it is part to be told instead of this one's.
    /// </summary>
    internal static void Discard(string path)
    {
        try
        {
            if (Path.Exists(path))
                Remove(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The first failure is the one to tell; a later sweep removes it.
        }
    }

    private static void Remove(string path)
    {
        if (Directory.Exists(path) && new DirectoryInfo(path).LinkTarget is null)
            Directory.Delete(path, recursive: true);
        else
            File.Delete(path);
    }

    private static bool IsDead(string process, string path) =>
        ProcessIdentity.IsRunning(process) is { } runs ? !runs : IsUntouched(path);

    // Version 0.1 wrote NAME.<32 digits>.tmp, which name no process: nobody may hold it, and nobody wrote to it for long.
    private static bool IsDeadOfOldVersion(string name, string path)
    {
        if (!OldPattern().IsMatch(name) || !File.Exists(path) || new FileInfo(path).LinkTarget is not null || !IsUntouched(path))
            return false;
        using var held = new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.None);
        return true;
    }

    private static bool IsUntouched(string path)
    {
        DateTime last = File.GetLastWriteTimeUtc(path);
        if (Directory.Exists(path))
        {
            foreach (string entry in Directory.EnumerateFileSystemEntries(path, "*", SearchOption.AllDirectories))
            {
                DateTime one = File.GetLastWriteTimeUtc(entry);
                if (one > last)
                    last = one;
            }
        }

        return DateTime.UtcNow - last > s_patience;
    }

    [GeneratedRegex(
        @"^\.afa-native-(?<process>[0-9]{1,10}-[0-9a-f]{1,16}-[0-9a-f]{8})-[0-9a-f]{16}\.((?<original>.+)\.old|tmp)$",
        RegexOptions.CultureInvariant
    )]
    private static partial Regex Pattern();

    [GeneratedRegex(@"^.+\.(safetensors|png)\.[0-9a-f]{32}\.tmp$", RegexOptions.CultureInvariant)]
    private static partial Regex OldPattern();
}
