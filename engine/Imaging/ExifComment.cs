using System.Buffers.Binary;
using System.Text;

namespace AfaNative.Engine.Imaging;

/// <summary>The comment in a picture's EXIF data, where A1111 and others write settings into JPEG and WebP files.</summary>
internal static class ExifComment
{
    private const ushort Pointer = 0x8769,
        UserComment = 0x9286;
    private const int MostEntries = 4096;

    /// <summary>The EXIF data of a JPEG's first such segment, or null.</summary>
    public static byte[]? InJpeg(ReadOnlySpan<byte> file)
    {
        if (!file.StartsWith((ReadOnlySpan<byte>)[0xFF, 0xD8]))
            return null;
        for (int at = 2; file.Length - at >= 4 && file[at] == 0xFF; )
        {
            byte marker = file[at + 1];
            if (marker == 0xFF)
            {
                // A fill byte.
                at++;
                continue;
            }

            // Pixels begin here; what has no length stands nowhere before them.
            if (marker is 0xDA or 0xD9)
                return null;
            int length = BinaryPrimitives.ReadUInt16BigEndian(file[(at + 2)..]);
            if (length < 2 || length > file.Length - at - 2)
                return null;
            ReadOnlySpan<byte> body = file.Slice(at + 4, length - 2);
            if (marker == 0xE1 && body.StartsWith("Exif\0\0"u8))
                return body[6..].ToArray();
            at += 2 + length;
        }

        return null;
    }

    /// <summary>The EXIF chunk of a WebP, or null.</summary>
    public static byte[]? InWebP(ReadOnlySpan<byte> file)
    {
        if (file.Length < 12 || !file.StartsWith("RIFF"u8) || !file[8..].StartsWith("WEBP"u8))
            return null;
        for (long at = 12; at + 8 <= file.Length; )
        {
            uint length = BinaryPrimitives.ReadUInt32LittleEndian(file[((int)at + 4)..]);
            if (length > file.Length - at - 8)
                return null;
            ReadOnlySpan<byte> body = file.Slice((int)at + 8, (int)length);
            if (file[(int)at..].StartsWith("EXIF"u8))
                return (body.StartsWith("Exif\0\0"u8) ? body[6..] : body).ToArray();
            at += 8 + length + (length & 1);
        }

        return null;
    }

    /// <summary>
    /// The user comment of EXIF data (a TIFF header and its directories), or null where there is none or the data is broken.
    /// </summary>
    public static string? Of(ReadOnlySpan<byte> tiff)
    {
        if (tiff.Length < 8)
            return null;
        bool little = tiff.StartsWith("II"u8);
        if (!little && !tiff.StartsWith("MM"u8))
            return null;
        // The first directory points to the one of EXIF's own entries; some writers put the comment into the first.
        uint first = Long(tiff, 4, little);
        return Find(tiff, first, UserComment, little) is { } direct ? Decode(tiff, direct, little)
            : Find(tiff, first, Pointer, little) is { } pointer
            && Find(tiff, Long(tiff, pointer + 8, little), UserComment, little) is { } entry
                ? Decode(tiff, entry, little)
            : null;
    }

    // Where a directory's entry of some tag begins.
    private static int? Find(ReadOnlySpan<byte> tiff, uint directory, ushort tag, bool little)
    {
        if (directory > tiff.Length - 2)
            return null;
        int count = Math.Min(MostEntries, (int)Short(tiff, (int)directory, little));
        for (int i = 0; i < count; i++)
        {
            long at = directory + 2 + 12L * i;
            if (at + 12 > tiff.Length)
                return null;
            if (Short(tiff, (int)at, little) == tag)
                return (int)at;
        }

        return null;
    }

    // Eight bytes name the character set: nothing after them is a comment without text.
    private static string? Decode(ReadOnlySpan<byte> tiff, int entry, bool little)
    {
        uint count = Long(tiff, entry + 4, little),
            offset = Long(tiff, entry + 8, little);
        if (count > tiff.Length || (count > 4 && offset > tiff.Length - count))
            return null;
        ReadOnlySpan<byte> value = tiff.Slice(count <= 4 ? entry + 8 : (int)offset, (int)count);
        string text =
            value.StartsWith("UNICODE\0"u8) ? Wide(value[8..])
            : value.StartsWith("ASCII\0\0\0"u8) ? Encoding.UTF8.GetString(value[8..])
            : Encoding.UTF8.GetString(value.StartsWith("\0\0\0\0\0\0\0\0"u8) ? value[8..] : value);
        text = text.TrimEnd('\0');
        return text.Length > 0 ? text : null;
    }

    // UTF-16 of either byte order: the one in which ASCII, of which settings are mostly made, has its zeros on the right side.
    private static string Wide(ReadOnlySpan<byte> bytes)
    {
        int big = 0,
            small = 0;
        for (int i = 0; i + 1 < bytes.Length; i += 2)
        {
            big += bytes[i] == 0 ? 1 : 0;
            small += bytes[i + 1] == 0 ? 1 : 0;
        }

        return (small > big ? Encoding.Unicode : Encoding.BigEndianUnicode).GetString(bytes[..(bytes.Length & ~1)]);
    }

    private static ushort Short(ReadOnlySpan<byte> tiff, int at, bool little) =>
        little ? BinaryPrimitives.ReadUInt16LittleEndian(tiff[at..]) : BinaryPrimitives.ReadUInt16BigEndian(tiff[at..]);

    private static uint Long(ReadOnlySpan<byte> tiff, int at, bool little) =>
        little ? BinaryPrimitives.ReadUInt32LittleEndian(tiff[at..]) : BinaryPrimitives.ReadUInt32BigEndian(tiff[at..]);
}
