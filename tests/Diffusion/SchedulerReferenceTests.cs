using System.Text.Json;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Samplers;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Verification;
using Xunit;

namespace AfaNative.Tests.Diffusion;

/// <summary>
/// 87 scheduler settings by diffusers 0.42: time steps and whole trajectories of those this engine has; of the others, why not.
/// </summary>
public sealed class SchedulerReferenceTests
{
    // What is not run, by the beginning of a case's name.
    private static readonly (string Case, string Why)[] s_without =
    [
        ("ddim_clip", "use_clipped_model_output"),
        ("deis_", "no DEISMultistepScheduler"),
        ("dpmsingle_", "no DPMSolverSinglestepScheduler"),
        ("edm_", "not of betas"),
        ("euler_churn", "s_churn"),
        ("kdpm2_a", "no KDPM2AncestralDiscreteScheduler"),
        ("kdpm2", "no KDPM2DiscreteScheduler"),
        ("lms_order2", "order"),
        ("sasolver", "no SASolverScheduler"),
        ("tcd_", "no TCDScheduler"),
    ];

    private static string? Folder =>
        SharedFiles.MoreGoldens() is { } more ? Path.Combine(more, "public", "diffusers_sched") : null;

    public static TheoryData<string> Cases() =>
        Folder is { } folder && Directory.Exists(folder)
            ? [.. Directory.GetDirectories(folder).Select(d => Path.GetFileName(d)!).Order(StringComparer.Ordinal)]
            : [""];

    [Theory]
    [MemberData(nameof(Cases))]
    public void Settings_of_schedulers_give_the_numbers_of_diffusers(string name)
    {
        if (name.Length == 0)
            Assert.Skip("the reference schedulers are not beside this checkout (AFA_SHARED names another place)");
        using var device = new CpuDevice(1);
        CaseResult result = CaseRunner.Run(Path.Combine(Folder!, name), device);
        (string Case, string Why) without = s_without.FirstOrDefault(w => name.StartsWith(w.Case, StringComparison.Ordinal));
        if (without.Why is null)
        {
            Assert.True(result.Verdict == CaseVerdict.Passed, $"{result.Verdict}: {result.Detail}");
            return;
        }

        Assert.Equal(CaseVerdict.Skipped, result.Verdict);
        Assert.Contains(without.Why, result.Detail);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Every_key_is_known_and_a_sampler_s_name_says_all_of_it(string name)
    {
        if (name.Length == 0)
            Assert.Skip("the reference schedulers are not beside this checkout (AFA_SHARED names another place)");
        if (name.StartsWith("edm_", StringComparison.Ordinal))
            return;
        using JsonDocument document = JsonDocument.Parse(File.ReadAllText(Path.Combine(Folder!, name, "case.json")));
        SchedulerConfig config = SchedulerConfig.FromJson(
            document.RootElement.GetProperty("config"),
            document.RootElement.GetProperty("scheduler").GetString()
        );
        Assert.DoesNotContain(
            config.Warnings,
            w =>
                w.Contains("key of a scheduler", StringComparison.Ordinal)
                || w.Contains("keys of a scheduler", StringComparison.Ordinal)
        );
        SamplerChoice again = SamplerChoice.Find(config.Sampler.Name);
        Assert.Equal((config.Sampler.Name, config.Sampler.Settings), (again.Name, again.Settings));
    }
}
