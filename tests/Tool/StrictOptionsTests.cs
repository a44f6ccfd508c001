using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using AfaNative.Engine.Imaging;
using AfaNative.Tests.Ensemble;
using AfaNative.Tool;
using Xunit;

namespace AfaNative.Tests.Tool;

/// <summary>Every number of every command: read strictly, whatever the language, and within a range.</summary>
public sealed class StrictOptionsTests(TinyEnsemble tiny) : IClassFixture<TinyEnsemble>
{
    private static readonly (Command Command, Option Option)[] s_numeric =
    [
        .. All(CommandLineProgram.Root()).Where(o => StrictOptions.IsNumeric(o.Option)),
    ];

    [Fact]
    public void Every_number_has_a_range_but_seeds()
    {
        Assert.True(s_numeric.Length > 50);
        foreach ((Command command, Option option) in s_numeric)
        {
            if (option.Name != "--seed")
                Assert.True(
                    StrictOptions.RangeOf(option) is { } range && range.Least < range.Most && range.Most <= 1e9,
                    $"{command.Name} {option.Name} declares no range"
                );
        }
    }

    [Theory]
    [InlineData("7,5")]
    [InlineData("0,001")]
    [InlineData("1.000.000")]
    [InlineData("1_000")]
    [InlineData("0x10")]
    [InlineData("nan")]
    [InlineData("inf")]
    [InlineData("Infinity")]
    [InlineData("1e999")]
    [InlineData("٣")]
    [InlineData("1 000")]
    [InlineData("-1e9")]
    [InlineData("1e12")]
    [InlineData("")]
    [InlineData("five")]
    public void What_is_no_number_in_range_is_refused_by_every_option(string text)
    {
        foreach ((Command command, Option option) in s_numeric)
        {
            ParseResult parsed = CommandLineProgram.Parse(command, [option.Name, text]);
            string message = string.Join(' ', parsed.Errors.Select(e => e.Message));
            Assert.Contains($"{option.Name}: expected ", message);
            Assert.Contains($"'{text}' came", message);
        }
    }

    [Fact]
    public void The_language_of_the_machine_does_not_matter()
    {
        CultureInfo before = CultureInfo.CurrentCulture;
        try
        {
            CultureInfo.CurrentCulture = German;
            Assert.Equal("1,5", $"{1.5}");
            var guidance = new Option<float?>("--guidance").Within(0, 1000);
            var weights = new Option<double[]>("--weights") { AllowMultipleArgumentsPerToken = true }.Within(-10, 10);
            var command = new Command("c") { guidance, weights };
            StrictOptions.Apply(command);
            ParseResult parsed = CommandLineProgram.Parse(command, ["--guidance", "1.5", "--weights", "-0.25", "1e-1"]);
            Assert.Empty(parsed.Errors);
            Assert.Equal(1.5f, parsed.GetValue(guidance));
            Assert.Equal([-0.25, 0.1], parsed.GetValue(weights)!);
            Assert.Contains(
                "from -10 to 10, but '1,5' came",
                CommandLineProgram.Parse(command, ["--weights", "1,5"]).Errors[0].Message
            );
            Assert.Null(CommandLineProgram.Parse(command, []).GetValue(guidance));
        }
        finally
        {
            CultureInfo.CurrentCulture = before;
        }
    }

    [Fact]
    public async Task A_German_machine_reads_and_writes_the_same()
    {
        using var folder = new TemporaryFolder();
        var start = new ProcessStartInfo(
            "dotnet",
            [
                Path.Combine(AppContext.BaseDirectory, "afa-native.dll"),
                "sample",
                tiny.Path,
                "--expert",
                "0",
                "-p",
                "(a:1.5) b",
                "--guidance",
                "1.5",
                "--eta",
                "0.25",
                "--steps",
                "2",
                "--count",
                "1",
                "--width",
                "32",
                "--height",
                "32",
                "--seed",
                "1",
                "--out",
                folder.File("out"),
            ]
        )
        {
            RedirectStandardError = true,
            RedirectStandardOutput = true,
            Environment = { ["DOTNET_SYSTEM_GLOBALIZATION_INVARIANT"] = "0", ["LC_ALL"] = "de_DE.UTF-8" },
        };
        using Process process = Process.Start(start)!;
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        string error = await process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync();
        if (error.Contains("ICU package", StringComparison.Ordinal))
            Assert.Skip("no ICU here");
        Assert.True(process.ExitCode == 0, error + await output);
        _ = Engine.Imaging.PngFile.Read(Directory.GetFiles(folder.File("out"), "0*.png").Single(), out string? text);
        Assert.Contains("CFG scale: 1.5, Seed: 1", text);
        Assert.Contains("Eta: 0.25", text);
        Assert.Matches(@"[0-9]\.[0-9]{2} s each", error);
        Assert.DoesNotMatch("[0-9],[0-9]", error);
    }

    // Without ICU there is no German: this is what counts of it.
    internal static CultureInfo German
    {
        get
        {
            var culture = (CultureInfo)CultureInfo.InvariantCulture.Clone();
            culture.NumberFormat.NumberDecimalSeparator = culture.NumberFormat.PercentDecimalSeparator = ",";
            culture.NumberFormat.NumberGroupSeparator = culture.NumberFormat.PercentGroupSeparator = ".";
            culture.NumberFormat.NegativeSign = "\u2212";
            return culture;
        }
    }

    private static IEnumerable<(Command Command, Option Option)> All(Command command) =>
        command.Options.Select(o => (command, o)).Concat(command.Subcommands.SelectMany(All));
}
