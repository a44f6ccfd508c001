namespace AfaNative.Engine.Files;

/// <summary>
/// The files of a folder and of the folders in it: each folder once, however many links lead to it, so that no loop of links is
/// walked twice.
/// </summary>
public static class FolderFiles
{
    /// <summary>
    /// Every regular file, folders reached without links first. Links to files count as files under their own names; links to
    /// folders are followed once.
    /// </summary>
    /// <param name="folder">Where to begin.</param>
    /// <param name="skipped">Told of what is neither file nor folder, or cannot be read: its path, and why it is left
    /// out.</param>
    /// <param name="entered">Told of every folder that is gone through.</param>
    /// <returns>Paths that begin with <paramref name="folder"/>, in ordinal order within each folder.</returns>
    public static IEnumerable<string> Enumerate(
        string folder,
        Action<string, string>? skipped = null,
        Action<string>? entered = null
    )
    {
        ArgumentNullException.ThrowIfNull(folder);
        var seen = new HashSet<string>(StringComparer.Ordinal);
        var folders = new Stack<string>([folder]);
        var links = new Queue<string>();
        while (folders.Count > 0 || links.Count > 0)
        {
            string here = folders.Count > 0 ? folders.Pop() : links.Dequeue();
            if (!seen.Add(RegularFile.Look(here).Identity))
                continue;
            entered?.Invoke(here);
            FileSystemInfo[] entries = [];
            try
            {
                entries =
                [
                    .. new DirectoryInfo(here).EnumerateFileSystemInfos(
                        "*",
                        new EnumerationOptions { IgnoreInaccessible = false, AttributesToSkip = 0 }
                    ),
                ];
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                skipped?.Invoke(here, e.Message);
            }

            Array.Sort(entries, (a, b) => string.CompareOrdinal(a.Name, b.Name));
            var inner = new List<string>();
            foreach (FileSystemInfo entry in entries)
            {
                string path = Path.Combine(here, entry.Name);
                FileKind kind = RegularFile.Kind(path);
                if (kind == FileKind.Regular)
                    yield return path;
                else if (kind != FileKind.Folder)
                    skipped?.Invoke(path, $"it is {RegularFile.Name(kind)}");
                else if (entry.LinkTarget is null)
                    inner.Add(path);
                else
                    links.Enqueue(path);
            }

            for (int i = inner.Count - 1; i >= 0; i--)
                folders.Push(inner[i]);
        }
    }
}
