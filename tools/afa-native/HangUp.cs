using System.CommandLine;
using System.CommandLine.Invocation;
using System.Globalization;
using System.Runtime.InteropServices;

namespace AfaNative.Tool;

/// <summary>A closed terminal or a lost connection (SIGHUP) ends a command as Ctrl+C and SIGTERM do: what is under way is finished or taken back, and saved. Under <c>nohup</c> it is ignored.</summary>
internal sealed class HangUp : IDisposable
{
    private readonly CancellationTokenSource _source = new();
    private PosixSignalRegistration? _registration;

    private HangUp()
    {
    }

    /// <summary>How long a command may take to end.</summary>
    public static TimeSpan Patience { get; } = TimeSpan.FromSeconds(60);

    /// <summary>Cancelled by the signal.</summary>
    public CancellationToken Token => _source.Token;

    /// <summary>Watches while a command runs; one that cannot be cancelled just ends.</summary>
    public static HangUp Watch(CommandLineAction? action)
    {
        var watch = new HangUp();
        if (action is AsynchronousCommandLineAction && !IsIgnored()) watch._registration = PosixSignalRegistration.Create(PosixSignal.SIGHUP, watch.Stop);
        return watch;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _registration?.Dispose();
        _source.Dispose();
    }

    private void Stop(PosixSignalContext context)
    {
        // A second one ends at once.
        if (_source.IsCancellationRequested) return;
        context.Cancel = true;
        _source.CancelAfter(TimeSpan.Zero);
        _ = Task.Delay(Patience).ContinueWith(_ => Environment.Exit(128 + 1), TaskScheduler.Default);
    }

    // nohup starts a program with the signal ignored, and it must stay so.
    private static bool IsIgnored()
    {
        if (!OperatingSystem.IsLinux()) return false;
        try
        {
            string? line = File.ReadLines("/proc/self/status").FirstOrDefault(l => l.StartsWith("SigIgn:", StringComparison.Ordinal));
            return line is not null && (ulong.Parse(line.AsSpan(7).Trim(), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture) & 1) != 0;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException)
        {
            // Without /proc the signal counts.
            return false;
        }
    }
}
