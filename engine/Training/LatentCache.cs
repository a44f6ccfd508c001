using System.Globalization;
using System.Text;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Files;
using AfaNative.Engine.Models;
using AfaNative.Engine.Prompts;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Training;

/// <summary>A picture ready for training: where its VAE moments and its caption's hidden states are kept.</summary>
public sealed record EncodedRecord(string Latents, string Text, string Image)
{
    /// <summary>Hash of the picture's file: what tells it from another, wherever it lies.</summary>
    public string Content { get; init; } = Path.GetFileName(Latents);

    /// <summary>What it shows.</summary>
    public string Caption { get; init; } = Path.GetFileName(Text);
}

/// <summary>
/// VAE moments and text embeddings on disk, each under a hash of what it was made from and how (picture bytes, size, crop;
/// caption; weights). What is there
/// is never made twice, also after a kill: files appear whole or not at all.
/// </summary>
public sealed class LatentCache(string folder, EnsembleFolder models, int size, ulong seed)
{
    private readonly ContentHashes _hashes = new(Path.Combine(folder, HashFile));
    private string? _vae,
        _text;

    /// <summary>Where a cache's folder remembers hashes of weights.</summary>
    internal const string HashFile = "hashes.json";

    /// <summary>Pictures that could not be read, and why.</summary>
    public List<(string Image, string Reason)> Skipped { get; } = [];

    /// <summary>
    /// Encodes what is not there yet. A picture that cannot be read is skipped and named in <see cref="Skipped"/>.
    /// </summary>
    public IReadOnlyList<EncodedRecord> Encode(
        IDevice device,
        IReadOnlyList<TrainingRecord> records,
        Action<int, int>? progress = null,
        CancellationToken cancellation = default
    )
    {
        int factor = VaeConfig.Load(models.Config(models.Vae, "vae")).Downscale;
        if (size < factor || size > 1 << 14 || size % factor != 0)
            throw new AfaException($"`size` takes a multiple of {factor} up to {1 << 14}, not {size}.");
        Directory.CreateDirectory(folder);
        Skipped.Clear();
        _vae ??= string.Join('\n', ModelIdentity.Vae(models, _hashes));
        var encoded = new List<EncodedRecord>();
        using var encoders = new Encoders(device, models);
        for (int i = 0; i < records.Count; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            TrainingRecord record = records[i];
            if (Look(record, device) is { } picture)
            {
                string latents = Path.Combine(folder, picture.File);
                if (picture.Pixels is { } pixels)
                    Moments(encoders, pixels, latents, cancellation);
                encoded.Add(
                    new EncodedRecord(latents, Caption(encoders, record.Caption, cancellation), record.Image)
                    {
                        Content = picture.Content,
                        Caption = record.Caption,
                    }
                );
            }

            progress?.Invoke(i + 1, records.Count);
        }

        if (encoded.Count == 0 && records.Count > 0)
            throw new AfaException($"None of the {records.Count} pictures can be used; {Skipped[0].Image}: {Skipped[0].Reason}.");
        return encoded;
    }

    // A picture's hash, its file here and, where that is not there yet, its pixels; null for one that cannot be used. What goes
    // wrong later is no picture's fault.
    private (string Content, string File, float[]? Pixels)? Look(TrainingRecord record, IDevice device)
    {
        try
        {
            byte[] bytes = TrainingPicture.Bytes(record.Image);
            string content = Convert.ToHexString(Sha256.HashData(bytes)),
                file = Key(
                    "latents 2",
                    _vae!,
                    content,
                    size.ToString(CultureInfo.InvariantCulture),
                    seed.ToString(CultureInfo.InvariantCulture),
                    Rounding(device)
                );
            return (content, file, File.Exists(Path.Combine(folder, file)) ? null : TrainingPicture.Crop(bytes, size, seed));
        }
        catch (Exception e)
            when (e is AfaException or IOException or UnauthorizedAccessException or InvalidDataException or ArgumentException)
        {
            Skipped.Add((record.Image, Reason(record.Image, e)));
            return null;
        }
    }

    /// <summary>Why a picture cannot be used, as part of a sentence that names it already.</summary>
    internal static string Reason(string image, Exception e) =>
        (
            e.Message.StartsWith(image + ": ", StringComparison.Ordinal) && image.Length > 0
                ? e.Message[(image.Length + 2)..]
                : e.Message
        ).TrimEnd('.');

    /// <summary>The cached hidden states of a caption.</summary>
    public string EncodeCaption(IDevice device, string caption, CancellationToken cancellation = default)
    {
        Directory.CreateDirectory(folder);
        using var encoders = new Encoders(device, models);
        return Caption(encoders, caption, cancellation);
    }

    /// <summary>Reads a cached tensor.</summary>
    public static float[] Read(string path, out int[] shape)
    {
        using SafetensorsFile file = SafetensorsFile.Open(path);
        shape = [.. file.Tensors["data"].Shape.Select(d => (int)d)];
        return file.ReadFloat32("data");
    }

    // What a device of 16-bit storage makes is not what another makes.
    private static string Rounding(IDevice device) =>
        device.Storage == Kernels.Contracts.ElementType.Float32 ? "" : device.Storage.ToString();

    private static string Key(params string[] parts) =>
        Convert.ToHexStringLower(Sha256.HashData(Encoding.UTF8.GetBytes(string.Join('\n', parts))))[..32] + ".safetensors";

    private string Caption(Encoders encoders, string caption, CancellationToken cancellation)
    {
        _text ??= string.Join('\n', ModelIdentity.Text(models, _hashes));
        string path = Path.Combine(folder, Key("text", _text, caption, Rounding(encoders.Device)));
        if (File.Exists(path))
            return path;
        var ops = new Ops(encoders.Device, cancellation);
        using TensorScope scope = ops.Scope();
        ClipTextEncoder encoder = encoders.Text;
        int length = encoder.Config.MaxPositions;
        Tensor hidden = encoder.Encode(ops, encoders.Tokenizer.Encode(caption, length), length);
        SafetensorsWriter.Write(
            path,
            [
                TensorEntry.FromFloat32(
                    "data",
                    [hidden.Shape.Experts, hidden.Shape.Height, hidden.Shape.Channels],
                    ops.Download(hidden)
                ),
            ]
        );
        return path;
    }

    private void Moments(Encoders encoders, float[] pixels, string path, CancellationToken cancellation)
    {
        var ops = new Ops(encoders.Device, cancellation);
        using TensorScope scope = ops.Scope();
        Tensor moments = encoders.Vae.Encode(ops, ops.Upload(pixels, new Shape(1, 1, size, size, 3)));
        SafetensorsWriter.Write(
            path,
            [
                TensorEntry.FromFloat32(
                    "data",
                    [moments.Shape.Channels, moments.Shape.Height, moments.Shape.Width],
                    ops.DownloadNchw(moments)
                ),
            ]
        );
    }

    // Loaded when first needed: a run whose cache is complete never reads these weights.
    private sealed class Encoders(IDevice device, EnsembleFolder models) : IDisposable
    {
        private readonly List<IDisposable> _owned = [];
        private VaeModel? _vae;
        private ClipTextEncoder? _text;
        private ClipTokenizer? _tokenizer;

        public IDevice Device => device;

        public ClipTokenizer Tokenizer => _tokenizer ??= ClipTokenizer.Load(models.Tokenizer);

        public VaeModel Vae
        {
            get
            {
                if (_vae is not null)
                    return _vae;
                VaeConfig config = VaeConfig.Load(models.Vae);
                (_vae, CheckpointParameters parameters) = DiffusionModel.ReadComponent(
                    device,
                    [models.Vae],
                    p => new VaeModel(p, config)
                );
                _owned.Add(parameters);
                return _vae;
            }
        }

        public ClipTextEncoder Text
        {
            get
            {
                if (_text is not null)
                    return _text;
                ClipTextConfig config = ClipTextConfig.Load(models.TextEncoders[0]);
                (_text, CheckpointParameters parameters) = DiffusionModel.ReadComponent(
                    device,
                    models.TextEncoders,
                    p => new ClipTextEncoder(p, config),
                    KnownExtras.IsIgnorable
                );
                _owned.Add(parameters);
                return _text;
            }
        }

        public void Dispose()
        {
            foreach (IDisposable one in _owned)
                one.Dispose();
        }
    }
}
