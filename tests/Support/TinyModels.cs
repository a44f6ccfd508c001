using System.Collections.Concurrent;
using AfaNative.Synthesis;

namespace AfaNative.Tests.Support;

/// <summary>Synthetic models, each made once in a run of the tests.</summary>
internal static class TinyModels
{
    private static readonly ConcurrentDictionary<SyntheticOptions, SharedFolder> s_models = new();

    /// <summary>A model that tests share: for reading only.</summary>
    public static string Of(SyntheticOptions options) => Path.Combine(Folder(options).Path, Name(options));

    /// <summary>A model of a test's own, copied from the shared one.</summary>
    /// <param name="to">The folder, or the first file where the options ask for files.</param>
    /// <param name="options">What to synthesize.</param>
    public static void Write(string to, SyntheticOptions options)
    {
        if (!options.SingleFile)
        {
            SharedFolder.Copy(Of(options), to);
            return;
        }

        string stem = Path.GetFileNameWithoutExtension(to);
        foreach (string file in Directory.EnumerateFiles(Folder(options).Path))
            File.Copy(file, Path.Combine(Path.GetDirectoryName(to)!, stem + Path.GetFileName(file)["model".Length..]));
    }

    /// <summary>The folder that holds the shared model.</summary>
    public static SharedFolder Folder(SyntheticOptions options) =>
        s_models.GetOrAdd(options, o => new SharedFolder(to => SyntheticModel.Write(Path.Combine(to, Name(o)), o)));

    private static string Name(SyntheticOptions options) => options.SingleFile ? "model.safetensors" : "model";
}
