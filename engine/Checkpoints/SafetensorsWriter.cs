using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Checkpoints;

/// <summary>One tensor to write: what it is, and what writes its bytes, little-endian, in row-major order.</summary>
public sealed record TensorEntry(string Name, ElementType Type, long[] Shape, Action<Stream> WriteData)
{
    /// <summary>An entry of float32 values.</summary>
    public static TensorEntry FromFloat32(string name, long[] shape, float[] values) =>
        new(name, ElementType.Float32, shape, stream => stream.Write(MemoryMarshal.AsBytes(values.AsSpan())));
}

/// <summary>Writes safetensors files: whole, or not at all.</summary>
public static class SafetensorsWriter
{
    /// <summary>Writes beside the path first and renames at the end, so that a failure leaves what was there.</summary>
    /// <exception cref="CheckpointException">An entry contradicts itself or the file cannot be written.</exception>
    public static void Write(
        string path,
        IReadOnlyList<TensorEntry> tensors,
        IReadOnlyDictionary<string, string>? metadata = null
    ) => Write(path, tensors, metadata, replace: true);

    /// <summary>
    /// As <see cref="Write(string, IReadOnlyList{TensorEntry}, IReadOnlyDictionary{string, string}?)"/>, where nothing is yet.
    /// </summary>
    /// <exception cref="CheckpointException">Something is there, which stays; an entry contradicts itself, or the file cannot be
    /// written.</exception>
    public static void WriteNew(
        string path,
        IReadOnlyList<TensorEntry> tensors,
        IReadOnlyDictionary<string, string>? metadata = null
    )
    {
        if (!Write(path, tensors, metadata, replace: false))
            throw new CheckpointException($"{path}: it exists; nothing was written.");
    }

    private static bool Write(
        string path,
        IReadOnlyList<TensorEntry> tensors,
        IReadOnlyDictionary<string, string>? metadata,
        bool replace
    )
    {
        ArgumentNullException.ThrowIfNull(path);
        ArgumentNullException.ThrowIfNull(tensors);
        long[] lengths = new long[tensors.Count];
        byte[] header = Header(path, tensors, metadata, lengths);
        try
        {
            if (!replace)
                return WholeFile.WriteNew(path, Fill, durable: true);
            WholeFile.Write(path, Fill, durable: true);
            return true;
        }
        catch (AfaException e) when (e.InnerException is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(e.Message, e.InnerException);
        }

        void Fill(Stream stream)
        {
            Span<byte> size = stackalloc byte[8];
            BinaryPrimitives.WriteInt64LittleEndian(size, header.Length);
            stream.Write(size);
            stream.Write(header);
            // A device that cannot tell where it is gets what it gets.
            for (int i = 0; i < tensors.Count; i++)
            {
                long before = stream.CanSeek ? stream.Position : 0;
                tensors[i].WriteData(stream);
                long came = stream.CanSeek ? stream.Position - before : lengths[i];
                if (came != lengths[i])
                    throw new CheckpointException(
                        $"Expected {lengths[i]} bytes for the tensor '{tensors[i].Name}' of '{path}', but {came} came."
                    );
            }
        }
    }

    private static byte[] Header(
        string path,
        IReadOnlyList<TensorEntry> tensors,
        IReadOnlyDictionary<string, string>? metadata,
        long[] lengths
    )
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            if (metadata is not null)
            {
                json.WriteStartObject("__metadata__");
                foreach ((string key, string value) in metadata)
                    json.WriteString(key, value);
                json.WriteEndObject();
            }

            var names = new HashSet<string>(StringComparer.Ordinal) { "__metadata__" };
            long at = 0;
            for (int i = 0; i < tensors.Count; i++)
            {
                TensorEntry tensor = tensors[i];
                if (!names.Add(tensor.Name))
                    throw new CheckpointException($"Expected every tensor name once, but '{tensor.Name}' is taken in '{path}'.");
                lengths[i] =
                    SafetensorsHeader.ByteLength(tensor.Type, tensor.Shape) is long length && length <= long.MaxValue - at
                        ? length
                        : throw new CheckpointException(
                            $"Expected a shape whose bytes can be counted, but the tensor '{tensor.Name}' of '{path}' has "
                                + $"[{string.Join(", ", tensor.Shape)}]."
                        );
                json.WriteStartObject(tensor.Name);
                json.WriteString("dtype", SafetensorsHeader.TypeName(tensor.Type));
                json.WriteStartArray("shape");
                foreach (long dimension in tensor.Shape)
                    json.WriteNumberValue(dimension);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(at);
                json.WriteNumberValue(at += lengths[i]);
                json.WriteEndArray();
                json.WriteEndObject();
            }

            json.WriteEndObject();
        }

        // Spaces up to a multiple of eight keep the data aligned in memory.
        while (buffer.Length % 8 != 0)
            buffer.WriteByte((byte)' ');
        return buffer.ToArray();
    }
}
