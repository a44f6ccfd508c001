using AfaNative.Engine.Core;

namespace AfaNative.Tool;

/// <summary>
/// The one place that writes to standard output and standard error. What it shows cannot steer a terminal, and a stream that is
/// closed or on a full disk never stops the work: the pictures count more than the lines about them.
/// </summary>
internal static class Terminal
{
    private static readonly AsyncLocal<Streams?> s_redirected = new();
    private static bool s_outputLost;

    /// <summary>Part of the results could not be written to standard output.</summary>
    public static bool OutputLost => s_redirected.Value?.OutputLost ?? s_outputLost;

    /// <summary>Where results go.</summary>
    public static TextWriter Output => s_redirected.Value?.Output ?? Console.Out;

    /// <summary>Where progress, explanations and errors go.</summary>
    public static TextWriter Errors => s_redirected.Value?.Errors ?? Console.Error;

    /// <summary>Whether somebody watches results on a terminal.</summary>
    public static bool OutputIsWatched => s_redirected.Value is null && !Console.IsOutputRedirected;

    /// <summary>Whether somebody watches progress on a terminal.</summary>
    public static bool ErrorsAreWatched => s_redirected.Value is null && !Console.IsErrorRedirected;

    /// <summary>
    /// Lets a caller within this process, and all that it starts, write elsewhere; others go on writing where they did. Ends with
    /// the call that asked for it.
    /// </summary>
    public static void Redirect(TextWriter output, TextWriter errors) =>
        s_redirected.Value = new Streams(TextWriter.Synchronized(output), TextWriter.Synchronized(errors));

    /// <summary>Told by a stream that cannot throw: something on standard output did not arrive.</summary>
    public static void LoseOutput()
    {
        if (s_redirected.Value is { } streams)
            streams.OutputLost = true;
        else
            s_outputLost = true;
    }

    /// <summary>A result, on standard output.</summary>
    public static void Result(string line)
    {
        if (!Write(Output, Printable.Text(line) + "\n"))
            LoseOutput();
    }

    /// <summary>Progress, explanations and errors, on standard error.</summary>
    public static void Note(string line) => Write(Errors, Printable.Text(line) + "\n");

    /// <summary>Something that was asked for and will not be as expected.</summary>
    public static void Warn(string sentence) => Note($"warning: {OptionNames.Dashed(sentence)}");

    /// <summary>Why a command failed, in red where somebody watches; one line, however long.</summary>
    public static void Error(string sentence)
    {
        if (!ErrorsAreWatched || Environment.GetEnvironmentVariable("NO_COLOR") is { Length: > 0 })
            Note($"Error: {sentence}");
        else
            Raw($"\u001b[31mError:\u001b[0m {Printable.Text(sentence)}\n");
    }

    /// <summary>Text with our own control characters, on standard error.</summary>
    public static void Raw(string text) => Write(Errors, text);

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

    private sealed class Streams(TextWriter output, TextWriter errors)
    {
        public TextWriter Output => output;

        public TextWriter Errors => errors;

        public bool OutputLost { get; set; }
    }
}
