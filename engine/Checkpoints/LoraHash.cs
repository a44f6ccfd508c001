using System.Buffers.Binary;
using AfaNative.Engine.Files;

namespace AfaNative.Engine.Checkpoints;

/// <summary>
/// Hashes by which pictures name LoRAs: of a safetensors file's tensors alone, so that other metadata leaves them as they are
/// (A1111's "Lora hashes").
/// </summary>
public static class LoraHash
{
    /// <summary>First twelve hexadecimal digits of the SHA-256 of what follows the header.</summary>
    public static string Short(string path, CancellationToken cancellation = default)
    {
        using FileStream stream = RegularFile.Open(path, "a LoRA", 0);
        Span<byte> head = stackalloc byte[8];
        if (stream.ReadAtLeast(head, 8, throwOnEndOfStream: false) == 8)
        {
            ulong header = BinaryPrimitives.ReadUInt64LittleEndian(head);
            stream.Position = header <= (ulong)(stream.Length - 8) ? 8 + (long)header : 0;
        }

        using var hash = new Sha256();
        var buffer = new byte[1 << 20];
        for (int read; (read = stream.Read(buffer)) > 0; )
        {
            cancellation.ThrowIfCancellationRequested();
            hash.Append(buffer.AsSpan(0, read));
        }

        return Convert.ToHexStringLower(hash.Finish())[..12];
    }

    /// <summary>Whether a recorded hash, of tensors or of the whole file, may be this file's.</summary>
    public static bool Matches(string path, string recorded, CancellationToken cancellation = default) =>
        recorded.Length == 0
        || Begins(Short(path, cancellation), recorded)
        || Begins(FileHash.Short([path], cancellation), recorded);

    private static bool Begins(string hash, string recorded)
    {
        int length = Math.Min(hash.Length, recorded.Length);
        return length >= 8 && hash.AsSpan(0, length).Equals(recorded.AsSpan(0, length), StringComparison.OrdinalIgnoreCase);
    }
}
