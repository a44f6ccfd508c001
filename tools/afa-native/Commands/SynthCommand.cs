using System.CommandLine;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Files;
using AfaNative.Kernels.Contracts;
using AfaNative.Synthesis;

namespace AfaNative.Tool.Commands;

/// <summary><c>afa-native synth</c>: writes a model of random weights.</summary>
internal static class SynthCommand
{
    public static Command Create()
    {
        var output = new Argument<string>("OUT") { Description = "Folder (or, for --layout single-file, file) to create." };
        var preset = new Option<string>("--preset")
        {
            Description = "tiny, or sd15 (Stable Diffusion 1.5's sizes; 2 GB an expert in f16).",
            DefaultValueFactory = _ => "tiny",
        };
        preset.AcceptOnlyFromAmong("tiny", "sd15");
        var experts = new Option<int>("--experts")
        {
            Description = "Number of experts; above 1 aggregators are written too.",
            DefaultValueFactory = _ => 1,
        }.Within(1, 64);
        var dtype = new Option<string>("--dtype")
        {
            Description = "Storage of the weights: f32, f16 or bf16.",
            DefaultValueFactory = _ => "f16",
        };
        dtype.AcceptOnlyFromAmong("f32", "f16", "bf16");
        var layout = new Option<string>("--layout")
        {
            Description =
                "diffusers: a folder; single-file: OUT.safetensors with original names (OUT-1.safetensors, ... for more "
                + "experts).",
            DefaultValueFactory = _ => "diffusers",
        };
        layout.AcceptOnlyFromAmong("diffusers", "single-file");
        var seed = new Option<ulong>("--seed") { Description = "Same seed, same files; 0 when left out." };
        var command = new Command(
            "synth",
            "Writes a model of random weights in the real formats, to try speed and memory without a download."
        )
        {
            output,
            preset,
            experts,
            dtype,
            layout,
            seed,
        };
        command.SetAction(
            (result, cancellation) =>
                Task.Run(
                    () =>
                    {
                        string folder = result.GetValue(output)!;
                        // As the help says: OUT.safetensors.
                        if (
                            result.GetValue(layout) == "single-file"
                            && !folder.EndsWith(".safetensors", StringComparison.OrdinalIgnoreCase)
                            && !PickleName.Is(folder)
                        )
                            folder += ".safetensors";
                        using OutputLock held = Claims.Output(folder);
                        var options = new SyntheticOptions
                        {
                            Experts = result.GetValue(experts),
                            FullSize = result.GetValue(preset) == "sd15",
                            Seed = result.GetValue(seed),
                            SingleFile = result.GetValue(layout) == "single-file",
                            Type = result.GetValue(dtype) switch
                            {
                                "f32" => ElementType.Float32,
                                "bf16" => ElementType.BFloat16,
                                _ => ElementType.Float16,
                            },
                        };
                        SyntheticModel.Write(folder, options, name => Terminal.Note($"writing {name}"), cancellation);
                        Terminal.Result(folder);
                        return 0;
                    },
                    cancellation
                )
        );
        return command;
    }
}
