using AfaNative.Engine.Core;

namespace AfaNative.Engine.Files;

/// <summary>Names of Python's pickles, which can run code when they are read: they are neither read nor written.</summary>
public static class PickleName
{
    private static readonly string[] s_endings = [".pt", ".bin", ".pth", ".ckpt", ".pkl", ".pickle"];

    /// <summary>Whether a file is one by its name.</summary>
    public static bool Is(string path) => s_endings.Contains(Path.GetExtension(path), StringComparer.OrdinalIgnoreCase);

    /// <summary>Refuses such a name for a model that is to be written.</summary>
    /// <exception cref="AfaException">It is one.</exception>
    public static void MustNotBe(string output)
    {
        if (Is(output))
            throw new AfaException(
                $"{output}: pickles ({Path.GetExtension(output)}) are not written; a name that ends in .safetensors makes one "
                    + "file where a command can, any other a folder."
            );
    }
}
