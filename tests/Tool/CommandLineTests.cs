using System.Diagnostics;
using AfaNative.Engine.Core;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Sampling.Samplers;
using AfaNative.Tests.Ensemble;
using Xunit;

namespace AfaNative.Tests.Tool;

/// <summary>The program as a user starts it: its own process, its exit code, what it prints and leaves behind.</summary>
public sealed class CommandLineTests(TinyEnsemble tiny) : IClassFixture<TinyEnsemble>
{
    [Fact]
    public void Sample_writes_pictures_a_grid_metadata_and_maps()
    {
        using var folder = new TemporaryFolder();
        string output = folder.File("out"),
            maps = folder.File("maps");
        (int code, string text, string error) = RunProcess(
            "sample",
            tiny.Path,
            "--prompt",
            "a red circle",
            "--negative",
            "blue",
            "--steps",
            "2",
            "--count",
            "2",
            "--seed",
            "5",
            "--width",
            "64",
            "--height",
            "64",
            "--out",
            output,
            "--attention-maps",
            maps
        );
        Assert.True(code == 0, error);
        Assert.Equal(
            ["00001-5.png", "00002-6.png", "grid-00001-5.png"],
            Directory.GetFiles(output).Select(Path.GetFileName).Order(StringComparer.Ordinal)
        );
        Assert.Contains("00002-6.png", text);
        RgbImage picture = PngFile.Read(Path.Combine(output, "00001-5.png"), out string? parameters);
        Assert.Equal((64, 64), (picture.Width, picture.Height));
        Assert.StartsWith(
            "a red circle\nNegative prompt: blue\nSteps: 2, Sampler: DDIM, CFG scale: 7.5, Seed: 5, Size: 64x64, Model hash: ",
            parameters
        );
        Assert.Contains("Aggregator hash: ", parameters);
        Assert.Equal(2 * (25 + 1), Directory.GetFiles(maps).Length);
        RgbImage sheet = PngFile.Read(Directory.GetFiles(maps).Order(StringComparer.Ordinal).First(), out _);
        Assert.True(sheet.Width > 300 && sheet.Height > 300);

        // A second run adds to the folder and gives the same pixels for the same seed.
        (code, _, error) = InProcess.Run(
            "sample",
            tiny.Path,
            "--prompt",
            "a red circle",
            "--negative",
            "blue",
            "--steps",
            "2",
            "--count",
            "1",
            "--seed",
            "6",
            "--width",
            "64",
            "--height",
            "64",
            "--out",
            output,
            "--threads",
            "1"
        );
        Assert.True(code == 0, error);
        Assert.Equal(
            PngFile.Read(Path.Combine(output, "00002-6.png"), out _).Pixels,
            PngFile.Read(Path.Combine(output, "00003-6.png"), out _).Pixels
        );
    }

    [Fact]
    public async Task A_preview_is_there_while_a_run_goes_on_and_goes_with_it()
    {
        using var folder = new TemporaryFolder();
        string output = folder.File("out"),
            preview = Path.Combine(output, "preview.png");
        using Process process = Start(
            "sample",
            tiny.Path,
            "--expert",
            "0",
            "--prompt",
            "x",
            "--steps",
            "60",
            "--count",
            "2",
            "--batch-size",
            "2",
            "--seed",
            "1",
            "--width",
            "64",
            "--height",
            "48",
            "--preview",
            "1",
            "--out",
            output
        );
        Task<string> error = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken),
            text = process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        RgbImage? seen = null;
        while (!process.HasExited)
        {
            // A file under its name is whole, though it may go at any moment.
            if (File.Exists(preview))
                try
                {
                    seen = PngFile.Read(preview, out _);
                }
                catch (Engine.Core.AfaException e) when (e.InnerException is FileNotFoundException) { }
            await Task.Delay(2, TestContext.Current.CancellationToken);
        }

        Assert.True(process.ExitCode == 0, await error);
        Assert.Equal(
            ["00001-1.png", "00002-2.png", "grid-00001-1.png"],
            Directory.GetFiles(output).Select(Path.GetFileName).Order(StringComparer.Ordinal)
        );
        Assert.DoesNotContain("preview", await text);
        // Two pictures of 8 x 6 latent pixels beside each other, four pixels each.
        Assert.Equal((64, 24), (seen!.Width, seen.Height));
    }

    [Theory]
    [InlineData("--preview: expected a whole number from 1", "sample", "/no/such/model", "--prompt", "x", "--preview", "0")]
    [InlineData("no such file or folder", "sample", "/no/such/model", "--prompt", "x")]
    [InlineData("no such file or folder", "inspect", "/no/such/file")]
    [InlineData("no such folder of cases", "verify", "--cases", "/no/such/cases")]
    [InlineData("is not a device", "verify", "--device", "abacus")]
    [InlineData("cpu-plain computes in f32", "verify", "--device", "cpu-plain", "--precision", "bf16")]
    public void Mistakes_are_one_sentence_and_an_exit_code(string expected, params string[] arguments)
    {
        (int code, _, string error) = RunProcess(arguments);
        Assert.NotEqual(0, code);
        Assert.Contains(expected, error.ReplaceLineEndings(" "));
        Assert.DoesNotContain("   at ", error);
    }

    [Fact]
    public void Verify_fails_when_nothing_ran()
    {
        using var folder = new TemporaryFolder();
        Assert.NotEqual(0, RunProcess("verify", "--cases", folder.Path).Code);
        Assert.NotEqual(0, InProcess.Run("verify", "--filter", "no-such-case").Code);
    }

    [Theory]
    [InlineData("cpu")]
    [InlineData("cpu-plain")]
    public void Verify_runs_its_own_cases_and_writes_json(string device)
    {
        using var folder = new TemporaryFolder();
        (int code, string text, string error) = InProcess.Run(
            "verify",
            "--device",
            device,
            "--filter",
            "ops",
            "--json",
            folder.File("result.json")
        );
        Assert.True(code == 0, error + text);
        Assert.Contains("\"verdict\": \"passed\"", File.ReadAllText(folder.File("result.json")));
    }

    [Fact]
    public void Inspect_says_what_a_model_is()
    {
        Assert.Contains("AFA ensemble of 3 experts", RunProcess("inspect", tiny.Path).Output);
        Assert.Contains("SABW aggregator", InProcess.Run("inspect", Path.Combine(tiny.Path, "aggregator_2")).Output);
        Assert.Contains(
            "U-Net",
            InProcess.Run("inspect", Path.Combine(tiny.Path, "unet", "diffusion_pytorch_model.safetensors")).Output
        );
    }

    [Fact]
    public async Task Interrupting_a_run_ends_it_quickly_and_leaves_no_partial_file()
    {
        if (OperatingSystem.IsWindows())
            Assert.Skip("sends SIGINT, which Windows does not have");
        using var folder = new TemporaryFolder();
        string output = folder.File("out");
        using Process process = StartInterruptible(
            "sample",
            tiny.Path,
            "--prompt",
            "x",
            "--steps",
            "999",
            "--count",
            "50",
            "--width",
            "256",
            "--height",
            "256",
            "--out",
            output
        );
        while (
            await process.StandardError.ReadLineAsync(TestContext.Current.CancellationToken) is { } line
            && !line.Contains("step 0/", StringComparison.Ordinal)
        ) { }

        Task<string> rest = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        Process.Start("kill", ["-INT", process.Id.ToString(System.Globalization.CultureInfo.InvariantCulture)])!.WaitForExit();
        if (!process.WaitForExit(10_000))
        {
            process.Kill();
            Assert.Fail("the program went on after Ctrl+C");
        }

        await rest;
        Assert.Equal(130, process.ExitCode);
        Assert.Empty(Directory.GetFiles(output));
    }

    // Where the tests themselves were started with SIGINT ignored (in the background of a script), so would the program be.
    private static Process StartInterruptible(params string[] arguments)
    {
        if (!IsInterruptIgnored())
            return Start(arguments);
        const string Reset = "--default-signal=INT";
        using (var probe = Process.Start(new ProcessStartInfo("env", [Reset, "true"]) { RedirectStandardError = true })!)
        {
            probe.WaitForExit();
            if (probe.ExitCode != 0)
                Assert.Skip("SIGINT is ignored where the tests were started, and env cannot reset it");
        }

        return Process.Start(
            new ProcessStartInfo("env", [Reset, "dotnet", Path.Combine(AppContext.BaseDirectory, "afa-native.dll"), .. arguments])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            }
        )!;
    }

    private static bool IsInterruptIgnored()
    {
        if (!OperatingSystem.IsLinux())
            return false;
        string ignored = File.ReadLines("/proc/self/status").Single(l => l.StartsWith("SigIgn:", StringComparison.Ordinal));
        return (Convert.ToUInt64(ignored[7..].Trim(), 16) & 2) != 0;
    }

    private static Process Start(params string[] arguments) =>
        Process.Start(
            new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "afa-native.dll"), .. arguments])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            }
        )!;

    internal static (int Code, string Output, string Error) Run(params string[] arguments) => InProcess.Run(arguments);

    internal static (int Code, string Output, string Error) RunProcess(params string[] arguments)
    {
        using Process process = Start(arguments);
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, error.Result);
    }
}
