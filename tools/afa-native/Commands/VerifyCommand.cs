using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;
using AfaNative.Kernels.Contracts;
using AfaNative.Verification;

namespace AfaNative.Tool.Commands;

/// <summary><c>afa-native verify</c>: replays reference cases on this machine.</summary>
internal static class VerifyCommand
{
    private static readonly JsonSerializerOptions s_json = new() { WriteIndented = true };

    public static Command Create()
    {
        var cases = new Option<string?>("--cases")
        {
            Description = "Folder that holds case folders at any depth; without it a compact built-in set runs.",
        };
        var filter = new Option<string?>("--filter") { Description = "Run only cases whose folder contains this text." };
        var gradients = new Option<string>("--gradients")
        {
            Description = "on or off: compare gradients too, where the device has backward kernels.",
            DefaultValueFactory = _ => "on",
        };
        gradients.AcceptOnlyFromAmong("on", "off");
        var json = new Option<string?>("--json")
        {
            Description = "Write the results to this file too, with every tensor compared.",
        };
        Option<string> device = Devices.DeviceOption();
        Option<int> threads = Devices.ThreadsOption();
        Option<string> precision = Devices.PrecisionOption();
        var command = new Command("verify", "Compares this machine's results with reference data.")
        {
            cases,
            filter,
            gradients,
            device,
            threads,
            precision,
            json,
        };
        command.SetAction(
            (result, cancellation) =>
                Task.Run(
                    () =>
                        Run(
                            result.GetValue(cases) ?? BuiltIn(),
                            result.GetValue(filter),
                            result.GetValue(gradients) == "on",
                            result.GetValue(device)!,
                            result.GetValue(threads),
                            result.GetValue(precision)!,
                            result.GetValue(json),
                            CommandLineProgram.IsVerbose(result),
                            cancellation
                        ),
                    cancellation
                )
        );
        return command;
    }

    private static string BuiltIn()
    {
        string folder = Path.Combine(AppContext.BaseDirectory, "goldens");
        return Directory.Exists(folder)
            ? folder
            : throw new AfaException(
                $"The built-in cases are missing from {AppContext.BaseDirectory}; name a folder with --cases."
            );
    }

    private static int Run(
        string folder,
        string? filter,
        bool gradients,
        string deviceName,
        int threads,
        string precision,
        string? json,
        bool verbose,
        CancellationToken cancellation
    )
    {
        IReadOnlyList<string> all = CaseRunner.Find(folder);
        if (all.Count == 0)
            throw new AfaException($"{folder}: no case was run, because no folder in it holds a case.json.");
        IReadOnlyList<string> folders =
        [
            .. all.Where(f =>
                filter is null || Path.GetRelativePath(folder, f).Contains(filter, StringComparison.OrdinalIgnoreCase)
            ),
        ];
        if (folders.Count == 0)
        {
            throw new AfaException(
                $"--filter '{filter}' matches none of the {all.Count} cases in {folder}; the first is "
                    + $"{Path.GetRelativePath(folder, all[0])}."
            );
        }

        using IDevice device = Devices.Open(deviceName, threads, precision);
        List<CaseResult> results = [];
        if (gradients && device.Gradients is null)
            Terminal.Note($"{device.Name} has no gradients yet: only forward results are compared");
        Terminal.Result($"{"case", -38} {"max abs", 9} {"max rel", 9} {"tolerance", 9}  verdict");
        foreach (string one in folders)
        {
            CaseResult r = CaseRunner.Run(one, device, cancellation, gradients);
            results.Add(r);
            string verdict = r.Verdict switch
            {
                CaseVerdict.Passed => r.Tolerance == 0 ? $"ok ({r.Comparisons} exact)" : $"ok ({r.Comparisons} compared)",
                CaseVerdict.Failed => $"FAILED: {r.Detail}",
                _ => $"skipped: {r.Detail}",
            };
            Terminal.Result(
                Line(r.Id, r.Verdict == CaseVerdict.Skipped ? 0 : r.Tolerance, r.MaxAbsolute, r.MaxRelative, verdict)
            );
            if (!verbose)
                continue;
            foreach (TensorComparison t in r.Tensors)
            {
                string its = t.Verdict switch
                {
                    CaseVerdict.Passed => "ok",
                    CaseVerdict.Failed => $"FAILED: {t.Detail}",
                    _ => $"skipped: {t.Detail}",
                };
                Terminal.Result(
                    Line($"  {(t.Name.Length == 0 ? "the case" : t.Name)}", t.Tolerance, t.MaxAbsolute, t.MaxRelative, its)
                );
            }
        }

        int passed = results.Count(r => r.Verdict == CaseVerdict.Passed),
            failed = results.Count(r => r.Verdict == CaseVerdict.Failed),
            skipped = results.Count - passed - failed;
        Terminal.Result($"{passed} passed, {failed} failed, {skipped} skipped on {device.Name}");
        if (json is not null)
            WriteJson(json, device.Name, results);
        if (passed + failed == 0)
            throw new AfaException($"{folder}: no case was run: the engine knows the kind of none of the {results.Count}.");
        return failed == 0 ? 0 : CommandLineProgram.Failure;
    }

    private static string Line(string name, double tolerance, double absolute, double relative, string verdict)
    {
        string numbers =
            tolerance == 0
                ? $"{"-", 9} {"-", 9} {"-", 9}"
                : string.Create(
                    CultureInfo.InvariantCulture,
                    $"{absolute, 9:0.0e+00} {relative, 9:0.0e+00} {tolerance, 9:0e+00}"
                );
        return $"{name, -38} {numbers}  {verdict}";
    }

    private static void WriteJson(string path, string device, List<CaseResult> results)
    {
        string text =
            JsonSerializer.Serialize(
                new
                {
                    device,
                    cases = results.Select(r => new
                    {
                        id = r.Id,
                        kind = r.Kind,
                        verdict = Word(r.Verdict),
                        max_abs = Finite(r.MaxAbsolute),
                        max_rel = Finite(r.MaxRelative),
                        tolerance = r.Tolerance,
                        comparisons = r.Comparisons,
                        detail = r.Detail,
                        tensors = r.Tensors.Select(t => new
                        {
                            name = t.Name,
                            max_abs = Finite(t.MaxAbsolute),
                            max_rel = Finite(t.MaxRelative),
                            tolerance = t.Tolerance,
                            verdict = Word(t.Verdict),
                            detail = t.Detail,
                        }),
                    }),
                },
                s_json
            ) + "\n";
        WholeFile.WriteText(path, text);

        static double? Finite(double value) => double.IsFinite(value) ? value : null;

        static string Word(CaseVerdict verdict) =>
            verdict switch
            {
                CaseVerdict.Passed => "passed",
                CaseVerdict.Failed => "failed",
                _ => "skipped",
            };
    }
}
