using System.CommandLine;
using System.CommandLine.Invocation;
using System.CommandLine.Parsing;
using System.Text.RegularExpressions;
using AfaNative.Engine.Core;

namespace AfaNative.Tool;

/// <summary>
/// What is wrong with a command line, in one sentence that names the option or command, what was expected and what came.
/// </summary>
internal static partial class CommandLineFaults
{
    /// <summary>Refuses what no argument can hold: it would end a path, or could not be written to a file.</summary>
    /// <exception cref="AfaException">An argument has a NUL character, half a surrogate pair, or bytes that are no
    /// text.</exception>
    public static void CheckText(IEnumerable<string> arguments)
    {
        foreach (string argument in arguments)
        {
            if (argument.Contains('\0', StringComparison.Ordinal))
                throw new AfaException($"'{Printable.Shortened(argument)}': an argument cannot hold a NUL character.");
            // What the runtime puts where bytes of an argument are no text.
            if (argument.Contains('\uFFFD', StringComparison.Ordinal))
                throw new AfaException(
                    $"'{Printable.Shortened(argument)}': UTF-8 was expected, but the argument holds other bytes (or U+FFFD, "
                        + "which stands for them)."
                );
            if (!IsWellFormed(argument))
                throw new AfaException($"'{Printable.Shortened(argument)}': an argument cannot hold half a surrogate pair.");
        }
    }

    /// <summary>Whether every surrogate has its other half.</summary>
    public static bool IsWellFormed(string text)
    {
        for (int i = 0; i < text.Length; i++)
        {
            if (!char.IsSurrogate(text[i]))
                continue;
            if (!char.IsHighSurrogate(text[i]) || i + 1 == text.Length || !char.IsLowSurrogate(text[i + 1]))
                return false;
            i++;
        }

        return true;
    }

    /// <summary>The first fault, or null.</summary>
    /// <param name="parsed">The command line, read.</param>
    /// <param name="arguments">As it was given.</param>
    /// <param name="sources">Where options come from that are not on the command line, by name.</param>
    public static string? First(ParseResult parsed, IReadOnlyList<string> arguments, IReadOnlyDictionary<string, string> sources)
    {
        Command command = parsed.CommandResult.Command;
        // Help, the version and suggestions to a shell come first, whatever else is written.
        if (parsed.Action is not null and not ParseErrorAction && !ReferenceEquals(parsed.Action, command.Action))
            return null;
        string name = PathOf(parsed.CommandResult);
        string help = $" ({name} --help lists them)";
        // A mistyped command takes the blame, not the options behind it.
        if (command.Subcommands.Count > 0 && parsed.UnmatchedTokens is [{ } mistyped, ..] && !IsDashed(mistyped))
            return NoCommand(mistyped);
        if (UnknownOption(parsed, arguments) is { } word)
            return $"{name}: '{Printable.Shortened(word)}' is no option"
                + $"{ForeignNames.Hint(word, command) ?? Nearest.Hint(word, Known(parsed))}{help}";
        if (WrongSwitch(parsed, arguments) is { } wrong)
            return $"{wrong.Name}: expected true or false, but '{Printable.Shortened(wrong.Value)}' came.";
        if (parsed.Errors.Count == 0)
            return null;
        if (command.Subcommands.Count > 0)
        {
            return parsed.UnmatchedTokens is [{ } other, ..]
                ? NoCommand(other)
                : $"{name}: a command is missing, one of {string.Join(", ", command.Subcommands.Select(c => c.Name))}{help}";
        }

        if (parsed.UnmatchedTokens is [{ } more, ..])
            return $"{name}: '{Printable.Shortened(more)}' is more than it takes; a text of several words goes in quotes "
                + $"({name} --help says what it takes)";
        ParseError error = parsed.Errors[0];
        string sentence = Sentence(error, command);
        string source =
            OptionOf(error) is { } at && sources.TryGetValue(at.Name, out string? where) ? $" (it is set in {where})" : "";
        return sentence + source;

        string NoCommand(string text) =>
            $"{name}: '{Printable.Shortened(text)}' is no "
            + $"command{Nearest.Hint(text, [.. command.Subcommands.Select(c => c.Name)])}{help}";
    }

    /// <summary>The names of a command's options, those every command has included.</summary>
    public static IEnumerable<string> Known(ParseResult parsed)
    {
        for (CommandResult? at = parsed.CommandResult; at is not null; at = at.Parent as CommandResult)
        {
            foreach (
                Option option in at.Command.Options.Where(o =>
                    !o.Hidden && (o.Recursive || ReferenceEquals(at, parsed.CommandResult))
                )
            )
            {
                yield return option.Name;
                foreach (string alias in option.Aliases)
                    yield return alias;
            }
        }
    }

    private static string PathOf(CommandResult result) =>
        result.Parent is CommandResult above ? $"{PathOf(above)} {result.Command.Name}" : "afa-native";

    // A word with a dash in front that is taken for an argument, or for one more value of an option that takes many.
    private static string? UnknownOption(ParseResult parsed, IReadOnlyList<string> arguments)
    {
        // The letter of a short option with the rest as its value, where the long one was meant: -steps 20.
        string[] known = [.. Known(parsed)];
        string? single = arguments
            .TakeWhile(a => a != "--")
            .FirstOrDefault(a => a.Length > 2 && a[0] == '-' && a[1] != '-' && known.Contains("-" + Bare(a)));
        if (single is not null)
            return Bare(single);
        Token[] dashed =
        [
            .. parsed
                .Tokens.TakeWhile(t => t.Type != TokenType.DoubleDash)
                .Where(t => t.Type == TokenType.Argument && IsDashed(t.Value)),
        ];
        if (dashed.Length == 0)
            return null;
        List<string> values = [];
        for (CommandResult? at = parsed.CommandResult; at is not null; at = at.Parent as CommandResult)
            values.AddRange(at.Children.OfType<OptionResult>().SelectMany(Values));
        return dashed.FirstOrDefault(t => !values.Remove(t.Value)) is { } unknown ? Bare(unknown.Value) : null;

        // What an option of one value takes is its value, whatever it looks like.
        static IEnumerable<string> Values(OptionResult result) =>
            result
                .Tokens.Select(t => t.Value)
                .Where(
                    (v, i) =>
                        !result.Option.AllowMultipleArgumentsPerToken
                        || StrictOptions.IsNumeric(result.Option) && char.IsAsciiDigit(v[^1])
                );

        static string Bare(string value) => value.Split('=')[0];
    }

    // --json=maybe: the parser would take the word behind the switch for an argument.
    private static (string Name, string Value)? WrongSwitch(ParseResult parsed, IReadOnlyList<string> arguments)
    {
        foreach (
            string argument in arguments
                .TakeWhile(a => a != "--")
                .Where(a => IsDashed(a) && a.Contains('=', StringComparison.Ordinal))
        )
        {
            string[] parts = argument.Split('=', 2);
            if (
                parsed
                    .CommandResult.Command.Options.Concat(parsed.RootCommandResult.Command.Options)
                    .FirstOrDefault(o => o.Name == parts[0] || o.Aliases.Contains(parts[0])) is Option<bool>
                && !bool.TryParse(parts[1], out _)
            )
                return (parts[0], parts[1]);
        }

        return null;
    }

    private static bool IsDashed(string value) => value.Length > 1 && value[0] == '-';

    private static Option? OptionOf(ParseError error) =>
        error.SymbolResult switch
        {
            OptionResult o => o.Option,
            ArgumentResult { Parent: OptionResult o } => o.Option,
            _ => null,
        };

    private static string Sentence(ParseError error, Command command)
    {
        string message = error.Message.ReplaceLineEndings("\n");
        string[] lines = message.Split('\n');
        string name = OptionOf(error)?.Name ?? (error.SymbolResult as ArgumentResult)?.Argument.Name ?? command.Name;
        IReadOnlyList<Token> tokens = error.SymbolResult?.Tokens ?? [];
        if (lines.Length > 1 && Choice().Match(lines[0]) is { Success: true } chosen)
        {
            string[] choices = [.. lines[1..].Select(l => l.Trim().Trim('\'')).Where(l => l.Length > 0)];
            string came = chosen.Groups[1].Value;
            return $"{name}: expected one of {string.Join(", ", choices)}, but '{Printable.Shortened(came)}' "
                + $"came{Nearest.Hint(came, choices)}";
        }

        if (Required().Match(message) is { Success: true } required)
            return $"{command.Name}: {required.Groups[1].Value} is missing.";
        if (message.StartsWith("Required argument missing", StringComparison.Ordinal))
        {
            if (OptionOf(error) is { } option)
                return $"{option.Name}: a value is missing.";
            Argument? missing = command.Arguments.FirstOrDefault(a => a.Arity.MinimumNumberOfValues > 0);
            return $"{command.Name}: {missing?.Name ?? "an argument"} is missing.";
        }

        if (message.Contains("expects a single argument", StringComparison.Ordinal))
            return $"{name}: expected one value, but {tokens.Count} came: "
                + $"{string.Join(", ", tokens.Select(t => $"'{Printable.Shortened(t.Value)}'"))}.";
        if (message.Contains("System.Boolean", StringComparison.Ordinal))
            return $"{name}: expected true or false, but '{Printable.Shortened(tokens.Count > 0 ? tokens[^1].Value : "")}' came.";
        return message.Replace('\n', ' ');
    }

    [GeneratedRegex("^Argument '(.*)' not recognized", RegexOptions.CultureInvariant)]
    private static partial Regex Choice();

    [GeneratedRegex("^Option '(.*)' is required", RegexOptions.CultureInvariant)]
    private static partial Regex Required();
}
