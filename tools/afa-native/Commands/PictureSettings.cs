using System.Globalization;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Sampling.Guidance;

namespace AfaNative.Tool.Commands;

/// <summary>
/// What <c>--from PICTURE</c> brings: the settings it records, as far as they can be had again; what cannot is an error or a
/// warning that names it.
/// </summary>
internal sealed class PictureSettings
{
    /// <summary>Given instead of a file: draw without.</summary>
    public const string None = "none";

    private PictureSettings(string path, GenerationMetadata recorded) => (Path, Recorded) = (path, recorded);

    /// <summary>The picture.</summary>
    public string Path { get; }

    /// <summary>What it says.</summary>
    public GenerationMetadata Recorded { get; }

    /// <summary>Reads a picture's settings, and says which are not understood; null where no picture is given.</summary>
    /// <exception cref="AfaException">It holds none, or they make no sense.</exception>
    public static PictureSettings? Read(string? path)
    {
        if (path is null)
            return null;
        GenerationMetadata recorded;
        string text = PictureText.Read(path);
        try
        {
            recorded = GenerationMetadata.Parse(text);
        }
        catch (AfaException e)
        {
            throw new AfaException($"{path}: {e.Message}", e);
        }

        if (recorded.NotUnderstood is { Count: > 0 } rest)
        {
            string more = rest.Count > 20 ? $" and {rest.Count - 20} more" : "";
            Terminal.Warn(
                $"{path}: not taken over, since this program does not know it: "
                    + $"{string.Join("; ", rest.Take(20).Select(s => Printable.Shortened(s, 100)))}{more}"
            );
        }

        return new PictureSettings(path, recorded);
    }

    /// <summary>Says where settings of MagicFusion come without it.</summary>
    public void SayIdle(FusionMode fusion)
    {
        if (
            fusion != FusionMode.Magic
            && Recorded.Fusion is null
            && (Recorded.MagicWeights.Count > 0 || Recorded.MagicSwitch is not null)
        )
            Terminal.Warn(
                $"{Path}: Magic weights and Magic switch without 'Fusion: MagicFusion' have no effect; --fusion magic uses them"
            );
    }

    /// <summary>LoRAs beside the prompt's: those of options, or the picture's where there are none.</summary>
    /// <exception cref="AfaException">One of the picture's is not to be found.</exception>
    public static IReadOnlyList<LoraRequest> Loras(PictureSettings? picture, IReadOnlyList<string> given, string? folder)
    {
        if (given is [None])
            return [];
        if (given.Count > 0 || picture is null)
            return [.. given.Select(LoraRequest.Parse)];
        return [.. picture.Recorded.Loras.Select(l => new LoraRequest(picture.Find(l, folder), l.Weight, l.Expert))];
    }

    /// <summary>The VAE that replaces the model's: the option's, or the picture's.</summary>
    public static string? Vae(PictureSettings? picture, string? given, string model)
    {
        if (given == None)
            return null;
        if (given is not null || picture?.Recorded.Vae is not { Length: > 0 } name)
            return given;
        // A name alone: what a text says leads to no other folder.
        string plain = System.IO.Path.GetFileName(name.Replace('\\', '/'));
        string[] found =
        [
            .. picture
                .Places(model)
                .Select(p => System.IO.Path.Combine(p, plain))
                .Where(p => File.Exists(p) || Directory.Exists(p))
                .Distinct(),
        ];
        string hash = picture.Recorded.VaeHash ?? "";
        if (found.Length == 0)
        {
            Terminal.Warn(
                $"{picture.Path}: the picture was decoded by the VAE '{name}'{Hash(hash)}, which is not beside it, "
                    + $"the model or in this folder: the model's own takes its place (--vae FILE names it)"
            );
            return null;
        }

        string? same = found.FirstOrDefault(p =>
            hash.Length == 0
            || (File.Exists(p) && LoraHash.Matches(p, hash))
            || hash.StartsWith(FileHash.Short(FileHash.WeightFiles(p)), StringComparison.OrdinalIgnoreCase)
        );
        if (same is null)
            Terminal.Warn(
                $"{picture.Path}: the VAE '{name}' is now another file than when the picture was drawn{Hash(hash)}: {found[0]}"
            );
        return same ?? found[0];
    }

    /// <summary>Says where weights are others than the picture's.</summary>
    public void Compare(RunRecord run, bool singleFile)
    {
        GenerationMetadata old = Recorded;
        if (
            old.ModelHashes.Count > 0
            && (old.Own || singleFile)
            && !old.ModelHashes.SequenceEqual(run.Models, StringComparer.OrdinalIgnoreCase)
        )
        {
            Terminal.Warn(
                $"{Path}: the picture was drawn by other weights (Model hash {string.Join(" + ", old.ModelHashes)}; "
                    + $"this model's is {string.Join(" + ", run.Models)})"
            );
        }
        else if (old.AggregatorHash is { } aggregators && run.Aggregators is { } own && aggregators != own)
        {
            Terminal.Warn($"{Path}: the picture was drawn with other aggregators (hash {aggregators}; this ensemble's is {own})");
        }

        foreach ((string name, string hash) in old.LoraHashes)
        {
            string? path = run.Files.FirstOrDefault(f =>
                GenerationMetadata
                    .HashName(System.IO.Path.GetFileNameWithoutExtension(f))
                    .Equals(name, StringComparison.OrdinalIgnoreCase)
            );
            if (path is null)
                Terminal.Warn($"{Path}: the picture was drawn with the LoRA '{name}'{Hash(hash)}, this run is without it");
            else if (!LoraHash.Matches(path, hash))
                Terminal.Warn(
                    $"{Path}: the LoRA '{name}' is now another file than when " + $"the picture was drawn{Hash(hash)}: {path}"
                );
        }
    }

    /// <summary>Says which embeddings the picture's prompts used that these do not, or that are others.</summary>
    public void CompareEmbeddings(IEnumerable<(string Name, string Hash)> used)
    {
        Dictionary<string, string> now = used.GroupBy(u => GenerationMetadata.HashName(u.Name), StringComparer.OrdinalIgnoreCase)
            .ToDictionary(g => g.Key, g => g.First().Hash, StringComparer.OrdinalIgnoreCase);
        foreach ((string name, string hash) in Recorded.TextInversions)
        {
            if (!now.TryGetValue(name, out string? own))
                Terminal.Warn(
                    $"{Path}: the picture's prompts used the embedding "
                        + $"'{name}'{Hash(hash)}; here it is a word like others (--embedding or --embedding-dir names it)"
                );
            else if (Recorded.Own && own != hash)
                Terminal.Warn($"{Path}: the embedding '{name}' is now another file than when the picture was drawn{Hash(hash)}");
        }
    }

    private static string Hash(string hash) => hash.Length == 0 ? "" : $" (hash {Printable.Shortened(hash)})";

    private string Find(RecordedLora lora, string? folder)
    {
        string file = lora.Name + ".safetensors";
        bool plain = System.IO.Path.GetFileName(file) == file;
        List<string> found =
            folder is not null && Directory.Exists(folder)
                ?
                [
                    .. FolderFiles
                        .Enumerate(folder)
                        .Where(f => System.IO.Path.GetFileName(f).Equals(file, StringComparison.Ordinal))
                        .Order(StringComparer.Ordinal),
                ]
                : [];
        if (plain)
            found.AddRange(Places(null).Select(p => System.IO.Path.Combine(p, file)).Where(File.Exists));
        string hash = Recorded.LoraHashes.FirstOrDefault(h => h.Name == GenerationMetadata.HashName(lora.Name)).Hash ?? "";
        // Compare says it where none has the recorded hash.
        return found.FirstOrDefault(f => LoraHash.Matches(f, hash))
            ?? found.FirstOrDefault()
            ?? throw new AfaException(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{Path}: the picture was drawn with the LoRA '{lora.Name}' (weight {lora.Weight}){Hash(hash)}, and there is "
                        + $"no {file} in --lora-dir, beside the picture or in this folder; --lora FILE:WEIGHT names it, --lora "
                        + $"none draws without."
                )
            );
    }

    private IEnumerable<string> Places(string? model)
    {
        yield return Directory.GetCurrentDirectory();
        if (System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(Path)) is { } beside)
            yield return beside;
        if (model is null)
            yield break;
        if (Directory.Exists(model))
            yield return model;
        if (System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(model)) is { } around)
            yield return around;
    }
}
