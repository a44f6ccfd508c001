using System.Text.Json;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Models;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Training;

/// <summary>Encoded pictures in memory: VAE moments, channels first as in a latent cache, and captions.</summary>
public sealed class LatentPool
{
    private readonly float[] _moments;
    private readonly string[] _captions;

    private LatentPool(float[] moments, string[] captions, int channels, int height, int width) =>
        (_moments, _captions, Channels, Height, Width) = (moments, captions, channels, height, width);

    /// <summary>Pictures.</summary>
    public int Count => _captions.Length;

    /// <summary>Channels of the latent; moments have twice as many.</summary>
    public int Channels { get; }

    /// <summary>Rows.</summary>
    public int Height { get; }

    /// <summary>Columns.</summary>
    public int Width { get; }

    /// <summary>Means, then log variances: [2 * Channels, Height, Width].</summary>
    public ReadOnlySpan<float> Moments(int index) => _moments.AsSpan(index * PerPicture, PerPicture);

    /// <summary>The caption.</summary>
    public string Caption(int index) => _captions[index];

    private int PerPicture => 2 * Channels * Height * Width;

    /// <summary>
    /// Encodes pictures [first, first + count), or reads them from <paramref name="file"/> if that holds them; what was encoded
    /// is written there.
    /// </summary>
    /// <param name="device">Where to encode.</param>
    /// <param name="vae">With what.</param>
    /// <param name="pictures">What is encoded.</param>
    /// <param name="first">The first picture's number.</param>
    /// <param name="count">How many.</param>
    /// <param name="file">Where they are kept (safetensors), or null.</param>
    /// <param name="identity">What they depend on: a file of another identity is made anew. A file needs one.</param>
    /// <param name="progress">Told how many are done.</param>
    /// <param name="cancellation">Looked at between batches.</param>
    public static LatentPool Encode(
        IDevice device,
        VaeModel vae,
        IPictureSource pictures,
        long first,
        int count,
        string? file = null,
        RunIdentity? identity = null,
        Action<int>? progress = null,
        CancellationToken cancellation = default
    )
    {
        if (file is not null && identity is null)
            throw new ArgumentException(
                "what is kept in a file needs an identity, or it would be taken for something else later",
                nameof(identity)
            );
        if (file is not null && File.Exists(file) && Read(file, count, identity!) is { } kept)
            return kept;
        const int Batch = 8;
        int size = pictures.Size,
            side = size / vae.Config.Downscale,
            channels = vae.Config.LatentChannels,
            per = 2 * channels * side * side;
        var moments = new float[checked(count * per)];
        var captions = new string[count];
        for (int done = 0; done < count; done += Batch)
        {
            cancellation.ThrowIfCancellationRequested();
            int n = Math.Min(Batch, count - done);
            var pixels = new float[n * size * size * 3];
            for (int i = 0; i < n; i++)
            {
                (float[] picture, captions[done + i]) = pictures.Get(first + done + i);
                picture.CopyTo(pixels, i * picture.Length);
            }

            var ops = new Ops(device, cancellation);
            using TensorScope scope = ops.Scope();
            ops.DownloadNchw(vae.Encode(ops, ops.Upload(pixels, new Shape(1, n, size, size, 3)))).CopyTo(moments, done * per);
            progress?.Invoke(done + n);
        }

        if (file is not null)
            SafetensorsWriter.Write(
                file,
                [TensorEntry.FromFloat32("moments", [count, 2 * channels, side, side], moments)],
                new Dictionary<string, string>
                {
                    ["captions"] = JsonSerializer.Serialize(captions),
                    [IdentityKey] = identity!.ToString(),
                }
            );
        return new LatentPool(moments, captions, channels, side, side);
    }

    private const string IdentityKey = "identity";

    private static LatentPool? Read(string path, int count, RunIdentity identity)
    {
        using SafetensorsFile file = SafetensorsFile.Open(path);
        if (!identity.Is(file.Metadata.GetValueOrDefault(IdentityKey)))
            return null;
        string[] captions = file.Metadata.TryGetValue("captions", out string? text)
            ? JsonSerializer.Deserialize<string[]>(text)!
            : [];
        if (
            !file.Tensors.TryGetValue("moments", out SafetensorsTensor? tensor)
            || tensor.Shape.Length != 4
            || tensor.Shape[0] != count
            || captions.Length != count
        )
            throw new CheckpointException($"{path}: it does not hold {count} encoded pictures with captions.");
        return new LatentPool(
            file.ReadFloat32("moments"),
            captions,
            (int)tensor.Shape[1] / 2,
            (int)tensor.Shape[2],
            (int)tensor.Shape[3]
        );
    }
}
