using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;
using AfaNative.Engine.Core;
using Xunit;

namespace AfaNative.Tests.Support;

/// <summary>Reference trajectories of schedulers: a case.json and its float32 tensors.</summary>
internal sealed class SchedulerGoldens
{
    private readonly byte[] _bytes;
    private readonly JsonElement _header;
    private readonly int _dataStart;

    private SchedulerGoldens(string folder)
    {
        Case = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(folder, "case.json"))).RootElement;
        _bytes = File.ReadAllBytes(Path.Combine(folder, "tensors.safetensors"));
        int headerLength = checked((int)BinaryPrimitives.ReadUInt64LittleEndian(_bytes));
        _header = JsonDocument.Parse(_bytes.AsMemory(8, headerLength)).RootElement;
        _dataStart = 8 + headerLength;
    }

    /// <summary>The parsed case.json.</summary>
    public JsonElement Case { get; }

    /// <summary>Opens a case by name, or skips the test where no reference values are at hand.</summary>
    public static SchedulerGoldens Open(string name)
    {
        string folder = Path.Combine(SharedFiles.Goldens() ?? "", "public", "schedulers", name);
        if (!Directory.Exists(folder))
            Assert.Skip(SharedFiles.Missing);
        return new SchedulerGoldens(folder);
    }

    public bool Has(string name) => _header.TryGetProperty(name, out _);

    public float[] Tensor(string name)
    {
        JsonElement entry = _header.GetProperty(name);
        Assert.Equal("F32", entry.GetProperty("dtype").GetString());
        JsonElement offsets = entry.GetProperty("data_offsets");
        int begin = offsets[0].GetInt32();
        int end = offsets[1].GetInt32();
        return MemoryMarshal.Cast<byte, float>(_bytes.AsSpan(_dataStart + begin, end - begin)).ToArray();
    }

    public static void AssertClose(float[] expected, ReadOnlySpan<float> actual, double tolerance, string what)
    {
        Assert.Equal(expected.Length, actual.Length);
        double bound = tolerance * expected.Max(Math.Abs);
        for (int i = 0; i < expected.Length; i++)
            Assert.True(Math.Abs(expected[i] - actual[i]) <= bound, $"{what}[{i}]: expected {expected[i]}, came {actual[i]}.");
    }
}
