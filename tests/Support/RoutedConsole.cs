using System.Text;

namespace AfaNative.Tests.Support;

/// <summary>What code writes to the console while a test calls it goes to that test; others may run beside it.</summary>
internal static class RoutedConsole
{
    private static readonly AsyncLocal<TextWriter?> s_target = new();

    static RoutedConsole() => Console.SetOut(new Router(Console.Out));

    public static string Capture(Action run)
    {
        using var text = new StringWriter();
        s_target.Value = TextWriter.Synchronized(text);
        try
        {
            run();
            return text.ToString();
        }
        finally
        {
            s_target.Value = null;
        }
    }

    private sealed class Router(TextWriter otherwise) : TextWriter
    {
        public override Encoding Encoding => otherwise.Encoding;

        private TextWriter Target => s_target.Value ?? otherwise;

        public override void Write(char value) => Target.Write(value);

        public override void Write(string? value) => Target.Write(value);

        public override void Write(char[] buffer, int index, int count) => Target.Write(buffer, index, count);

        public override void Flush() => Target.Flush();
    }
}
