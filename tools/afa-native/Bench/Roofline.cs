using System.Globalization;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Kernels.Devices.Ilgpu;

namespace AfaNative.Tool.Bench;

/// <summary>
/// What one class of ops took: seconds by the device's own clock, multiply-adds counted twice, bytes that must move at least.
/// </summary>
internal sealed record OpTiming(string Name, int Calls, double Seconds, double Flops, double Bytes)
{
    /// <summary>TFLOP/s.</summary>
    public double Tflops => Flops / Seconds / 1e12;

    /// <summary>GB/s of the bytes that must move.</summary>
    public double Gbs => Bytes / Seconds / 1e9;

    /// <summary>Share of what the roofline allows.</summary>
    public double OfRoofline(Roofline peak) => peak.Share(Seconds, Flops, Bytes);
}

/// <summary>What the hardware can do at best.</summary>
/// <param name="Tflops">Arithmetic, TFLOP/s.</param>
/// <param name="Gbs">Memory, GB/s; 0 when unknown.</param>
/// <param name="Source">Where the two come from.</param>
internal sealed record Roofline(double Tflops, double Gbs, string Source)
{
    /// <summary>
    /// The larger of the share of peak arithmetic and the share of peak bandwidth. It passes 1 where data stays in caches, and
    /// where a convolution takes
    /// fewer multiplications than its definition (Winograd).
    /// </summary>
    public double Share(double seconds, double flops, double bytes) =>
        Math.Max(flops / Tflops / 1e12, Gbs > 0 ? bytes / Gbs / 1e9 : 0) / seconds;

    /// <summary>
    /// The roofline of a device: what was given counts, the rest is measured on a CPU and on a list for a few GPUs.
    /// </summary>
    /// <param name="device">The device itself, not one that times it.</param>
    /// <param name="tflops">TFLOP/s as given, or null.</param>
    /// <param name="gbs">GB/s as given, or null.</param>
    public static Roofline Of(IDevice device, double? tflops, double? gbs)
    {
        if (tflops is { } t && gbs is { } g)
            return new Roofline(t, g, "as given");
        (double peak, double memory, string source) = device is CpuDevice cpu
            ? (
                tflops ?? PeakFma.Measure(cpu.Pool) / 1e3,
                gbs ?? PeakCopy.Measure(cpu.Pool),
                "measured: fused multiply-adds, copies of memory"
            )
            : Listed(Hardware(device), device.Storage != ElementType.Float32);
        return new Roofline(
            tflops ?? peak,
            gbs ?? memory,
            tflops is null && gbs is null ? source : $"one as given, the other {source}"
        );
    }

    /// <summary>What the device is made of, for people.</summary>
    public static string Hardware(IDevice device) =>
        device is IlgpuDevice gpu ? gpu.Description
        : device is CpuDevice cpu ? string.Create(CultureInfo.InvariantCulture, $"{cpu.Pool.Threads} threads")
        : device.Name;

    // Dense tensor-core and float32 peaks and memory bandwidths of the vendor's data sheets.
    private static (double, double, string) Listed(string hardware, bool half)
    {
        if (hardware.Contains("H200", StringComparison.Ordinal))
            return (half ? 989 : 67, 4800, "data sheet, SXM");
        if (hardware.Contains("H100", StringComparison.Ordinal))
            return (half ? 989 : 67, 3350, "data sheet, SXM");
        if (hardware.Contains("A100", StringComparison.Ordinal))
            return (half ? 312 : 19.5, 2039, "data sheet, 80 GB");
        return (1, 0, "unknown device: name --peak-tflops and --peak-gbs");
    }
}
