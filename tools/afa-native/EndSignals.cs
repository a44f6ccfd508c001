using System.CommandLine.Invocation;
using System.Globalization;
using System.Runtime.InteropServices;

namespace AfaNative.Tool;

/// <summary>
/// Ctrl+C, SIGTERM and a closed terminal (SIGHUP) end a command that can be cancelled: what is under way is finished or taken
/// back. A second one ends it at once. Under <c>nohup</c> a closed terminal is nothing.
/// </summary>
internal sealed class EndSignals : IDisposable
{
    private readonly CancellationTokenSource _source = new();
    private readonly List<PosixSignalRegistration> _registrations = [];

    /// <summary>How long a command may take to end.</summary>
    public static TimeSpan Patience { get; } = TimeSpan.FromSeconds(60);

    /// <summary>Cancelled by the signal.</summary>
    public CancellationToken Token => _source.Token;

    /// <summary>The exit code, as shells count it.</summary>
    public int Code { get; private set; } = CommandLineProgram.Interrupted;

    /// <summary>Watches while a command runs; one that cannot be cancelled just ends.</summary>
    public void Watch(CommandLineAction? action)
    {
        if (action is not AsynchronousCommandLineAction)
            return;
        _registrations.Add(PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop));
        _registrations.Add(PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop));
        if (!HangUpIsIgnored())
            _registrations.Add(PosixSignalRegistration.Create(PosixSignal.SIGHUP, Stop));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (PosixSignalRegistration registration in _registrations)
            registration.Dispose();
        _source.Dispose();
    }

    private void Stop(PosixSignalContext context)
    {
        if (_source.IsCancellationRequested)
            return;
        context.Cancel = true;
        Code = context.Signal switch
        {
            PosixSignal.SIGTERM => CommandLineProgram.Terminated,
            PosixSignal.SIGHUP => CommandLineProgram.HungUp,
            _ => CommandLineProgram.Interrupted,
        };
        _source.CancelAfter(TimeSpan.Zero);
        _ = Task.Delay(Patience).ContinueWith(_ => Environment.Exit(Code), TaskScheduler.Default);
    }

    // nohup starts a program with the signal ignored, and it must stay so.
    private static bool HangUpIsIgnored()
    {
        if (!OperatingSystem.IsLinux())
            return false;
        try
        {
            string? line = File.ReadLines("/proc/self/status")
                .FirstOrDefault(l => l.StartsWith("SigIgn:", StringComparison.Ordinal));
            return line is not null
                && (ulong.Parse(line.AsSpan(7).Trim(), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture) & 1) != 0;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException)
        {
            // Without /proc the signal counts.
            return false;
        }
    }
}
