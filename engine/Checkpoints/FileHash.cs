using System.Security.Cryptography;

namespace AfaNative.Engine.Checkpoints;

/// <summary>Short hashes by which pictures name the weights they came from.</summary>
public static class FileHash
{
    /// <summary>First ten hexadecimal digits of the SHA-256 of the files' bytes in order: for one file, what A1111 calls its model hash.</summary>
    public static string Short(IEnumerable<string> paths, CancellationToken cancellation = default)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var buffer = new byte[1 << 20];
        foreach (string path in paths)
        {
            using FileStream stream = File.OpenRead(path);
            int read;
            while ((read = stream.Read(buffer)) > 0)
            {
                cancellation.ThrowIfCancellationRequested();
                hash.AppendData(buffer, 0, read);
            }
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset())[..10];
    }

    /// <summary>The weight files of a component folder, sorted by name; a file is itself.</summary>
    public static IEnumerable<string> WeightFiles(string folder) => File.Exists(folder) ? [folder] : Directory.EnumerateFiles(folder, "*.safetensors").Order(StringComparer.Ordinal);
}
