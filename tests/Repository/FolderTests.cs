using System.Text.RegularExpressions;
using Xunit;

namespace AfaNative.Tests.Repository;

/// <summary>Folders of the engine use only those before them in docs/architecture.md, so they form no circle.</summary>
public sealed partial class FolderTests
{
    [Fact]
    public void Folders_of_the_engine_use_only_those_before_them()
    {
        string root = Sources.Root();
        // The rows of the table that begin with a folder's name.
        string page = File.ReadAllText(Path.Combine(root, "docs", "architecture.md"));
        string[] order = [.. Row().Matches(page).Select(m => m.Groups[1].Value)];
        string[] folders = [.. Sources.Files(Path.Combine(root, "engine")).Where(f => f.Contains('/')).Select(Top).Distinct()];
        Assert.Equal(folders.Order(StringComparer.Ordinal), order.Order(StringComparer.Ordinal));

        FolderGraph graph = FolderGraph.Read(Path.Combine(root, "engine"), "AfaNative.Engine");
        Assert.NotEmpty(graph.Arrows);
        Assert.Empty(graph.Misplaced);
        FolderGraph.Arrow[] against =
        [
            .. graph.Arrows.Where(a => Array.IndexOf(order, Top(a.To)) > Array.IndexOf(order, Top(a.From))),
        ];
        Assert.True(against.Length == 0, string.Join<FolderGraph.Arrow>('\n', against));
    }

    private static string Top(string path) => path.Split('/')[0];

    [GeneratedRegex(@"^\| `([A-Z]\w+)` \|", RegexOptions.Multiline)]
    private static partial Regex Row();
}
