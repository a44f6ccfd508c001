using Xunit;

namespace AfaNative.Tests.Support;

/// <summary>A folder that is written when the first test asks for it, read by all, and gone when the tests end.</summary>
internal sealed class SharedFolder
{
    private static readonly TemporaryFolder s_all = new();
    private readonly Lazy<(string Path, string Stamp)> _kept;

    static SharedFolder() => AppDomain.CurrentDomain.ProcessExit += (_, _) => s_all.Dispose();

    /// <param name="write">Writes into the empty folder it is given.</param>
    public SharedFolder(Action<string> write) =>
        _kept = new(() =>
        {
            string path = s_all.File(Guid.NewGuid().ToString("N"));
            Directory.CreateDirectory(path);
            write(path);
            return (path, Stamp(path));
        });

    public string Path => _kept.Value.Path;

    /// <summary>Fails where a test wrote into it: those after it would have read that.</summary>
    public void CheckUntouched()
    {
        if (_kept.IsValueCreated)
            Assert.Equal(_kept.Value.Stamp, Stamp(Path));
    }

    /// <summary>Copies all files of a folder.</summary>
    public static void Copy(string from, string to)
    {
        foreach (string file in Directory.EnumerateFiles(from, "*", SearchOption.AllDirectories))
        {
            string target = System.IO.Path.Combine(to, System.IO.Path.GetRelativePath(from, file));
            Directory.CreateDirectory(System.IO.Path.GetDirectoryName(target)!);
            File.Copy(file, target);
        }
    }

    private static string Stamp(string path) =>
        string.Join(
            '\n',
            new DirectoryInfo(path)
                .EnumerateFiles("*", SearchOption.AllDirectories)
                .OrderBy(f => f.FullName, StringComparer.Ordinal)
                .Select(f => $"{f.FullName} {f.Length} {f.LastWriteTimeUtc.Ticks}")
        );
}
