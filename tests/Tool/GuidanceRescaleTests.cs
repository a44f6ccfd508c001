using AfaNative.Engine.Imaging;
using AfaNative.Engine.Sampling.Guidance;
using AfaNative.Tests.Ensemble;
using Xunit;

namespace AfaNative.Tests.Tool;

/// <summary>One setting through every place that reads the table of settings: what holds for it holds for any row.</summary>
public sealed class GuidanceRescaleTests(TinyEnsemble tiny) : IClassFixture<TinyEnsemble>
{
    [Fact]
    public void The_guided_prediction_gets_the_deviation_of_the_prompted_one()
    {
        // Two pictures of three values; negative, then prompted.
        float[] negative = [1, 2, 3, 0, 0, 6];
        float[] prompted = [2, 2, 5, 1, 4, 4];
        var shape = new LatentShape(2, 1, 1, 3);
        var predictions = new Predictions(new ReadOnlyMemory<float>([.. negative, .. prompted]), 1, 2, shape);
        float[] plain = new ClassifierFreeGuidance(3).Guide(predictions, 0);
        float[] rescaled = new ClassifierFreeGuidance(3, 1).Guide(predictions, 0);
        float[] partly = new ClassifierFreeGuidance(3, 0.25f).Guide(predictions, 0);
        for (int picture = 0; picture < 2; picture++)
        {
            double factor = Deviation(prompted, picture) / Deviation(plain, picture);
            for (int i = 3 * picture; i < 3 * picture + 3; i++)
            {
                Assert.Equal(plain[i] * factor, rescaled[i], 1e-5);
                Assert.Equal(0.25 * plain[i] * factor + 0.75 * plain[i], partly[i], 1e-5);
            }
        }

        Assert.Equal(plain, new ClassifierFreeGuidance(3, 0).Guide(predictions, 0));
    }

    [Fact]
    public void It_works_wherever_settings_are_read()
    {
        using var folder = new TemporaryFolder();
        byte[] Drawn(string name, params string[] arguments)
        {
            string[] common = ["sample", tiny.Path, "--expert", "0", "--out", folder.File(name)];
            (int code, _, string error) = InProcess.Run([.. common, .. arguments]);
            Assert.True(code == 0, error);
            string[] pictures = Directory.GetFiles(folder.File(name), "*.png");
            return File.ReadAllBytes(pictures.Single(p => !Path.GetFileName(p).StartsWith("plot", StringComparison.Ordinal)));
        }

        string[] small = ["--steps", "2", "--width", "32", "--height", "32", "--seed", "5"];
        string[] picture = ["-p", "a", "--count", "1", .. small];
        byte[] plain = Drawn("plain", picture);
        byte[] line = Drawn("line", [.. picture, "--guidance-rescale", "0.7"]);
        string file = Directory.GetFiles(folder.File("line")).Single();
        _ = PngFile.Read(file, out string? text);
        Assert.Contains(", CFG rescale: 0.7,", text);
        _ = PngFile.Read(Directory.GetFiles(folder.File("plain")).Single(), out text);
        Assert.DoesNotContain("rescale", text);
        Assert.False(plain.AsSpan().SequenceEqual(line));

        Assert.Equal(line, Drawn("from", "--from", file));
        folder.Write("options.yaml", "guidance_rescale: 0.7\n");
        Assert.Equal(line, Drawn("config", [.. picture, "--config", folder.File("options.yaml")]));
        folder.Write("prompts.jsonl", """{"prompt": "a", "guidance_rescale": 0.7}""");
        Assert.Equal(line, Drawn("lines", ["--prompts", folder.File("prompts.jsonl"), "--count", "1", .. small]));
        Assert.Equal(line, Drawn("axis", ["-p", "a", "--x", "guidance-rescale=0.7", .. small]));
        Assert.Equal(plain, Drawn("back", "--from", file, "--guidance-rescale", "0"));
    }

    [Theory]
    [InlineData("--guidance-rescale: expected a number from 0 to 1, but '1.5' came.", "--guidance-rescale", "1.5")]
    [InlineData("--x: guidance-rescale: expected a number from 0 to 1, but '2' came.", "--x", "guidance-rescale=2")]
    public void What_is_out_of_range_is_refused(string expected, params string[] arguments)
    {
        (int code, _, string error) = InProcess.Run(["sample", tiny.Path, "-p", "a", .. arguments]);
        Assert.Equal(1, code);
        Assert.Contains(expected, error);
    }

    private static double Deviation(float[] values, int picture)
    {
        float[] own = values[(3 * picture)..(3 * picture + 3)];
        double mean = own.Average();
        return Math.Sqrt(own.Sum(v => (v - mean) * (v - mean)) / 2);
    }
}
