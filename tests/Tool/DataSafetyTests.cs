using System.Diagnostics;
using System.Globalization;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Imaging;
using AfaNative.Synthesis;
using AfaNative.Tests.Ensemble;
using AfaNative.Tests.Support;
using AfaNative.Tests.Training;
using Xunit;

namespace AfaNative.Tests.Tool;

/// <summary>
/// Several processes and one output, closed terminals and closed streams: nothing is lost and nothing mixed up.
/// </summary>
public sealed class DataSafetyTests(TinyEnsemble tiny, TinyTraining training)
    : IClassFixture<TinyEnsemble>,
        IClassFixture<TinyTraining>,
        IDisposable
{
    private readonly TemporaryFolder _folder = new();

    private string[] Drawing =>
        [
            "sample",
            tiny.Path,
            "--expert",
            "0",
            "--prompt",
            "a red circle",
            "--width",
            "32",
            "--height",
            "32",
            "--out",
            _folder.File("out"),
        ];

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Training_a_model_in_place_is_refused_and_the_model_is_whole()
    {
        string run = _folder.File("q"),
            model = Path.Combine(run, "model");
        Directory.CreateDirectory(run);
        TrainingRunTests.CopyTree(training.Model, model);
        string[] before = Files(model);
        (int code, _, string error) = InProcess.Run(
            "train",
            model,
            "--data",
            training.Data,
            "--out",
            run,
            "--steps",
            "1",
            "--size",
            "64"
        );
        Assert.Equal(1, code);
        Assert.Contains("it lies in", error);
        Assert.Equal(before, Files(model));
        Assert.Equal(["model"], Names(run));
        // A model by that name that the run did not write, be it of one network.
        string other = _folder.File("other");
        Directory.CreateDirectory(Path.Combine(other, "model"));
        foreach (string what in new[] { "sabw", "vae" })
        {
            (code, _, error) = InProcess.Run(
                "train",
                training.Model,
                "--what",
                what,
                "--data",
                training.Data,
                "--out",
                other,
                "--steps",
                "1",
                "--size",
                "64"
            );
            Assert.Equal(1, code);
            Assert.Contains("did not write it", error);
        }
    }

    [Fact]
    public async Task The_second_of_two_is_told_who_holds_an_output_until_that_dies()
    {
        if (OperatingSystem.IsWindows())
            Assert.Skip("runs a shell script");
        // A merge that waits for its scorer.
        string script = _folder.File("scorer.sh"),
            hold = _folder.File("hold"),
            started = _folder.File("started");
        _folder.Write("scorer.sh", $"touch '{started}'\nwhile [ -e '{hold}' ]; do sleep 0.1; done\necho 1\n");
        _folder.Write("hold", "");
        _folder.Write("prompts.txt", "a red circle\n");
        string[] pair = [_folder.File("a"), _folder.File("b")],
            merge = ["merge", _folder.File("merged"), "--model", pair[0], "--model", pair[1]];
        for (int i = 0; i < 2; i++)
            TinyModels.Write(pair[i], new SyntheticOptions { Seed = (ulong)i });
        using Process first = Start([
            .. merge,
            "--mode",
            "auto",
            "--scorer",
            $"sh {script}",
            "--prompts",
            _folder.File("prompts.txt"),
            "--size",
            "32",
            "--steps",
            "1",
            "--trials",
            "3",
        ]);
        Task<string> error = first.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        while (!File.Exists(started))
        {
            Assert.False(first.HasExited, first.HasExited ? await error : "");
            await Task.Delay(20, TestContext.Current.CancellationToken);
        }

        (int code, _, string told) = InProcess.Run(merge);
        Assert.Equal(1, code);
        Assert.Contains("another program is writing there (afa-native merge", told);
        Assert.Contains(string.Create(CultureInfo.InvariantCulture, $"process {first.Id} on"), told);
        Assert.Contains("since 20", told);
        Assert.Contains(
            "another program is writing there",
            InProcess.Run("ensemble", "create", _folder.File("merged"), "--base", pair[0], "--expert", pair[0]).Error
        );
        first.Kill();
        await first.WaitForExitAsync(TestContext.Current.CancellationToken);
        File.Delete(hold);
        (code, _, told) = InProcess.Run(merge);
        Assert.True(code == 0, told);
        Assert.DoesNotContain(Names(_folder.Path), n => n.StartsWith(".merged", StringComparison.Ordinal));
    }

    [Fact]
    public async Task The_second_of_two_trainers_is_refused()
    {
        string[] train =
        [
            "train",
            training.Model,
            "--data",
            training.Data,
            "--out",
            _folder.File("run"),
            "--steps",
            "100000",
            "--size",
            "64",
            "--evaluate-every",
            "100000",
            "--holdout",
            "1",
            "--save-every",
            "5",
        ];
        using Process first = Start(train);
        while (
            await first.StandardError.ReadLineAsync(TestContext.Current.CancellationToken) is { } line
            && !line.StartsWith("update", StringComparison.Ordinal)
        ) { }

        Task<string> rest = first.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        (int code, _, string told) = InProcess.Run([.. train, "--resume"]);
        first.Kill();
        await rest;
        Assert.Equal(1, code);
        Assert.Contains("another program is writing there (afa-native train", told);
        Assert.Contains(string.Create(CultureInfo.InvariantCulture, $"process {first.Id} on"), told);
    }

    [Fact]
    public async Task Two_runs_into_one_folder_keep_all_their_pictures()
    {
        Process[] runs =
        [
            .. Enumerable
                .Range(0, 2)
                .Select(i => Start([.. Drawing, "--steps", i == 0 ? "2" : "3", "--count", "4", "--seed", "5"])),
        ];
        string[] printed = await Task.WhenAll(
            runs.Select(r => r.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken))
        );
        foreach (Process run in runs)
        {
            await run.WaitForExitAsync(TestContext.Current.CancellationToken);
            Assert.Equal(0, run.ExitCode);
            run.Dispose();
        }

        string[] pictures =
        [
            .. Directory
                .GetFiles(_folder.File("out"))
                .Where(f => !Path.GetFileName(f).StartsWith("grid", StringComparison.Ordinal)),
        ];
        Assert.Equal(8, pictures.Length);
        Assert.Equal(10, Directory.GetFiles(_folder.File("out")).Length);
        for (int i = 0; i < 2; i++)
        {
            string[] own = [.. printed[i].Split('\n', StringSplitOptions.RemoveEmptyEntries)];
            Assert.Equal(5, own.Length);
            foreach (string path in own)
            {
                _ = PngFile.Read(path, out string? text);
                Assert.Contains(i == 0 ? "Steps: 2," : "Steps: 3,", text);
            }
        }
    }

    [Fact]
    public void A_picture_of_something_else_is_not_taken_for_done()
    {
        string[] common =
        [
            "sample",
            tiny.Path,
            "--width",
            "32",
            "--height",
            "32",
            "--out",
            _folder.File("out"),
            "--prompts",
            _folder.File("p.txt"),
        ];
        _folder.Write("p.txt", "a\nb\n");
        Assert.Equal(0, InProcess.Run([.. common, "--expert", "0", "--steps", "2"]).Code);
        DateTime written = File.GetLastWriteTimeUtc(_folder.File("out/00002-1.png"));
        Refused("'Steps' is 2, not 3", [.. common, "--expert", "0", "--steps", "3"]);
        Refused("'Model hash' is", [.. common, "--expert", "1", "--steps", "2"]);
        File.Delete(_folder.File("out/00001-0.png"));
        _folder.Write("p.txt", "a\nc\n");
        Refused("its prompt is 'b', not 'c'", [.. common, "--expert", "0", "--steps", "2"]);
        // Nothing was drawn, not even what was missing.
        Assert.Equal(["00002-1.png"], Names(_folder.File("out")));
        _folder.Write("p.txt", "a\nb\n");
        (int code, _, string error) = InProcess.Run([.. common, "--expert", "0", "--steps", "2"]);
        Assert.True(code == 0, error);
        Assert.Contains("1 of 2 pictures are there already", error);
        Assert.Equal(written, File.GetLastWriteTimeUtc(_folder.File("out/00002-1.png")));

        void Refused(string expected, string[] arguments)
        {
            string[] before = Files(_folder.File("out"));
            (int code, _, string error) = InProcess.Run(arguments);
            Assert.Equal(1, code);
            Assert.Contains(expected, error);
            Assert.Contains("another --out", error);
            Assert.Equal(before, Files(_folder.File("out")));
        }
    }

    [Fact]
    public void Previews_and_scenes_leave_a_users_pictures_alone()
    {
        string output = _folder.File("out"),
            mine = Path.Combine(output, "preview.png");
        Directory.CreateDirectory(output);
        PngFile.Write(mine, RgbImage.Filled(20, 20, (1, 2, 3)), null);
        byte[] before = File.ReadAllBytes(mine);
        (int code, _, string error) = InProcess.Run([
            .. Drawing,
            "--steps",
            "2",
            "--count",
            "1",
            "--seed",
            "1",
            "--preview",
            "1",
        ]);
        Assert.True(code == 0, error);
        Assert.Equal(before, File.ReadAllBytes(mine));
        Assert.Equal(["00001-1.png", "preview.png"], Names(output));

        File.Copy(mine, Path.Combine(output, "00001.png"));
        (code, _, error) = InProcess.Run("demo", "scenes", "--out", output, "--count", "2", "--size", "32");
        Assert.Equal(1, code);
        Assert.Contains("something else is there already", error);
        Assert.Equal(before, File.ReadAllBytes(Path.Combine(output, "00001.png")));
        for (int i = 0; i < 2; i++)
            Assert.Equal(
                0,
                InProcess.Run("demo", "scenes", "--out", _folder.File("scenes"), "--count", "2", "--size", "32").Code
            );
    }

    [Fact]
    public async Task A_closed_terminal_ends_a_run_as_an_interrupt_does()
    {
        if (OperatingSystem.IsWindows())
            Assert.Skip("sends SIGHUP, which Windows does not have");
        using Process process = Start([.. Drawing, "--steps", "999", "--count", "50"]);
        await Signal(process, "-HUP");
        Assert.True(process.WaitForExit(60_000), "the program went on");
        Assert.Equal(129, process.ExitCode);
        Assert.Empty(Directory.GetFileSystemEntries(_folder.File("out")));
    }

    [Fact]
    public async Task Under_nohup_a_closed_terminal_is_nothing()
    {
        if (!OperatingSystem.IsLinux())
            Assert.Skip("needs a shell that ignores SIGHUP");
        using Process process = Shell(
            "trap '' HUP; exec dotnet \"$0\" \"$@\"",
            [.. Drawing, "--steps", "60", "--count", "1", "--seed", "1"]
        );
        await Signal(process, "-HUP");
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal(0, process.ExitCode);
        Assert.Equal(["00001-1.png"], Names(_folder.File("out")));
    }

    [Theory]
    [InlineData("exec dotnet \"$0\" \"$@\" >&-", 1, true)]
    [InlineData("exec dotnet \"$0\" \"$@\" >/dev/full", 1, true)]
    [InlineData("set -o pipefail; dotnet \"$0\" \"$@\" | true", 1, true)]
    [InlineData("exec dotnet \"$0\" \"$@\" 2>&-", 0, false)]
    [InlineData("exec dotnet \"$0\" \"$@\" 2>/dev/full", 0, false)]
    [InlineData("exec dotnet \"$0\" \"$@\" <&- >&- 2>&-", 1, false)]
    public async Task Streams_that_are_closed_or_full_lose_no_picture(string how, int expected, bool said)
    {
        if (!OperatingSystem.IsLinux())
            Assert.Skip("needs a shell and /dev/full");
        using Process process = Shell(how, [.. Drawing, "--steps", "2", "--count", "2", "--seed", "1"]);
        Task<string> text = process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        string error = await process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.True(process.ExitCode == expected, error);
        Assert.Equal(said, error.Contains("Not all results could be written to standard output", StringComparison.Ordinal));
        Assert.Equal(["00001-1.png", "00002-2.png", "grid-00001-1.png"], Names(_folder.File("out")));
        foreach (string picture in Directory.GetFiles(_folder.File("out")))
            Assert.Contains("Steps: 2", PngFile.ReadParameters(picture));
        if (expected == 0)
            Assert.Equal(3, (await text).Split('\n', StringSplitOptions.RemoveEmptyEntries).Length);
    }

    [Fact]
    public void Without_locks_there_is_a_warning_and_no_failure()
    {
        if (!OperatingSystem.IsLinux())
            Assert.Skip("switches the runtime's locks off");
        using Process process = Shell(
            "DOTNET_SYSTEM_IO_DISABLEFILELOCKING=1 exec dotnet \"$0\" \"$@\"",
            ["synth", _folder.File("m")]
        );
        string error = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, error);
        Assert.Contains("warning: " + _folder.File("m") + ": its file system has no locks", error);
        Assert.Equal(["m"], Names(_folder.Path));
        _ = EnsembleFolder.Open(_folder.File("m"));
    }

    // When drawing has begun.
    private static async Task Signal(Process process, string signal)
    {
        while (
            await process.StandardError.ReadLineAsync(TestContext.Current.CancellationToken) is { } line
            && !line.Contains("step 0/", StringComparison.Ordinal)
        ) { }

        _ = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        Process.Start("kill", [signal, process.Id.ToString(CultureInfo.InvariantCulture)])!.WaitForExit();
    }

    private static Process Start(params string[] arguments) => Shell("exec dotnet \"$0\" \"$@\"", arguments);

    private static Process Shell(string script, string[] arguments) =>
        Process.Start(
            new ProcessStartInfo("bash", ["-c", script, Path.Combine(AppContext.BaseDirectory, "afa-native.dll"), .. arguments])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            }
        )!;

    private static string[] Names(string folder) =>
        [.. Directory.EnumerateFileSystemEntries(folder).Select(f => Path.GetFileName(f)).Order(StringComparer.Ordinal)];

    private static string[] Files(string folder) =>
        [
            .. Directory
                .EnumerateFiles(folder, "*", SearchOption.AllDirectories)
                .Order(StringComparer.Ordinal)
                .Select(f => f + Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(f)))),
        ];
}
