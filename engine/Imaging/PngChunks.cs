using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;
using AfaNative.Engine.Core;

namespace AfaNative.Engine.Imaging;

/// <summary>A PNG's chunks, and the texts in them: tEXt, zTXt and iTXt.</summary>
internal static class PngChunks
{
    /// <summary>Bytes a text may take, unpacked: a few kilobytes of zeros would be gigabytes.</summary>
    public const int MostText = 16 << 20;

    private static ReadOnlySpan<byte> Signature => [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A];

    /// <summary>Whether a file begins as a PNG does.</summary>
    public static bool IsPng(ReadOnlySpan<byte> file) => file.StartsWith(Signature);

    /// <summary>Whether a PNG has a chunk of some type before its pixels.</summary>
    public static bool Has(ReadOnlySpan<byte> png, ReadOnlySpan<byte> type)
    {
        for (
            int at = 8;
            IsPng(png) && Next(png, at, out ReadOnlySpan<byte> found, out ReadOnlySpan<byte> body);
            at += body.Length + 12
        )
        {
            if (found.SequenceEqual(type))
                return true;
            if (found.SequenceEqual("IDAT"u8))
                return false;
        }

        return false;
    }

    /// <summary>The chunk that begins at some place; false at the end, or where the file is cut short.</summary>
    public static bool Next(ReadOnlySpan<byte> png, int at, out ReadOnlySpan<byte> type, out ReadOnlySpan<byte> body)
    {
        type = body = default;
        if (png.Length - at < 12)
            return false;
        uint length = BinaryPrimitives.ReadUInt32BigEndian(png[at..]);
        if (length > png.Length - at - 12)
            return false;
        type = png.Slice(at + 4, 4);
        body = png.Slice(at + 8, (int)length);
        return true;
    }

    /// <summary>A text chunk's keyword and text; null for other chunks.</summary>
    /// <exception cref="InvalidDataException">Its packed text cannot be unpacked, or is too long; the message is a part of a
    /// sentence.</exception>
    public static (string Keyword, string Text)? Text(ReadOnlySpan<byte> type, ReadOnlySpan<byte> body)
    {
        bool international = type.SequenceEqual("iTXt"u8),
            packed = type.SequenceEqual("zTXt"u8);
        if (!international && !packed && !type.SequenceEqual("tEXt"u8))
            return null;
        if (!Cut(ref body, out ReadOnlySpan<byte> name))
            return null;
        string keyword = Encoding.Latin1.GetString(name);
        if (international)
        {
            if (body.Length < 2)
                return null;
            packed = body[0] != 0;
            body = body[2..];
            // Language tag and translated keyword, each ended by a NUL.
            if (!Cut(ref body, out _) || !Cut(ref body, out _))
                return null;
        }
        else if (packed)
        {
            if (body.IsEmpty)
                return null;
            body = body[1..];
        }

        if (!packed && body.Length > MostText)
            throw TooLong(keyword);
        byte[] text = packed ? Unpack(body, keyword) : body.ToArray();
        return (keyword, (international ? Encoding.UTF8 : Encoding.Latin1).GetString(text));
    }

    private static bool Cut(ref ReadOnlySpan<byte> rest, out ReadOnlySpan<byte> field)
    {
        int end = rest.IndexOf((byte)0);
        field = end < 0 ? default : rest[..end];
        if (end >= 0)
            rest = rest[(end + 1)..];
        return end >= 0;
    }

    private static byte[] Unpack(ReadOnlySpan<byte> packed, string keyword)
    {
        using var stream = new ZLibStream(new MemoryStream(packed.ToArray()), CompressionMode.Decompress);
        using var text = new MemoryStream();
        var buffer = new byte[1 << 16];
        try
        {
            for (int read; (read = stream.Read(buffer)) > 0; )
            {
                if (text.Length + read > MostText)
                    throw TooLong(keyword);
                text.Write(buffer, 0, read);
            }
        }
        catch (Exception e)
            when (e is InvalidDataException or IOException && !e.Message.StartsWith("its text", StringComparison.Ordinal))
        {
            throw new InvalidDataException($"its text '{Printable.Shortened(keyword)}' cannot be unpacked", e);
        }

        return text.ToArray();
    }

    private static InvalidDataException TooLong(string keyword) =>
        new($"its text '{Printable.Shortened(keyword)}' is longer than {MostText >> 20} MiB");
}
