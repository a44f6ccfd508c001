using System.Globalization;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace AfaNative.Tool;

/// <summary>
/// Standard output and error as they are, not as one would wish: a program may be started without them, and a reader may go away.
/// The runtime gives the number of a closed stream to the first file it opens itself, and tells nobody when a
/// reader is gone.
/// </summary>
internal static class StandardStreams
{
    // Closed numbers stay taken, so that no file of ours gets one that native code prints to.
    private static readonly List<SafeFileHandle> s_placeholders = [];

    /// <summary>To be called before anything is written or opened.</summary>
    public static void Prepare()
    {
        if (!OperatingSystem.IsLinux())
            return;
        if (IsClosed(1))
            Console.SetOut(new WatchedWriter(null));
        else if (IsPipe(1))
            Console.SetOut(new WatchedWriter(new FileStream(new SafeFileHandle(1, ownsHandle: false), FileAccess.Write, 0)));
        if (IsClosed(2))
            Console.SetError(TextWriter.Null);
        TakeFreeNumbers();
    }

    // What came with the program was open across exec; what the runtime opened closes there.
    private static bool IsClosed(int number)
    {
        const int CloseOnExec = 0x80000;
        try
        {
            string? line = File.ReadLines($"/proc/self/fdinfo/{number}")
                .FirstOrDefault(l => l.StartsWith("flags:", StringComparison.Ordinal));
            return line is not null && (Convert.ToInt32(line[6..].Trim(), 8) & CloseOnExec) != 0;
        }
        catch (FileNotFoundException)
        {
            return Directory.Exists("/proc/self/fdinfo");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException)
        {
            // Without /proc the stream is taken as it is.
            return false;
        }
    }

    private static bool IsPipe(int number)
    {
        try
        {
            return new FileInfo(string.Create(CultureInfo.InvariantCulture, $"/proc/self/fd/{number}")).LinkTarget?.StartsWith(
                    "pipe:",
                    StringComparison.Ordinal
                ) == true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private static void TakeFreeNumbers()
    {
        try
        {
            while (true)
            {
                SafeFileHandle handle = File.OpenHandle("/dev/null", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
                if (handle.DangerousGetHandle() > 2)
                {
                    handle.Dispose();
                    return;
                }

                s_placeholders.Add(handle);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A system without /dev/null goes without.
        }
    }

    // Says once for all that something was lost, and goes on: the work counts more than the lines about it.
    private sealed class WatchedWriter(Stream? stream) : TextWriter(CultureInfo.InvariantCulture)
    {
        private bool _lost;

        public override Encoding Encoding { get; } = Console.OutputEncoding;

        public override void Write(char value) => Write(value.ToString());

        public override void Write(char[] buffer, int index, int count) => Write(new string(buffer, index, count));

        public override void Write(string? value)
        {
            if (string.IsNullOrEmpty(value))
                return;
            try
            {
                if (!_lost && stream is not null)
                {
                    stream.Write(Encoding.GetBytes(value));
                    return;
                }
            }
            catch (IOException)
            {
                // Told below.
            }

            _lost = true;
            Terminal.LoseOutput();
        }
    }
}
