using System.Globalization;
using System.Text;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Pipeline;

namespace AfaNative.Tool;

/// <summary>Names of the pictures in a folder that several runs may write into at once: no picture is ever overwritten.</summary>
internal sealed class PictureNames(string folder)
{
    private int _next = Next(folder),
        _first;

    /// <summary>Writes a picture under the next free number: <c>NUMBER-SEED.png</c>. Its path.</summary>
    /// <exception cref="AfaException">It cannot be written.</exception>
    public string Write(ulong seed, RgbImage picture, string parameters)
    {
        while (true)
        {
            int number = _next++;
            string path = Path.Combine(folder, string.Create(CultureInfo.InvariantCulture, $"{number:D5}-{seed}.png"));
            if (!PngFile.WriteNew(path, picture, parameters))
                continue;
            if (_first == 0)
                _first = number;
            return path;
        }
    }

    /// <summary>Writes the grid of the pictures so far. Its path.</summary>
    /// <exception cref="AfaException">It cannot be written.</exception>
    public string WriteGrid(ulong seed, RgbImage grid, string parameters)
    {
        string name = string.Create(CultureInfo.InvariantCulture, $"grid-{_first:D5}-{seed}"),
            path = Path.Combine(folder, name + ".png");
        for (int i = 2; !PngFile.WriteNew(path, grid, parameters); i++)
            path = Path.Combine(folder, string.Create(CultureInfo.InvariantCulture, $"{name}-{i}.png"));
        return path;
    }

    /// <summary>Whether a picture is there already.</summary>
    /// <param name="path">Where it belongs.</param>
    /// <param name="metadata">What it would record.</param>
    /// <exception cref="AfaException">What is there is something else.</exception>
    public static bool IsThere(string path, Func<string> metadata)
    {
        if (!Path.Exists(path))
            return false;
        RecordedSettings.MustMatch(path, metadata());
        return true;
    }

    /// <summary>Writes a picture whose name says what it is; one that came there since must be the same.</summary>
    /// <exception cref="AfaException">It is another, or this one cannot be written.</exception>
    public static void WriteOnce(string path, RgbImage picture, string parameters)
    {
        if (PngFile.WriteNew(path, picture, parameters))
            return;
        RecordedSettings.MustMatch(path, parameters);
        Terminal.Note($"{path}: another run has drawn it meanwhile");
    }

    /// <summary>Writes a picture that only the same may be there instead of.</summary>
    /// <exception cref="AfaException">There is something else.</exception>
    public static void WriteSame(string path, RgbImage picture)
    {
        if (!PngFile.WriteNew(path, picture, null) && !PngFile.Read(path, out _).Pixels.AsSpan().SequenceEqual(picture.Pixels))
            throw Another(path);
    }

    /// <summary>The same, for text.</summary>
    /// <exception cref="AfaException">There is something else.</exception>
    public static void WriteSame(string path, string text)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        if (!WholeFile.WriteNew(path, stream => stream.Write(bytes)) && !File.ReadAllBytes(path).AsSpan().SequenceEqual(bytes))
            throw Another(path);
    }

    private static AfaException Another(string path) =>
        new($"{path}: something else is there already, which stays; name another --out.");

    // Numbers continue behind what the folder holds.
    private static int Next(string folder) =>
        1
        + Directory
            .EnumerateFiles(folder, "*.png")
            .Select(Path.GetFileName)
            .Select(n =>
                int.TryParse(
                    n.AsSpan(0, Math.Max(0, n!.IndexOf('-'))),
                    NumberStyles.None,
                    CultureInfo.InvariantCulture,
                    out int i
                )
                && i < int.MaxValue
                    ? i
                    : 0
            )
            .DefaultIfEmpty(0)
            .Max();
}
