using System.Buffers.Binary;
using System.Text;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;

namespace AfaNative.Engine.Training;

/// <summary>
/// Scalars for TensorBoard: an event file of TFRecords (length, masked CRC-32C, data, masked CRC-32C), each a protobuf
/// <c>Event</c> with one summary value.
/// </summary>
internal sealed class TensorBoardWriter : IDisposable
{
    private static readonly uint[] s_table = Table();
    private readonly FileStream _file;

    /// <summary>Opens a new event file in the folder.</summary>
    public TensorBoardWriter(string folder)
    {
        Directory.CreateDirectory(folder);
        long now = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        // Containers all have a process 1: a name that is taken is another run's.
        string name = $"events.out.tfevents.{now}.{Environment.ProcessId}",
            path = Path.Combine(folder, name);
        for (int i = 1; Path.Exists(path); i++)
            path = Path.Combine(folder, $"{name}.{i}");
        _file = new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.Read, 0);
        // Event { wall_time = 1; file_version = 3 }
        var header = new MemoryStream();
        Double(header, 1, now);
        Bytes(header, 3, "brain.Event:2"u8);
        Record(header.ToArray());
    }

    /// <summary>Adds one value.</summary>
    public void Scalar(string tag, int step, double value)
    {
        // Event { wall_time = 1; step = 2; summary = 5 { value = 1 { tag = 1; simple_value = 2 } } }
        var one = new MemoryStream();
        Bytes(one, 1, Encoding.UTF8.GetBytes(tag));
        one.WriteByte(2 << 3 | 5);
        Span<byte> number = stackalloc byte[4];
        BinaryPrimitives.WriteSingleLittleEndian(number, (float)value);
        one.Write(number);
        var summary = new MemoryStream();
        Bytes(summary, 1, one.ToArray());
        var entry = new MemoryStream();
        Double(entry, 1, DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() / 1000.0);
        entry.WriteByte(2 << 3);
        Varint(entry, (ulong)step);
        Bytes(entry, 5, summary.ToArray());
        Record(entry.ToArray());
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    /// <summary>CRC-32C (Castagnoli).</summary>
    internal static uint Crc(ReadOnlySpan<byte> data)
    {
        uint crc = uint.MaxValue;
        foreach (byte b in data)
            crc = s_table[(byte)(crc ^ b)] ^ (crc >> 8);
        return ~crc;
    }

    private void Record(byte[] data)
    {
        var record = new byte[data.Length + 16];
        BinaryPrimitives.WriteUInt64LittleEndian(record, (ulong)data.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(8), Mask(Crc(record.AsSpan(0, 8))));
        data.CopyTo(record, 12);
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(12 + data.Length), Mask(Crc(data)));
        try
        {
            // In one piece: a killed run leaves whole records.
            _file.Write(record);
        }
        catch (IOException e)
        {
            throw new AfaException($"{_file.Name}: it could not be written: {WholeFile.Reason(e)}", e);
        }
    }

    private static uint Mask(uint crc) => ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;

    private static void Double(Stream to, int field, double value)
    {
        to.WriteByte((byte)(field << 3 | 1));
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteDoubleLittleEndian(bytes, value);
        to.Write(bytes);
    }

    private static void Bytes(Stream to, int field, ReadOnlySpan<byte> value)
    {
        to.WriteByte((byte)(field << 3 | 2));
        Varint(to, (ulong)value.Length);
        to.Write(value);
    }

    private static void Varint(Stream to, ulong value)
    {
        for (; value >= 128; value >>= 7)
            to.WriteByte((byte)(value | 128));
        to.WriteByte((byte)value);
    }

    private static uint[] Table()
    {
        var table = new uint[256];
        for (uint i = 0; i < 256; i++)
        {
            uint crc = i;
            for (int bit = 0; bit < 8; bit++)
                crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78u : 0);
            table[i] = crc;
        }

        return table;
    }
}
