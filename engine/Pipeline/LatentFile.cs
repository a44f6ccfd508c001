using System.Globalization;
using System.Runtime.InteropServices;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Pipeline;

/// <summary>
/// Latents that a run starts from, out of a safetensors file: the tensor <c>latents</c> (or the only one there is), [n, C, h, w]
/// or [C, h, w] of unit variance, as <c>torch.randn</c> makes them and <see cref="LatentRecorder"/> writes them.
/// </summary>
public sealed record LatentFile
{
    /// <summary>The tensor that is read.</summary>
    public const string TensorName = "latents";

    private LatentFile(string path, int[] shape, float[] values) => (Path, Shape, Values) = (path, shape, values);

    /// <summary>Where they come from.</summary>
    public string Path { get; }

    /// <summary>[n, C, h, w].</summary>
    public IReadOnlyList<int> Shape { get; }

    /// <summary>Pictures they are for.</summary>
    public int Count => Shape[0];

    /// <summary>Row-major.</summary>
    public float[] Values { get; }

    /// <summary>A short hash of what one picture of a run starts from; null where that is its seed's noise.</summary>
    public static string? HashOf(GenerationOptions options, ulong seed)
    {
        ArgumentNullException.ThrowIfNull(options);
        int picture = options.Seeds.ToList().IndexOf(seed);
        if (options.InitialLatents is not { } values || picture < 0)
            return null;
        int each = values.Length / options.Seeds.Count;
        return Convert.ToHexStringLower(Sha256.HashData(MemoryMarshal.AsBytes(values.AsSpan(picture * each, each))))[..10];
    }

    /// <summary>Reads a file.</summary>
    /// <exception cref="CheckpointException">There are no such latents in it, or they are not finite.</exception>
    public static LatentFile Open(string path)
    {
        using SafetensorsFile file = SafetensorsFile.Open(path);
        if (!file.Tensors.TryGetValue(TensorName, out SafetensorsTensor? tensor))
        {
            tensor =
                file.Tensors.Count == 1
                    ? file.Tensors.Values.Single()
                    : throw new CheckpointException(
                        $"{path}: expected a tensor '{TensorName}' [n, C, h, w] or [C, h, w], but there are {file.Tensors.Count} "
                            + "others."
                    );
        }

        if (tensor.Shape.Length is not (3 or 4) || tensor.Shape.Any(d => d is < 1 or > int.MaxValue))
        {
            throw new CheckpointException(
                $"{path}: expected latents [n, C, h, w] or [C, h, w], but '{Printable.Shortened(tensor.Name)}' is "
                    + $"{Text(tensor.Shape)}."
            );
        }

        if (tensor.Type is not (ElementType.Float32 or ElementType.Float16 or ElementType.BFloat16))
        {
            throw new CheckpointException(
                $"{path}: expected latents in F32, F16 or BF16, but '{Printable.Shortened(tensor.Name)}' is {tensor.Type}."
            );
        }
        float[] values = file.ReadFloat32(tensor.Name);
        if (FiniteCheck.FirstOdd(values) is int odd and >= 0)
        {
            throw new CheckpointException(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{path}: expected finite numbers, but value {odd} of '{Printable.Shortened(tensor.Name)}' is {values[odd]}."
                )
            );
        }
        int[] shape = [.. tensor.Shape.Select(d => (int)d)];
        return new LatentFile(path, shape.Length == 3 ? [1, .. shape] : shape, values);
    }

    /// <summary>The latents for some pictures of a run of <paramref name="count"/>, [pictures, C, h, w].</summary>
    /// <param name="count">Pictures of the whole run.</param>
    /// <param name="channels">Channels the model has.</param>
    /// <param name="height">Rows the pictures have in latents.</param>
    /// <param name="width">Columns the pictures have in latents.</param>
    /// <param name="first">The first of the pictures.</param>
    /// <param name="pictures">How many.</param>
    /// <exception cref="AfaException">They are of another shape.</exception>
    public float[] For(int count, int channels, int height, int width, int first, int pictures)
    {
        if (!Shape.SequenceEqual((int[])[count, channels, height, width]))
        {
            throw new AfaException(
                $"{Path}: the latents are {Text(Shape.Select(d => (long)d))}, but {count} picture{(count == 1 ? "" : "s")} of "
                    + $"this size need{(count == 1 ? "s" : "")} {Text([count, channels, height, width])}."
            );
        }

        int each = channels * height * width;
        return Values.AsSpan(first * each, pictures * each).ToArray();
    }

    private static string Text(IEnumerable<long> shape) => $"[{string.Join(", ", shape)}]";
}
