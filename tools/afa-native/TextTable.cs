using AfaNative.Engine.Core;
using Spectre.Console;

namespace AfaNative.Tool;

/// <summary>
/// Tables, drawn into text and shown as any result: names in them are escaped, and where nobody watches no line is wrapped.
/// </summary>
internal static class TextTable
{
    // Wider than any table: what is piped keeps one line a row.
    private const int Unwrapped = 100_000;

    /// <summary>A table with these columns.</summary>
    public static Table Of(params string[] columns) => new Table().AddColumns(columns);

    /// <summary>Adds a row of plain texts.</summary>
    public static void Row(Table table, params string[] cells) =>
        table.AddRow([.. cells.Select(c => Markup.Escape(Printable.Text(c).ReplaceLineEndings("\\n")))]);

    /// <summary>Shows it on standard output.</summary>
    public static void Show(Table table) =>
        Terminal.Result(Draw(table, Terminal.OutputIsWatched ? Math.Max(40, AnsiConsole.Profile.Width) : Unwrapped));

    /// <summary>The table as text, at most so many columns wide.</summary>
    public static string Draw(Table table, int width)
    {
        using var text = new StringWriter { NewLine = "\n" };
        IAnsiConsole console = AnsiConsole.Create(
            new AnsiConsoleSettings
            {
                Ansi = AnsiSupport.No,
                ColorSystem = ColorSystemSupport.NoColors,
                Interactive = InteractionSupport.No,
                Out = new AnsiConsoleOutput(text),
            }
        );
        console.Profile.Width = width;
        console.Profile.Capabilities.Unicode = true;
        console.Write(table);
        return text.ToString().TrimEnd('\n');
    }
}
