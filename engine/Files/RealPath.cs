using AfaNative.Engine.Core;

namespace AfaNative.Engine.Files;

/// <summary>Where a path leads once every link on the way is followed.</summary>
internal static class RealPath
{
    /// <summary>The full path without links; what does not exist stays as it is written.</summary>
    /// <exception cref="AfaException">Links lead in a circle.</exception>
    public static string Of(string path)
    {
        string full = Full(path),
            at = Path.GetPathRoot(full)!;
        var parts = new Stack<string>(
            full[at.Length..].Split(Path.DirectorySeparatorChar, StringSplitOptions.RemoveEmptyEntries).Reverse()
        );
        for (int followed = 0; parts.TryPop(out string? part); )
        {
            string next = Path.Combine(at, part);
            if (LinkTarget(next) is not { } target)
            {
                at = next;
                continue;
            }

            // As many as Linux follows.
            if (++followed > 40)
                throw new AfaException($"{path}: its links lead in a circle.");
            string whole = Path.GetFullPath(Path.Combine(at, target));
            at = Path.GetPathRoot(whole)!;
            foreach (
                string inner in whole[at.Length..]
                    .Split(Path.DirectorySeparatorChar, StringSplitOptions.RemoveEmptyEntries)
                    .Reverse()
            )
                parts.Push(inner);
        }

        return at;
    }

    /// <summary>The full path, links as they are.</summary>
    /// <exception cref="AfaException">It is empty, or holds what no path can.</exception>
    public static string Full(string path)
    {
        try
        {
            return Path.GetFullPath(path);
        }
        catch (ArgumentException e)
        {
            throw new AfaException($"'{Printable.Shortened(path)}' is no path of a file or folder.", e);
        }
    }

    /// <summary>Whether a path is another or lies inside it, links followed.</summary>
    public static bool IsInside(string path, string folder)
    {
        string inner = Of(path),
            outer = Path.TrimEndingDirectorySeparator(Of(folder));
        return inner == outer
            || inner.StartsWith(outer + Path.DirectorySeparatorChar, StringComparison.Ordinal)
            || outer == Path.GetPathRoot(outer);
    }

    private static string? LinkTarget(string path)
    {
        try
        {
            return new FileInfo(path).LinkTarget;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // What cannot be looked at is for whoever opens it to tell.
            return null;
        }
    }
}
