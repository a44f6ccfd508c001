using AfaNative.Engine.Core;

namespace AfaNative.Engine.Files;

/// <summary>Writes folders: whole, or not at all.</summary>
internal static class WholeFolder
{
    /// <summary>
    /// Refuses a path that already holds something. An empty folder holds nothing, be it a mounted volume (with its lost+found)
    /// or what a link leads to.
    /// </summary>
    /// <exception cref="AfaException">It does.</exception>
    public static void MustBeFree(string path)
    {
        string full = RealPath.Of(path);
        if (Directory.Exists(full))
            TemporaryName.Sweep(full);
        if (Directory.Exists(full) ? Directory.EnumerateFileSystemEntries(full).Any(e => !IsNothing(full, e)) : Path.Exists(full))
            throw Taken(path);
    }

    /// <summary>
    /// Lets <paramref name="fill"/> write into a folder beside <paramref name="path"/> and renames it at the end; a failure
    /// leaves nothing.
    /// </summary>
    /// <exception cref="AfaException">It cannot be written.</exception>
    public static void Write(string path, Action<string> fill) =>
        Guarded(
            path,
            () =>
            {
                string full = RealPath.Of(path),
                    parent = Path.GetDirectoryName(full) ?? full;
                bool exists = Directory.Exists(full);
                if (!exists)
                    Directory.CreateDirectory(parent);
                // A mounted volume is another file system than its parent, and cannot be renamed over.
                bool inPlace = exists && (IsMountPoint(full) || !CanCreateIn(parent));
                string temporary = TemporaryName.In(inPlace ? full : parent);
                try
                {
                    Directory.CreateDirectory(temporary);
                    if (exists && !inPlace && !OperatingSystem.IsWindows())
                        File.SetUnixFileMode(temporary, File.GetUnixFileMode(full) | (UnixFileMode)0b111_000_000);
                    fill(temporary);
                    if (exists && !inPlace && !TryRemoveEmpty(full))
                        inPlace = true;
                    if (inPlace)
                        MoveInto(temporary, full);
                    else if (Path.Exists(full))
                        throw Taken(path);
                    else
                        Directory.Move(temporary, full);
                }
                finally
                {
                    TemporaryName.Discard(temporary);
                }
            }
        );

    /// <summary>
    /// As <see cref="Write"/>, in place of a folder that is there: it goes only when the new one is whole, and comes back if that
    /// cannot take its place.
    /// </summary>
    /// <param name="path">The folder, which must be ours to replace.</param>
    /// <param name="fill">Writes the new one.</param>
    /// <param name="ready">Told the new one when it is whole, before it takes its place.</param>
    /// <exception cref="AfaException">It cannot be written.</exception>
    public static void Replace(string path, Action<string> fill, Action<string>? ready = null) =>
        Guarded(
            path,
            () =>
            {
                string full = RealPath.Of(path);
                Directory.CreateDirectory(Path.GetDirectoryName(full)!);
                string temporary = TemporaryName.In(Path.GetDirectoryName(full)!);
                try
                {
                    Directory.CreateDirectory(temporary);
                    fill(temporary);
                    ready?.Invoke(temporary);
                    if (!Directory.Exists(full))
                    {
                        Directory.Move(temporary, full);
                        return;
                    }

                    string old = TemporaryName.ForReplaced(full);
                    Directory.Move(full, old);
                    try
                    {
                        Directory.Move(temporary, full);
                    }
                    catch
                    {
                        Directory.Move(old, full);
                        throw;
                    }

                    TemporaryName.Discard(old);
                }
                finally
                {
                    TemporaryName.Discard(temporary);
                }
            }
        );

    /// <summary>Copies the files of a folder.</summary>
    /// <exception cref="CheckpointException">Something in it is neither file nor folder: copying a pipe would wait for its
    /// writer.</exception>
    public static void Copy(string from, string to)
    {
        Directory.CreateDirectory(to);
        foreach (string file in Directory.EnumerateFiles(from).Where(f => !TemporaryName.IsOurs(Path.GetFileName(f))))
        {
            RegularFile.Check(file);
            File.Copy(file, Path.Combine(to, Path.GetFileName(file)));
        }
    }

    /// <summary>Whether another file system begins at a folder.</summary>
    internal static bool IsMountPoint(string folder)
    {
        if (!OperatingSystem.IsLinux())
            return false;
        try
        {
            // Field 5 is the mount point; blanks, tabs, line feeds and backslashes in it are written in octal.
            string written = folder
                .Replace("\\", "\\134", StringComparison.Ordinal)
                .Replace(" ", "\\040", StringComparison.Ordinal)
                .Replace("\t", "\\011", StringComparison.Ordinal)
                .Replace("\n", "\\012", StringComparison.Ordinal);
            return File.ReadLines("/proc/self/mountinfo")
                .Any(l => l.Split(' ') is { Length: > 5 } fields && fields[4] == written);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Without a list of mounts the rename decides.
            return false;
        }
    }

    private static void Guarded(string path, Action work)
    {
        try
        {
            work();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new AfaException($"{path}: it could not be written: {WholeFile.Reason(e)}", e);
        }
    }

    private static AfaException Taken(string path) => new($"{path}: it exists and is not an empty folder; nothing was written.");

    private static bool IsNothing(string folder, string entry) =>
        Path.GetFileName(entry) switch
        {
            OutputLock.InsideName or OutputLock.InsideName + OutputLock.HolderSuffix => true,
            "lost+found" => IsMountPoint(folder),
            { } name => TemporaryName.IsOurs(name),
        };

    internal static bool CanCreateIn(string folder)
    {
        string probe = TemporaryName.In(folder);
        try
        {
            Directory.CreateDirectory(probe);
            Directory.Delete(probe);
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Then what is written goes into the folder itself.
            return false;
        }
    }

    private static bool TryRemoveEmpty(string folder)
    {
        try
        {
            Directory.Delete(folder);
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It cannot go: what was written moves into it.
            return false;
        }
    }

    private static void MoveInto(string from, string to)
    {
        var moved = new List<string>();
        try
        {
            // A model without its U-Net is none: until the last move nobody takes this one for whole.
            foreach (
                string entry in Directory
                    .EnumerateFileSystemEntries(from)
                    .OrderBy(e => Path.GetFileName(e) == "unet")
                    .ThenBy(e => e, StringComparer.Ordinal)
                    .ToArray()
            )
            {
                string target = Path.Combine(to, Path.GetFileName(entry));
                if (Path.Exists(target))
                    throw new IOException($"{target} is there already");
                Directory.Move(entry, target);
                moved.Add(target);
            }
        }
        catch
        {
            foreach (string entry in moved)
                TemporaryName.Discard(entry);
            throw;
        }
    }
}
