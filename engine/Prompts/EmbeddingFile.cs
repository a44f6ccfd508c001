using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;

namespace AfaNative.Engine.Prompts;

/// <summary>An embedding to load.</summary>
/// <param name="Path">A safetensors file.</param>
/// <param name="Name">The word that stands for it in prompts; the file's name without extension when null.</param>
/// <param name="Listed">Found in a folder: what is wrong with it is said only if a prompt uses it.</param>
public sealed record EmbeddingRequest(string Path, string? Name = null, bool Listed = false)
{
    /// <summary>The word that stands for it in prompts.</summary>
    public string Word => Name ?? System.IO.Path.GetFileNameWithoutExtension(Path);

    /// <summary><c>file</c> or <c>name=file</c>.</summary>
    /// <exception cref="AfaException">The name is empty.</exception>
    public static EmbeddingRequest Parse(string text)
    {
        int equals = text.IndexOf('=', StringComparison.Ordinal);
        if (equals < 0 || File.Exists(text))
            return new EmbeddingRequest(text);
        string name = text[..equals].Trim();
        return name.Length > 0
            ? new EmbeddingRequest(text[(equals + 1)..], name)
            : throw new AfaException($"`embedding` {text}: expected FILE or NAME=FILE, but the name is empty.");
    }

    /// <summary>
    /// Every embedding of a folder and the folders in it; of one there as both pickle and safetensors, the latter.
    /// </summary>
    /// <exception cref="AfaException">There is no such folder.</exception>
    public static IReadOnlyList<EmbeddingRequest> InFolder(string folder)
    {
        if (!Directory.Exists(folder))
            throw new AfaException($"{folder}: there is no such folder of embeddings.");
        string[] files = [.. FolderFiles.Enumerate(folder).Order(StringComparer.Ordinal)];
        HashSet<string> safe = [.. files.Where(IsSafe).Select(f => System.IO.Path.ChangeExtension(f, null))];
        return
        [
            .. files
                .Where(f => IsSafe(f) || (EmbeddingFile.IsPickle(f) && !safe.Contains(System.IO.Path.ChangeExtension(f, null))))
                .Select(f => new EmbeddingRequest(f, Listed: true)),
        ];

        static bool IsSafe(string file) =>
            System.IO.Path.GetExtension(file).Equals(".safetensors", StringComparison.OrdinalIgnoreCase);
    }
}

/// <summary>
/// Reads textual inversions from safetensors: one tensor [D] or [V, D] under any name (<c>emb_params</c>; diffusers' files name
/// it by their placeholder, such as <c>&lt;cat-toy&gt;</c>), or A1111's <c>string_to_param.*</c> with what else such
/// a file carries.
/// </summary>
internal static class EmbeddingFile
{
    /// <summary>Whether a file is one of Python's by its name.</summary>
    public static bool IsPickle(string path) => PickleName.Is(path);

    /// <summary>Reads one; its vectors must be <paramref name="width"/> wide and no more than <paramref name="room"/>.</summary>
    /// <exception cref="CheckpointException">It is no embedding, or one for another kind of model.</exception>
    public static TextEmbedding Read(EmbeddingRequest request, int width, int room)
    {
        string path = request.Path;
        RegularFile.Check(path, "an embedding (.safetensors)");
        if (IsPickle(path))
            throw new CheckpointException(
                $"Expected a safetensors embedding, but '{path}' is a pickle, which can run code when it is read: save "
                    + $"its vectors with safetensors.torch.save_file({{\"emb_params\": vectors}}, ...), or look for the "
                    + $"safetensors version."
            );
        using SafetensorsFile file = SafetensorsFile.Open(path);
        SafetensorsTensor tensor = Find(file);
        long count = tensor.Shape.Length == 1 ? 1 : tensor.Shape[0],
            wide = tensor.Shape[^1];
        if (wide != width)
        {
            string made = wide switch
            {
                768 => "for Stable Diffusion 1.x, probably",
                1024 => "for Stable Diffusion 2.x, probably",
                1280 => "for Stable Diffusion XL's second text encoder, probably",
                _ => "for another model",
            };
            throw new CheckpointException(
                $"{path}: {tensor.Name} holds vectors of {wide} ({made}), this model's text encoder takes {width}."
            );
        }

        if (count < 1 || count > room)
            throw new CheckpointException(
                $"{path}: {tensor.Name} holds {count} vectors, a text encoder's chunk has room for 1 to {room}."
            );
        float[] values = file.ReadFloat32(tensor.Name);
        if (!values.All(float.IsFinite))
            throw new CheckpointException($"{path}: {tensor.Name} holds values that are no finite numbers.");
        return new TextEmbedding(
            request.Word,
            tensor.Name is ['<', _, .., '>'] ? tensor.Name : null,
            [.. values.Chunk(width)],
            path
        );
    }

    private static SafetensorsTensor Find(SafetensorsFile file)
    {
        if (file.Tensors.ContainsKey("clip_g"))
            throw new CheckpointException(
                $"{file.Path}: this embedding was made for Stable Diffusion XL (clip_l and clip_g); this program runs "
                    + $"Stable Diffusion 1.x."
            );
        // Counters and other tokens' numbers lie beside the vectors in some files.
        SafetensorsTensor[] all = [.. file.Tensors.Values.Where(t => t.Shape.Length is 1 or 2 && t.ElementCount > 1)];
        SafetensorsTensor[] named =
        [
            .. all.Where(t => t.Name == "emb_params" || t.Name.StartsWith("string_to_param", StringComparison.Ordinal)),
        ];
        SafetensorsTensor[] found = named.Length > 0 ? named : all;
        return found.Length == 1
            ? found[0]
            : throw new CheckpointException(
                $"{file.Path}: expected an embedding, one tensor of [vectors, width], but it holds {file.Tensors.Count} "
                    + $"tensors{(file.Tensors.Count > 0 ? $" such as {file.Tensors.Keys.First()}" : "")}."
            );
    }
}
