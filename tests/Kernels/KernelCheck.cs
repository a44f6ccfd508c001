using System.Runtime.InteropServices;
using AfaNative.Kernels.Host;
using Xunit;

namespace AfaNative.Tests.Kernels;

/// <summary>Native floats with a guard behind them; new ones are poisoned with NaN.</summary>
internal sealed unsafe class Floats : IDisposable
{
    private const int Guard = 32;
    private const float Sentinel = 12345.678f;

    public Floats(long length)
    {
        Length = length;
        Pointer = (float*)NativeMemory.AlignedAlloc((nuint)((length + Guard) * sizeof(float)), 64);
        for (long i = 0; i < length + Guard; i++)
            Pointer[i] = i < length ? float.NaN : Sentinel;
    }

    public float* Pointer { get; }

    public long Length { get; }

    public static implicit operator float*(Floats floats) => floats.Pointer;

    /// <summary>Uniform values in center +- spread.</summary>
    public static Floats Uniform(System.Random random, long length, float spread = 2, float center = 0)
    {
        var floats = new Floats(length);
        for (long i = 0; i < length; i++)
            floats.Pointer[i] = center + spread * (2 * random.NextSingle() - 1);
        return floats;
    }

    public ReadOnlySpan<float> Span => new(Pointer, checked((int)Length));

    public void AssertGuard()
    {
        for (int i = 0; i < Guard; i++)
            Assert.Equal(Sentinel, Pointer[Length + i]);
    }

    public void Dispose() => NativeMemory.AlignedFree(Pointer);
}

/// <summary>Runs a kernel on one and on three threads and compares it with its reference.</summary>
internal static class KernelCheck
{
    private static readonly WorkerPool One = new(1);
    private static readonly WorkerPool Three = new(3);
    private static readonly Lock Gate = new();

    /// <summary>A seeded generator.</summary>
    public static System.Random Seeded(int seed) => new(seed);

    /// <summary>
    /// Both thread counts give the same bits, within <paramref name="tolerance"/> of the reference relative to its largest value
    /// (or <paramref name="floor"/>, if greater).
    /// </summary>
    public static void Same(
        long length,
        Action<Floats> reference,
        Action<WorkerPool, Floats> simd,
        double tolerance = 1e-5,
        double floor = 0
    )
    {
        using Floats expected = new(length),
            one = new(length),
            three = new(length);
        reference(expected);
        lock (Gate)
        {
            simd(One, one);
            simd(Three, three);
        }

        expected.AssertGuard();
        one.AssertGuard();
        three.AssertGuard();
        AssertSameBits(one.Span, three.Span);
        AssertClose(expected.Span, one.Span, tolerance, floor);
    }

    /// <summary>Runs on one thread.</summary>
    public static void Run(Action<WorkerPool> simd)
    {
        lock (Gate)
            simd(One);
    }

    /// <summary>Equal bit for bit.</summary>
    public static void AssertSameBits(ReadOnlySpan<float> a, ReadOnlySpan<float> b) =>
        Assert.True(MemoryMarshal.AsBytes(a).SequenceEqual(MemoryMarshal.AsBytes(b)), "results differ in their bits");

    /// <summary>Within a tolerance relative to the largest expected value; NaN never passes.</summary>
    public static void AssertClose(ReadOnlySpan<float> expected, ReadOnlySpan<float> actual, double tolerance, double floor = 0)
    {
        double max = floor,
            worst = 0;
        int at = -1;
        for (int i = 0; i < expected.Length; i++)
        {
            // No sentence is made for the millions that are.
            if (!float.IsFinite(expected[i]) || !float.IsFinite(actual[i]))
                Assert.Fail($"[{i}]: expected {expected[i]}, got {actual[i]}");
            max = Math.Max(max, Math.Abs((double)expected[i]));
            double difference = Math.Abs((double)expected[i] - actual[i]);
            if (difference > worst)
                (worst, at) = (difference, i);
        }

        Assert.True(
            worst <= tolerance * max,
            at < 0
                ? ""
                : $"[{at}]: expected {expected[at]}, got {actual[at]}, {worst / max:g3} of the largest value, allowed "
                    + $"{tolerance:g3}"
        );
    }
}
