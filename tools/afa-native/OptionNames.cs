using System.CommandLine;
using System.Text.RegularExpressions;

namespace AfaNative.Tool;

/// <summary>
/// The libraries speak of settings, in backquotes (<c>`batch-size`</c>): whoever embeds them has no command line. Here a setting
/// is an option, and has its dashes.
/// </summary>
internal static partial class OptionNames
{
    private static readonly Lazy<HashSet<string>> s_known = new(() => [.. Names(CommandLineProgram.Root())]);

    /// <summary>A sentence with dashes before every setting that is an option of some command; other backquotes stay.</summary>
    public static string Dashed(string sentence) =>
        sentence.Contains('`', StringComparison.Ordinal)
            ? Quoted().Replace(sentence, m => s_known.Value.Contains(m.Groups[1].Value) ? "--" + m.Groups[1].Value : m.Value)
            : sentence;

    /// <summary>The same for texts of our own, where every backquoted name is an option.</summary>
    public static string AllDashed(string sentence) => Quoted().Replace(sentence, "--$1");

    private static IEnumerable<string> Names(Command command) =>
        command.Options.Select(o => o.Name.TrimStart('-')).Concat(command.Subcommands.SelectMany(Names));

    [GeneratedRegex("`([a-z][a-z0-9-]*)`", RegexOptions.CultureInvariant)]
    private static partial Regex Quoted();
}
