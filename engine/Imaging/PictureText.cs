using AfaNative.Engine.Core;
using AfaNative.Engine.Files;

namespace AfaNative.Engine.Imaging;

/// <summary>
/// The settings a picture carries as text: a PNG's "parameters" (tEXt, zTXt or iTXt), a JPEG's or WebP's EXIF comment, as A1111
/// and its relatives write them. Pixels are not read.
/// </summary>
public static class PictureText
{
    private const long MostBytes = 1L << 30;

    /// <summary>A picture's settings.</summary>
    /// <exception cref="AfaException">It cannot be read, or holds none; the message says which other program's it holds, if it
    /// does.</exception>
    public static string Read(string path)
    {
        byte[] file = RegularFile.ReadAllBytes(path, "a picture", MostBytes);
        string? text;
        var others = new List<string>();
        try
        {
            text =
                PngChunks.IsPng(file) ? InPng(file, others)
                : (ExifComment.InJpeg(file) ?? ExifComment.InWebP(file)) is { } exif ? ExifComment.Of(exif)
                : null;
        }
        catch (InvalidDataException e)
        {
            throw new AfaException($"{path}: {e.Message}.", e);
        }

        if (text is not null)
            return text;
        string? program =
            others.Contains("prompt") || others.Contains("workflow") ? "a workflow of ComfyUI"
            : others.Any(o => o.StartsWith("invokeai", StringComparison.Ordinal) || o is "sd-metadata" or "Dream")
                ? "settings of InvokeAI"
            : others.Contains("Comment") && others.Contains("Software") ? "settings as NovelAI writes them"
            : null;
        throw new AfaException(
            program is null
                ? $"{path}: the picture holds no settings."
                : $"{path}: the picture holds {program}, which this program does not read."
        );
    }

    // The first "parameters"; of other texts only their names.
    private static string? InPng(ReadOnlySpan<byte> png, List<string> others)
    {
        for (int at = 8; ; )
        {
            if (!PngChunks.Next(png, at, out ReadOnlySpan<byte> type, out ReadOnlySpan<byte> body))
                throw new InvalidDataException("the picture is cut short");
            if (type.SequenceEqual("IEND"u8))
                return null;
            if (type.SequenceEqual("tEXt"u8) || type.SequenceEqual("zTXt"u8) || type.SequenceEqual("iTXt"u8))
            {
                int end = body.IndexOf((byte)0);
                string keyword = System.Text.Encoding.Latin1.GetString(body[..Math.Clamp(end, 0, 79)]);
                if (keyword == PngFile.Keyword && PngChunks.Text(type, body) is (_, string text))
                    return text;
                others.Add(keyword);
            }

            at += body.Length + 12;
        }
    }
}
