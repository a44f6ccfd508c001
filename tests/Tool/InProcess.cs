using AfaNative.Tool;

namespace AfaNative.Tests.Tool;

/// <summary>
/// The program without a process of its own: quick, beside other tests, and for arguments no shell can give.
/// </summary>
internal static class InProcess
{
    public static async Task<(int Code, string Output, string Error)> RunAsync(params string[] arguments)
    {
        using StringWriter output = new(),
            error = new();
        Terminal.Redirect(output, error);
        int code = await CommandLineProgram.RunAsync(arguments);
        return (code, output.ToString(), error.ToString());
    }

    public static (int Code, string Output, string Error) Run(params string[] arguments) =>
        RunAsync(arguments).GetAwaiter().GetResult();
}
