using AfaNative.Engine.Core;
using AfaNative.Engine.Files;

namespace AfaNative.Tool;

/// <summary>Looks at where results will go before the work for them begins; nothing is left there.</summary>
internal static class OutputFolder
{
    /// <summary>Refuses a path that is something else than a folder, or whose folder cannot be written to.</summary>
    /// <param name="option">The option that names it.</param>
    /// <param name="path">The folder, there or yet to be made; null: none is asked for.</param>
    /// <exception cref="AfaException">It cannot take a file.</exception>
    public static void Check(string option, string? path)
    {
        if (path is null)
            return;
        string? at = Path.GetFullPath(path);
        while (at is not null && !Path.Exists(at))
            at = Path.GetDirectoryName(at);
        if (at is null)
            return;
        if (!Directory.Exists(at))
            throw new AfaException(
                $"{option} {path}: expected a folder, but {(RegularFile.Kind(at) == FileKind.Regular ? "a file" : "no folder")} "
                    + $"is there{(at == Path.GetFullPath(path) ? "" : $" ({at})")}."
            );
        string probe = Path.Combine(at, $".afa-native-{Path.GetRandomFileName()}");
        try
        {
            using var _ = new FileStream(
                probe,
                FileMode.CreateNew,
                FileAccess.Write,
                FileShare.None,
                1,
                FileOptions.DeleteOnClose
            );
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new AfaException(
                $"{option} {path}: nothing can be written there: {e.Message.Replace(probe, at, StringComparison.Ordinal)}",
                e
            );
        }
    }
}
