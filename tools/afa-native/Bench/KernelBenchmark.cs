using System.Diagnostics;
using System.Globalization;
using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Gpu;

namespace AfaNative.Tool.Bench;

/// <summary>Times kernels one by one.</summary>
/// <param name="device">Where they run.</param>
/// <param name="weights">How weights are stored.</param>
/// <param name="repeats">Times to measure of each at most.</param>
/// <param name="seconds">Seconds to measure each at most, but three times in any case.</param>
internal sealed class KernelBenchmark(IDevice device, ElementType weights, int repeats, double seconds)
{
    // A sample lasts so long at least: the clock, and a device's queue, are then no part of it.
    private const double Sample = 2e-3;

    private const int MostCalls = 10_000;

    /// <summary>Measures one kernel, its data warm from the calls before.</summary>
    public KernelResult Run(CountedShape counted, Roofline roofline)
    {
        using var kernel = new KernelRun(device, counted.Shape, weights);
        Time(kernel, 1);
        int calls = (int)Math.Clamp(Math.Ceiling(Sample / Math.Max(Time(kernel, 1), 1e-9)), 1, MostCalls);
        var watch = Stopwatch.StartNew();
        var times = new List<double>();
        do
        {
            times.Add(Time(kernel, calls));
        } while (times.Count < repeats && (times.Count < 3 || watch.Elapsed.TotalSeconds < seconds));
        (double median, double q1, double q3, double spread) = Statistics(times);
        KernelShape s = counted.Shape;
        return new KernelResult(
            s.Name,
            s.Op,
            s.Sizes,
            counted.Calls,
            times.Count,
            median * 1e3,
            q1 * 1e3,
            q3 * 1e3,
            spread * 1e3,
            times.Min() * 1e3,
            kernel.Flops / median / 1e12,
            kernel.Bytes / median / 1e9,
            roofline.Share(median, kernel.Flops, kernel.Bytes)
        );
    }

    /// <summary>The head of the table of results.</summary>
    public static string Head =>
        $"{"kernel", -66}{"calls", 6}{"median ms", 11}{"spread", 8}{"TFLOP/s", 10}{"GB/s", 8}{"of roofline", 13}";

    /// <summary>A row of it.</summary>
    public static string Row(KernelResult k)
    {
        string calls = k.Calls > 0 ? k.Calls.ToString(CultureInfo.InvariantCulture) : "-";
        string rates = string.Create(CultureInfo.InvariantCulture, $"{k.Tflops, 10:F3}{k.Gbs, 8:F1}{k.OfRoofline, 13:P0}");
        return string.Create(
            CultureInfo.InvariantCulture,
            $"{k.Name, -66}{calls, 6}{k.MedianMs, 11:F4}{k.SpreadMs / k.MedianMs, 8:P1}{rates}"
        );
    }

    /// <summary>Median, quartiles and spread of times.</summary>
    internal static (double Median, double Q1, double Q3, double Spread) Statistics(IReadOnlyList<double> times)
    {
        double[] sorted = [.. times.Order()];
        double median = Quantile(sorted, 0.5);
        double[] distances = [.. sorted.Select(t => Math.Abs(t - median)).Order()];
        return (median, Quantile(sorted, 0.25), Quantile(sorted, 0.75), 1.4826 * Quantile(distances, 0.5));
    }

    private static double Quantile(double[] sorted, double at)
    {
        double place = at * (sorted.Length - 1);
        int below = (int)place;
        return below + 1 < sorted.Length ? sorted[below] + (place - below) * (sorted[below + 1] - sorted[below]) : sorted[below];
    }

    // Seconds of one call, by the device's own clock.
    private double Time(KernelRun kernel, int calls)
    {
        using IDeviceMarker start = device.Mark();
        for (int i = 0; i < calls; i++)
            kernel.Call();
        using IDeviceMarker end = device.Mark();
        return Math.Max(end.SecondsSince(start), 1e-9) / calls;
    }
}
