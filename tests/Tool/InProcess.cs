using AfaNative.Tool;
using Xunit;

namespace AfaNative.Tests.Tool;

/// <summary>Tests that take over the console: no others run beside them.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class ConsoleCollection
{
    public const string Name = "console";
}

/// <summary>
/// The program without a process of its own: quick enough for long tables, and for arguments no shell can give.
/// </summary>
internal static class InProcess
{
    public static async Task<(int Code, string Output, string Error)> RunAsync(params string[] arguments)
    {
        (TextWriter output, TextWriter error) = (Console.Out, Console.Error);
        using StringWriter newOutput = new(),
            newError = new();
        string? color = Environment.GetEnvironmentVariable("NO_COLOR");
        try
        {
            Environment.SetEnvironmentVariable("NO_COLOR", "1");
            Console.SetOut(newOutput);
            Console.SetError(newError);
            int code = await CommandLineProgram.RunAsync(arguments);
            return (code, newOutput.ToString(), newError.ToString());
        }
        finally
        {
            Console.SetOut(output);
            Console.SetError(error);
            Environment.SetEnvironmentVariable("NO_COLOR", color);
        }
    }
}
