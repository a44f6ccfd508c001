using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using AfaNative.Engine.Core;

namespace AfaNative.Tests.Fuzz;

/// <summary>One reader and what it is fed.</summary>
/// <param name="Name">For people, and for the seed.</param>
/// <param name="Seeds">Good inputs.</param>
/// <param name="Words">What the format knows.</param>
/// <param name="Read">Reads an input; what is wrong with it is an <see cref="AfaException"/> and nothing else.</param>
/// <param name="Native">It takes memory that the runtime does not count.</param>
/// <param name="Repair">Makes a changed input consistent again where the format has sums of its own; used on every other.</param>
internal sealed record FuzzTarget(
    string Name,
    IReadOnlyList<byte[]> Seeds,
    IReadOnlyList<string> Words,
    Action<byte[]> Read,
    Func<byte[], byte[]>? Repair = null,
    bool Native = false
);

/// <summary>
/// Feeds a reader changed inputs for a while: no exception but <see cref="AfaException"/>, nothing over two seconds, no more than
/// 300 MB beyond the input.
/// What brought about new outcomes is changed further. <c>AFA_FUZZ_SECONDS</c> says how long, <c>AFA_FUZZ_SEED</c> from where;
/// what fails is left in
/// <c>AFA_FUZZ_OUT</c> or the folder for temporary files.
/// </summary>
internal static partial class FuzzRun
{
    private const double MostSeconds = 2,
        HangSeconds = 60;

    private const long MostBytes = 300_000_000;

    private const int MostInputs = 400,
        MostFailures = 4;

    /// <summary>Seconds for each reader: 20 in CI, 2 for a run of all tests by hand.</summary>
    public static double Seconds =>
        Environment.GetEnvironmentVariable("AFA_FUZZ_SECONDS") is { Length: > 0 } text
            ? Numbers.Double("AFA_FUZZ_SECONDS", text, 0, 86_400)
        : Environment.GetEnvironmentVariable("CI") is "true" or "1" ? 20
        : 2;

    /// <summary>Runs some targets one after the other, sharing the time.</summary>
    public static string Run(IReadOnlyList<FuzzTarget> targets)
    {
        var failures = new List<string>();
        long runs = 0;
        foreach (FuzzTarget target in targets)
        {
            var state = new State(target);
            var worker = new Thread(() => Loop(state, Seconds / targets.Count)) { IsBackground = true };
            worker.Start();
            while (!worker.Join(200))
            {
                if (Stopwatch.GetElapsedTime(Volatile.Read(ref state.Started)).TotalSeconds < HangSeconds)
                    continue;
                state.Fail(state.Current, "hangs");
                break;
            }

            runs += state.Runs;
            failures.AddRange(state.Failures);
        }

        if (failures.Count > 0)
            Xunit.Assert.Fail(string.Join("\n", failures));
        return string.Create(CultureInfo.InvariantCulture, $"{string.Join(", ", targets.Select(t => t.Name))}: {runs} inputs");
    }

    /// <summary>One input, as a regression test feeds it.</summary>
    public static void Once(FuzzTarget target, byte[] input)
    {
        var state = new State(target);
        Feed(state, input);
        if (state.Failures.Count > 0)
            Xunit.Assert.Fail(state.Failures[0]);
    }

    private static void Loop(State state, double seconds)
    {
        FuzzTarget target = state.Target;
        int seed = Environment.GetEnvironmentVariable("AFA_FUZZ_SEED") is { Length: > 0 } text
            ? Numbers.Int32("AFA_FUZZ_SEED", text)
            : 1;
        foreach (char c in target.Name)
            seed = seed * 31 + c;
        var mutator = new Mutator(seed, target.Words);
        List<byte[]> pool = [.. target.Seeds];
        var outcomes = new HashSet<string>(StringComparer.Ordinal);
        foreach (byte[] input in target.Seeds)
            outcomes.Add(Feed(state, input));
        var watch = Stopwatch.StartNew();
        while (watch.Elapsed.TotalSeconds < seconds && state.Failures.Count < MostFailures)
        {
            byte[] input = mutator.Change(pool[mutator.Next(pool.Count)], pool[mutator.Next(pool.Count)]);
            if (target.Repair is { } repair && mutator.Next(2) == 0)
                input = repair(input);
            if (!outcomes.Add(Feed(state, input)))
                continue;
            if (pool.Count < MostInputs)
                pool.Add(input);
            else
                pool[target.Seeds.Count + mutator.Next(MostInputs - target.Seeds.Count)] = input;
        }
    }

    // What came of it, without the numbers and names that differ every time.
    private static string Feed(State state, byte[] input)
    {
        state.Current = input;
        // A stack that overflows takes the process with it, and only this is left.
        if (Environment.GetEnvironmentVariable("AFA_FUZZ_OUT") is { Length: > 0 } folder)
        {
            File.WriteAllBytes(Path.Combine(Directory.CreateDirectory(folder).FullName, state.Target.Name + ".current"), input);
        }

        Volatile.Write(ref state.Started, Stopwatch.GetTimestamp());
        state.Runs++;
        (string outcome, double seconds, long bytes) = Measure(state, input);
        // A machine with other work is slow now and then: the least of three counts.
        for (int again = 0; again < 2 && seconds > MostSeconds; again++)
        {
            Volatile.Write(ref state.Started, Stopwatch.GetTimestamp());
            seconds = Math.Min(seconds, Measure(state, input).Seconds);
        }

        if (seconds > MostSeconds)
            state.Fail(input, $"takes {seconds:F1} s");
        for (int again = 0; again < 2 && bytes > MostBytes + input.Length; again++)
        {
            bytes = Math.Min(bytes, Measure(state, input).Bytes);
        }

        if (bytes > MostBytes + input.Length)
            state.Fail(input, $"takes {bytes / 1e6:F0} MB");
        return outcome;
    }

    private static (string Outcome, double Seconds, long Bytes) Measure(State state, byte[] input)
    {
        bool native = state.Target.Native;
        long start = GC.GetAllocatedBytesForCurrentThread(),
            resident = native ? Resident("VmRSS:", forget: true) : 0;
        double clock = ProcessorSeconds();
        string outcome = "read";
        try
        {
            state.Target.Read(input);
        }
        catch (AfaException e)
        {
            outcome = Changing().Replace(e.Message, "");
            if (outcome.Length > 400)
                outcome = outcome[..400];
            if (e.Message.Length > 8_000)
                state.Fail(input, $"says it in {e.Message.Length} characters");
        }
        catch (Exception e)
        {
            outcome = $"{e.GetType().Name} at {e.StackTrace?.Split('\n')[0].Trim()}";
            state.Fail(input, $"{outcome}: {e.Message}");
        }

        double seconds = ProcessorSeconds() - clock;
        long bytes = GC.GetAllocatedBytesForCurrentThread() - start;
        return (outcome, seconds, native ? Math.Max(bytes, Resident("VmHWM:") - resident) : bytes);
    }

    // Bytes the process has in memory, now or at most since the system was told to forget; 0 where it does not say.
    private static long Resident(string what, bool forget = false)
    {
        if (!OperatingSystem.IsLinux())
            return 0;
        try
        {
            if (forget)
                File.WriteAllText("/proc/self/clear_refs", "5");
            string? line = File.ReadLines("/proc/self/status").FirstOrDefault(l => l.StartsWith(what, StringComparison.Ordinal));
            string number = line is null ? "0" : line[what.Length..].Replace("kB", "", StringComparison.Ordinal);
            return 1024L * Numbers.Int32(what, number);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return 0;
        }
    }

    // Of this thread, so that other work on the machine does not count; else the clock on the wall.
    private static double ProcessorSeconds()
    {
        if (OperatingSystem.IsLinux() && ClockGetTime(3, out TimeSpec time) == 0)
            return time.Seconds + time.Nanoseconds / 1e9;
        return Stopwatch.GetTimestamp() / (double)Stopwatch.Frequency;
    }

    [LibraryImport("libc", EntryPoint = "clock_gettime")]
    private static partial int ClockGetTime(int clock, out TimeSpec time);

    [GeneratedRegex("'[^']*'|\"[^\"]*\"|[0-9/\\\\]+[^ ]*|[^\\x20-\\x7E]")]
    private static partial Regex Changing();

    [StructLayout(LayoutKind.Sequential)]
    private struct TimeSpec
    {
        public long Seconds,
            Nanoseconds;
    }

    private sealed class State(FuzzTarget target)
    {
        public long Started = Stopwatch.GetTimestamp();

        private readonly HashSet<string> _kinds = new(StringComparer.Ordinal);

        public FuzzTarget Target => target;

        public byte[] Current { get; set; } = [];

        public long Runs { get; set; }

        public List<string> Failures { get; } = [];

        public void Fail(byte[] input, string what)
        {
            if (!_kinds.Add(Changing().Replace(what, "")))
                return;
            string folder = Environment.GetEnvironmentVariable("AFA_FUZZ_OUT") is { Length: > 0 } named
                ? named
                : Path.GetTempPath();
            Directory.CreateDirectory(folder);
            string file = Path.Combine(folder, $"afa-fuzz-{target.Name}-{Guid.NewGuid():N}.bin");
            File.WriteAllBytes(file, input);
            string text = Convert.ToBase64String(input.AsSpan(0, Math.Min(input.Length, 3000)));
            string sentence = $"{target.Name} {Printable.Shortened(what, 600)}\n    {input.Length} bytes in {file}: {text}";
            lock (Failures)
                Failures.Add(sentence);
        }
    }
}
