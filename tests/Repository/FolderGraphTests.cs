using Xunit;

namespace AfaNative.Tests.Repository;

/// <summary>Folders of a project know each other one way only, and are what their namespaces say.</summary>
public sealed class FolderGraphTests
{
    [Theory]
    [InlineData("kernels", "AfaNative.Kernels")]
    public void Folders_form_no_circle(string project, string rootNamespace)
    {
        FolderGraph graph = FolderGraph.Read(Path.Combine(Sources.Root(), project), rootNamespace);
        Assert.NotEmpty(graph.Arrows);
        Assert.True(graph.Misplaced.Count == 0, string.Join('\n', graph.Misplaced));
        Assert.True(
            graph.Circles().Count == 0,
            string.Join("\n\n", graph.Circles().Select(c => $"{project}: a circle of folders\n{string.Join('\n', c)}"))
        );
    }

    // Contracts know no implementation, and CUDA is known to nobody but the registry.
    [Fact]
    public void The_kernels_arrows_go_up_only()
    {
        FolderGraph graph = FolderGraph.Read(Path.Combine(Sources.Root(), "kernels"), "AfaNative.Kernels");
        Assert.DoesNotContain(graph.Arrows, a => a.From == "Contracts");
        Assert.DoesNotContain(graph.Arrows, a => a.To.StartsWith("Devices", StringComparison.Ordinal) && !IsDevice(a.From));
        Assert.Equal(["Devices"], graph.Arrows.Where(a => a.To == "Devices/Cuda").Select(a => a.From));
        Assert.DoesNotContain(graph.Arrows, a => a.To == "Devices");

        static bool IsDevice(string folder) => folder.StartsWith("Devices", StringComparison.Ordinal);
    }

    [Fact]
    public void A_circle_is_told_with_a_witness_for_every_arrow()
    {
        FolderGraph graph = Made(
            ("A/One.cs", "using P.B; namespace P.A; class One { Two? two; }"),
            ("B/Two.cs", "namespace P.B { using P.C.Deep; record Two(Three Three); }"),
            ("C/Deep/Three.cs", "namespace P.C.Deep; interface Three { void Do(P.A.One one); }"),
            ("D/Four.cs", "using P.A; namespace P.D; sealed class Four : One;")
        );
        IReadOnlyList<FolderGraph.Arrow> circle = Assert.Single(graph.Circles());
        Assert.Equal(
            ["A -> B (A/One.cs names Two)", "B -> C/Deep (B/Two.cs names Three)", "C/Deep -> A (C/Deep/Three.cs names One)"],
            circle.Select(a => a.ToString())
        );
        Assert.Empty(graph.Misplaced);
    }

    [Theory]
    [InlineData(
        "// Two\n/* Two */ class One { string s = \"Two\" + @\"\"\"Two\" + $\"{{Two}} {1:Two}\" + \"\"\"Two \" Two\"\"\"; }"
    )]
    [InlineData("class One { char c = '\"'; int Two; void Do(int Two) { Do(Two: 3); } }")]
    [InlineData("class One { int Two() => new One { Two = Two() }.Two; }")]
    public void Comments_strings_and_members_name_no_type(string source)
    {
        FolderGraph graph = Made(
            ("A/One.cs", $"using P.B;\nnamespace P.A;\n{source}"),
            ("B/Two.cs", "using P.A; namespace P.B; class Two { One? one; }")
        );
        Assert.Equal(["B"], graph.Arrows.Select(a => a.From));
        Assert.Empty(graph.Circles());
    }

    [Theory]
    [InlineData("class One { Two two; }")]
    [InlineData("class One<T> where T : Two;")]
    [InlineData("class One : Two;")]
    [InlineData("class One() : Two(1);")]
    [InlineData("class One { string s = $\"a {Two.Name} b\"; }")]
    [InlineData("class One { string s = $\"\"\"a \"{new Two().Name}\" b\"\"\"; }")]
    [InlineData("class One { bool Is(object o) => o is Two; }")]
    [InlineData("class One { object o = (Two)null; }")]
    [InlineData("class One { System.Type t = typeof(B.Two); }")]
    [InlineData("class One { System.Collections.Generic.List<P.B.Two> l; }")]
    [InlineData("class One { int n = 1 > Two.Count ? Two.Count : 2; }")]
    [InlineData("[Mark] class One;")]
    [InlineData("delegate void One(Two two);")]
    public void A_type_is_seen_wherever_it_stands(string source)
    {
        FolderGraph graph = Made(
            ("A/One.cs", $"using P.B;\nnamespace P.A;\n{source}"),
            ("B/Two.cs", "namespace P.B; class Two; class MarkAttribute : System.Attribute;")
        );
        Assert.Equal(["A -> B"], graph.Arrows.Select(a => $"{a.From} -> {a.To}"));
    }

    [Fact]
    public void A_name_of_two_folders_is_the_one_in_sight()
    {
        FolderGraph graph = Made(
            ("A/Same.cs", "namespace P.A; class Same; delegate System.Func<int, (int, int)> Call<T>(T t);"),
            ("B/Same.cs", "namespace P.B; class Same;"),
            ("C/ByUsing.cs", "using P.B; namespace P.C; class ByUsing { Same same; }"),
            ("D/ByAlias.cs", "using S = P.A.Same; namespace P.D; class ByAlias { S same; }"),
            ("A/Inner/Near.cs", "using P.B; namespace P.A.Inner; class Near { Same same; }"),
            ("E/Static.cs", "using static P.B.Same; using P.A; namespace P.E; class Static { Call<int> call; }"),
            ("F/Global.cs", "global using P.C; namespace P.F; class Global;"),
            ("G/ByGlobal.cs", "namespace P.G; class ByGlobal { ByUsing same; }")
        );
        Assert.Equal(
            ["A/Inner -> A", "C -> B", "D -> A", "E -> A", "E -> B", "G -> C"],
            graph.Arrows.Select(a => $"{a.From} -> {a.To}")
        );
    }

    [Fact]
    public void A_file_in_the_wrong_folder_is_named()
    {
        FolderGraph graph = Made(("A/B/One.cs", "namespace P.A; class One;"), ("Two.cs", "namespace P; class Two;"));
        Assert.Equal(["A/B/One.cs: namespace P.A, its folder says P.A.B"], graph.Misplaced);
    }

    private static FolderGraph Made(params (string Path, string Source)[] files)
    {
        using var folder = new TemporaryFolder();
        foreach ((string path, string source) in files)
        {
            string full = Path.Combine(folder.Path, path);
            Directory.CreateDirectory(Path.GetDirectoryName(full)!);
            File.WriteAllText(full, source);
        }

        return FolderGraph.Read(folder.Path, "P");
    }
}
