using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Kernels.Contracts;
using Spectre.Console;

namespace AfaNative.Tool.Commands;

/// <summary><c>afa-native inspect</c>: says what a checkpoint is.</summary>
internal static class InspectCommand
{
    private static readonly string[] s_baseNames = ["diffusion_pytorch_model", "model", "aggregator"];

    public static Command Create()
    {
        var path = new Argument<string>("PATH") { Description = "A .safetensors file, a component's folder or a model folder." };
        var all = new Option<bool>("--tensors") { Description = "List every tensor, not only the first of each file." };
        var command = new Command(
            "inspect",
            "Says what a checkpoint is: kind, architecture, storage, parameters, tensors, memory."
        )
        {
            path,
            all,
            ResultLines.Json,
        };
        command.SetAction(result =>
        {
            string at = result.GetValue(path)!;
            bool everything = result.GetValue(all);
            if (result.GetValue(ResultLines.Json))
                Lines(at, everything);
            else if (Directory.Exists(Path.Combine(at, "unet")))
                Model(at, everything);
            else if (Directory.Exists(at))
                Component(Checkpoint.Open(at, s_baseNames), everything);
            else if (File.Exists(at))
                Component(Checkpoint.OpenFile(at), everything);
            else
                throw new AfaException($"{at}: no such file or folder.");
        });
        return command;
    }

    internal static void Model(string path, bool everything)
    {
        EnsembleFolder folder = EnsembleFolder.Open(path);
        UNetConfig config = UNetConfig.Load(folder.UNets[0]);
        int factor = VaeConfig.Load(folder.Vae).Downscale,
            edge = config.SampleSize * factor;
        Terminal.Result(
            folder.Aggregators.Count > 0
                ? $"AFA ensemble of {folder.UNets.Count} experts with {folder.Aggregators.Count} aggregators"
                : "diffusers pipeline, one model"
        );
        Terminal.Result(
            $"U-Net: Stable Diffusion 1.x family, widths [{string.Join(", ", config.BlockOutChannels)}], text width "
                + $"{config.CrossAttentionDim}, trained at {edge} px, {config.AggregationChannels.Count} aggregation points"
        );
        long bytes = 0,
            parameters = 0;
        Table table = TextTable.Of("component", "parameters", "storage", "size");
        foreach (string component in folder.UNets.Concat(folder.TextEncoders).Append(folder.Vae).Concat(folder.Aggregators))
        {
            using Checkpoint checkpoint = Checkpoint.Open(component, s_baseNames);
            (long count, long size, string types) = Totals(checkpoint);
            bytes += size;
            parameters += count;
            TextTable.Row(table, Path.GetFileName(component), Count(count), types, Size(size));
        }

        TextTable.Show(table);
        Terminal.Result(
            $"{Count(parameters)} parameters, {Size(bytes)} of weights; sampling holds the weights as stored and about "
                + $"{Size(bytes + MapBytes(config, folder.UNets.Count, edge, factor))} in all at {edge} x {edge}"
        );
        if (!everything)
            return;
        foreach (string component in folder.UNets.Concat(folder.TextEncoders).Append(folder.Vae).Concat(folder.Aggregators))
            Component(Checkpoint.Open(component, s_baseNames), true);
    }

    // One object a component, and with it all its tensors where they are asked for.
    private static void Lines(string path, bool everything)
    {
        if (!Directory.Exists(path) && !File.Exists(path))
            throw new AfaException($"{path}: no such file or folder.");
        EnsembleFolder? folder = Directory.Exists(Path.Combine(path, "unet")) ? EnsembleFolder.Open(path) : null;
        foreach (
            string component in folder is null
                ? [path]
                : folder.UNets.Concat(folder.TextEncoders).Append(folder.Vae).Concat(folder.Aggregators)
        )
        {
            using Checkpoint checkpoint = Directory.Exists(component)
                ? Checkpoint.Open(component, s_baseNames)
                : Checkpoint.OpenFile(component);
            (long count, long size, string types) = Totals(checkpoint);
            var line = new JsonObject
            {
                ["path"] = component,
                ["kind"] = Kind(checkpoint),
                ["tensors"] = checkpoint.Names.Count,
                ["parameters"] = count,
                ["storage"] = types,
                ["bytes"] = size,
            };
            if (everything)
            {
                var shapes = new JsonObject();
                foreach (string name in checkpoint.Names.Order(StringComparer.Ordinal))
                {
                    checkpoint.TryGet(name, out _, out SafetensorsTensor? tensor);
                    shapes[name] = new JsonArray([.. tensor!.Shape.Select(d => (JsonNode)d)]);
                }

                line["shapes"] = shapes;
            }

            ResultLines.WriteObject(line);
        }
    }

    // Two guided images' largest maps per expert (GEGLU halves, skips, concatenations) plus the VAE's full-size maps.
    private static long MapBytes(UNetConfig config, int experts, int size, int factor)
    {
        long latent = size / factor * (long)(size / factor),
            widest = config.BlockOutChannels[0];
        return experts * 2 * latent * widest * 4 * 12 + 4L * size * size * 256 * 4;
    }

    private static void Component(Checkpoint checkpoint, bool everything)
    {
        using (checkpoint)
        {
            (long count, long size, string types) = Totals(checkpoint);
            Terminal.Result(
                $"{checkpoint.Description}: {Kind(checkpoint)}, {checkpoint.Names.Count} tensors, {Count(count)} "
                    + $"parameters, {types}, {Size(size)}"
            );
            Table table = TextTable.Of("tensor", "shape", "storage");
            int shown = 0;
            foreach (string name in checkpoint.Names.Order(StringComparer.Ordinal))
            {
                if (!everything && shown++ == 20)
                    break;
                checkpoint.TryGet(name, out _, out SafetensorsTensor? tensor);
                TextTable.Row(table, name, $"[{string.Join(", ", tensor!.Shape)}]", Storage(tensor));
            }

            TextTable.Show(table);
            if (!everything && checkpoint.Names.Count > 20)
                Terminal.Result($"... and {checkpoint.Names.Count - 20} more (--tensors lists all)");
        }
    }

    private static string Kind(Checkpoint checkpoint)
    {
        bool Has(string name) => checkpoint.TryGet(name, out _, out _);
        if (SingleFile.Foreign(checkpoint) is { } foreign)
            return foreign;
        if (checkpoint.IsOriginal)
        {
            SingleFileContents contents = SingleFile.Describe(checkpoint);
            return contents.UNet > 0 ? $"single-file Stable Diffusion 1.x checkpoint ({contents})" : "VAE (original names)";
        }

        if (Has("conv_in.weight") && Has("res_block.conv1.weight"))
            return "SABW aggregator";
        bool unet = Has("conv_in.weight") && Has("time_embedding.linear_1.weight"),
            vae = Has("decoder.conv_in.weight") && Has("encoder.conv_in.weight"),
            text = Has("text_model.embeddings.token_embedding.weight");
        if (unet || vae || text)
        {
            SingleFileContents contents = SingleFile.Describe(checkpoint);
            if ((unet ? 1 : 0) + (vae ? 1 : 0) + (text ? 1 : 0) > 1)
                return $"Stable Diffusion 1.x networks in one file, diffusers names ({contents})";
            string kind =
                unet ? "U-Net (diffusers names)"
                : vae ? "VAE"
                : "CLIP text encoder";
            return contents.Ignored.Count == 0
                ? kind
                : $"{kind} with {contents.Ignored.Count} other tensors that are not used "
                    + $"({string.Join(", ", contents.Ignored.Take(3))}{(contents.Ignored.Count > 3 ? ", ..." : "")})";
        }

        return "safetensors file of unknown kind";
    }

    private static (long Count, long Size, string Types) Totals(Checkpoint checkpoint)
    {
        long count = 0,
            size = 0;
        var types = new SortedSet<string>(StringComparer.Ordinal);
        foreach (string name in checkpoint.Names)
        {
            checkpoint.TryGet(name, out _, out SafetensorsTensor? tensor);
            count += tensor!.ElementCount;
            size += tensor.ByteLength;
            if (tensor.Type is not (ElementType.Int64 or ElementType.Int32))
                types.Add(Storage(tensor));
        }

        return (count, size, string.Join(" + ", types));
    }

    // The file's own name of a type that is not computed with.
    private static string Storage(SafetensorsTensor tensor) =>
        tensor.Type == ElementType.Opaque ? tensor.TypeName : tensor.Type.ToString();

    private static string Count(long count) =>
        count >= 1_000_000
            ? string.Create(CultureInfo.InvariantCulture, $"{count / 1e6:F2} M")
            : count.ToString("N0", CultureInfo.InvariantCulture);

    private static string Size(long bytes) =>
        bytes >= 1L << 30
            ? string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1L << 30):F2} GiB")
            : string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1L << 20):F1} MiB");
}
