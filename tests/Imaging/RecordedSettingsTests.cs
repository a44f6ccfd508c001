using AfaNative.Engine.Core;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Pipeline;
using Xunit;

namespace AfaNative.Tests.Imaging;

/// <summary>When a picture that is there counts as the one that would be drawn.</summary>
public class RecordedSettingsTests
{
    private static readonly GenerationMetadata s_picture = new()
    {
        Prompt = "a cat\non a mat",
        NegativePrompt = "dogs",
        Steps = 20,
        CfgScale = 7,
        Seed = 1,
        Width = 64,
        Height = 64,
        Version = "1",
        ModelHashes = ["abc"],
        Models = ["m"],
    };

    [Fact]
    public void What_draws_is_compared_and_names_and_versions_are_not()
    {
        string expected = s_picture.ToParameters();
        Assert.Null(RecordedSettings.Difference(expected, expected));
        Assert.Null(RecordedSettings.Difference((s_picture with { Version = "2", Models = ["moved"] }).ToParameters(), expected));
        Assert.Contains("records no settings", RecordedSettings.Difference(null, expected));
        Assert.Contains("records no settings", RecordedSettings.Difference("kept", expected));
        Assert.Contains(
            "its prompt is 'a dog",
            RecordedSettings.Difference((s_picture with { Prompt = "a dog" }).ToParameters(), expected)
        );
        Assert.Contains(
            "'Steps' is 30, not 20",
            RecordedSettings.Difference((s_picture with { Steps = 30 }).ToParameters(), expected)
        );
        Assert.Contains(
            "'Model hash' is abd, not abc",
            RecordedSettings.Difference((s_picture with { ModelHashes = ["abd"] }).ToParameters(), expected)
        );
        Assert.Contains(
            "'Fusion' is MagicFusion, which",
            RecordedSettings.Difference((s_picture with { Fusion = "MagicFusion" }).ToParameters(), expected)
        );
        Assert.Contains(
            "records no 'Fusion'",
            RecordedSettings.Difference(expected, (s_picture with { Fusion = "MagicFusion" }).ToParameters())
        );
        // Another version may not have recorded it.
        Assert.Null(
            RecordedSettings.Difference(expected, (s_picture with { Fusion = "MagicFusion", Version = "2" }).ToParameters())
        );
    }

    [Fact]
    public void Text_is_read_without_the_pixels_but_not_from_half_a_file()
    {
        using var folder = new TemporaryFolder();
        string path = folder.File("a.png");
        foreach (string? text in new[] { "plain", "кошка", null })
        {
            PngFile.Write(path, RgbImage.Filled(40, 30, (1, 2, 3)), text);
            Assert.Equal(text, PngFile.ReadParameters(path));
        }

        byte[] whole = File.ReadAllBytes(path);
        File.WriteAllBytes(path, whole[..^5]);
        Assert.Contains("cut short", Assert.Throws<AfaException>(() => PngFile.ReadParameters(path)).Message);
        File.WriteAllText(path, "kept");
        Assert.Contains("signature", Assert.Throws<AfaException>(() => PngFile.ReadParameters(path)).Message);
        Assert.Contains(
            path,
            Assert.Throws<AfaException>(() => RecordedSettings.MustMatch(path, s_picture.ToParameters())).Message
        );
    }
}
