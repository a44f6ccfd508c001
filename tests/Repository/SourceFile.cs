using System.Text.RegularExpressions;

namespace AfaNative.Tests.Repository;

/// <summary>A C# file without its comments and strings: its namespace, what it uses, what it declares, and its tokens.</summary>
internal sealed partial class SourceFile
{
    /// <summary>What the project's own folder is called.</summary>
    public const string RootFolder = ".";

    /// <summary>Path below the project's folder, with forward slashes.</summary>
    public required string Path { get; init; }

    /// <summary>Its folder there.</summary>
    public string Folder => Path.Contains('/') ? Path[..Path.LastIndexOf('/')] : RootFolder;

    /// <summary>Its namespace; empty for a program without one.</summary>
    public string Namespace { get; private init; } = "";

    /// <summary>Namespaces it imports.</summary>
    public required IReadOnlyList<string> Usings { get; init; }

    /// <summary>Namespaces it imports for all files.</summary>
    public required IReadOnlyList<string> GlobalUsings { get; init; }

    /// <summary>Types that its using-directives name, with their namespaces.</summary>
    public required IReadOnlyList<string> NamedByUsings { get; init; }

    /// <summary>Types it declares that are not within another.</summary>
    public required IReadOnlyList<string> Declared { get; init; }

    /// <summary>Words and signs after the using-directives.</summary>
    public required IReadOnlyList<string> Tokens { get; init; }

    /// <summary>Reads a file.</summary>
    public static SourceFile Parse(string path, string text)
    {
        string code = SourceText.WithoutCommentsAndStrings(text);
        List<string> usings = [],
            global = [],
            named = [];
        string body = UsingDirective()
            .Replace(
                code,
                match =>
                {
                    string name = match.Groups["name"].Value;
                    if (match.Groups["static"].Success || match.Groups["alias"].Success)
                        named.Add(name);
                    else if (match.Groups["global"].Success)
                        global.Add(name);
                    else
                        usings.Add(name);
                    return "";
                }
            );
        Match space = NamespaceDeclaration().Match(body);
        string[] tokens = [.. Token().Matches(body).Select(m => m.Value)];
        return new SourceFile
        {
            Path = path,
            Namespace = space.Groups["name"].Value,
            Usings = usings,
            GlobalUsings = global,
            NamedByUsings = named,
            Declared = [.. TopLevelTypes(tokens, space.Groups["block"].Success ? 1 : 0)],
            Tokens = tokens,
        };
    }

    private static IEnumerable<string> TopLevelTypes(string[] tokens, int level)
    {
        int depth = 0;
        for (int i = 0; i + 1 < tokens.Length; i++)
        {
            if (tokens[i] == "{")
                depth++;
            else if (tokens[i] == "}")
                depth--;
            if (depth != level)
                continue;
            if (tokens[i] is "class" or "struct" or "interface" or "enum" && TypeReferences.IsWord(tokens[i + 1]))
                yield return tokens[i + 1];
            else if (tokens[i] == "record" && tokens[i + 1] is not ("struct" or "class"))
                yield return tokens[i + 1];
            else if (tokens[i] == "delegate" && tokens[i + 1] != "*")
                yield return DelegateName(tokens, i + 1);
        }
    }

    // The word before the parameters, or before the type parameters in front of these.
    private static string DelegateName(string[] tokens, int at)
    {
        string name = "";
        int nested = 0;
        for (int i = at; i < tokens.Length && tokens[i] != ";"; i++)
        {
            bool afterName = nested == 0 && TypeReferences.IsWord(tokens[i - 1]) && i > at;
            if (afterName && (tokens[i] is "(" or "<"))
                name = tokens[i - 1];
            if (nested == 0 && tokens[i] == "(" && name.Length != 0)
                break;
            nested +=
                tokens[i] is "(" or "<" ? 1
                : tokens[i] is ")" or ">" ? -1
                : 0;
        }

        return name;
    }

    [GeneratedRegex(
        @"(?<=^|[;{}])\s*(?<global>global\s+)?using\s+(?<static>static\s+)?(?:(?<alias>\w+)\s*=\s*)?"
            + @"(?<name>[A-Za-z_][\w.]*)(?:<[^;]*>)?\s*;",
        RegexOptions.Multiline
    )]
    private static partial Regex UsingDirective();

    [GeneratedRegex(@"(?<=^|[;{}])\s*namespace\s+(?<name>[\w.]+)\s*(?:;|(?<block>\{))", RegexOptions.Multiline)]
    private static partial Regex NamespaceDeclaration();

    [GeneratedRegex(@"[A-Za-z_]\w*|\d[\w.]*|\S")]
    private static partial Regex Token();
}
