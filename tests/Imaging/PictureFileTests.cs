using System.Buffers.Binary;
using System.Diagnostics;
using System.IO.Compression;
using AfaNative.Engine.Core;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Training;
using SkiaSharp;
using Xunit;

namespace AfaNative.Tests.Imaging;

/// <summary>
/// Pictures as people bring them: turned, transparent, of other shapes, depths and colours, and too large ones.
/// </summary>
public sealed class PictureFileTests : IDisposable
{
    private const int Wide = 32,
        High = 16;
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(1, "RGBW")]
    [InlineData(2, "GRWB")]
    [InlineData(3, "WBGR")]
    [InlineData(4, "BWRG")]
    [InlineData(5, "RBGW")]
    [InlineData(6, "BRWG")]
    [InlineData(7, "WGBR")]
    [InlineData(8, "GWRB")]
    public void Photos_are_turned_as_they_say(int orientation, string corners)
    {
        byte[] photo = Photo(orientation);
        string path = Write("photo.jpg", photo);
        (int width, int height) = orientation < 5 ? (Wide, High) : (High, Wide);
        Assert.Equal((width, height), PictureFile.Size(path));
        Assert.Equal(corners, Corners(PictureFile.Read(path, width, height).Pixels, width, height));
        Assert.Equal(corners, Corners(PictureFile.Read(path, 2 * width, 2 * height).Pixels, 2 * width, 2 * height));
        // Training sees the same.
        float[] square = TrainingPicture.Crop(Photo(orientation, 16), 16, 1);
        Assert.Equal(corners, Corners([.. square.Select(v => (v + 1) / 2)], 16, 16));
        Assert.Equal(
            corners,
            Corners(
                TrainingPicture.Read(Write("square.jpg", Photo(orientation, 16)), 16, 1).Select(v => (v + 1) / 2).ToArray(),
                16,
                16
            )
        );
    }

    [Fact]
    public void What_is_transparent_shows_the_background_and_never_its_own_colour()
    {
        // Red, of which half is there, beside green of which nothing is.
        string path = Write("clear.png", Png(2, 1, 8, 6, [255, 0, 0, 128, 0, 255, 0, 0]));
        LoadedPicture white = PictureFile.Read(path, 2, 1);
        Assert.True(white.Transparent);
        Assert.Equal([255, 127, 127, 255, 255, 255], Bytes(white.Pixels));
        Assert.Equal([128, 0, 127, 0, 0, 255], Bytes(PictureFile.Read(path, 2, 1, background: (0, 0, 255)).Pixels));
        byte[] square = Png(2, 2, 8, 6, [255, 0, 0, 128, 0, 255, 0, 0, 255, 0, 0, 128, 0, 255, 0, 0]);
        Assert.Equal(
            [255, 127, 127, 255, 255, 255, 255, 127, 127, 255, 255, 255],
            Bytes(TrainingPicture.Crop(square, 2, 1).Select(v => (v + 1) / 2))
        );
        // Enlarged, no green comes near.
        float[] large = PictureFile.Read(path, 64, 32).Pixels;
        for (int i = 0; i < large.Length; i += 3)
            Assert.True(large[i + 1] <= large[i] + 0.01f);
        Assert.False(PictureFile.Read(Write("opaque.png", Png(1, 1, 8, 6, [1, 2, 3, 255])), 1, 1).Transparent);
    }

    [Fact]
    public void A_mask_counts_luminance_times_alpha()
    {
        string path = Write("mask.png", Png(4, 1, 8, 6, [255, 255, 255, 255, 255, 255, 255, 0, 0, 255, 0, 255, 255, 0, 0, 128]));
        Assert.Equal([255, 0, 150, 38], Bytes(PictureFile.ReadMask(path, 4, 1).Pixels));
        // A gray one is what it was.
        byte[] gray = [.. Enumerable.Range(0, 256).Select(i => (byte)i)];
        Assert.Equal(gray, Bytes(PictureFile.ReadMask(Write("gray.png", Png(256, 1, 8, 0, gray)), 256, 1).Pixels));
    }

    [Fact]
    public void Another_shape_is_cropped_filled_or_stretched()
    {
        // Columns of four colours, twice as wide as high.
        string path = Write(
            "wide.png",
            Png(4, 2, 8, 2, [255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255, 255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255])
        );
        Assert.Equal([0, 255, 0, 0, 0, 255, 0, 255, 0, 0, 0, 255], Bytes(PictureFile.Read(path, 2, 2).Pixels));
        Assert.Equal("GWGW", Corners(PictureFile.Read(path, 4, 4, PictureFit.Fill).Pixels, 4, 4));
        byte[] filled = Bytes(PictureFile.Read(path, 4, 4, PictureFit.Fill).Pixels);
        Assert.Equal(filled[..12], filled[12..24]);
        Assert.Equal([255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255], filled[..12]);
        Assert.Equal("GWGW", Corners(PictureFile.Read(path, 4, 8, PictureFit.Stretch).Pixels, 4, 8));
        Assert.Equal((512, 256), PictureFile.SizeFor(400, 200, 512, null));
        Assert.Equal((504, 256), PictureFile.SizeFor(395, 200, null, 256));
        Assert.Equal((392, 200), PictureFile.SizeFor(395, 207, null, null));
        Assert.Equal((8, 512), PictureFile.SizeFor(1, 1000, null, 512));
        Assert.Contains(
            "`width` and `height`",
            Assert.Throws<AfaException>(() => PictureFile.SizeFor(1, 1_000_000, 512, null)).Message
        );
        Assert.True(PictureFile.SameShape(515, 387, 512, 384));
        Assert.False(PictureFile.SameShape(512, 512, 512, 504));
    }

    [Theory]
    [InlineData(16384, 16384, "16384x16384 pixels")]
    [InlineData(200_000, 200_000, "200000x200000 pixels")]
    [InlineData(1, 1_000_000, "large.png")]
    public void Pictures_too_large_are_refused_by_their_head(int width, int height, string expected)
    {
        string path = Write("large.png", Png(width, height, 8, 0, []));
        long before = Environment.WorkingSet;
        Assert.Contains(expected, Assert.Throws<AfaException>(() => PictureFile.Read(path, 512, 512)).Message);
        Assert.Throws<InvalidDataException>(() => TrainingPicture.Read(path, 512, 1));
        Assert.True(Environment.WorkingSet - before < 300L << 20);
    }

    [Fact]
    public void A_thread_of_a_picture_is_skipped_with_its_reason()
    {
        byte[] thread = Png(1, 100_000, 8, 0, new byte[100_000]);
        Assert.Contains(
            "1x100000 pixels would have to be brought to 512x51200000",
            Assert.Throws<InvalidDataException>(() => TrainingPicture.Crop(thread, 512, 1)).Message
        );
        Assert.Contains(
            "1x100000",
            Assert.Throws<AfaException>(() => PictureFile.Read(Write("thread.png", thread), 512, 512)).Message
        );
    }

    [Fact]
    public void Sixteen_bits_gray_palettes_and_animations_are_read()
    {
        Assert.Equal([18, 18, 18], Bytes(PictureFile.Read(Write("deep.png", Png(1, 1, 16, 0, [0x12, 0x34])), 1, 1).Pixels));
        Assert.Equal([200, 200, 200], Bytes(PictureFile.Read(Write("gray.png", Png(1, 1, 8, 0, [200])), 1, 1).Pixels));
        Assert.Equal(
            [9, 8, 7, 255, 255, 255],
            Bytes(
                PictureFile
                    .Read(
                        Write("palette.png", Png(2, 1, 8, 3, [0, 1], ("PLTE", [9, 8, 7, 40, 50, 60]), ("tRNS", [255, 0]))),
                        2,
                        1
                    )
                    .Pixels
            )
        );
        // Two frames of one pixel, red and blue.
        byte[] gif = [.. "GIF89a"u8, 1, 0, 1, 0, 0x80, 0, 0, 255, 0, 0, 0, 0, 255, .. Frame(0x44), .. Frame(0x4C), 0x3B];
        Assert.Equal([255, 0, 0], Bytes(PictureFile.Read(Write("moving.gif", gif), 1, 1).Pixels));

        static byte[] Frame(byte code) => [0x21, 0xF9, 4, 0, 10, 0, 0, 0, 0x2C, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, code, 1, 0];
    }

    [Fact]
    public void A_colour_profile_counts()
    {
        using SKColorSpace wide = SKColorSpace.CreateRgb(SKColorSpaceTransferFn.Srgb, SKColorSpaceXyz.AdobeRgb);
        using var bitmap = new SKBitmap(new SKImageInfo(4, 4, SKColorType.Rgba8888, SKAlphaType.Opaque, wide));
        for (int i = 0; i < 16; i++)
            ((byte[])[128, 128, 64, 255]).CopyTo(bitmap.GetPixelSpan()[(4 * i)..]);
        using SKData png = bitmap.Encode(SKEncodedImageFormat.Png, 100);
        byte[] file = png.ToArray();
        Assert.True(PngChunks.Has(file, "iCCP"u8));
        byte[] came = Bytes(PictureFile.Read(Write("wide.png", file), 4, 4).Pixels);
        byte[] raw = bitmap.GetPixelSpan()[..3].ToArray();
        // A gray of the larger space is the same gray; a saturated colour is more so in the smaller one.
        Assert.True(came[2] < raw[2] - 4, $"{string.Join(' ', raw)} became {string.Join(' ', came[..3])}");
    }

    [Theory]
    [InlineData(SKEncodedImageFormat.Jpeg)]
    [InlineData(SKEncodedImageFormat.Png)]
    [InlineData(SKEncodedImageFormat.Webp)]
    public void Ordinary_pictures_are_read_as_ever(SKEncodedImageFormat format)
    {
        using var bitmap = new SKBitmap(new SKImageInfo(61, 45, SKColorType.Rgba8888, SKAlphaType.Opaque));
        new System.Random(5).NextBytes(bitmap.GetPixelSpan());
        for (int i = 3; i < bitmap.ByteCount; i += 4)
            bitmap.GetPixelSpan()[i] = 255;
        using SKData file = bitmap.Encode(format, 90);
        using SKCodec codec = SKCodec.Create(file);
        using var decoded = new SKBitmap(new SKImageInfo(61, 45, SKColorType.Rgba8888, SKAlphaType.Unpremul));
        Assert.Equal(SKCodecResult.Success, codec.GetPixels(decoded.Info, decoded.GetPixels()));
        foreach ((int width, int height) in ((int, int)[])[(56, 40), (61, 45), (120, 24)])
        {
            using SKBitmap scaled = decoded.Resize(
                new SKImageInfo(width, height, SKColorType.Rgba8888, SKAlphaType.Unpremul),
                new SKSamplingOptions(SKFilterMode.Linear, SKMipmapMode.Linear)
            );
            byte[] expected = [.. scaled.GetPixelSpan().ToArray().Where((_, i) => i % 4 != 3)];
            float[] came = PictureFile.Read(Write("ordinary", file.ToArray()), width, height, PictureFit.Stretch).Pixels;
            Assert.Equal(expected.Select(b => b / 255f), came);
        }
    }

    [Fact]
    public async Task Pipes_folders_and_other_files_are_one_sentence()
    {
        void Refused(string expected, string path)
        {
            Assert.Contains(expected, Assert.Throws<CheckpointException>(() => PictureFile.Read(path, 8, 8)).Message);
            Assert.Contains(expected, Assert.Throws<InvalidDataException>(() => TrainingPicture.Read(path, 8, 1)).Message);
        }

        Refused("there is none", _folder.File("none.png"));
        Refused("a folder", _folder.Path);
        Assert.Contains(
            "no picture this program can decode",
            Assert.Throws<AfaException>(() => PictureFile.Read(Write("text.png", "hello"u8.ToArray()), 8, 8)).Message
        );
        Assert.Contains("no picture", Assert.Throws<InvalidDataException>(() => TrainingPicture.Crop([], 8, 1)).Message);
        var noise = new byte[64 * 64 * 3];
        new System.Random(1).NextBytes(noise);
        byte[] cut = Png(64, 64, 8, 2, noise)[..^4000];
        Assert.Contains("cut short", Assert.Throws<AfaException>(() => PictureFile.Read(Write("cut.png", cut), 8, 8)).Message);
        if (OperatingSystem.IsWindows())
            return;
        Refused("a device", "/dev/zero");
        await Process.Start("mkfifo", [_folder.File("pipe.png")])!.WaitForExitAsync(TestContext.Current.CancellationToken);
        Refused("a named pipe", _folder.File("pipe.png"));
    }

    [Theory]
    [InlineData("#fff", 255, 255, 255)]
    [InlineData(" #10FF0a ", 16, 255, 10)]
    [InlineData("Green", 0, 128, 0)]
    [InlineData("grey", 128, 128, 128)]
    public void Colours_are_read(string text, int red, int green, int blue) =>
        Assert.Equal(((byte)red, (byte)green, (byte)blue), PictureColor.Parse("--background", text));

    [Theory]
    [InlineData("")]
    [InlineData("#12")]
    [InlineData("#gggggg")]
    [InlineData("ffffff")]
    [InlineData("whitish")]
    public void What_is_no_colour_is_named(string text) =>
        Assert.Contains(
            $"--background: expected a colour as #rrggbb or one of white, black",
            Assert.Throws<AfaException>(() => PictureColor.Parse("--background", text)).Message
        );

    [Fact]
    public void Broken_pictures_are_sentences()
    {
        byte[][] files =
        [
            Photo(6),
            Png(3, 2, 8, 6, [.. Enumerable.Range(0, 24).Select(i => (byte)i)]),
            Png(2, 1, 8, 3, [0, 1], ("PLTE", [9, 8, 7, 40, 50, 60])),
        ];
        var random = new System.Random(7);
        for (int i = 0; i < 400; i++)
        {
            byte[] file = [.. files[i % files.Length]];
            for (int k = random.Next(1, 6); k > 0; k--)
                file[random.Next(file.Length)] = (byte)random.Next(256);
            string path = Write("broken", file);
            try
            {
                PictureFile.Read(path, 16, 16);
            }
            catch (AfaException e)
            {
                Assert.StartsWith(path, e.Message);
            }
        }
    }

    private string Write(string name, byte[] bytes)
    {
        File.WriteAllBytes(_folder.File(name), bytes);
        return _folder.File(name);
    }

    private static byte[] Bytes(IEnumerable<float> values) => [.. values.Select(v => (byte)Math.Round(v * 255))];

    // The colours in the middles of the four quarters.
    private static string Corners(float[] pixels, int width, int height)
    {
        return string.Concat(At(0, 0), At(1, 0), At(0, 1), At(1, 1));

        string At(int right, int down)
        {
            int at = ((height / 4 + down * height / 2) * width + width / 4 + right * width / 2) * 3;
            return (pixels[at] > 0.5f, pixels[at + 1] > 0.5f, pixels[at + 2] > 0.5f) switch
            {
                (true, false, false) => "R",
                (false, true, false) => "G",
                (false, false, true) => "B",
                (true, true, true) => "W",
                _ => "?",
            };
        }
    }

    /// <summary>A JPEG whose quarters are red, green, blue and white, with an EXIF orientation.</summary>
    internal static byte[] Photo(int orientation, int width = Wide)
    {
        using var bitmap = new SKBitmap(new SKImageInfo(width, High, SKColorType.Rgba8888, SKAlphaType.Opaque));
        for (int y = 0; y < High; y++)
        {
            for (int x = 0; x < width; x++)
                bitmap.SetPixel(
                    x,
                    y,
                    y < High / 2
                        ? x < width / 2
                            ? SKColors.Red
                            : SKColors.Lime
                        : x < width / 2
                            ? SKColors.Blue
                            : SKColors.White
                );
        }

        using SKData data = bitmap.Encode(SKEncodedImageFormat.Jpeg, 100);
        byte[] jpeg = data.ToArray();
        // A directory of one entry: tag 0x0112, one short.
        byte[] exif = [.. "Exif\0\0II*\0"u8, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, (byte)orientation, 0, 0, 0, 0, 0, 0, 0];
        return [.. jpeg[..2], 0xFF, 0xE1, (byte)((exif.Length + 2) >> 8), (byte)(exif.Length + 2), .. exif, .. jpeg[2..]];
    }

    /// <summary>A PNG by hand; pixels may be missing.</summary>
    internal static byte[] Png(
        int width,
        int height,
        byte depth,
        byte type,
        byte[] pixels,
        params (string Type, byte[] Body)[] more
    )
    {
        var head = new byte[13];
        BinaryPrimitives.WriteInt32BigEndian(head, width);
        BinaryPrimitives.WriteInt32BigEndian(head.AsSpan(4), height);
        (head[8], head[9]) = (depth, type);
        using var rows = new MemoryStream();
        int row = pixels.Length / height;
        for (int y = 0; y < height && row > 0; y++)
        {
            rows.WriteByte(0);
            rows.Write(pixels, y * row, row);
        }

        return
        [
            0x89,
            .. "PNG\r\n\x1A\n"u8,
            .. Chunk("IHDR", head),
            .. more.SelectMany(m => Chunk(m.Type, m.Body)),
            .. Chunk("IDAT", Packed(rows.ToArray())),
            .. Chunk("IEND", []),
        ];
    }

    internal static byte[] Packed(byte[] bytes)
    {
        using var stream = new MemoryStream();
        using (var zlib = new ZLibStream(stream, CompressionLevel.Fastest, leaveOpen: true))
            zlib.Write(bytes);
        return stream.ToArray();
    }

    internal static byte[] Chunk(string type, byte[] body)
    {
        byte[] typed = [.. System.Text.Encoding.ASCII.GetBytes(type), .. body];
        uint crc = ~0u;
        foreach (byte b in typed)
        {
            crc ^= b;
            for (int k = 0; k < 8; k++)
                crc = (crc & 1) != 0 ? 0xEDB88320u ^ (crc >> 1) : crc >> 1;
        }

        var length = new byte[4];
        var sum = new byte[4];
        BinaryPrimitives.WriteInt32BigEndian(length, body.Length);
        BinaryPrimitives.WriteUInt32BigEndian(sum, ~crc);
        return [.. length, .. typed, .. sum];
    }
}
