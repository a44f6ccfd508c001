using System.CommandLine;
using AfaNative.Engine.Training;

namespace AfaNative.Tool.Commands;

/// <summary><c>afa-native report</c>: a page about a training run.</summary>
internal static class ReportCommand
{
    public static Command Create()
    {
        var run = new Argument<string>("RUN") { Description = "The folder of a training run." };
        var output = new Option<string?>("--out", "-o") { Description = "The HTML file; RUN/report.html when left out." };
        var command = new Command(
            "report",
            "Writes one HTML page about a training run: losses, gradient norm, who does the work."
        )
        {
            run,
            output,
        };
        command.SetAction(r =>
        {
            string path = r.GetValue(output) ?? Path.Combine(r.GetValue(run)!, "report.html");
            foreach (string warning in TrainingReport.Write(r.GetValue(run)!, path))
                Terminal.Warn(warning);
            Terminal.Result(path);
            return 0;
        });
        return command;
    }
}
