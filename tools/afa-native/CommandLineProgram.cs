using System.CommandLine;
using System.CommandLine.Help;
using System.Text.Json.Nodes;
using AfaNative.Engine;
using AfaNative.Kernels.Devices;
using AfaNative.Tool.Commands;

namespace AfaNative.Tool;

/// <summary>The root command, and the one place where errors become a sentence and an exit code.</summary>
internal static class CommandLineProgram
{
    /// <summary>Exit code of a failure the user can act on.</summary>
    public const int Failure = 1;

    /// <summary>Exit code after Ctrl+C, as shells count it.</summary>
    public const int Interrupted = 130;

    private static readonly Option<bool> s_verbose = new("--verbose") { Description = "Show the stack trace of an error; verify lists every tensor too.", Recursive = true };

    /// <summary>Whether more than usual is to be said.</summary>
    public static bool IsVerbose(ParseResult parsed) => parsed.GetValue(s_verbose);

    public static async Task<int> RunAsync(string[] args)
    {
        var root = new RootCommand("Samples from several Stable Diffusion models as one (adaptive feature aggregation).")
        {
            SampleCommand.Create(), TrainCommand.Create(), ReportCommand.Create(), ScreenCommand.Create(), InspectCommand.Create(), SynthCommand.Create(), EnsembleCommand.Create(), MergeCommand.Create(), VerifyCommand.Create(), DevicesCommand.Create(), SamplersCommand.Create(), DemoCommand.Create(), BenchCommand.Create(), CompletionCommand.Create(),
        };
        // As words of a path they would stand in the way of completing one.
        foreach (HelpOption help in root.Options.OfType<HelpOption>()) _ = help.Aliases.Remove("/?") && help.Aliases.Remove("/h");
        root.Options.Add(s_verbose);
        root.Options.Add(ConfigFile.Option);
        ParseResult parsed = root.Parse(args);
        try
        {
            parsed = root.Parse(ConfigFile.Expand(root, args));
            if (parsed.Errors.Count > 0 && parsed.GetValue(ResultLines.Json)) return Fail(parsed, string.Join(' ', parsed.Errors.Select(e => e.Message)));
            return await parsed.InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = TimeSpan.FromSeconds(60) }).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            if (parsed.GetValue(ResultLines.Json)) Fail(parsed, "Cancelled.");
            else Terminal.Note("Cancelled. Nothing half-written was left behind.");
            return Interrupted;
        }
        catch (Exception e)
        {
            if (parsed.GetValue(s_verbose)) Terminal.Note(e.ToString());
            return Fail(parsed, Sentence(e));
        }
    }

    private static int Fail(ParseResult parsed, string sentence)
    {
        if (parsed.GetValue(ResultLines.Json)) ResultLines.WriteObject(new JsonObject { ["error"] = sentence });
        else if (!parsed.GetValue(s_verbose)) Terminal.Error(sentence);
        return Failure;
    }

    private static string Sentence(Exception e) => e switch
    {
        AfaException => e.Message,
        DeviceMemoryException => e.Message,
        OutOfMemoryException => "Out of memory: a smaller --width and --height, or fewer experts, need less.",
        UnauthorizedAccessException or IOException => e.Message,
        _ => $"{e.Message} (unexpected {e.GetType().Name}; --verbose shows where)",
    };
}
