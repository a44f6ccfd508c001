using System.CommandLine;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Files;
using AfaNative.Engine.Sampling;

namespace AfaNative.Tool.Commands;

/// <summary><c>afa-native ensemble</c>: puts ensembles together and says what is in them.</summary>
internal static class EnsembleCommand
{
    public static Command Create() =>
        new("ensemble", "Puts an ensemble together from checkpoints, or says what one is.") { CreateCommand(), InfoCommand() };

    private static Command CreateCommand()
    {
        var output = new Argument<string>("OUT") { Description = "Folder to create." };
        var basis = new Option<string>("--base")
        {
            Description =
                "Model folder (diffusers layout): tokenizer, schedule, configurations, VAE, and a text encoder for files "
                + "without one.",
            Required = true,
        };
        var expert = new Option<string[]>("--expert")
        {
            Description = "A single-file checkpoint (.safetensors) or a model folder; once per expert, the first is expert 0.",
            Required = true,
            AllowMultipleArgumentsPerToken = true,
        };
        var vae = new Option<string?>("--vae")
        {
            Description = "VAE to use instead of the base's: a folder, a VAE file, or a checkpoint with one baked in.",
        };
        var link = new Option<bool>("--link")
        {
            Description = "Link to the experts' files instead of copying them; they must then stay where they are.",
        };
        var hidden = new Option<int>("--hidden-size")
        {
            Description =
                "Width of the aggregators, a multiple of 32 from 64 on: in narrower ones the norms take the time step away.",
            DefaultValueFactory = _ => 128,
        }.Within(32, 8192);
        var layers = new Option<int>("--layers")
        {
            Description = "Transformer layers of an aggregator.",
            DefaultValueFactory = _ => 2,
        }.Within(0, 100);
        var heads = new Option<int>("--heads")
        {
            Description = "Attention heads of an aggregator.",
            DefaultValueFactory = _ => 8,
        }.Within(1, 1024);
        var seed = new Option<ulong>("--seed")
        {
            Description = "Decides the aggregators' first weights; untrained they average whatever it is.",
        };
        var command = new Command(
            "create",
            "Writes an ensemble in the AFA authors' layout, with aggregators that average until they are trained."
        )
        {
            output,
            basis,
            expert,
            vae,
            link,
            hidden,
            layers,
            heads,
            seed,
        };
        command.SetAction(
            (r, cancellation) =>
                Task.Run(
                    () =>
                    {
                        using OutputLock held = Claims.Output(r.GetValue(output)!);
                        var options = new EnsembleOptions
                        {
                            Base = r.GetValue(basis)!,
                            Experts = r.GetValue(expert)!,
                            Vae = r.GetValue(vae),
                            Link = r.GetValue(link),
                            HiddenSize = r.GetValue(hidden),
                            Layers = r.GetValue(layers),
                            Heads = r.GetValue(heads),
                            Seed = r.GetValue(seed),
                        };
                        IReadOnlyList<SingleFileContents?> contents = EnsembleBuilder.Create(
                            r.GetValue(output)!,
                            options,
                            what => Terminal.Note($"writing {what}"),
                            cancellation,
                            Terminal.Warn
                        );
                        for (int e = 0; e < contents.Count; e++)
                        {
                            if (contents[e] is { } found)
                                Terminal.Note($"expert {e}: {options.Experts[e]}: {found}");
                        }

                        EnsembleFolder written = EnsembleFolder.Open(r.GetValue(output)!);
                        if (written.Aggregators.Count > 0)
                        {
                            foreach (string note in AuthorsLoader.Notes(SchedulerConfig.Load(written.Scheduler)))
                                Terminal.Warn(note);
                        }

                        if (options.Link && contents.Any(c => c is not null))
                            Terminal.Note(
                                "with --link the folder holds links to single files: this program reads them there, "
                                    + "others want a component's own file"
                            );
                        Terminal.Result(r.GetValue(output)!);
                        return 0;
                    },
                    cancellation
                )
        );
        return command;
    }

    private static Command InfoCommand()
    {
        var path = new Argument<string>("MODEL") { Description = "An ensemble's folder." };
        var command = new Command("info", "Says what an ensemble is made of, and whether its aggregators are trained.") { path };
        command.SetAction(r =>
        {
            string at = r.GetValue(path)!;
            InspectCommand.Model(at, everything: false);
            EnsembleFolder folder = EnsembleFolder.Open(at);
            int untrained = 0;
            foreach (string aggregator in folder.Aggregators)
            {
                using Checkpoint checkpoint = Checkpoint.Open(aggregator, "aggregator");
                if (
                    checkpoint.TryGet("conv_out.weight", out SafetensorsFile? file, out SafetensorsTensor? tensor)
                    && Array.TrueForAll(file.ReadFloat32(tensor.Name), v => v == 0)
                )
                    untrained++;
            }

            if (folder.Aggregators.Count > 0)
            {
                SabwConfig config = SabwConfig.Load(folder.Aggregators[0]);
                string state =
                    untrained == folder.Aggregators.Count ? "untrained: the ensemble averages its experts"
                    : untrained == 0 ? "trained"
                    : $"{untrained} of {folder.Aggregators.Count} untrained";
                foreach (string warning in AggregatorWidth.Warnings(folder.Aggregators.Select(SabwConfig.Load)))
                    Terminal.Warn(warning);
                foreach (string note in AuthorsLoader.Notes(SchedulerConfig.Load(folder.Scheduler)))
                    Terminal.Warn(note);
                Terminal.Result(
                    $"aggregators: width {config.HiddenSize}, {config.NumLayers} layers, {config.NumAttentionHeads} "
                        + $"heads; {state}"
                );
            }
        });
        return command;
    }
}
