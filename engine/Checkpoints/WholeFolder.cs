namespace AfaNative.Engine.Checkpoints;

/// <summary>Writes folders: whole, or not at all.</summary>
internal static class WholeFolder
{
    /// <summary>Refuses a path that already holds something.</summary>
    /// <exception cref="AfaException">It does.</exception>
    public static void MustBeFree(string path)
    {
        if (Directory.Exists(path) ? Directory.EnumerateFileSystemEntries(path).Any() : File.Exists(path)) throw new AfaException($"{path}: it exists and is not an empty folder; nothing was written.");
    }

    /// <summary>Lets <paramref name="fill"/> write into a folder beside <paramref name="path"/> and renames it at the end; a failure leaves nothing.</summary>
    /// <exception cref="AfaException">It cannot be written.</exception>
    public static void Write(string path, Action<string> fill)
    {
        string full = Path.GetFullPath(path).TrimEnd(Path.DirectorySeparatorChar), temporary = full + ".tmp";
        try
        {
            if (Directory.Exists(temporary)) Directory.Delete(temporary, recursive: true);
            Directory.CreateDirectory(temporary);
            fill(temporary);
            if (Directory.Exists(full)) Directory.Delete(full);
            Directory.Move(temporary, full);
        }
        catch (Exception e)
        {
            try
            {
                if (Directory.Exists(temporary)) Directory.Delete(temporary, recursive: true);
            }
            catch (Exception inner) when (inner is IOException or UnauthorizedAccessException)
            {
                // The first failure is the one to tell.
            }

            if (e is IOException or UnauthorizedAccessException) throw new AfaException($"{path}: it could not be written: {e.Message}", e);
            throw;
        }
    }

    /// <summary>Copies the files of a folder.</summary>
    /// <exception cref="CheckpointException">Something in it is neither file nor folder: copying a pipe would wait for its writer.</exception>
    public static void Copy(string from, string to)
    {
        Directory.CreateDirectory(to);
        foreach (string file in Directory.EnumerateFiles(from))
        {
            RegularFile.Check(file);
            File.Copy(file, Path.Combine(to, Path.GetFileName(file)));
        }
    }
}
