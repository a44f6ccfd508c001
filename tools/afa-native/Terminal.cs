using AfaNative.Engine.Core;

namespace AfaNative.Tool;

/// <summary>
/// The one place that writes to standard output and standard error. What it shows cannot steer a terminal, and a stream that is
/// closed or on a full disk never stops the work: the pictures count more than the lines about them.
/// </summary>
internal static class Terminal
{
    /// <summary>Part of the results could not be written to standard output.</summary>
    public static bool OutputLost { get; private set; }

    /// <summary>Told by a stream that cannot throw: something on standard output did not arrive.</summary>
    public static void LoseOutput() => OutputLost = true;

    /// <summary>A result, on standard output.</summary>
    public static void Result(string line)
    {
        if (!Write(Console.Out, Printable.Text(line) + "\n"))
            OutputLost = true;
    }

    /// <summary>Progress, explanations and errors, on standard error.</summary>
    public static void Note(string line) => Write(Console.Error, Printable.Text(line) + "\n");

    /// <summary>Something that was asked for and will not be as expected.</summary>
    public static void Warn(string sentence) => Note($"warning: {sentence}");

    /// <summary>Why a command failed, in red where somebody watches; one line, however long.</summary>
    public static void Error(string sentence)
    {
        if (Console.IsErrorRedirected || Environment.GetEnvironmentVariable("NO_COLOR") is { Length: > 0 })
            Note($"Error: {sentence}");
        else
            Raw($"\u001b[31mError:\u001b[0m {Printable.Text(sentence)}\n");
    }

    /// <summary>Text with our own control characters, on standard error.</summary>
    public static void Raw(string text) => Write(Console.Error, text);

    private static bool Write(TextWriter stream, string text)
    {
        try
        {
            stream.Write(text);
            stream.Flush();
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ObjectDisposedException)
        {
            // Nobody is left to be told.
            return false;
        }
    }
}
