using System.Buffers.Binary;
using System.Text;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;
using CsCheck;
using Xunit;

namespace AfaNative.Tests.Checkpoints;

public class SafetensorsTests
{
    [Fact]
    public void Reads_back_what_was_written()
    {
        using var folder = new TemporaryFolder();
        string path = folder.File("a.safetensors");
        WriteSample(path);
        using var file = SafetensorsFile.Open(path);
        Assert.Equal("pt", file.Metadata["format"]);
        Assert.Equal([1f, -2.5f, 3f, 4f], file.ReadFloat32("w"));
        Assert.Equal([2L, 2L], file.Tensors["w"].Shape);
        Assert.Equal([1f, -2f], file.ReadFloat32("half"));
        Assert.Equal([1f, -2f], file.ReadFloat32("brain"));
        Assert.Equal([-7L, 9L], file.ReadInt64("ids"));
        Assert.Empty(file.ReadFloat32("none"));
        Assert.Equal(0, file.Tensors["w"].Offset % 8);
        file.Release(file.Tensors["w"]);
        Assert.Equal(16, file.Bytes(file.Tensors["w"]).Length);
        Assert.Contains("'w'", Assert.Throws<CheckpointException>(() => file.ReadInt64("w")).Message);
        Assert.Contains("'gone'", Assert.Throws<CheckpointException>(() => file.ReadFloat32("gone")).Message);
    }

    [Fact]
    public void Large_tensor_survives_its_release()
    {
        using var folder = new TemporaryFolder();
        string path = folder.File("a.safetensors");
        float[] values = [.. Enumerable.Range(0, 50_000).Select(i => (float)i)];
        SafetensorsWriter.Write(path, [TensorEntry.FromFloat32("w", [50_000], values)]);
        using var file = SafetensorsFile.Open(path);
        Assert.Equal(values, file.ReadFloat32("w"));
        file.Release(file.Tensors["w"]);
        Assert.Equal(values, file.ReadFloat32("w"));
    }

    [Theory]
    [InlineData("""{"t":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}""", "'t'")]
    [InlineData("""{"t":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}""", "'t'")]
    [InlineData("""{"t":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}""", "'t'")]
    [InlineData("""{"t":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}""", "'t'")]
    [InlineData("""{"t":{"dtype":"F8","shape":[1],"data_offsets":[0,4]}}""", "dtype")]
    [InlineData(
        """{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"t":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""",
        "again"
    )]
    [InlineData(
        """{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"u":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}""",
        "start"
    )]
    [InlineData("""{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}""", "bytes")]
    [InlineData("""{"\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", "JSON")]
    [InlineData("""{"t":[[[[[[[[[[[[[]]]]]]]]]]]]]}""", "JSON")]
    [InlineData("[]", "object")]
    public void Refuses_hostile_headers(string header, string expected)
    {
        using var folder = new TemporaryFolder();
        string path = folder.File("a.safetensors");
        byte[] json = Encoding.UTF8.GetBytes(header);
        byte[] bytes = new byte[8 + json.Length + 8];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, json.Length);
        json.CopyTo(bytes, 8);
        File.WriteAllBytes(path, bytes);
        string message = Assert.Throws<CheckpointException>(() => SafetensorsFile.Open(path)).Message;
        Assert.Contains(expected, message);
        Assert.Contains(path, message);
    }

    [Fact]
    public void Mutated_files_are_read_whole_or_refused()
    {
        using var folder = new TemporaryFolder();
        string sample = folder.File("sample");
        WriteSample(sample);
        byte[] good = File.ReadAllBytes(sample);
        string path = folder.File("mutated");
        (string From, string To)[] swaps =
        [
            ("F32", "F16"),
            ("F32", "X32"),
            ("[0,", "[-8,"),
            ("[0,", "[9223372036854775807,"),
            (",16]", ",999]"),
            ("half", "w"),
            ("[2,2]", "[2,-2]"),
            ("[2,2]", "[[[[[[[[[[[2,2]"),
        ];
        Gen<byte[]> mutated = Gen.OneOf(
            Gen.Int[0, good.Length].Select(n => good[..n]),
            Gen.Select(Gen.Int[0, good.Length - 1], Gen.Int[0, 7])
                .Array[1, 4]
                .Select(flips =>
                {
                    byte[] bytes = [.. good];
                    foreach ((int at, int bit) in flips)
                        bytes[at] ^= (byte)(1 << bit);
                    return bytes;
                }),
            Gen.ULong.Select(n =>
            {
                byte[] bytes = [.. good];
                BinaryPrimitives.WriteUInt64LittleEndian(bytes, n);
                return bytes;
            }),
            Gen.Int[0, swaps.Length - 1]
                .Select(i =>
                {
                    int length = (int)BinaryPrimitives.ReadInt64LittleEndian(good);
                    byte[] json = Encoding.UTF8.GetBytes(
                        Encoding.UTF8.GetString(good, 8, length).Replace(swaps[i].From, swaps[i].To)
                    );
                    byte[] bytes = [.. BitConverter.GetBytes((long)json.Length), .. json, .. good[(8 + length)..]];
                    return bytes;
                }),
            Gen.Byte.Array[0, 40].Select(more => (byte[])[.. good, .. more])
        );
        mutated.Sample(
            bytes =>
            {
                File.WriteAllBytes(path, bytes);
                try
                {
                    using var file = SafetensorsFile.Open(path);
                    foreach (SafetensorsTensor tensor in file.Tensors.Values)
                    {
                        if (
                            file.ReadFloat32(tensor.Name).Length != tensor.ElementCount
                            || file.Bytes(tensor).Length != tensor.ByteLength
                        )
                            return false;
                    }
                }
                catch (CheckpointException e)
                {
                    return e.Message.Contains(path, StringComparison.Ordinal);
                }

                return true;
            },
            iter: 2500,
            threads: 1,
            print: Convert.ToHexString
        );
    }

    [Fact]
    public void Failed_write_leaves_what_was_there()
    {
        using var folder = new TemporaryFolder();
        string path = folder.File("a.safetensors");
        WriteSample(path);
        byte[] before = File.ReadAllBytes(path);
        Assert.Throws<CheckpointException>(() => SafetensorsWriter.Write(path, [TensorEntry.FromFloat32("w", [3], [1f])]));
        Assert.Throws<InvalidOperationException>(() =>
            SafetensorsWriter.Write(
                path,
                [new TensorEntry("w", ElementType.UInt8, [1], _ => throw new InvalidOperationException())]
            )
        );
        Assert.Equal(before, File.ReadAllBytes(path));
        Assert.Single(Directory.GetFiles(folder.Path));
    }

    [Fact]
    public void Opens_shards_and_names_a_missing_one()
    {
        using var folder = new TemporaryFolder();
        SafetensorsWriter.Write(folder.File("s1.safetensors"), [TensorEntry.FromFloat32("a", [1], [1f])]);
        SafetensorsWriter.Write(folder.File("s2.safetensors"), [TensorEntry.FromFloat32("b", [1], [2f])]);
        folder.Write("model.safetensors.index.json", """{"weight_map":{"a":"s1.safetensors","b":"s2.safetensors"}}""");
        using (var checkpoint = Checkpoint.Open(folder.Path, "diffusion_pytorch_model", "model"))
        {
            Assert.Equal(["a", "b"], checkpoint.Names.Order());
            Assert.True(checkpoint.TryGet("b", out SafetensorsFile? file, out _));
            Assert.Equal([2f], file.ReadFloat32("b"));
            Assert.False(checkpoint.TryGet("c", out _, out _));
        }

        File.Delete(folder.File("s2.safetensors"));
        Assert.Contains(
            "'s2.safetensors'",
            Assert.Throws<CheckpointException>(() => Checkpoint.Open(folder.Path, "model")).Message
        );
        folder.Write("model.safetensors.index.json", """{"weight_map":{"a":"../s1.safetensors"}}""");
        Assert.Contains("plain", Assert.Throws<CheckpointException>(() => Checkpoint.Open(folder.Path, "model")).Message);
    }

    [Fact]
    public void Opens_a_half_variant_and_refuses_pickles()
    {
        using var folder = new TemporaryFolder();
        Assert.Contains("holds none", Assert.Throws<CheckpointException>(() => Checkpoint.Open(folder.Path, "model")).Message);
        folder.Write("pytorch_model.bin", "x");
        Assert.Contains(
            "safe_serialization=True",
            Assert.Throws<CheckpointException>(() => Checkpoint.Open(folder.Path, "model")).Message
        );
        Assert.Contains("run code", Assert.Throws<CheckpointException>(() => Checkpoint.OpenFile(folder.File("x.ckpt"))).Message);
        WriteSample(folder.File("model.fp16.safetensors"));
        using var checkpoint = Checkpoint.Open(folder.Path, "model");
        Assert.EndsWith("model.fp16.safetensors", checkpoint.Description);
    }

    private static void WriteSample(string path) =>
        SafetensorsWriter.Write(
            path,
            [
                TensorEntry.FromFloat32("w", [2, 2], [1f, -2.5f, 3f, 4f]),
                new TensorEntry("half", ElementType.Float16, [2], s => s.Write([0x00, 0x3c, 0x00, 0xc0])),
                new TensorEntry("brain", ElementType.BFloat16, [2], s => s.Write([0x80, 0x3f, 0x00, 0xc0])),
                new TensorEntry("ids", ElementType.Int32, [2], s => s.Write([0xf9, 0xff, 0xff, 0xff, 9, 0, 0, 0])),
                TensorEntry.FromFloat32("none", [3, 0], []),
            ],
            new Dictionary<string, string> { ["format"] = "pt" }
        );
}
