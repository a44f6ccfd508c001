using AfaNative.Engine.Core;

namespace AfaNative.Engine.Checkpoints;

/// <summary>Which network a tensor belongs to by its diffusers name, and the wrappings such names come in.</summary>
internal static class NetworkNames
{
    /// <summary>A kind of network.</summary>
    internal enum Network
    {
        /// <summary>None of those below.</summary>
        None,

        /// <summary>A U-Net.</summary>
        UNet,

        /// <summary>An autoencoder.</summary>
        Vae,

        /// <summary>CLIP's text half.</summary>
        Text,
    }

    private const string UNetAnchor = "time_embedding.linear_1.weight",
        VaeAnchor = "decoder.conv_in.weight",
        TokenTable = "embeddings.token_embedding.weight";

    private static readonly HashSet<string> s_unet =
    [
        "conv_in",
        "time_embedding",
        "down_blocks",
        "mid_block",
        "up_blocks",
        "conv_norm_out",
        "conv_out",
    ];
    private static readonly string[] s_original = ["input_blocks", "middle_block", "output_blocks", "time_embed", "out"];
    private static readonly HashSet<string> s_vae = ["encoder", "decoder", "quant_conv", "post_quant_conv"];

    /// <summary>The network of a tensor by its diffusers name.</summary>
    public static Network Of(string name) =>
        Root(name) switch
        {
            "text_model" => Network.Text,
            var root when s_unet.Contains(root) => Network.UNet,
            var root when s_vae.Contains(root) => Network.Vae,
            _ => Network.None,
        };

    /// <summary>Whether a U-Net's layer may have this name, dots as underscores, in either naming.</summary>
    public static bool IsUNetStem(string stem) =>
        s_unet.Concat(s_original).Any(r => stem == r || stem.StartsWith(r + "_", StringComparison.Ordinal));

    /// <summary>What stands before the first dot.</summary>
    public static string Root(string name) =>
        name.IndexOf('.', StringComparison.Ordinal) is var dot and >= 0 ? name[..dot] : name;

    /// <summary>
    /// diffusers' names to the file's where these differ only by a wrapping: <c>unet.</c>, <c>vae.</c>, <c>transformer.</c> or
    /// another module around a network, or a
    /// text encoder without its <c>text_model.</c>; null where nothing is wrapped. Names of no network stay as they are.
    /// </summary>
    public static IReadOnlyDictionary<string, string>? Unwrap(IReadOnlyCollection<string> names)
    {
        var wrappings = new List<(string Before, string After, Func<string, bool> Inside)>();
        Add(UNetAnchor, n => s_unet.Contains(Root(n)), "");
        Add(VaeAnchor, n => s_vae.Contains(Root(n)), "");
        if (names.Any(n => n.EndsWith("text_model." + TokenTable, StringComparison.Ordinal)))
            Add("text_model." + TokenTable, n => Root(n) == "text_model", "");
        else
            Add(
                TokenTable,
                n =>
                    n.StartsWith("embeddings.", StringComparison.Ordinal)
                    || n.StartsWith("encoder.layers.", StringComparison.Ordinal)
                    || n.StartsWith("final_layer_norm.", StringComparison.Ordinal),
                "text_model."
            );
        if (wrappings.Count == 0)
            return null;
        var map = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (string name in names)
        {
            string found = name;
            foreach ((string before, string after, Func<string, bool> inside) in wrappings)
            {
                if (!name.StartsWith(before, StringComparison.Ordinal) || !inside(name[before.Length..]))
                    continue;
                found = after + name[before.Length..];
                break;
            }

            if (!map.TryAdd(found, name))
                throw new CheckpointException($"Expected every tensor once, but '{name}' and '{map[found]}' are both {found}.");
        }

        return map;

        void Add(string anchor, Func<string, bool> inside, string after)
        {
            // The shortest: copies of running means and the like lie deeper.
            string? found = names.Where(n => n.EndsWith(anchor, StringComparison.Ordinal)).MinBy(n => n.Length);
            if (found is null)
                return;
            string before = found[..^anchor.Length];
            if ((before.Length == 0 || before.EndsWith('.')) && (before.Length > 0 || after.Length > 0))
                wrappings.Add((before, after, inside));
        }
    }
}
