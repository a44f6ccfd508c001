using System.Text.RegularExpressions;
using AfaNative.Engine.Core;

namespace AfaNative.Engine.Checkpoints;

/// <summary>What real weight files carry besides the weights of their network.</summary>
internal static partial class KnownExtras
{
    /// <summary>Tensors real files carry that hold no weights.</summary>
    public static bool IsIgnorable(string name) => name.EndsWith("position_ids", StringComparison.Ordinal);

    // Networks of these roots change what the U-Net computes: without them the pictures would be others.
    private static readonly HashSet<string> s_changing =
    [
        "class_embedding",
        "add_embedding",
        "encoder_hid_proj",
        "position_net",
        "conditioner",
        "label_emb",
    ];

    /// <summary>
    /// Nothing is lost by not reading it, and everybody's files have it: position numbers, tables a schedule is computed from,
    /// running means, counters.
    /// </summary>
    public static bool IsSilent(string name) => Silent().IsMatch(name) || Float8.IsFactor(name);

    /// <summary>It belongs to a network this program does not know, and would change pictures.</summary>
    public static bool ChangesPictures(string name) => s_changing.Contains(NetworkNames.Root(name));

    /// <summary>One sentence about tensors that are not used; null for none.</summary>
    public static string? Sentence(string file, IReadOnlyList<string> names)
    {
        if (names.Count == 0)
            return null;
        string some =
            string.Join(", ", names.Take(4).Select(n => Printable.Shortened(n, 100))) + (names.Count > 4 ? ", ..." : "");
        if (names.Any(n => n is "v_pred" or "ztsnr"))
        {
            return $"{file}: {names.Count} tensors are not used ({some}); v_pred and ztsnr say that the model predicts v "
                + $"or was trained to zero signal, which here only the scheduler's configuration decides.";
        }

        string vision = names.Any(n => n.Contains("vision_model.", StringComparison.Ordinal))
            ? " - CLIP's image half, which no picture is made with"
            : "";
        string belong = names.Count == 1 ? "tensor belongs to" : "tensors belong to";
        string are = names.Count == 1 ? "is" : "are";
        return $"{file}: {names.Count} {belong} none of the model's networks and {are} not used ({some}){vision}.";
    }

    [GeneratedRegex(
        @"(^|\.)(position_ids|betas|alphas_cumprod(_prev)?|sqrt_(one_minus_)?alphas_cumprod"
            + @"|sqrt_recip(m1)?_alphas_cumprod|log_one_minus_alphas_cumprod"
            + @"|posterior_[a-z0-9_]+|lvlb_weights|logvar|scale_factor|global_step|epoch)$|^model_ema\.|^denoiser\."
    )]
    private static partial Regex Silent();
}
