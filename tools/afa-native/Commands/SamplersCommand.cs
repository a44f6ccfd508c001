using System.CommandLine;
using AfaNative.Engine.Diffusion.Samplers;

namespace AfaNative.Tool.Commands;

/// <summary><c>afa-native samplers</c>: what can be written after --sampler.</summary>
internal static class SamplersCommand
{
    public static Command Create()
    {
        var command = new Command("samplers", "Lists the samplers, by the names of diffusers and of A1111.");
        command.SetAction(_ =>
        {
            foreach (SamplerChoice s in SamplerChoice.All) Console.WriteLine($"{s.Id,-20} {s.Name,-22} {s.About}");
        });
        return command;
    }
}
