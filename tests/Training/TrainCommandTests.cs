using System.Text.Json;
using AfaNative.Tests.Tool;
using Xunit;

namespace AfaNative.Tests.Training;

/// <summary>
/// <c>train</c> and <c>screen</c> as a user starts them: what is left out is said, what a kind of training does not take is
/// refused, sizes are the model's own.
/// </summary>
public sealed class TrainCommandTests(TinyTraining tiny) : IClassFixture<TinyTraining>, IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Sizes_left_out_are_the_models_and_pictures_left_out_are_named()
    {
        string data = _folder.File("data"),
            run = _folder.File("run");
        Directory.CreateDirectory(data);
        foreach (string name in (string[])["00.png", "00.txt", "01.png"])
            File.Copy(Path.Combine(tiny.Data, name), Path.Combine(data, name));
        (int code, _, string error) = InProcess.Run(
            "train",
            tiny.Model,
            "--data",
            data,
            "--out",
            run,
            "--steps",
            "1",
            "--holdout",
            "0",
            "--posterior-means"
        );
        Assert.True(code == 0, error);
        Assert.Contains("1 picture without a .txt caption beside it is left out: 01.png", error);
        using JsonDocument checkpoint = JsonDocument.Parse(
            File.ReadAllText(Path.Combine(run, "checkpoints", "step-00000001", "trainer.json"))
        );
        using JsonDocument identity = JsonDocument.Parse(checkpoint.RootElement.GetProperty("options").GetString()!);
        Assert.Equal("128", identity.RootElement.GetProperty("--size").GetString());
        Assert.Equal("true", identity.RootElement.GetProperty("--posterior-means").GetString());
        Assert.Equal("f32", identity.RootElement.GetProperty("--precision").GetString());
    }

    [Theory]
    [InlineData("--holdout is nothing that --what unet takes; it is for sabw", "--what", "unet", "--holdout", "2")]
    [InlineData("--recompute is nothing that --what vae takes; it is for sabw and unet", "--what", "vae", "--recompute")]
    [InlineData("--posterior-means is nothing that --what vae takes", "--what", "vae", "--posterior-means")]
    [InlineData("16 pictures are too few: 40 are held out", "--holdout", "40", "--size", "64")]
    [InlineData("--size takes", "--size", "100")]
    public void What_makes_no_sense_is_one_sentence(string expected, params string[] arguments)
    {
        (int code, _, string error) = InProcess.Run([
            "train",
            tiny.Model,
            "--data",
            tiny.Data,
            "--out",
            _folder.File("run"),
            .. arguments,
        ]);
        Assert.Equal(1, code);
        Assert.Contains(expected, error.ReplaceLineEndings(" "));
        Assert.DoesNotContain("unexpected", error);
    }

    [Fact]
    public void Nothing_usable_is_one_sentence()
    {
        string data = _folder.File("data");
        Directory.CreateDirectory(data);
        File.WriteAllText(Path.Combine(data, "a.png"), "no picture");
        foreach (
            string[] command in new string[][]
            {
                ["train", tiny.Model, "--out", _folder.File("run"), "--holdout", "0"],
                ["screen", "--experts", tiny.Model, "--cache", _folder.File("cache")],
            }
        )
        {
            (int code, _, string error) = InProcess.Run([.. command, "--data", data]);
            Assert.Equal(1, code);
            Assert.Contains(
                "pictures without a .txt caption beside",
                error.Replace("picture without", "pictures without", StringComparison.Ordinal)
            );
            File.WriteAllText(Path.Combine(data, "a.txt"), "a caption");
            (code, _, error) = InProcess.Run([.. command, "--data", data]);
            Assert.Equal(1, code);
            Assert.Contains("None of the 1 pictures can be used", error);
            File.Delete(Path.Combine(data, "a.txt"));
        }
    }
}
