namespace AfaNative.Tests;

/// <summary>Finds the golden files that travel beside the repository, not in it.</summary>
internal static class SharedFiles
{
    /// <summary>Why a test that wants them is skipped.</summary>
    internal const string Missing =
        "the full set of reference cases is not beside this checkout (AFA_SHARED names another place)";

    /// <summary>The folder <c>goldens</c>, or null where there is none.</summary>
    internal static string? Goldens()
    {
        if (Environment.GetEnvironmentVariable("AFA_SHARED") is { Length: > 0 } named)
            return Existing(Path.Combine(named, "goldens"));
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (Existing(Path.Combine(folder.FullName, "shared", "goldens")) is string found)
                return found;
        }

        return null;
    }

    /// <summary>The folder <c>goldens-more</c> beside it, or null where there is none.</summary>
    internal static string? MoreGoldens() =>
        Goldens() is { } goldens ? Existing(Path.Combine(Path.GetDirectoryName(goldens)!, "goldens-more")) : null;

    /// <summary>A file of the further golden sets, or null where they are not.</summary>
    internal static string? More(params string[] parts) =>
        Goldens() is { } goldens
        && Path.Combine([Path.GetDirectoryName(goldens)!, "goldens-more", "public", .. parts]) is var path
        && File.Exists(path)
            ? path
            : null;

    private static string? Existing(string folder) => Directory.Exists(folder) ? folder : null;
}

/// <summary>A folder that goes when the test ends.</summary>
internal sealed class TemporaryFolder : IDisposable
{
    internal string Path { get; } = Directory.CreateTempSubdirectory("afa-test-").FullName;

    internal string File(string name) => System.IO.Path.Combine(Path, name);

    internal void Write(string name, string text) => System.IO.File.WriteAllText(File(name), text);

    /// <inheritdoc/>
    public void Dispose() => Directory.Delete(Path, recursive: true);
}
