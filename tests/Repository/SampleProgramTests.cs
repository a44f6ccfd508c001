using System.Reflection;
using AfaNative.Engine.Imaging;
using AfaNative.Tests.Support;
using Xunit;

namespace AfaNative.Tests.Repository;

/// <summary>The programs in <c>samples/</c>, run as they were built, on the demo ensemble.</summary>
public sealed class SampleProgramTests : IDisposable
{
    private static readonly string s_demo = Path.Combine(AppContext.BaseDirectory, "demo");
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void One_picture()
    {
        string text = Run("OnePicture", s_demo, _folder.File("picture.png"), "a blue ring");
        Assert.Contains("64 x 64 pixels", text, StringComparison.Ordinal);
        Assert.Equal(64, PngFile.Read(_folder.File("picture.png"), out string? parameters).Width);
        Assert.Equal("a blue ring", parameters);
    }

    [Fact]
    public void Attention_maps()
    {
        string[] lines = Run("AttentionMaps", s_demo, _folder.File("overview.png")).TrimEnd().Split('\n');
        Assert.StartsWith("conv_in", lines[0], StringComparison.Ordinal);
        Assert.StartsWith("noise prediction", lines[^2], StringComparison.Ordinal);
        Assert.True(PngFile.Read(_folder.File("overview.png"), out _).Width > 4 * 256);
    }

    [Fact]
    public void Training_of_aggregators()
    {
        string text = Run("TrainAggregators", s_demo, _folder.File("run"));
        Assert.Contains("update 2: loss", text, StringComparison.Ordinal);
        Assert.True(Directory.Exists(Path.Combine(_folder.File("run"), "model", "aggregator_0")));
    }

    [Fact]
    public void A_scorer_of_ones_own()
    {
        string text = Run("OwnScorer", s_demo, "4");
        Assert.Contains("trial 3: ", text, StringComparison.Ordinal);
        Assert.Contains("best: trial ", text, StringComparison.Ordinal);
    }

    private static string Run(string sample, params string[] arguments)
    {
        string path = Path.Combine(AppContext.BaseDirectory, $"AfaNative.Samples.{sample}.dll");
        return RoutedConsole.Capture(() => Assembly.LoadFrom(path).EntryPoint!.Invoke(null, [arguments]));
    }
}
