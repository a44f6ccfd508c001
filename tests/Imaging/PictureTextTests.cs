using System.Text;
using System.Text.Json;
using AfaNative.Engine.Core;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Sampling.Samplers;
using Xunit;

namespace AfaNative.Tests.Imaging;

/// <summary>Settings in pictures' texts, as this program, A1111 and its relatives write them.</summary>
public sealed class PictureTextTests : IDisposable
{
    private const string Settings = "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512";
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Every_kind_of_text_chunk_is_read()
    {
        byte[] text = Encoding.UTF8.GetBytes(Settings);
        Assert.Equal(Settings, Read(("tEXt", [.. "parameters\0"u8, .. text])));
        Assert.Equal(Settings, Read(("zTXt", [.. "parameters\0\0"u8, .. PictureFileTests.Packed(text)])));
        Assert.Equal(Settings, Read(("iTXt", [.. "parameters\0\0\0en\0Parameter\0"u8, .. text])));
        Assert.Equal(Settings, Read(("iTXt", [.. "parameters\0\x01\0\0\0"u8, .. PictureFileTests.Packed(text)])));
        Assert.Equal("é 猫", Read(("iTXt", [.. "parameters\0\0\0\0\0é 猫"u8])));
        Assert.Equal(
            Settings,
            Read(("tEXt", [.. "Software\0x"u8]), ("tEXt", [.. "parameters\0"u8, .. text]), ("tEXt", [.. "parameters\0other"u8]))
        );
        // PngFile reads them, too.
        _ = PngFile.Read(_folder.File("picture.png"), out string? parameters);
        Assert.Equal(Settings, parameters);
    }

    [Fact]
    public void Texts_that_are_bombs_broken_or_of_others_are_named()
    {
        Refused("longer than 16 MiB", ("zTXt", [.. "parameters\0\0"u8, .. PictureFileTests.Packed(new byte[64 << 20])]));
        Refused("cannot be unpacked", ("zTXt", [.. "parameters\0\0"u8, 1, 2, 3, 4, 5, 6]));
        Refused("holds no settings", ("tEXt", [.. "parameters"u8]));
        Refused("holds no settings", ("iTXt", [.. "parameters\0\0\0en"u8]));
        Refused("holds no settings", ("tEXt", [.. "Comment\0x"u8]));
        Refused("ComfyUI", ("tEXt", [.. "prompt\0{}"u8]));
        Refused("InvokeAI", ("tEXt", [.. "invokeai_metadata\0{}"u8]));
        byte[] good = PictureFileTests.Png(1, 1, 8, 0, [1]);
        File.WriteAllBytes(_folder.File("cut.png"), good[..(good.Length - 14)]);
        Assert.Contains("cut short", Assert.Throws<AfaException>(() => PictureText.Read(_folder.File("cut.png"))).Message);

        void Refused(string expected, params (string, byte[])[] chunks)
        {
            string message = Assert.Throws<AfaException>(() => Read(chunks)).Message;
            Assert.Contains(expected, message);
            Assert.Contains(_folder.Path, message);
        }
    }

    [Fact]
    public void Comments_of_photos_are_read()
    {
        byte[] ascii = [.. "ASCII\0\0\0"u8, .. Encoding.ASCII.GetBytes(Settings)],
            wide = [.. "UNICODE\0"u8, .. Encoding.BigEndianUnicode.GetBytes("猫 " + Settings)],
            little = [.. "UNICODE\0"u8, .. Encoding.Unicode.GetBytes("猫 " + Settings)];
        Assert.Equal(Settings, Jpeg(ascii));
        Assert.Equal("猫 " + Settings, Jpeg(wide));
        Assert.Equal("猫 " + Settings, Jpeg(little));
        File.WriteAllBytes(_folder.File("a.jpg"), PictureFileTests.Photo(3));
        Assert.Contains("no settings", Assert.Throws<AfaException>(() => PictureText.Read(_folder.File("a.jpg"))).Message);

        string Jpeg(byte[] comment)
        {
            File.WriteAllBytes(_folder.File("a.jpg"), WithComment(comment));
            return PictureText.Read(_folder.File("a.jpg"));
        }
    }

    [Fact]
    public void Broken_files_are_sentences()
    {
        byte[][] files =
        [
            WithComment([.. "ASCII\0\0\0"u8, .. Encoding.ASCII.GetBytes(Settings)]),
            PictureFileTests.Png(
                1,
                1,
                8,
                0,
                [1],
                ("iTXt", [.. "parameters\0\x01\0\0\0"u8, .. PictureFileTests.Packed(Encoding.UTF8.GetBytes(Settings))])
            ),
            [
                .. "RIFF"u8,
                100,
                0,
                0,
                0,
                .. "WEBPEXIF"u8,
                64,
                0,
                0,
                0,
                .. "II*\0"u8,
                8,
                0,
                0,
                0,
                1,
                0,
                0x69,
                0x87,
                4,
                0,
                1,
                0,
                0,
                0,
                26,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                1,
                0,
                0x86,
                0x92,
                7,
                0,
                16,
                0,
                0,
                0,
                44,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                .. "ASCII\0\0\0Steps: 1"u8,
            ],
        ];
        var random = new System.Random(3);
        for (int i = 0; i < 3000; i++)
        {
            byte[] file = [.. files[i % files.Length]];
            for (int k = random.Next(0, 4); k > 0; k--)
                file[random.Next(file.Length)] = (byte)random.Next(256);
            if (random.Next(3) == 0)
                file = file[..random.Next(file.Length)];
            File.WriteAllBytes(_folder.File("broken"), file);
            try
            {
                PictureText.Read(_folder.File("broken"));
            }
            catch (AfaException) { }
        }
    }

    public static TheoryData<string> Families
    {
        get
        {
            if (SharedFiles.More("infotext", "a1111_family", "case.json") is not { } path)
                return [];
            using var document = JsonDocument.Parse(File.ReadAllBytes(path));
            return
            [
                .. document.RootElement.GetProperty("rows").EnumerateArray().Select(r => r.GetProperty("format").GetString()!),
            ];
        }
    }

    // Where this program goes beyond, or elsewhere: a line is the settings only if it begins with "Steps:", whatever comes after
    // it; old hypernetworks do not become tags; the first pass's size is worked out in GenerationMetadata.
    private static readonly HashSet<string> s_otherwise =
    [
        "three colons in the prompt's last line",
        "trailing line (Template)",
        "lower-case key",
    ];

    [Fact]
    public void Texts_of_the_family_are_taken_apart_as_A1111_does()
    {
        if (Families.Count == 0)
            Assert.Skip("The further golden files are not here.");
        using var document = JsonDocument.Parse(File.ReadAllBytes(SharedFiles.More("infotext", "a1111_family", "case.json")!));
        var wrong = new List<string>();
        foreach (JsonElement row in document.RootElement.GetProperty("rows").EnumerateArray())
        {
            string format = row.GetProperty("format").GetString()!;
            if (!s_otherwise.Contains(format) && Difference(row.GetProperty("text").GetString()!, row) is { } difference)
                wrong.Add($"{format}: {difference}");
        }

        Assert.True(wrong.Count == 0, string.Join('\n', wrong));
    }

    [Theory]
    [InlineData("a1111.png")]
    [InlineData("a1111_utf8.png")]
    [InlineData("a1111_ztxt.png")]
    [InlineData("a1111.jpg")]
    [InlineData("a1111.webp")]
    [InlineData("ascii.jpg")]
    public void Files_of_the_family_are_read(string name)
    {
        if (SharedFiles.More("infotext", "files", name) is not { } path)
            Assert.Skip("The further golden files are not here.");
        else
        {
            using var document = JsonDocument.Parse(File.ReadAllBytes(SharedFiles.More("infotext", "files", "case.json")!));
            JsonElement row = document
                .RootElement.GetProperty("rows")
                .EnumerateArray()
                .First(r => r.GetProperty("file").GetString() == name)
                .GetProperty("expect");
            Assert.Null(Difference(PictureText.Read(path), row));
        }
    }

    [Theory]
    [InlineData("none.png")]
    [InlineData("comfy_simple.png")]
    [InlineData("comfy_nan.png")]
    [InlineData("comfy.webp")]
    [InlineData("invoke.png")]
    [InlineData("invoke_old.png")]
    [InlineData("novelai.png")]
    [InlineData("novelai_stealth.png")]
    [InlineData("stealth_alpha.png")]
    [InlineData("fooocus.png")]
    [InlineData("fooocus.jpg")]
    [InlineData("swarm.png")]
    public void Files_of_others_are_refused_by_name(string name)
    {
        if (SharedFiles.More("infotext", "files", name) is { } path)
            Assert.Throws<AfaException>(() => GenerationMetadata.Parse(PictureText.Read(path)));
        else
            Assert.Skip("The further golden files are not here.");
    }

    private static string? Difference(string text, JsonElement row)
    {
        Dictionary<string, string> expected = [];
        foreach (JsonProperty field in row.GetProperty("fields").EnumerateObject())
        {
            // Sizes were cut in two.
            if (field.Name.EndsWith("-2", StringComparison.Ordinal))
                continue;
            bool size = field.Name.EndsWith("-1", StringComparison.Ordinal);
            string key = size ? field.Name[..^2] : field.Name;
            expected[key] = size ? $"{field.Value}x{row.GetProperty("fields").GetProperty(key + "-2")}" : field.Value.ToString();
        }

        ParameterText? parts = ParameterText.Read(text);
        if (expected.Count == 0)
            return parts is null ? null : "settings were found where there are none";
        if (parts is null)
            return "no settings were found";
        string prompt = row.GetProperty("prompt").GetString()!.Replace("<hypernet:foo:0.6>", "", StringComparison.Ordinal);
        if (parts.Prompt != prompt || parts.Negative != row.GetProperty("negative_prompt").GetString())
            return $"'{parts.Prompt}' and '{parts.Negative}'";
        Dictionary<string, string> came = [];
        foreach ((string key, string value) in parts.Fields.Where(f => f.Value.Length > 0))
            came[key] = value;
        if (expected.ContainsKey("First pass size"))
            came["Size"] = expected["Size"];
        if (!came.OrderBy(f => f.Key, StringComparer.Ordinal).SequenceEqual(expected.OrderBy(f => f.Key, StringComparer.Ordinal)))
            return $"{string.Join(" | ", came)} instead of {string.Join(" | ", expected)}";
        if (row.GetProperty("sampler").GetString() is not { } sampler)
            return null;
        (string name, string schedule) = RecordedSampler.Split(came["Sampler"], came.GetValueOrDefault("Schedule type"));
        return name == sampler && schedule == row.GetProperty("schedule").GetString() ? null : $"sampler {name}, {schedule}";
    }

    private static byte[] WithComment(byte[] comment)
    {
        // Both directories big-endian, one entry each: EXIF's own at 26, the comment in it.
        byte[] exif =
        [
            .. "Exif\0\0MM\0*"u8,
            0,
            0,
            0,
            8,
            0,
            1,
            0x87,
            0x69,
            0,
            4,
            0,
            0,
            0,
            1,
            0,
            0,
            0,
            26,
            0,
            0,
            0,
            0,
            0,
            1,
            0x92,
            0x86,
            0,
            7,
            0,
            0,
            (byte)(comment.Length >> 8),
            (byte)comment.Length,
            0,
            0,
            0,
            44,
            0,
            0,
            0,
            0,
            .. comment,
        ];
        byte[] jpeg = PictureFileTests.Photo(1);
        int size = exif.Length + 2;
        // The first such segment counts.
        return [.. jpeg[..2], 0xFF, 0xE1, (byte)(size >> 8), (byte)size, .. exif, .. jpeg[2..]];
    }

    private string Read(params (string, byte[])[] chunks)
    {
        File.WriteAllBytes(_folder.File("picture.png"), PictureFileTests.Png(1, 1, 8, 0, [1], chunks));
        return PictureText.Read(_folder.File("picture.png"));
    }
}
