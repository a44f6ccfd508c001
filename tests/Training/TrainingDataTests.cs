using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Training;
using AfaNative.Kernels.Devices.Cpu;
using Xunit;

namespace AfaNative.Tests.Training;

/// <summary>
/// Training data as people really have it: what is odd is named and left out, or refused with its line; nothing ends a run
/// without a sentence, nothing hangs.
/// </summary>
public sealed class TrainingDataTests(TinyTraining tiny) : IClassFixture<TinyTraining>, IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Pictures_without_captions_and_captions_without_pictures_are_counted_and_named()
    {
        for (int i = 0; i < 9; i++)
            Picture($"{i}.png", i == 3 ? "three" : null);
        Picture("upper.PNG", null);
        _folder.Write("upper.TXT", "\uFEFFwith a mark ");
        _folder.Write("empty.txt", " \n");
        Picture("empty.jpg", null);
        _folder.Write("scan.txt", "of a scan.tif");
        TrainingData data = TrainingRecords.Read(_folder.Path);
        Assert.Equal(
            [("3.png", "three"), ("empty.jpg", ""), ("upper.PNG", "with a mark")],
            data.Records.Select(r => (Path.GetFileName(r.Image), r.Caption))
        );
        Assert.Contains(
            "8 pictures without a .txt caption beside them are left out: 0.png, 1.png, 2.png, 4.png, 5.png and 3 " + "more",
            data.Warnings
        );
        Assert.Contains("1 picture has an empty caption: empty.jpg", data.Warnings);
        Assert.Contains(
            data.Warnings,
            w =>
                w.StartsWith("1 caption has no picture", StringComparison.Ordinal)
                && w.EndsWith("scan.txt", StringComparison.Ordinal)
        );
        Assert.Equal(3, data.Warnings.Count);
    }

    [Theory]
    [InlineData("latin1")]
    [InlineData("utf-16")]
    public void Captions_that_are_not_utf8_are_refused_by_name(string encoding)
    {
        Encoding other = encoding == "latin1" ? Encoding.Latin1 : Encoding.Unicode;
        byte[] Bytes(string text) => [.. other.GetPreamble(), .. other.GetBytes(text)];
        foreach (string name in (string[])["a", "b"])
        {
            Picture(name + ".png", null);
            File.WriteAllBytes(_folder.File(name + ".txt"), Bytes("ein Käfer"));
        }

        string message = Assert.Throws<AfaException>(() => TrainingRecords.Read(_folder.Path)).Message;
        Assert.Contains("a.txt: captions are expected in UTF-8", message);
        Assert.Contains("1 more", message);
        File.WriteAllBytes(
            _folder.File("metadata.jsonl"),
            [
                .. Encoding.UTF8.GetBytes("{\"file_name\": \"a.png\", \"text\": \"x\"}\n"),
                .. Bytes("{\"file_name\": \"b.png\", \"text\": \"Käfer\"}\n"),
            ]
        );
        Assert.Contains("line 2", Assert.Throws<AfaException>(() => TrainingRecords.Read(_folder.Path)).Message);
        File.WriteAllBytes(
            _folder.File("list.json"),
            [.. Encoding.UTF8.GetBytes("[\n\n"), .. Bytes("{\"file_name\": \"b.png\", \"text\": \"Käfer\"}]")]
        );
        Assert.Contains(
            "line 3 is not",
            Assert.Throws<AfaException>(() => TrainingRecords.Read(_folder.File("list.json"))).Message
        );
    }

    [Fact]
    public void Torn_and_odd_lines_are_named_by_their_number()
    {
        string path = _folder.File("metadata.jsonl");
        foreach (
            (string text, string expected) in new[]
            {
                ("{\"file_name\": \"a.png\", \"text\": \"x\"}\n\n{\"file_name\": \"b.png\", \"te", "line 3 is not valid JSON"),
                ("\uFEFF{\"file_name\": \"a.png\", \"text\": \"x\"}\nnull\n", "line 2 is no object"),
                ("{\"file_name\": \"a.png\", \"text\": [\"x\"]}\n", "line 1 needs"),
                ("{\"file_name\": \"a.png\", \"text\": \"x\", \"text\": \"y\"}\n", "line 1 is not valid JSON"),
                ("{\"file_name\": \"a.png\", \"text\": \"\\ud800\"}\n", "line 1 holds half a surrogate pair"),
                ("{\"file_name\": \"a.png\", \"\\ud800\": \"x\", \"text\": \"y\"}\n", "half a surrogate pair"),
                (new string('[', 100_000), "line 1 is not valid JSON"),
                ("[{\"file_name\": \"a.png\",\n\"text\": }]", "line 2 is not valid JSON"),
                ("[\"a\"]", "record 1 is no object"),
            }
        )
        {
            File.WriteAllText(path, text);
            string message = Assert.Throws<AfaException>(() => TrainingRecords.Read(_folder.Path)).Message;
            Assert.Contains(expected, message);
            Assert.DoesNotContain("\n", message);
        }
    }

    [Fact]
    public void Records_that_name_no_file_are_left_out_and_what_is_odd_is_said()
    {
        Picture("a.png", null);
        Picture("b.png", null);
        Picture("inner/c.png", null);
        File.CreateSymbolicLink(_folder.File("link.png"), _folder.File("a.png"));
        _folder.Write(
            "metadata.jsonl",
            """
            {"file_name": "a.png", "text": "one", "weight": 2, "id": null}
            {"file_name": "x\u0000.png", "text": "zero"}
            {"file_name": "\ud800.png", "text": "half"}
            {"file_name": "", "text": "none"}
            {"file_name": "link.png", "text": "the first again"}
            """
        );
        TrainingData data = TrainingRecords.Read(_folder.Path);
        Assert.Equal(["one", "the first again"], data.Records.Select(r => r.Caption));
        Assert.Contains(
            data.Warnings,
            w =>
                w.StartsWith(
                    "metadata.jsonl: 3 records are left out: line 2 (its file name holds a zero character), line 3 "
                        + "(its file name holds half a surrogate pair), line 4 (",
                    StringComparison.Ordinal
                )
        );
        Assert.Contains(
            "metadata.jsonl: 1 records name a picture that another one names too; each counts: link.png (line 1 and " + "line 5)",
            data.Warnings
        );
        Assert.Contains("metadata.jsonl: keys of records that are not used: weight", data.Warnings);
        Assert.Contains(
            "2 pictures are not named in metadata.jsonl and left out: b.png, inner/c.png",
            data.Warnings.Select(w => w.Replace('\\', '/'))
        );
    }

    [Fact]
    public void Each_real_picture_is_taken_once_however_links_lead()
    {
        Picture("one/a.png", "a");
        Picture("two/b.png", "b");
        // Links in a circle, to itself, to each other, and to a file.
        Directory.CreateSymbolicLink(_folder.File("one/two"), _folder.File("two"));
        Directory.CreateSymbolicLink(_folder.File("two/one"), _folder.File("one"));
        Directory.CreateSymbolicLink(_folder.File("two/all"), _folder.Path);
        Directory.CreateSymbolicLink(_folder.File("loop"), _folder.File("loop"));
        File.CreateSymbolicLink(_folder.File("again.png"), _folder.File("one/a.png"));
        _folder.Write("again.txt", "the link's own");
        TrainingData data = TrainingRecords.Read(_folder.Path);
        Assert.Equal(["a", "b"], data.Records.Select(r => r.Caption));
        Assert.Contains(
            "1 name leads to pictures that are there under another name and are taken once: again.png",
            data.Warnings
        );
        Assert.Contains(data.Warnings, w => w.Contains("loop (it is nothing, or a link to nothing)", StringComparison.Ordinal));
    }

    [Fact]
    public void Pipes_sockets_devices_and_folders_are_named_and_never_opened()
    {
        Picture("good.png", "good");
        using Process made = Process.Start("mkfifo", [_folder.File("pipe.png"), _folder.File("good2.txt")])!;
        made.WaitForExit();
        Picture("good2.png", null);
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Bind(new UnixDomainSocketEndPoint(_folder.File("s.png")));
        File.CreateSymbolicLink(_folder.File("device.png"), "/dev/zero");
        Picture("folder.png/inside.png", "inside");
        TrainingData data = TrainingRecords.Read(_folder.Path);
        Assert.Equal(["inside", "good"], data.Records.Select(r => r.Caption));
        string skipped = Assert.Single(data.Warnings, w => w.Contains("no file and left out", StringComparison.Ordinal));
        foreach (
            string expected in (string[])
                [
                    "pipe.png (it is a named pipe)",
                    "s.png (it is a socket)",
                    "device.png (it is a device)",
                    "folder.png (it is a folder",
                    "good2.txt",
                ]
        )
            Assert.Contains(expected, skipped);
        Assert.Contains("named pipe", Assert.Throws<AfaException>(() => TrainingRecords.Read(_folder.File("pipe.png"))).Message);
        Assert.Contains("no such file", Assert.Throws<AfaException>(() => TrainingRecords.Read("a\0b")).Message);
    }

    [Fact]
    public void Files_that_are_no_usable_pictures_are_skipped_and_named_and_all_of_them_are_one_sentence()
    {
        string good = Picture("good.png", null),
            empty = _folder.File("empty.png"),
            thin = _folder.File("thin.png"),
            pipe = _folder.File("pipe.png");
        File.WriteAllBytes(empty, []);
        Thin(thin);
        using (Process made = Process.Start("mkfifo", [pipe])!)
            made.WaitForExit();
        TrainingRecord[] odd =
        [
            .. new[]
            {
                empty,
                thin,
                pipe,
                "/dev/zero",
                _folder.File("gone.png"),
                _folder.Path,
                "a\0b.png",
                "\ud800.png",
                "",
            }.Select(p => new TrainingRecord(p, "x")),
        ];
        using var device = new CpuDevice(1);
        var cache = new LatentCache(_folder.File("cache"), EnsembleFolder.Open(tiny.Model), 64, 1);
        Assert.Single(cache.Encode(device, [new TrainingRecord(good, "y"), .. odd]));
        Assert.Equal(odd.Select(o => o.Image), cache.Skipped.Select(s => s.Image));
        Assert.All(cache.Skipped, s => Assert.NotEqual("", s.Reason));
        Assert.Contains(
            "`size` takes a multiple of 8",
            Assert
                .Throws<AfaException>(() =>
                    new LatentCache(_folder.File("cache"), EnsembleFolder.Open(tiny.Model), 100, 1).Encode(device, odd)
                )
                .Message
        );
        var nothing = new LatentCache(_folder.File("cache"), EnsembleFolder.Open(tiny.Model), 64, 1);
        string message = Assert.Throws<AfaException>(() => nothing.Encode(device, odd)).Message;
        Assert.Contains("None of the 9 pictures can be used", message);
        Assert.Contains("empty.png", message);
    }

    private string Picture(string name, string? caption)
    {
        string path = _folder.File(name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.Copy(Path.Combine(tiny.Data, "00.png"), path);
        if (caption is not null)
            File.WriteAllText(Path.ChangeExtension(path, ".txt"), caption);
        return path;
    }

    // One pixel wide and a million high.
    private static void Thin(string path)
    {
        using var bitmap = new SkiaSharp.SKBitmap(1, 1_000_000);
        bitmap.Erase(SkiaSharp.SKColors.Red);
        using SkiaSharp.SKData data = bitmap.Encode(SkiaSharp.SKEncodedImageFormat.Png, 1);
        File.WriteAllBytes(path, data.ToArray());
    }
}
