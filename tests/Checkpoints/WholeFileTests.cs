using System.Diagnostics;
using System.Globalization;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;
using AfaNative.Engine.Imaging;
using AfaNative.Synthesis;
using Xunit;

namespace AfaNative.Tests.Checkpoints;

/// <summary>Files and folders that appear whole or not at all, wherever they go and whatever else is there.</summary>
public sealed class WholeFileTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void What_a_user_calls_temporary_stays()
    {
        string output = _folder.File("out"),
            model = _folder.File("model");
        Directory.CreateDirectory(output + ".tmp");
        File.WriteAllText(Path.Combine(output + ".tmp", "thesis.txt"), "years of work");
        WholeFolder.Write(output, to => File.WriteAllText(Path.Combine(to, "a"), "a"));
        Assert.Equal("years of work", File.ReadAllText(Path.Combine(output + ".tmp", "thesis.txt")));

        File.WriteAllText(model + ".tmp", "mine");
        WholeFile.WriteText(model, "new");
        Assert.Equal("mine", File.ReadAllText(model + ".tmp"));
        Assert.Equal(["model", "model.tmp", "out", "out.tmp"], Entries(_folder.Path));
    }

    [Fact]
    public void Only_what_dead_processes_left_is_swept()
    {
        string[] self = ProcessIdentity.Current.Split('-');
        string dead =
                $"{self[0]}-{long.Parse(self[1], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture) + 1:x}-{self[2]}",
            elsewhere = "1-2f-00000000",
            random = "0123456789abcdef";
        string old = _folder.File("big.safetensors.0123456789abcdef0123456789abcdef.tmp");
        string[] stay =
        [
            _folder.File($".afa-native-{ProcessIdentity.Current}-{random}.tmp"),
            _folder.File($".afa-native-{elsewhere}-{random}.tmp"),
            _folder.File(".afa-native-notes.tmp"),
            _folder.File("x.tmp"),
            _folder.File("young.safetensors.0123456789abcdef0123456789abcdef.tmp"),
        ];
        foreach (
            string path in (string[])
                [
                    .. stay,
                    old,
                    _folder.File($".afa-native-{dead}-{random}.tmp"),
                    _folder.File($".afa-native-{elsewhere}-1{random[1..]}.tmp"),
                ]
        )
            File.WriteAllText(path, "x");
        File.SetLastWriteTimeUtc(_folder.File($".afa-native-{elsewhere}-1{random[1..]}.tmp"), DateTime.UtcNow.AddDays(-2));
        File.SetLastWriteTimeUtc(old, DateTime.UtcNow.AddDays(-2));
        File.SetLastWriteTimeUtc(_folder.File("x.tmp"), DateTime.UtcNow.AddDays(-20));
        Directory.CreateDirectory(_folder.File($".afa-native-{dead}-2{random[1..]}.tmp"));
        File.WriteAllText(Path.Combine(_folder.File($".afa-native-{dead}-2{random[1..]}.tmp"), "part"), "x");
        // A run that was killed between taking the old model away and putting the new one there.
        Directory.CreateDirectory(_folder.File($".afa-native-{dead}-{random}.model.old"));
        WholeFile.WriteText(_folder.File("new.txt"), "new");
        Assert.Equal(
            [
                .. stay.Append(_folder.File("model"))
                    .Append(_folder.File("new.txt"))
                    .Select(f => Path.GetFileName(f))
                    .Order(StringComparer.Ordinal),
            ],
            Entries(_folder.Path)
        );
    }

    [Fact]
    public void A_killed_writer_leaves_what_the_next_one_removes()
    {
        if (!OperatingSystem.IsLinux())
            Assert.Skip("kills a process");
        string output = _folder.File("model");
        using Process process = Process.Start(
            new ProcessStartInfo(
                "dotnet",
                [Path.Combine(AppContext.BaseDirectory, "afa-native.dll"), "synth", output, "--preset", "sd15", "--experts", "1"]
            )
            {
                RedirectStandardError = true,
            }
        )!;
        while (process.StandardError.ReadLine() is { } line && !line.Contains("writing vae", StringComparison.Ordinal)) { }

        process.Kill();
        process.WaitForExit();
        string left = Assert.Single(Directory.GetDirectories(_folder.Path));
        Assert.True(TemporaryName.IsOurs(Path.GetFileName(left)), left);
        TemporaryName.Sweep(_folder.Path);
        Assert.False(Directory.Exists(left));
        SyntheticModel.Write(output, new SyntheticOptions());
        Assert.Equal(["model"], Entries(_folder.Path));
    }

    [Fact]
    public void A_link_to_an_empty_folder_is_filled_and_a_link_to_a_file_followed()
    {
        if (OperatingSystem.IsWindows())
            Assert.Skip("links need rights there");
        Directory.CreateDirectory(_folder.File("disk"));
        File.CreateSymbolicLink(_folder.File("out"), "disk");
        WholeFolder.MustBeFree(_folder.File("out"));
        WholeFolder.Write(_folder.File("out"), to => File.WriteAllText(Path.Combine(to, "a"), "a"));
        Assert.Equal("a", File.ReadAllText(_folder.File("disk/a")));
        Assert.Equal("disk", new FileInfo(_folder.File("out")).LinkTarget);
        Assert.Throws<AfaException>(() => WholeFolder.MustBeFree(_folder.File("out")));

        File.WriteAllText(_folder.File("report.html"), "old");
        File.CreateSymbolicLink(_folder.File("latest.html"), "report.html");
        WholeFile.WriteText(_folder.File("latest.html"), "new");
        Assert.Equal("new", File.ReadAllText(_folder.File("report.html")));
        Assert.Equal("report.html", new FileInfo(_folder.File("latest.html")).LinkTarget);
        Assert.Equal(["disk", "latest.html", "out", "report.html"], Entries(_folder.Path));
        File.CreateSymbolicLink(_folder.File("circle"), "circle");
        Assert.Contains(
            "in a circle",
            Assert.Throws<AfaException>(() => WholeFile.WriteText(_folder.File("circle"), "x")).Message
        );
    }

    [Fact]
    public void An_empty_folder_keeps_who_may_read_it_and_a_full_one_is_refused()
    {
        if (OperatingSystem.IsWindows())
        {
            Assert.Skip("has no modes");
            return;
        }

        const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
        Directory.CreateDirectory(_folder.File("out"), Private);
        WholeFolder.Write(_folder.File("out"), to => File.WriteAllText(Path.Combine(to, "a"), "a"));
        Assert.Equal(Private, File.GetUnixFileMode(_folder.File("out")));
        Assert.Contains(
            "not an empty folder",
            Assert.Throws<AfaException>(() => WholeFolder.MustBeFree(_folder.File("out"))).Message
        );
    }

    [Fact]
    public void A_failure_leaves_what_was_there_and_nothing_else()
    {
        Directory.CreateDirectory(_folder.File("model"));
        File.WriteAllText(_folder.File("model/old"), "old");
        File.WriteAllText(_folder.File("file"), "old");
        Assert.Throws<InvalidOperationException>(() =>
            WholeFolder.Replace(
                _folder.File("model"),
                to =>
                {
                    File.WriteAllText(Path.Combine(to, "half"), "x");
                    throw new InvalidOperationException();
                }
            )
        );
        Assert.Throws<InvalidOperationException>(() =>
            WholeFile.Write(_folder.File("file"), _ => throw new InvalidOperationException())
        );
        Assert.Equal("old", File.ReadAllText(_folder.File("model/old")));
        Assert.Equal("old", File.ReadAllText(_folder.File("file")));
        Assert.Equal(["file", "model"], Entries(_folder.Path));
        WholeFolder.Replace(_folder.File("model"), to => File.WriteAllText(Path.Combine(to, "new"), "x"));
        Assert.Equal(["new"], Entries(_folder.File("model")));
        Assert.Contains(
            "there is no such folder",
            Assert.Throws<AfaException>(() => WholeFile.WriteText(_folder.File("no/file"), "x")).Message
        );
        Assert.Contains(
            "it is a folder",
            Assert.Throws<AfaException>(() => WholeFile.WriteText(_folder.File("model"), "x")).Message
        );
    }

    [Fact]
    public async Task Of_many_that_want_a_name_one_gets_it()
    {
        bool[] won = await Task.WhenAll(
            Enumerable
                .Range(0, 16)
                .Select(i => Task.Run(() => WholeFile.WriteNew(_folder.File("one"), s => s.WriteByte((byte)i))))
        );
        Assert.Single(won, w => w);
        Assert.Equal(Array.IndexOf(won, true), File.ReadAllBytes(_folder.File("one")).Single());
        Assert.Equal(["one"], Entries(_folder.Path));
    }

    [Fact]
    public void A_device_is_written_to_and_stays_one()
    {
        if (!OperatingSystem.IsLinux())
            Assert.Skip("has no /dev/full");
        WholeFile.WriteText("/dev/null", "x");
        Assert.Contains("the disk is full", Assert.Throws<AfaException>(() => WholeFile.WriteText("/dev/full", "x")).Message);
        Assert.True(File.Exists("/dev/full") && File.Exists("/dev/null"));
        Assert.Throws<AfaException>(() => WholeFile.WriteText("/dev/full", "x"));
    }

    [Fact]
    public void An_empty_mounted_volume_is_filled_and_a_full_one_says_so()
    {
        string volume = _folder.File("volume");
        using Mount mount = Mount.Tmpfs(volume, "6m");
        Directory.CreateDirectory(Path.Combine(volume, "lost+found"));
        SyntheticModel.Write(volume, new SyntheticOptions { Type = AfaNative.Kernels.Contracts.ElementType.Float16 });
        Assert.Contains("unet", Entries(volume));
        Assert.DoesNotContain(Entries(volume), e => e.StartsWith(".afa-native", StringComparison.Ordinal));
        Assert.Equal(["volume"], Entries(_folder.Path));

        // No room for a second one, nor for a picture or a line of a log.
        string[] before = Entries(volume);
        AfaException full = Assert.ThrowsAny<AfaException>(() =>
            SyntheticModel.Write(Path.Combine(volume, "more"), new SyntheticOptions { Experts = 3 })
        );
        Assert.Contains("the disk is full", full.Message);
        Assert.DoesNotContain('\n', full.Message);
        Assert.Equal(before, Entries(volume));
        File.WriteAllText(Path.Combine(volume, "log.jsonl"), "{\"step\":1}\n");
        using (
            var filler = new FileStream(Path.Combine(volume, "filler"), FileMode.CreateNew, FileAccess.Write, FileShare.None, 0)
        )
        {
            Assert.ThrowsAny<IOException>(() => Fill(filler));
        }

        before = Entries(volume);
        Assert.Contains(
            "the disk is full",
            Assert
                .Throws<AfaException>(() =>
                    PngFile.Write(Path.Combine(volume, "a.png"), RgbImage.Filled(300, 300, (1, 2, 3)), "text")
                )
                .Message
        );
        Assert.Contains(
            "the disk is full",
            Assert
                .Throws<AfaException>(() => JsonLines.Append(Path.Combine(volume, "log.jsonl"), new string('x', 100_000)))
                .Message
        );
        Assert.Equal("{\"step\":1}\n", File.ReadAllText(Path.Combine(volume, "log.jsonl")));
        Assert.Equal(before, Entries(volume));
    }

    private static void Fill(FileStream file)
    {
        for (int i = 0; i < 10_000; i++)
            file.Write(new byte[4096]);
    }

    private static string[] Entries(string folder) =>
        [.. Directory.EnumerateFileSystemEntries(folder).Select(f => Path.GetFileName(f)).Order(StringComparer.Ordinal)];
}

/// <summary>A small file system in memory, where root may mount one.</summary>
internal sealed class Mount : IDisposable
{
    private readonly string _path;

    private Mount(string path) => _path = path;

    public static Mount Tmpfs(string path, string size)
    {
        Directory.CreateDirectory(path);
        if (!OperatingSystem.IsLinux() || Run("mount", "-t", "tmpfs", "-o", $"size={size}", "tmpfs", path) != 0)
            Assert.Skip("only root may mount a file system");
        return new Mount(path);
    }

    public void Dispose() => Run("umount", "-l", _path);

    private static int Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true })!;
        process.WaitForExit();
        return process.ExitCode;
    }
}
