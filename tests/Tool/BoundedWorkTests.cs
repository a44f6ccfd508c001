using System.Diagnostics;
using AfaNative.Engine.Core;
using AfaNative.Engine.Imaging;
using AfaNative.Tests.Ensemble;
using AfaNative.Tool;
using Spectre.Console;
using Xunit;

namespace AfaNative.Tests.Tool;

/// <summary>Work is bounded before memory is taken, what is shown is one line, and signals have their exit codes.</summary>
public sealed class BoundedWorkTests(TinyEnsemble tiny) : IClassFixture<TinyEnsemble>
{
    [Theory]
    [InlineData("sample", "-p", "x", "--width", "512", "--height", "512", "--steps", "1", "--count", "1", "--out", "OUT")]
    [InlineData("sample", "-p", "x", "--width", "8192", "--height", "8192", "--steps", "1", "--count", "1", "--out", "OUT")]
    [InlineData("train", "--data", "DATA", "--out", "OUT", "--size", "512")]
    public async Task More_than_the_machine_has_is_refused_before_it_is_taken(string command, params string[] options)
    {
        using var folder = new TemporaryFolder();
        folder.Write("a.txt", "a");
        PngFile.Write(folder.File("a.png"), RgbImage.Filled(64, 64, (9, 9, 9)), null);
        string[] arguments =
        [
            command,
            tiny.Path,
            .. options.Select(o =>
                o switch
                {
                    "OUT" => folder.File("out"),
                    "DATA" => folder.Path,
                    _ => o,
                }
            ),
        ];
        (int code, string output, string error) = await Run(0x8000000, arguments);
        Assert.True(code == 1, error + output);
        Assert.Matches(
            "Error: Not begun: this needs [0-9.]+ [MG]iB of memory, but there are [0-9.]+ MiB; .* need less, and --force "
                + "begins all the same[.]",
            error
        );
        Assert.False(Directory.Exists(folder.File("out")));
    }

    [Fact]
    public async Task Force_begins_all_the_same()
    {
        using var folder = new TemporaryFolder();
        string[] arguments =
        [
            "sample",
            tiny.Path,
            "--expert",
            "0",
            "-p",
            "x",
            "--width",
            "64",
            "--height",
            "64",
            "--steps",
            "1",
            "--count",
            "1",
            "--threads",
            "1",
            "--out",
            folder.File("out"),
            "--force",
        ];
        (int code, string output, string error) = await Run(0x8000000, arguments);
        Assert.True(code == 0, error + output);
        Assert.Contains("warning: this needs", error);
        Assert.Single(Directory.GetFiles(folder.File("out")));
    }

    [Fact]
    public void Whatever_is_thrown_is_one_sentence()
    {
        Assert.Equal(
            "x",
            ErrorSentence.Of(new AggregateException(new AggregateException(new AfaException("x"), new IOException("y"))))
        );
        Assert.Equal("x", ErrorSentence.Of(new TypeInitializationException("T", new AfaException("x"))));
        Assert.StartsWith("Out of memory: ", ErrorSentence.Of(new AggregateException(new OutOfMemoryException())));
        Assert.Contains("beyond what can be counted", ErrorSentence.Of(new OverflowException()));
        Assert.Equal(
            "gone",
            ErrorSentence.Of(new AfaNative.Kernels.Contracts.DeviceMemoryException("gone", new InvalidOperationException()))
        );
        Assert.Contains("could not be loaded", ErrorSentence.Of(new DllNotFoundException("libx")));
        // What nobody thought of says so.
        Assert.Contains("unexpected", ErrorSentence.Of(new InvalidOperationException("x")));
    }

    [Fact]
    public void A_grid_holds_what_it_shows()
    {
        RgbImage[] pictures = [.. Enumerable.Range(0, 5).Select(i => RgbImage.Filled(4, 2, ((byte)(10 * i), 2, 3)))];
        var grid = new GridCanvas(4, 2, 5);
        foreach (RgbImage picture in pictures)
            grid.Add(picture);
        Assert.Equal(ImageGrid.Compose(pictures).Pixels, grid.Image.Pixels);
        Assert.Equal((12, 4), (grid.Image.Width, grid.Image.Height));
        Assert.Contains("room for 5", Assert.Throws<AfaException>(() => grid.Add(pictures[0])).Message);
        Assert.Contains(
            "too large",
            Assert.Throws<AfaException>(() => new GridCanvas(1, 1, 1 << 30).Add(RgbImage.Filled(1, 1, (1, 1, 1)))).Message
        );
    }

    [Fact]
    public async Task A_table_in_a_pipe_is_not_wrapped_and_steers_no_terminal()
    {
        string name = "block." + new string('n', 300) + ".\u001b[31m.weight[/]";
        Table table = TextTable.Of("tensor", "shape");
        TextTable.Row(table, name, "[1, 2]");
        string[] lines = TextTable.Draw(table, 100_000).Split('\n');
        Assert.Equal(5, lines.Length);
        Assert.Contains("block." + new string('n', 300) + ".\\u001B[31m.weight[/]", lines[3]);
        Assert.Contains("[1, 2]", lines[3]);
        (int code, string output, string error) = await Run(0, ["inspect", Path.Combine(tiny.Path, "unet"), "--tensors"]);
        Assert.True(code == 0, error);
        Assert.Contains(
            output.Split('\n'),
            l =>
                l.Contains("up_blocks.3.attentions.2.transformer_blocks.0.ff.net.0.proj.weight", StringComparison.Ordinal)
                && l.Contains("Float16", StringComparison.Ordinal)
        );
        // The model's own size, not 512.
        Assert.Contains("in all at 128 x 128", InProcess.Run("inspect", tiny.Path).Output);
    }

    [Fact]
    public async Task An_error_in_a_pipe_is_one_line_however_long()
    {
        string path = "/no/" + string.Join('/', Enumerable.Repeat("such folder of mine", 20));
        (_, _, string error) = await Run(0, ["inspect", path]);
        Assert.Equal($"Error: {path}: no such file or folder.\n", error);
        (_, _, error) = InProcess.Run(["inspect", "/no/a\u001b]0;title\u0007\nb"]);
        Assert.Equal("Error: /no/a\\u001B]0;title\\u0007 b: no such file or folder.\n", error);
    }

    [Fact]
    public async Task A_terminated_run_says_so_by_its_code()
    {
        if (OperatingSystem.IsWindows())
            Assert.Skip("sends SIGTERM, which Windows does not have");
        using var folder = new TemporaryFolder();
        using Process process = Start(
            0,
            ["sample", tiny.Path, "-p", "x", "--steps", "999", "--width", "128", "--height", "128", "--out", folder.File("out")]
        );
        while (await process.StandardError.ReadLineAsync() is { } line && !line.Contains("step 0/", StringComparison.Ordinal)) { }

        Task<string> rest = process.StandardError.ReadToEndAsync();
        Process.Start("kill", ["-TERM", process.Id.ToString(System.Globalization.CultureInfo.InvariantCulture)])!.WaitForExit();
        await process.WaitForExitAsync();
        Assert.Equal(143, process.ExitCode);
        Assert.Contains("Cancelled.", await rest);
    }

    private static Process Start(long heap, string[] arguments)
    {
        var start = new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "afa-native.dll"), .. arguments])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        if (heap > 0)
            start.Environment["DOTNET_GCHeapHardLimit"] = heap.ToString("X", System.Globalization.CultureInfo.InvariantCulture);
        return Process.Start(start)!;
    }

    private static async Task<(int Code, string Output, string Error)> Run(long heap, string[] arguments)
    {
        using Process process = Start(heap, arguments);
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        return (process.ExitCode, output, await error);
    }
}
