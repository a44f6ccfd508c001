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
        string[] order = Order(File.ReadAllText(Path.Combine(root, "docs", "architecture.md")));
        var against = new List<string>();
        foreach (string file in Sources.Files(root).Where(f => f.StartsWith("engine/", StringComparison.Ordinal)))
        {
            string[] parts = file.Split('/');
            int own = Array.IndexOf(order, parts[1]);
            if (own < 0)
            {
                against.Add($"{file}: docs/architecture.md has no folder {parts[1]}");
                continue;
            }

            string[] lines = File.ReadAllLines(Path.Combine(root, file));
            for (int i = 0; i < lines.Length; i++)
            {
                // What comments speak of is no dependency.
                string code = lines[i].TrimStart().StartsWith("//", StringComparison.Ordinal) ? "" : lines[i];
                foreach (Match use in Use().Matches(code))
                {
                    int other = Array.IndexOf(order, use.Groups[1].Value);
                    if (other > own)
                        against.Add($"{file}:{i + 1}: {order[own]} uses {order[other]}, which stands after it");
                }
            }
        }

        Assert.True(against.Count == 0, string.Join('\n', against));
    }

    // The rows of the table that begin with a folder's name.
    private static string[] Order(string page)
    {
        string[] order = [.. Row().Matches(page).Select(m => m.Groups[1].Value)];
        Assert.Contains("Core", order);
        return order;
    }

    [GeneratedRegex(@"\bEngine\.([A-Z]\w+)")]
    private static partial Regex Use();

    [GeneratedRegex(@"^\| `([A-Z]\w+)` \|", RegexOptions.Multiline)]
    private static partial Regex Row();
}
