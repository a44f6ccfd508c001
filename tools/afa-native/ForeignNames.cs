using System.CommandLine;

namespace AfaNative.Tool;

/// <summary>What A1111, ComfyUI, diffusers and CompVis' scripts call what this program calls otherwise.</summary>
internal static class ForeignNames
{
    // Without dashes in front, underscores as dashes.
    private static readonly Dictionary<string, string> s_names = Build(
        ("--guidance", "cfg cfg-scale cfgscale scale guidance-scale"),
        ("--negative", "negative-prompt neg-prompt uncond"),
        ("--strength", "denoising-strength denoising denoise strength-factor"),
        ("--count", "batch-count n-iter n-samples num-images num-images-per-prompt number"),
        ("--sampler", "sampler-name scheduler sampling-method plms ddim"),
        ("--steps", "sampling-steps num-inference-steps inference-steps ddim-steps num-steps"),
        ("--init-image", "init-img init-images input-image image img2img"),
        ("--out", "outdir output output-dir save-dir output-folder"),
        ("--hires-scale", "enable-hr hr-scale hires-fix hires-upscale hires"),
        ("--hires-steps", "hr-second-pass-steps"),
        ("--hires-upscaler", "hr-upscaler"),
        ("--embedding", "textual-inversion embeddings"),
        ("--embedding-dir", "embeddings-dir"),
        ("--lora-dir", "lora-path loras-dir"),
        ("--prompts", "prompts-from-file from-file prompt-file"),
        ("--learning-rate", "rate"),
        ("--steps", "max-train-steps train-steps"),
        ("--batch-size", "train-batch-size"),
        ("--accumulate", "gradient-accumulation-steps"),
        ("--size", "resolution"),
        ("--data", "train-data-dir dataset"),
        ("--precision", "mixed-precision dtype fp16"),
        ("MODEL", "model ckpt checkpoint model-path pretrained-model-name-or-path pretrained-model sd-model")
    );

    /// <summary>"; here that is X", or null where a command has none of it.</summary>
    public static string? Hint(string word, Command command)
    {
        if (!s_names.TryGetValue(word.TrimStart('-').Replace('_', '-').ToLowerInvariant(), out string? ours))
            return null;
        if (!command.Options.Any(o => o.Name == ours) && !command.Arguments.Any(a => a.Name == ours))
            return null;
        return ours switch
        {
            "MODEL" => "; MODEL is given without an option",
            "--count" => "; here that is --count, the pictures of one prompt in all",
            "--strength" => "; here that is --strength beside --init-image, --hires-strength for a second pass",
            _ => $"; here that is {ours}",
        };
    }

    private static Dictionary<string, string> Build(params ReadOnlySpan<(string Ours, string Theirs)> all)
    {
        var names = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach ((string ours, string theirs) in all)
        {
            foreach (string name in theirs.Split(' '))
                names.Add(name, ours);
        }

        return names;
    }
}
