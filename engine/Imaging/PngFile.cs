using System.Buffers.Binary;
using System.Text;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;
using SkiaSharp;

namespace AfaNative.Engine.Imaging;

/// <summary>
/// PNG files with the generation's settings in a text chunk named "parameters", as common tools write and show it.
/// </summary>
public static class PngFile
{
    /// <summary>The settings' keyword.</summary>
    internal const string Keyword = "parameters";

    private const int HeaderEnd = 8 + 12 + 13;
    private static readonly byte[] Signature = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A];
    private static readonly uint[] CrcTable = MakeCrcTable();

    /// <summary>Writes a PNG whole or not at all, in place of what is there.</summary>
    /// <exception cref="AfaException">It cannot be written.</exception>
    public static void Write(string path, RgbImage image, string? parameters)
    {
        ArgumentNullException.ThrowIfNull(image);
        WholeFile.Write(path, Content(image, parameters));
    }

    /// <summary>Writes a PNG whole where nothing is: of several processes that want a name, one gets it.</summary>
    /// <returns>False where something is there already; it stays.</returns>
    /// <exception cref="AfaException">It cannot be written.</exception>
    public static bool WriteNew(string path, RgbImage image, string? parameters)
    {
        ArgumentNullException.ThrowIfNull(image);
        return WholeFile.WriteNew(path, Content(image, parameters));
    }

    private static Action<Stream> Content(RgbImage image, string? parameters)
    {
        // A name that is taken costs no encoding.
        return file =>
        {
            byte[] png = Encode(image);
            file.Write(png.AsSpan(0, HeaderEnd));
            if (parameters is not null)
                file.Write(TextChunk(parameters));
            file.Write(png.AsSpan(HeaderEnd));
        };
    }

    /// <summary>Reads a PNG and the text of its "parameters" chunk, null where it has none.</summary>
    public static RgbImage Read(string path, out string? parameters)
    {
        if (RegularFile.Kind(path) is var kind and not (FileKind.Regular or FileKind.Missing))
            throw Corrupt(path, $"it is {RegularFile.Name(kind)}");
        byte[] png;
        try
        {
            png = File.ReadAllBytes(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new AfaException($"Expected a PNG picture at {path}, but it cannot be read: {e.Message}", e);
        }
        parameters = ReadText(png, path);
        return Decode(png, path);
    }

    /// <summary>
    /// The text of a PNG's "parameters" chunk, null where it has none before its pixels; these are not read, but the file must
    /// have its end.
    /// </summary>
    /// <exception cref="AfaException">It is no PNG, is cut short, or cannot be read.</exception>
    public static string? ReadParameters(string path)
    {
        try
        {
            using FileStream file = File.OpenRead(path);
            var head = new byte[12];
            if (file.ReadAtLeast(head.AsSpan(0, 8), 8, false) < 8 || !head.AsSpan(0, 8).SequenceEqual(Signature))
                throw Corrupt(path, "its signature is another");
            if (file.Length < 8 + 12)
                throw Corrupt(path, "it is cut short");
            file.Position = file.Length - 12;
            file.ReadExactly(head);
            if (!head.AsSpan(4, 4).SequenceEqual("IEND"u8))
                throw Corrupt(path, "it is cut short");
            for (file.Position = 8; ; )
            {
                file.ReadExactly(head.AsSpan(0, 8));
                uint length = BinaryPrimitives.ReadUInt32BigEndian(head);
                if (head.AsSpan(4, 4).SequenceEqual("IDAT"u8) || head.AsSpan(4, 4).SequenceEqual("IEND"u8))
                    return null;
                if (length > file.Length - file.Position - 4)
                    throw Corrupt(path, "it is cut short");
                if (head.AsSpan(4, 4).SequenceEqual("tEXt"u8) || head.AsSpan(4, 4).SequenceEqual("iTXt"u8))
                {
                    byte[] body = new byte[length + 8];
                    head.AsSpan(4, 4).CopyTo(body);
                    file.ReadExactly(body.AsSpan(4));
                    if (
                        Crc(body.AsSpan(0, (int)length + 4)) != BinaryPrimitives.ReadUInt32BigEndian(body.AsSpan((int)length + 4))
                    )
                        throw Corrupt(path, "a checksum does not match");
                    if (Parameters(body.AsSpan(0, (int)length + 4)) is { } text)
                        return text;
                }
                else
                {
                    file.Position += length + 4;
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new AfaException($"Expected a PNG picture at {path}, but it cannot be read: {e.Message}", e);
        }
    }

    private static byte[] Encode(RgbImage image)
    {
        using SKBitmap bitmap = new(new SKImageInfo(image.Width, image.Height, SKColorType.Rgba8888, SKAlphaType.Opaque));
        Span<byte> target = bitmap.GetPixelSpan();
        for (int y = 0; y < image.Height; y++)
        {
            for (int x = 0; x < image.Width; x++)
            {
                int from = (y * image.Width + x) * 3;
                int to = y * bitmap.RowBytes + x * 4;
                image.Pixels.AsSpan(from, 3).CopyTo(target[to..]);
                target[to + 3] = 255;
            }
        }
        using SKData? data = bitmap.Encode(SKEncodedImageFormat.Png, 100);
        return data?.ToArray()
            ?? throw new AfaException(
                $"Expected to encode a picture of {image.Width}x{image.Height} as PNG, but the encoder failed."
            );
    }

    private static RgbImage Decode(byte[] png, string path)
    {
        using SKData data = SKData.CreateCopy(png);
        using SKCodec codec = SKCodec.Create(data) ?? throw Corrupt(path, "its header cannot be decoded");
        int width = codec.Info.Width;
        int height = codec.Info.Height;
        if ((long)width * height > DecodedPicture.MostPixels)
            throw Corrupt(path, $"it claims {width}x{height} pixels");
        using SKBitmap bitmap = new(new SKImageInfo(width, height, SKColorType.Rgba8888, SKAlphaType.Unpremul));
        SKCodecResult result = codec.GetPixels(bitmap.Info, bitmap.GetPixels());
        if (result != SKCodecResult.Success)
            throw Corrupt(path, $"its pixels cannot be decoded ({result})");
        byte[] pixels = new byte[3 * width * height];
        ReadOnlySpan<byte> source = bitmap.GetPixelSpan();
        for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            source.Slice(y * bitmap.RowBytes + x * 4, 3).CopyTo(pixels.AsSpan((y * width + x) * 3));
        return new RgbImage(width, height, pixels);
    }

    private static byte[] TextChunk(string text)
    {
        // A text chunk must not hold NUL characters.
        text = text.Replace("\0", "", StringComparison.Ordinal);
        bool latin = text.All(c => c <= 0xFF);
        byte[] head = Encoding.ASCII.GetBytes(latin ? $"tEXt{Keyword}\0" : $"iTXt{Keyword}\0\0\0\0\0");
        byte[] body = [.. head, .. (latin ? Encoding.Latin1 : Encoding.UTF8).GetBytes(text)];
        byte[] chunk = new byte[body.Length + 8];
        BinaryPrimitives.WriteInt32BigEndian(chunk, body.Length - 4);
        body.CopyTo(chunk, 4);
        BinaryPrimitives.WriteUInt32BigEndian(chunk.AsSpan(body.Length + 4), Crc(body));
        return chunk;
    }

    private static string? ReadText(ReadOnlySpan<byte> png, string path)
    {
        if (!png.StartsWith(Signature))
            throw Corrupt(path, "its signature is another");
        string? text = null;
        for (int at = 8; ; )
        {
            if (png.Length - at < 12)
                throw Corrupt(path, "it is cut short");
            uint length = BinaryPrimitives.ReadUInt32BigEndian(png[at..]);
            if (length > png.Length - at - 12)
                throw Corrupt(path, "it is cut short");
            ReadOnlySpan<byte> body = png.Slice(at + 4, (int)length + 4);
            if (Crc(body) != BinaryPrimitives.ReadUInt32BigEndian(png[(at + 8 + (int)length)..]))
                throw Corrupt(path, "a checksum does not match");
            text ??= Parameters(body, path);
            if (body.StartsWith("IEND"u8))
                return text;
            at += (int)length + 12;
        }
    }

    private static string? Parameters(ReadOnlySpan<byte> chunk, string? path = null)
    {
        try
        {
            return PngChunks.Text(chunk[..4], chunk[4..]) is (Keyword, string text) ? text : null;
        }
        catch (InvalidDataException e)
        {
            throw new AfaException($"Expected a PNG picture{(path is null ? "" : $" at {path}")}, but {e.Message}.", e);
        }
    }

    private static uint Crc(ReadOnlySpan<byte> bytes)
    {
        uint crc = ~0u;
        foreach (byte value in bytes)
            crc = CrcTable[(crc ^ value) & 0xFF] ^ (crc >> 8);
        return ~crc;
    }

    private static uint[] MakeCrcTable()
    {
        uint[] table = new uint[256];
        for (uint n = 0; n < 256; n++)
        {
            uint value = n;
            for (int bit = 0; bit < 8; bit++)
                value = (value & 1) != 0 ? 0xEDB88320u ^ (value >> 1) : value >> 1;
            table[n] = value;
        }
        return table;
    }

    private static AfaException Corrupt(string path, string why) => new($"Expected a PNG picture at {path}, but {why}.");
}
