using System.CommandLine;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Files;

namespace AfaNative.Tool.Commands;

/// <summary><c>afa-native merge</c>: static merges, the baselines AFA is compared with.</summary>
internal static class MergeCommand
{
    public static Command Create()
    {
        var output = new Argument<string>("OUT")
        {
            Description = "Folder (diffusers layout) or .safetensors file (original names) to create.",
        };
        var models = new Option<string[]>("--model", "-m")
        {
            Description = "A single-file checkpoint or a model folder; once per model, the first is A.",
            Required = true,
            AllowMultipleArgumentsPerToken = true,
        };
        var mode = new Option<string>("--mode")
        {
            Description =
                "weighted: sum of weights times models; blocks: a weight per U-Net block (MBW); add-difference: A + "
                + "multiplier (B - C); auto: search block weights that maximise a score (autoMBW).",
            DefaultValueFactory = _ => "weighted",
        };
        mode.AcceptOnlyFromAmong("weighted", "blocks", "add-difference", "auto");
        var weights = new Option<double[]>("--weights")
        {
            Description = "weighted: one weight per model, as --weights 0.7 0.3, divided by their sum; equal when left out.",
            AllowMultipleArgumentsPerToken = true,
        }.Within(-1000, 1000);
        var blocks = new Option<string[]>("--blocks")
        {
            Description =
                $"blocks: for two models the share of B in 25 blocks (12 input, middle, 12 output), as 25 numbers, one "
                + $"number, or a preset ({string.Join(", ", BlockWeights.Presets)}); for more models once per model, "
                + $"divided by their sum.",
            AllowMultipleArgumentsPerToken = false,
        };
        var text = new Option<double[]>("--text-weight")
        {
            Description = "blocks: the share of B in the text encoder (default 0); for more than two models one number each.",
            AllowMultipleArgumentsPerToken = true,
        }.Within(-1000, 1000);
        var multiplier = new Option<double>("--multiplier")
        {
            Description = "add-difference: how much of B - C is added.",
            DefaultValueFactory = _ => 1,
        }.Within(-1000, 1000);
        var basis = new Option<string?>("--base")
        {
            Description = "Model folder that brings configurations, tokenizer and VAE; needed when all models are single files.",
        };
        var command = new Command(
            "merge",
            "Merges models into one, without training: weighted, block-weighted, by adding a difference, or by a search "
                + "over block weights."
        )
        {
            output,
            models,
            mode,
            weights,
            blocks,
            text,
            multiplier,
            basis,
        };
        AutoMerge search = AutoMerge.AddTo(command);
        command.SetAction(
            (r, cancellation) =>
                Task.Run(
                    () =>
                    {
                        string[] paths = r.GetValue(models)!;
                        string how = r.GetValue(mode)!;
                        using OutputLock held = Claims.Output(r.GetValue(output)!);
                        double[] shares = r.GetValue(weights) is { Length: > 0 } w
                            ? w
                            : [.. paths.Select(_ => 1.0 / paths.Length)];
                        string[] lists = r.GetValue(blocks) ?? [];
                        if (how == "blocks" && lists.Length == 0)
                            throw new AfaException("--mode blocks needs --blocks.");
                        if (how != "blocks" && lists.Length > 0)
                            throw new AfaException("--blocks goes with --mode blocks.");
                        search.CheckLone(r, how == "auto");
                        LoneOptions.Check(r, how is "weighted" or "auto", "--mode weighted", weights);
                        LoneOptions.Check(r, how is "blocks" or "auto", "--mode blocks", text);
                        LoneOptions.Check(r, how == "add-difference", "--mode add-difference", multiplier);
                        if (how == "auto")
                        {
                            if (r.GetValue(text) is { Length: > 0 } || r.GetValue(weights) is { Length: > 0 })
                                throw new AfaException(
                                    "--mode auto searches the U-Net's weights; the text encoder is the first model's."
                                );
                            search.Run(r, r.GetValue(output)!, paths, r.GetValue(basis), cancellation);
                            Terminal.Result(r.GetValue(output)!);
                            return 0;
                        }

                        double[] outside =
                            r.GetValue(text) is { Length: > 0 } t ? t
                            : paths.Length == 2 ? [0]
                            : [.. paths.Select((_, i) => i == 0 ? 1.0 : 0)];
                        MergeOptions options = how switch
                        {
                            "blocks" => MergeOptions.BlockWeighted(
                                paths,
                                [.. lists.Select(BlockWeights.Parse)],
                                lists.Length == 2 && outside.Length == 1 ? [1 - outside[0], outside[0]] : outside
                            ),
                            "add-difference" => paths.Length == 3
                                ? MergeOptions.AddDifference(paths[0], paths[1], paths[2], r.GetValue(multiplier))
                                : throw new AfaException(
                                    $"--mode add-difference takes three models, A, B and C; {paths.Length} came."
                                ),
                            _ => MergeOptions.Weighted(paths, shares),
                        };
                        ModelMerge.Write(
                            r.GetValue(output)!,
                            options with
                            {
                                Base = r.GetValue(basis),
                            },
                            what => Terminal.Note($"writing {what}"),
                            cancellation,
                            Terminal.Warn
                        );
                        Terminal.Result(r.GetValue(output)!);
                        return 0;
                    },
                    cancellation
                )
        );
        return command;
    }
}
