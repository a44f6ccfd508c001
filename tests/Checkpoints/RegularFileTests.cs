using System.Diagnostics;
using System.Net.Sockets;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;
using AfaNative.Engine.Prompts;
using Xunit;

namespace AfaNative.Tests.Checkpoints;

/// <summary>Pipes, sockets, devices and loops of links where files are expected.</summary>
public sealed class RegularFileTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void What_is_no_file_is_refused_without_waiting()
    {
        if (!OperatingSystem.IsLinux())
            return;
        string pipe = Pipe("pipe.safetensors"),
            socket = _folder.File("socket.safetensors");
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(socket));
        foreach (
            (string path, string kind) in ((string, string)[])
                [
                    (pipe, "a named pipe"),
                    (socket, "a socket"),
                    ("/dev/zero", "a device"),
                    (Path.GetDirectoryName(pipe)!, "a folder"),
                ]
        )
        {
            Assert.Contains(
                kind,
                Assert.Throws<CheckpointException>(() => SafetensorsFile.Open(path)).Message,
                StringComparison.Ordinal
            );
            Assert.Contains(
                kind,
                Assert.Throws<CheckpointException>(() => RegularFile.Open(path, "a picture")).Message,
                StringComparison.Ordinal
            );
            Assert.Contains(
                kind,
                Assert.Throws<CheckpointException>(() => FileHash.Short([path])).Message,
                StringComparison.Ordinal
            );
        }

        Assert.Equal(FileKind.Missing, RegularFile.Kind(_folder.File("nothing")));
        Assert.Contains(
            "there is none",
            Assert.Throws<CheckpointException>(() => RegularFile.Open(_folder.File("nothing"))).Message,
            StringComparison.Ordinal
        );
        Assert.Throws<CheckpointException>(() => RegularFile.Open(""));
        Assert.Throws<CheckpointException>(() => RegularFile.Open("a\0b"));
    }

    [Fact]
    public void A_file_is_read_to_its_limit()
    {
        string path = _folder.File("a");
        File.WriteAllBytes(path, [1, 2, 3]);
        Assert.Equal([1, 2, 3], RegularFile.ReadAllBytes(path));
        Assert.Contains(
            "at most 2 bytes",
            Assert.Throws<CheckpointException>(() => RegularFile.ReadAllBytes(path, "a note", 2)).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Loops_of_links_are_walked_once()
    {
        string root = _folder.File("root"),
            inner = Path.Combine(root, "inner"),
            outside = _folder.File("outside");
        Directory.CreateDirectory(inner);
        Directory.CreateDirectory(outside);
        File.WriteAllText(Path.Combine(root, "a.txt"), "");
        File.WriteAllText(Path.Combine(inner, "b.txt"), "");
        File.WriteAllText(Path.Combine(outside, "c.txt"), "");
        Directory.CreateSymbolicLink(Path.Combine(inner, "up"), root);
        Directory.CreateSymbolicLink(Path.Combine(root, "again"), inner);
        Directory.CreateSymbolicLink(Path.Combine(root, "out"), outside);
        Directory.CreateSymbolicLink(Path.Combine(root, "self"), Path.Combine(root, "self"));
        File.CreateSymbolicLink(Path.Combine(root, "z.txt"), Path.Combine(root, "a.txt"));
        var skipped = new List<string>();
        string[] found = [.. FolderFiles.Enumerate(root, (path, _) => skipped.Add(Path.GetFileName(path)))];
        Assert.Equal(
            ["a.txt", "z.txt", "inner/b.txt", "out/c.txt"],
            found.Select(f => Path.GetRelativePath(root, f).Replace('\\', '/'))
        );
        Assert.Equal(["self"], skipped);
    }

    [Fact]
    public void Folders_of_loras_and_embeddings_may_hold_loops()
    {
        string root = _folder.File("root");
        Directory.CreateDirectory(root);
        SafetensorsWriter.Write(
            Path.Combine(root, "word.safetensors"),
            [TensorEntry.FromFloat32("emb_params", [1, 4], [1, 2, 3, 4])]
        );
        Directory.CreateSymbolicLink(Path.Combine(root, "loop"), root);
        if (OperatingSystem.IsLinux())
            Pipe("root/pipe.safetensors");
        Assert.Equal(Path.Combine(root, "word.safetensors"), Assert.Single(EmbeddingRequest.InFolder(root)).Path);
        Assert.Equal(Path.Combine(root, "word.safetensors"), Assert.Single(LoraFolder.Collect([], ["<lora:word:1>"], root)).Path);
    }

    [Theory]
    [InlineData("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")]
    [InlineData("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")]
    [InlineData(
        "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
    )]
    public void Sha256_gives_the_standards_digests(string text, string digest)
    {
        foreach (bool system in (bool[])[false, true])
        {
            using var hash = new Sha256(system);
            hash.Append(System.Text.Encoding.ASCII.GetBytes(text));
            Assert.Equal(digest, Convert.ToHexStringLower(hash.Finish()));
        }
    }

    [Fact]
    public void Sha256_is_the_same_for_every_length_and_every_cut()
    {
        var random = new System.Random(1);
        for (int length = 0; length < 300; length++)
        {
            var bytes = new byte[length * (length % 7 == 0 ? 41 : 1)];
            random.NextBytes(bytes);
            using var own = new Sha256(system: false);
            for (int at = 0; at < bytes.Length; )
            {
                int taken = Math.Min(random.Next(1, 150), bytes.Length - at);
                own.Append(bytes.AsSpan(at, taken));
                at += taken;
            }

            Assert.Equal(System.Security.Cryptography.SHA256.HashData(bytes), own.Finish());
        }
    }

    private string Pipe(string name)
    {
        string path = _folder.File(name);
        using var made = Process.Start("mkfifo", [path]);
        made.WaitForExit();
        Assert.Equal(0, made.ExitCode);
        return path;
    }
}
