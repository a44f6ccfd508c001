using AfaNative.Engine.Verification;
using AfaNative.Kernels.Devices;

using var device = new CpuDevice(0, args.Contains("--reference"));
foreach (string f in CaseRunner.Find(args[0]))
{
    if (args.Length > 1 && !args[1].StartsWith("--") && !f.Contains(args[1])) continue;
    CaseResult r = CaseRunner.Run(f, device);
    Console.WriteLine($"{r.Verdict,-8} {r.Id,-40} {r.MaxAbsolute:E2} {r.MaxRelative:E2} {r.Tolerance:E0} {r.Comparisons} {r.Detail}");
}
