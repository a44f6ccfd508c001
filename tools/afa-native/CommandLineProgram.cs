using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using AfaNative.Tool.Commands;

namespace AfaNative.Tool;

/// <summary>The root command, and the one place where errors become a sentence and an exit code.</summary>
internal static partial class CommandLineProgram
{
    /// <summary>Exit code of a failure the user can act on.</summary>
    public const int Failure = 1;

    /// <summary>Exit code after Ctrl+C, as shells count it.</summary>
    public const int Interrupted = 130;

    /// <summary>Exit code after SIGTERM, as shells count it.</summary>
    public const int Terminated = 143;

    /// <summary>Exit code after SIGHUP.</summary>
    public const int HungUp = 129;

    private static readonly Option<bool> s_verbose = new("--verbose")
    {
        Description = "Show the stack trace of an error; verify lists every tensor too.",
        Recursive = true,
    };

    /// <summary>Whether more than usual is to be said.</summary>
    public static bool IsVerbose(ParseResult parsed) => parsed.GetValue(s_verbose);

    // An @ in front of a prompt is part of it.
    private static readonly ParserConfiguration s_parsing = new() { ResponseFileTokenReplacer = null };

    /// <summary>All commands, every option strict.</summary>
    public static RootCommand Root()
    {
        var root = new RootCommand(
            "Samples from several Stable Diffusion models as one (adaptive feature aggregation). Exit codes: 0 done, 1 an "
                + "error, 130 after Ctrl+C, 143 after SIGTERM."
        )
        {
            SampleCommand.Create(),
            TrainCommand.Create(),
            ReportCommand.Create(),
            ScreenCommand.Create(),
            InspectCommand.Create(),
            SynthCommand.Create(),
            EnsembleCommand.Create(),
            MergeCommand.Create(),
            VerifyCommand.Create(),
            DevicesCommand.Create(),
            SamplersCommand.Create(),
            DemoCommand.Create(),
            BenchCommand.Create(),
            CompletionCommand.Create(),
        };
        // As words of a path they would stand in the way of completing one.
        foreach (HelpOption help in root.Options.OfType<HelpOption>())
            _ = help.Aliases.Remove("/?") && help.Aliases.Remove("/h");
        root.Options.Add(s_verbose);
        root.Options.Add(ConfigFile.Option);
        StrictOptions.Apply(root);
        return root;
    }

    /// <summary>Reads a command line.</summary>
    public static ParseResult Parse(Command root, IReadOnlyList<string> arguments)
    {
        // --prompt= is an empty prompt; the parser would look for it in the next word.
        int end = arguments.TakeWhile(a => a != "--").Count();
        return root.Parse(
            [
                .. arguments.SelectMany(
                    (a, i) =>
                        i < end
                        && a.Length > 3
                        && a.StartsWith("--", StringComparison.Ordinal)
                        && a.IndexOf('=', StringComparison.Ordinal) == a.Length - 1
                            ? (string[])[a[..^1], ""]
                            : [a]
                ),
            ],
            s_parsing
        );
    }

    public static async Task<int> RunAsync(string[] args)
    {
        // Numbers look the same whatever the machine's language.
        CultureInfo.CurrentCulture = CultureInfo.CurrentUICulture = CultureInfo.InvariantCulture;
        CultureInfo.DefaultThreadCurrentCulture = CultureInfo.DefaultThreadCurrentUICulture = CultureInfo.InvariantCulture;
        using var signals = new EndSignals();
        RootCommand root = Root();
        ParseResult parsed = Parse(root, args);
        try
        {
            if (args.Length == 0)
            {
                await Parse(root, ["--help"]).InvokeAsync(Invocation()).ConfigureAwait(false);
                return Failure;
            }

            CommandLineFaults.CheckText(args);
            var sources = new Dictionary<string, string>();
            string[] expanded = ConfigFile.Expand(root, args, sources);
            parsed = Parse(root, expanded);
            if (CommandLineFaults.First(parsed, expanded, sources) is { } fault)
                return Fail(parsed, fault);
            signals.Watch(parsed.Action);
            // A command below another takes its own arguments, not those above it.
            if (parsed.Action is HelpAction)
            {
                for (SymbolResult? at = parsed.CommandResult.Parent; at is CommandResult above; at = above.Parent)
                {
                    foreach (Argument argument in above.Command.Arguments)
                        argument.Hidden = true;
                }
            }

            int code = await parsed.InvokeAsync(Invocation(), signals.Token).ConfigureAwait(false);
            return code == 0 && Terminal.OutputLost && parsed.Action is not HelpAction ? Lost() : code;
        }
        catch (OperationCanceledException)
        {
            if (Has(parsed, ResultLines.Json))
                Fail(parsed, "Cancelled.");
            else
                Terminal.Note("Cancelled. Nothing half-written was left behind.");
            return signals.Code;
        }
        catch (IOException) when (parsed.Action is not null && parsed.GetResult("--version") is OptionResult { Implicit: false })
        {
            return Lost();
        }
        catch (Exception e)
        {
            int code = Fail(parsed, ErrorSentence.Of(e));
            if (Has(parsed, s_verbose))
                Terminal.Note(e.ToString());
            return code;
        }
    }

    private static InvocationConfiguration Invocation() =>
        new()
        {
            Output = Terminal.Output,
            Error = Terminal.Errors,
            EnableDefaultExceptionHandler = false,
            ProcessTerminationTimeout = null,
        };

    // What was asked for is done, but whoever reads the results has not got them all.
    private static int Lost()
    {
        Terminal.Error(
            "Not all results could be written to standard output (it is closed, full, or nobody reads it); files are "
                + "written all the same."
        );
        return Failure;
    }

    private static int Fail(ParseResult parsed, string sentence)
    {
        // One line, whatever names it quotes, and however long they are.
        string line = LongWord().Replace(sentence.ReplaceLineEndings(" "), m => $"{m.Value[..100]}...{m.Value[^40..]}");
        if (Has(parsed, ResultLines.Json))
            ResultLines.WriteObject(new JsonObject { ["error"] = line });
        else
            Terminal.Error(line);
        return Failure;
    }

    [GeneratedRegex(@"\S{300,}", RegexOptions.CultureInvariant)]
    private static partial Regex LongWord();

    // A switch that is set, where others may be wrong: asking for the value of one that is would throw.
    private static bool Has(ParseResult parsed, Option<bool> option) =>
        parsed.GetResult(option) is { Implicit: false } r
        && (r.Tokens.Count == 0 || !r.Tokens[^1].Value.Equals("false", StringComparison.OrdinalIgnoreCase));
}
