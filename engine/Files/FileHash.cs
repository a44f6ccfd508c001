namespace AfaNative.Engine.Files;

/// <summary>Short hashes by which pictures name the weights they came from.</summary>
public static class FileHash
{
    /// <summary>
    /// First ten hexadecimal digits of the SHA-256 of the files' bytes in order: for one file, what A1111 calls its model hash.
    /// </summary>
    public static string Short(IEnumerable<string> paths, CancellationToken cancellation = default)
    {
        using var hash = new Sha256();
        var buffer = new byte[1 << 20];
        foreach (string path in paths)
        {
            using FileStream stream = RegularFile.Open(path, "a weight file", 0);
            int read;
            while ((read = stream.Read(buffer)) > 0)
            {
                cancellation.ThrowIfCancellationRequested();
                hash.Append(buffer.AsSpan(0, read));
            }
        }

        return Convert.ToHexStringLower(hash.Finish())[..10];
    }

    /// <summary>The weight files of a component folder, sorted by name; a file is itself.</summary>
    public static IEnumerable<string> WeightFiles(string folder) =>
        File.Exists(folder) ? [folder] : Directory.EnumerateFiles(folder, "*.safetensors").Order(StringComparer.Ordinal);
}
