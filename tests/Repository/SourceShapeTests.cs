using System.Text.RegularExpressions;
using Xunit;

namespace AfaNative.Tests.Repository;

/// <summary>What every source file keeps to, read from the checkout the tests were built in.</summary>
public sealed partial class SourceShapeTests
{
    private const int Columns = 130;

    // Tables that a program wrote.
    private static readonly string[] s_generated = ["engine/Prompts/NfcData.cs"];

    [Fact]
    public void No_line_is_longer_than_130_columns()
    {
        string root = Sources.Root();
        var beyond = new List<string>();
        foreach (string file in Sources.Files(root).Except(s_generated))
        {
            string[] lines = File.ReadAllLines(Path.Combine(root, file));
            for (int i = 0; i < lines.Length; i++)
            {
                if (lines[i].Length > Columns)
                    beyond.Add($"{file}:{i + 1}: {lines[i].Length} columns");
            }
        }

        Assert.True(beyond.Count == 0, string.Join('\n', beyond));
    }

    // Names under which run folders keep what was asked for.
    private static readonly string[] s_recorded = ["engine/Training/RunIdentity.cs", "engine/Training/NetworkTraining.cs"];

    /// <summary>Whoever embeds the libraries has no command line: they quote settings, and the tool adds dashes.</summary>
    [Fact]
    public void Libraries_speak_of_settings_not_of_options()
    {
        string root = Sources.Root();
        IEnumerable<string> libraries = Sources
            .Files(root)
            .Where(f => f.StartsWith("engine/", StringComparison.Ordinal) || f.StartsWith("kernels/", StringComparison.Ordinal));
        string[] lines =
        [
            .. libraries
                .Except(s_recorded)
                .SelectMany(f => File.ReadLines(Path.Combine(root, f)).Select((l, i) => (Line: l, At: $"{f}:{i + 1}")))
                .Where(l => !l.Line.TrimStart().StartsWith("//", StringComparison.Ordinal) && Option().IsMatch(l.Line))
                .Select(l => $"{l.At}: {l.Line.Trim()}"),
        ];
        Assert.True(lines.Length == 0, string.Join('\n', lines));
    }

    [GeneratedRegex("\"[^\"]*--[a-z][a-z-]+", RegexOptions.CultureInvariant)]
    private static partial Regex Option();
}

/// <summary>The C# sources of the checkout.</summary>
internal static class Sources
{
    /// <summary>The folder that holds AfaNative.sln; the test is skipped where there is none above the binaries.</summary>
    internal static string Root()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "AfaNative.sln")))
                return folder.FullName;
        }

        Assert.Skip("the sources are not around these binaries");
        return "";
    }

    /// <summary>Paths from the root, with forward slashes; nothing that a build wrote.</summary>
    internal static IEnumerable<string> Files(string root) =>
        Directory
            .EnumerateFiles(root, "*.cs", SearchOption.AllDirectories)
            .Select(f => Path.GetRelativePath(root, f).Replace('\\', '/'))
            .Where(f => !f.Split('/').Any(p => p is "bin" or "obj" or "artifacts" || p.StartsWith('.')))
            .Order(StringComparer.Ordinal);
}
