using System.CommandLine;
using System.CommandLine.Parsing;
using AfaNative.Engine.Core;

namespace AfaNative.Tool;

/// <summary>
/// <c>--config FILE</c>: options of a command as a JSON object or, in a file named .yaml or .yml, a YAML mapping; what the
/// command line says as well counts more.
/// </summary>
internal static class ConfigFile
{
    /// <summary>The option itself, known to every command.</summary>
    public static Option<string?> Option { get; } =
        new("--config")
        {
            Description =
                "A JSON object or a YAML mapping (.yaml, .yml) of options, named as on the command line without dashes; "
                + "options given as well count more.",
            Recursive = true,
        };

    /// <summary>The arguments with those of the file added.</summary>
    /// <param name="root">All commands.</param>
    /// <param name="args">The command line.</param>
    /// <param name="sources">Gets where each option of the file is written, by its name.</param>
    /// <exception cref="AfaException">The file cannot be read, names what the command does not know, or holds a value that cannot
    /// count.</exception>
    public static string[] Expand(RootCommand root, string[] args, IDictionary<string, string>? sources = null)
    {
        ParseResult parsed = CommandLineProgram.Parse(root, args);
        // Asking for its value would throw where it has none; what is wrong with it is said when all is read.
        if (parsed.GetResult(Option) is not { Tokens: [{ Value: { Length: > 0 } path }] })
            return args;
        Command command = parsed.CommandResult.Command;
        List<string> options = [],
            words = [];
        var seen = new Dictionary<Symbol, string>();
        foreach (ConfigEntry entry in ConfigReader.Read(path))
        {
            Symbol symbol = Find(parsed, entry);
            if (!seen.TryAdd(symbol, entry.Name))
                throw new AfaException(
                    $"{entry.Where}: '{entry.Name}' says again what '{seen[symbol]}' says; one of them would not count."
                );
            Check(entry, symbol);
            CommandLineFaults.CheckText(entry.Values);
            if (symbol is Argument argument)
            {
                if (parsed.GetResult(argument) is not { Tokens.Count: > 0 })
                    words.AddRange(entry.Values);
                continue;
            }

            if (parsed.GetResult((Option)symbol) is { Implicit: false })
                continue;
            sources?.TryAdd(symbol.Name, entry.Where);
            // A value with a dash in front would be taken for an option.
            foreach (string value in entry.Values)
                options.AddRange(value.StartsWith('-') ? [$"{symbol.Name}={value}"] : [symbol.Name, value]);
        }

        // What stands behind -- is never an option.
        int end = Array.IndexOf(args, "--");
        if (end < 0 && words.Any(w => w.StartsWith('-')))
            return [.. args, .. options, "--", .. words];
        return end < 0 ? [.. args, .. words, .. options] : [.. args[..end], .. options, .. args[end..], .. words];
    }

    private static Symbol Find(ParseResult parsed, ConfigEntry entry)
    {
        Command command = parsed.CommandResult.Command;
        string name = entry.Name.Replace('_', '-');
        if (command.Arguments.FirstOrDefault(a => a.Name.Equals(name, StringComparison.OrdinalIgnoreCase)) is { } argument)
            return argument;
        // Options of every command count here too, but for those that would read another file or print something else.
        IEnumerable<Option> shared = parsed.RootCommandResult.Command.Options.Where(o =>
            o.Recursive && o.ValueType == typeof(bool) && o.Name is not ("--help" or "--version")
        );
        Option[] options = [.. command.Options.Where(o => o.Name is not ("--help" or "--version" or "--config")).Union(shared)];
        if (options.FirstOrDefault(o => o.Name == "--" + name || o.Aliases.Contains("--" + name)) is { } option)
            return option;
        IEnumerable<string> known = options
            .SelectMany(o => o.Aliases.Append(o.Name))
            .Where(n => n.StartsWith("--", StringComparison.Ordinal))
            .Select(n => n[2..])
            .Concat(command.Arguments.Select(a => a.Name));
        string hint = ForeignNames.Hint(name, command) ?? Nearest.Hint(name.TrimStart('-'), known);
        throw new AfaException(
            $"{entry.Where}: '{Printable.Shortened(entry.Name)}' is no option of {command.Name}{hint}; --help lists them."
        );
    }

    private static void Check(ConfigEntry entry, Symbol symbol)
    {
        (Type type, int most) = symbol switch
        {
            Option o => (o.ValueType, o.Arity.MaximumNumberOfValues),
            _ => (((Argument)symbol).ValueType, ((Argument)symbol).Arity.MaximumNumberOfValues),
        };
        if (entry.Values.Count == 0)
            throw new AfaException($"{entry.Where}: '{entry.Name}' is an empty list, which says nothing; leave it out.");
        if (entry.Values.Count > most)
            throw new AfaException($"{entry.Where}: '{entry.Name}' takes one value, but a list of {entry.Values.Count} came.");
        if (type == typeof(bool) && entry.Values[0] is not ("true" or "false"))
            throw new AfaException(
                $"{entry.Where}: '{entry.Name}' takes true or false, not '{Printable.Shortened(entry.Values[0])}'."
            );
        if (type != typeof(bool) && entry.IsSwitch)
            throw new AfaException(
                $"{entry.Where}: '{entry.Name}' is no switch: expected a text or a number, but {entry.Values[0]} came (in "
                    + $"quotes it is a text)."
            );
    }
}
