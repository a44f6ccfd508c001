using Xunit;

namespace AfaNative.Tests.Fuzz;

/// <summary>Readers of files, each fed changed inputs for <see cref="FuzzRun.Seconds"/>.</summary>
public sealed class FileFuzzTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData("safetensors")]
    [InlineData("lora")]
    [InlineData("configuration")]
    [InlineData("png-text")]
    [InlineData("picture")]
    [InlineData("embedding")]
    public void Odd_files_are_refused_in_one_sentence(string reader) => Fuzz.Run(reader, output);
}

/// <summary>Readers of texts, in parallel with those of files.</summary>
public sealed class TextFuzzTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData("options")]
    [InlineData("prompt-file")]
    [InlineData("captions")]
    [InlineData("prompt")]
    [InlineData("tokenizer")]
    [InlineData("report")]
    public void Odd_texts_are_refused_in_one_sentence(string reader) => Fuzz.Run(reader, output);

    [Fact]
    public void Every_reader_is_fed()
    {
        string[] fed =
        [
            .. new[] { typeof(FileFuzzTests), typeof(TextFuzzTests) }
                .SelectMany(t => t.GetMethods())
                .SelectMany(m => m.GetCustomAttributes(typeof(InlineDataAttribute), false))
                .Select(a => (string)((InlineDataAttribute)a).Data[0]!),
        ];
        Assert.Equal(FuzzTargets.Readers.Order(), fed.Order());
    }
}

internal static class Fuzz
{
    internal static void Run(string reader, ITestOutputHelper output)
    {
        using var targets = new FuzzTargets();
        output.WriteLine(FuzzRun.Run(targets.Of(reader)));
    }
}
