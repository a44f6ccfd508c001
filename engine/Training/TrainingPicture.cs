using AfaNative.Engine.Core;
using AfaNative.Engine.Files;
using AfaNative.Engine.Imaging;
using AfaNative.Kernels.Random;

namespace AfaNative.Engine.Training;

/// <summary>
/// Pictures as training sees them: turned as their EXIF orientation says, in sRGB, on white where they are transparent. Whatever
/// is wrong with one is an <see cref="InvalidDataException"/> whose message is a part of a
/// sentence, so that it can be skipped and named.
/// </summary>
public static class TrainingPicture
{
    /// <summary>A picture from a file, cut to a square of a size.</summary>
    /// <returns>[size, size, 3], -1 to 1.</returns>
    /// <exception cref="InvalidDataException">It cannot be used; the message says why.</exception>
    public static float[] Read(string path, int size, ulong seed) => Crop(Bytes(path), size, seed);

    /// <summary>All bytes of a picture's file; pipes and devices are not opened.</summary>
    /// <exception cref="InvalidDataException">They cannot be read; the message says why.</exception>
    public static byte[] Bytes(string path)
    {
        try
        {
            using (FileStream file = RegularFile.Open(path, "a picture"))
                _ = DecodedPicture.SizeOf(file);
            return RegularFile.ReadAllBytes(path, "a picture");
        }
        catch (Exception e)
            when (e is AfaException or IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            // The caller names the file.
            throw new InvalidDataException(
                e.Message.StartsWith(path + ": ", StringComparison.Ordinal)
                    ? e.Message[(path.Length + 2)..].TrimEnd('.')
                    : e.Message,
                e
            );
        }
    }

    /// <summary>
    /// Decodes a picture, brings its short side to <paramref name="size"/> and cuts a square at a place that depends on its bytes
    /// and the seed; channels last, -1..1.
    /// </summary>
    /// <exception cref="InvalidDataException">It cannot be decoded, or is far longer than wide; the message says why.</exception>
    public static float[] Crop(byte[] bytes, int size, ulong seed)
    {
        using DecodedPicture decoded = DecodedPicture.Of(bytes, PictureColor.White);
        double scale = (double)size / Math.Min(decoded.Width, decoded.Height);
        int width = Math.Max(size, (int)Math.Min(int.MaxValue, Math.Round(decoded.Width * scale))),
            height = Math.Max(size, (int)Math.Min(int.MaxValue, Math.Round(decoded.Height * scale)));
        byte[] scaled = decoded.Resized(width, height);
        (uint x, uint y, _, _) = Philox.Block(seed, BitConverter.ToUInt64(Sha256.HashData(bytes)), 0);
        int left = (int)(x % (uint)(width - size + 1)),
            top = (int)(y % (uint)(height - size + 1));
        var values = new float[size * size * 3];
        for (int row = 0; row < size; row++)
        {
            for (int column = 0; column < size; column++)
            {
                int at = ((top + row) * width + left + column) * 4,
                    to = (row * size + column) * 3;
                for (int i = 0; i < 3; i++)
                    values[to + i] = scaled[at + i] / 127.5f - 1;
            }
        }

        return values;
    }
}
