using System.CommandLine;
using System.Text.Json.Nodes;
using AfaNative.Engine.Sampling.Samplers;

namespace AfaNative.Tool.Commands;

/// <summary><c>afa-native samplers</c>: what can be written after --sampler.</summary>
internal static class SamplersCommand
{
    public static Command Create()
    {
        var command = new Command("samplers", "Lists the samplers, by the names of diffusers and of A1111.") { ResultLines.Json };
        command.SetAction(r =>
        {
            ResultLines results = ResultLines.Of(r);
            foreach (SamplerChoice s in SamplerChoice.All)
                results.Write(
                    $"{s.Id, -20} {s.Name, -22} {s.About}",
                    () =>
                        new JsonObject
                        {
                            ["id"] = s.Id,
                            ["name"] = s.Name,
                            ["scheduler"] = s.SchedulerClass,
                            ["about"] = s.About,
                        }
                );
        });
        return command;
    }
}
