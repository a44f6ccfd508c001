using System.CommandLine;

namespace AfaNative.Tool.Commands;

/// <summary><c>afa-native sample</c>: draws pictures.</summary>
internal static class SampleCommand
{
    public static Command Create()
    {
        var options = new SampleOptions();
        var command = new Command("sample", "Draws pictures from a prompt.");
        options.AddTo(command);
        command.SetAction(
            (result, cancellation) =>
            {
                SampleRequest request = options.Read(result);
                return Task.Run(() => SampleRun.Run(request, cancellation), cancellation);
            }
        );
        return command;
    }
}
