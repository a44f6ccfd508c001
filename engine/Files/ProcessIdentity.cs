using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using System.Text;

namespace AfaNative.Engine.Files;

/// <summary>
/// Names a process so that another one can tell later whether it still runs: its number, when it started, and where such numbers
/// mean anything (one boot of one machine, one container). Numbers alone are used again.
/// </summary>
internal static class ProcessIdentity
{
    private static readonly string s_place = Place();

    /// <summary>This process, as <c>number-start-place</c>, hexadecimal but for the number.</summary>
    public static string Current { get; } =
        string.Create(CultureInfo.InvariantCulture, $"{Environment.ProcessId}-{StartOf(Environment.ProcessId) ?? 0:x}-{s_place}");

    /// <summary>
    /// Whether a process named by <see cref="Current"/> runs: null where that cannot be known from here, as of another machine or
    /// container.
    /// </summary>
    public static bool? IsRunning(string identity)
    {
        string[] parts = identity.Split('-');
        if (parts.Length != 3 || !int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out int number))
            return null;
        if (
            !long.TryParse(parts[1], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out long start)
            || parts[2] != s_place
        )
            return null;
        return StartOf(number) == start;
    }

    // Ticks of whatever clock the system tells; null where no such process runs.
    private static long? StartOf(int number)
    {
        try
        {
            if (!OperatingSystem.IsLinux())
            {
                using Process process = Process.GetProcessById(number);
                return process.HasExited ? null : process.StartTime.Ticks;
            }

            // Behind the name, which may hold anything: state, then 18 fields, then the start in clock ticks since boot.
            string text = File.ReadAllText($"/proc/{number}/stat");
            string[] fields = text[(text.LastIndexOf(')') + 2)..].Split(' ');
            return fields[0] is "Z" or "X" ? null : long.Parse(fields[19], CultureInfo.InvariantCulture);
        }
        catch (Exception e)
            when (e
                    is IOException
                        or UnauthorizedAccessException
                        or ArgumentException
                        or InvalidOperationException
                        or Win32Exception
            )
        {
            return null;
        }
    }

    private static string Place()
    {
        string place = Environment.MachineName;
        try
        {
            if (OperatingSystem.IsLinux())
                place = File.ReadAllText("/proc/sys/kernel/random/boot_id").Trim() + new FileInfo("/proc/self/ns/pid").LinkTarget;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A system without them is told from others by its name.
        }

        uint hash = 2166136261;
        foreach (byte b in Encoding.UTF8.GetBytes(place))
            hash = (hash ^ b) * 16777619;
        return hash.ToString("x8", CultureInfo.InvariantCulture);
    }

    /// <summary>Sixteen hexadecimal digits nobody can foresee.</summary>
    public static string Random() => Guid.NewGuid().ToString("N")[16..];
}
