using System.Text.RegularExpressions;
using Xunit;

namespace AfaNative.Tests.Repository;

/// <summary>What the Markdown pages of the checkout keep to: links lead somewhere, lines can be read.</summary>
public sealed partial class LinkTests
{
    private const int Columns = 130;

    [Fact]
    public void Every_relative_link_and_anchor_leads_somewhere()
    {
        string root = Sources.Root();
        var broken = new List<string>();
        foreach (string page in Pages(root))
        {
            foreach (string link in Links(Prose(File.ReadAllText(Path.Combine(root, page)))))
            {
                if (Fault(root, page, link) is { } fault)
                    broken.Add($"{page}: {link}: {fault}");
            }
        }

        Assert.True(broken.Count == 0, string.Join('\n', broken));
    }

    [Fact]
    public void Every_path_of_the_sources_that_a_page_names_is_there()
    {
        string root = Sources.Root();
        var missing = new List<string>();
        // Logs name what was.
        foreach (string page in Pages(root).Where(p => !p.StartsWith("docs/log/", StringComparison.Ordinal)))
        {
            foreach (Match path in SourcePath().Matches(File.ReadAllText(Path.Combine(root, page))))
            {
                if (!Path.Exists(Path.Combine(root, path.Groups[1].Value)))
                    missing.Add($"{page}: {path.Groups[1].Value}");
            }
        }

        Assert.True(missing.Count == 0, string.Join('\n', missing));
    }

    [Fact]
    public void Every_page_of_docs_is_reached_from_its_index()
    {
        string root = Sources.Root();
        string index = Path.Combine("docs", "README.md");
        string[] linked = [.. Links(File.ReadAllText(Path.Combine(root, index))).Select(l => $"docs/{l.Split('#')[0]}")];
        // The packages' page is theirs.
        string[] missing =
        [
            .. Pages(root)
                .Where(p => p.StartsWith("docs/", StringComparison.Ordinal))
                .Except([.. linked, "docs/README.md", "docs/package.md", "docs/api/index.md"]),
        ];
        Assert.Empty(missing);
    }

    [Fact]
    public void The_librarys_guide_shows_the_first_sample()
    {
        string root = Sources.Root();
        string sample = File.ReadAllText(Path.Combine(root, "samples", "OnePicture", "Program.cs")).Trim();
        string guide = File.ReadAllText(Path.Combine(root, "docs", "guide", "library.md"));
        Assert.Contains(sample, guide, StringComparison.Ordinal);
    }

    [Fact]
    public void Prose_has_130_columns()
    {
        string root = Sources.Root();
        var beyond = new List<string>();
        foreach (string page in Pages(root))
        {
            string[] lines = File.ReadAllLines(Path.Combine(root, page));
            for (int i = 0; i < lines.Length; i++)
            {
                bool table = lines[i].StartsWith('|');
                bool code = lines[i].StartsWith("    ", StringComparison.Ordinal);
                if (lines[i].Length > Columns && !table && !code)
                    beyond.Add($"{page}:{i + 1}: {lines[i].Length} columns");
            }
        }

        Assert.True(beyond.Count == 0, string.Join('\n', beyond));
    }

    [Theory]
    [InlineData("## Kernels and devices", "kernels-and-devices")]
    [InlineData(
        "# Scheduler configuration (`scheduler/scheduler_config.json`)",
        "scheduler-configuration-schedulerscheduler_configjson"
    )]
    [InlineData("### Texts in pictures, and `--from`", "texts-in-pictures-and---from")]
    public void Anchors_are_as_hosts_make_them(string heading, string anchor) => Assert.Equal(anchor, Anchor(heading));

    // README and what lies beside it, docs/, samples/, benchmarks/; models and goldens have cards that are not ours to check.
    private static IEnumerable<string> Pages(string root) =>
        Directory
            .EnumerateFiles(root, "*.md", SearchOption.AllDirectories)
            .Select(f => Path.GetRelativePath(root, f).Replace('\\', '/'))
            .Where(f => !f.Contains('/') || f.StartsWith("docs/") || f.StartsWith("samples/") || f.StartsWith("benchmarks/"))
            .Where(f => !f.Split('/').Any(p => p is "bin" or "obj" or "_site"))
            .Order(StringComparer.Ordinal);

    private static string? Fault(string root, string page, string link)
    {
        // docfx looks after references to types.
        if (link.Contains("://", StringComparison.Ordinal) || link.StartsWith("xref:", StringComparison.Ordinal))
            return null;
        string[] parts = link.Split('#', 2);
        string folder = Path.GetDirectoryName(Path.Combine(root, page))!;
        string target = parts[0].Length == 0 ? Path.Combine(root, page) : Path.GetFullPath(Path.Combine(folder, parts[0]));
        if (!Path.Exists(target))
            return "no such file";
        if (parts.Length == 1)
            return null;
        IEnumerable<string> anchors = Prose(File.ReadAllText(target)).Split('\n').Where(l => l.StartsWith('#')).Select(Anchor);
        return anchors.Contains(parts[1]) ? null : "no such heading";
    }

    private static IEnumerable<string> Links(string text) => Link().Matches(text).Select(m => m.Groups[1].Value);

    // Without code, in which brackets are no links and # is no heading.
    private static string Prose(string text) =>
        string.Join('\n', Fence().Replace(text, "").Split('\n').Where(l => !l.StartsWith("    ", StringComparison.Ordinal)));

    private static string Anchor(string heading) =>
        NoLetter().Replace(heading.TrimStart('#').Trim().ToLowerInvariant(), "").Replace(' ', '-');

    [GeneratedRegex(@"\]\(([^)\s]+)\)")]
    private static partial Regex Link();

    [GeneratedRegex(@"`((?:engine|kernels|tools|tests|benchmarks|samples|docs|\.ci)/[\w/.\-]*)`")]
    private static partial Regex SourcePath();

    [GeneratedRegex("^```.*?^```", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex Fence();

    [GeneratedRegex(@"[^\p{L}\p{N}\-_ ]")]
    private static partial Regex NoLetter();
}
