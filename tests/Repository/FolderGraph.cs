namespace AfaNative.Tests.Repository;

/// <summary>
/// Which folder of a project names types of which other, computed from the sources. A folder's namespace is its path below the
/// project's root namespace.
/// </summary>
internal sealed class FolderGraph
{
    private readonly Dictionary<(string Namespace, string Type), HashSet<string>> _declared = [];
    private readonly Dictionary<string, List<string>> _namespaces = [];
    private readonly Dictionary<(string From, string To), Arrow> _arrows = [];
    private readonly List<string> _misplaced = [];

    private FolderGraph() { }

    /// <summary>One arrow for every ordered pair of folders, in order of their names.</summary>
    public IReadOnlyList<Arrow> Arrows => [.. _arrows.Values.OrderBy(a => a.From).ThenBy(a => a.To)];

    /// <summary>Files whose namespace is not their folder.</summary>
    public IReadOnlyList<string> Misplaced => _misplaced;

    /// <summary>Reads all sources below a folder.</summary>
    /// <param name="root">The project's folder.</param>
    /// <param name="rootNamespace">What its own files' namespace is.</param>
    public static FolderGraph Read(string root, string rootNamespace)
    {
        var graph = new FolderGraph();
        SourceFile[] files = [.. Sources.Files(root).Select(f => SourceFile.Parse(f, File.ReadAllText(Path.Combine(root, f))))];
        foreach (SourceFile file in files)
        {
            string expected =
                file.Folder == SourceFile.RootFolder ? rootNamespace : $"{rootNamespace}.{file.Folder.Replace('/', '.')}";
            if (file.Namespace.Length != 0 && file.Namespace != expected)
                graph._misplaced.Add($"{file.Path}: namespace {file.Namespace}, its folder says {expected}");
            foreach (string type in file.Declared)
            {
                if (!graph._declared.TryGetValue((file.Namespace, type), out HashSet<string>? folders))
                {
                    graph._declared[(file.Namespace, type)] = folders = [];
                    if (!graph._namespaces.TryGetValue(type, out List<string>? namespaces))
                        graph._namespaces[type] = namespaces = [];
                    namespaces.Add(file.Namespace);
                }

                folders.Add(file.Folder);
            }
        }

        string[] everywhere = [.. files.SelectMany(f => f.GlobalUsings)];
        foreach (SourceFile file in files)
            graph.Add(file, everywhere);
        return graph;
    }

    /// <summary>
    /// Every group of folders that know each other, one shortest circle of each: the arrows, each with a file and the type it
    /// names. Empty where all arrows go one way.
    /// </summary>
    public IReadOnlyList<IReadOnlyList<Arrow>> Circles()
    {
        ILookup<string, Arrow> from = Arrows.ToLookup(a => a.From);
        var circles = new List<IReadOnlyList<Arrow>>();
        var done = new HashSet<string>();
        foreach (string folder in from.Select(g => g.Key).Order(StringComparer.Ordinal))
        {
            if (done.Contains(folder) || Shortest(from, folder) is not { } circle)
                continue;
            circles.Add(circle);
            // Whoever reaches this folder and is reached by it belongs to the same group.
            HashSet<string> forth = Reached(from, folder);
            done.UnionWith(forth.Where(f => Reached(from, f).Contains(folder)));
        }

        return circles;
    }

    // The shortest way from a folder back to itself; null where there is none.
    private static List<Arrow>? Shortest(ILookup<string, Arrow> from, string start)
    {
        var by = new Dictionary<string, Arrow>();
        var next = new Queue<string>([start]);
        while (next.TryDequeue(out string? folder))
        {
            foreach (Arrow arrow in from[folder])
            {
                if (!by.TryAdd(arrow.To, arrow))
                    continue;
                if (arrow.To == start)
                {
                    var circle = new List<Arrow> { arrow };
                    while (circle[0].From != start)
                        circle.Insert(0, by[circle[0].From]);
                    return circle;
                }

                next.Enqueue(arrow.To);
            }
        }

        return null;
    }

    private static HashSet<string> Reached(ILookup<string, Arrow> from, string start)
    {
        var reached = new HashSet<string>();
        var next = new Stack<string>([start]);
        while (next.TryPop(out string? folder))
        {
            foreach (Arrow arrow in from[folder])
            {
                if (reached.Add(arrow.To))
                    next.Push(arrow.To);
            }
        }

        return reached;
    }

    private void Add(SourceFile file, string[] everywhere)
    {
        string[] enclosing = [.. Enclosing(file.Namespace)];
        string[] usings = [.. file.Usings, .. everywhere];
        foreach (string type in file.NamedByUsings)
        {
            int dot = type.LastIndexOf('.');
            if (dot > 0)
                Point(file, type[..dot], type[(dot + 1)..]);
        }

        IReadOnlyList<string> tokens = file.Tokens;
        for (int i = 0; i < tokens.Count; i++)
        {
            foreach (string type in TypeReferences.At(tokens, i))
            {
                if (!_namespaces.TryGetValue(type, out List<string>? declaring))
                    continue;
                string? qualifier = TypeReferences.Qualifier(tokens, i);
                if (qualifier is not null)
                {
                    string? found = enclosing
                        .Select(e => $"{e}.{qualifier}")
                        .Prepend(qualifier)
                        .FirstOrDefault(declaring.Contains);
                    if (found is not null)
                        Point(file, found, type);
                }
                else if (enclosing.FirstOrDefault(declaring.Contains) is { } near)
                {
                    Point(file, near, type);
                }
                else
                {
                    foreach (string used in declaring.Intersect(usings))
                        Point(file, used, type);
                }
            }
        }
    }

    private void Point(SourceFile file, string space, string type)
    {
        if (!_declared.TryGetValue((space, type), out HashSet<string>? folders) || folders.Contains(file.Folder))
            return;
        foreach (string folder in folders)
            _arrows.TryAdd((file.Folder, folder), new Arrow(file.Folder, folder, file.Path, type));
    }

    private static IEnumerable<string> Enclosing(string space)
    {
        for (string s = space; s.Length != 0; s = s.Contains('.') ? s[..s.LastIndexOf('.')] : "")
            yield return s;
        yield return "";
    }

    /// <summary>A folder names a type of another.</summary>
    /// <param name="From">The folder that names.</param>
    /// <param name="To">The folder whose type it is.</param>
    /// <param name="File">One file that does.</param>
    /// <param name="Type">One type it names.</param>
    internal sealed record Arrow(string From, string To, string File, string Type)
    {
        public override string ToString() => $"{From} -> {To} ({File} names {Type})";
    }
}
