using AfaNative.Engine;

namespace AfaNative.Tool;

/// <summary>A text file that is there whole or not at all.</summary>
internal static class WholeTextFile
{
    /// <summary>Writes beside the path first, under a name nobody else has, and renames at the end.</summary>
    /// <exception cref="AfaException">It cannot be written.</exception>
    public static void Write(string path, string text)
    {
        string temporary = $"{path}.{Guid.NewGuid():N}.tmp";
        try
        {
            try
            {
                File.WriteAllText(temporary, text);
                File.Move(temporary, path, overwrite: true);
            }
            finally
            {
                File.Delete(temporary);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new AfaException($"{path}: it could not be written: {e.Message}", e);
        }
    }
}
