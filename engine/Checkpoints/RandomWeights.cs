using System.Runtime.InteropServices;
using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Checkpoints;

/// <summary>
/// Random tensors of a sensible scale: uniform with variance 1 / fan-in, norms at one, biases at zero. The same seed gives the
/// same bytes.
/// </summary>
internal sealed class RandomWeights(ElementType type, ulong seed, CancellationToken cancellation)
{
    private const int Block = 1 << 16;

    /// <summary>One entry per tensor a model asked for.</summary>
    public IReadOnlyList<TensorEntry> For(string component, IReadOnlyList<ParameterSpec> specs) =>
        [.. specs.Select(spec => new TensorEntry(spec.Name, type, [.. spec.Shape], stream => Fill(stream, component, spec)))];

    private void Fill(Stream stream, string component, ParameterSpec spec)
    {
        cancellation.ThrowIfCancellationRequested();
        long count = spec.Shape.Aggregate(1L, (a, b) => a * b);
        bool vector = spec.Shape.Count == 1,
            norm = vector && spec.Name.EndsWith(".weight", StringComparison.Ordinal);
        double fan = vector ? 1 : spec.Shape.Skip(1).Aggregate(1.0, (a, b) => a * b);
        float range = vector ? 0 : (float)Math.Sqrt(3 / fan),
            offset = norm ? 1 : 0;
        ulong state = Hash(seed, component + "/" + spec.Name);
        var values = new float[Block];
        var narrow = new ushort[Block];
        for (long done = 0; done < count; done += Block)
        {
            int n = (int)Math.Min(Block, count - done);
            for (int i = 0; i < n; i += 2)
            {
                ulong bits = Next(ref state);
                values[i] = offset + range * ((int)(bits >> 32) * (1f / 2147483648f));
                if (i + 1 < n)
                    values[i + 1] = offset + range * ((int)bits * (1f / 2147483648f));
            }

            if (type == ElementType.Float32)
            {
                stream.Write(MemoryMarshal.AsBytes(values.AsSpan(0, n)));
                continue;
            }

            for (int i = 0; i < n; i++)
            {
                narrow[i] =
                    type == ElementType.Float16
                        ? BitConverter.HalfToUInt16Bits((Half)values[i])
                        : (ushort)((BitConverter.SingleToUInt32Bits(values[i]) + 0x8000) >> 16);
            }

            stream.Write(MemoryMarshal.AsBytes(narrow.AsSpan(0, n)));
        }
    }

    // SplitMix64 (Steele, Lea and Flood, 2014).
    private static ulong Next(ref ulong state)
    {
        ulong z = state += 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }

    // FNV-1a of the name, mixed with the seed.
    private static ulong Hash(ulong seed, string name)
    {
        ulong hash = 14695981039346656037;
        foreach (char c in name)
            hash = (hash ^ c) * 1099511628211;
        return hash ^ (seed * 0x9E3779B97F4A7C15);
    }
}
