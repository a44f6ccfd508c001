using System.Globalization;
using AfaNative.Engine.Core;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Guidance;
using AfaNative.Engine.Sampling.Samplers;

namespace AfaNative.Engine.Pipeline;

public sealed partial record GenerationOptions
{
    /// <summary>Let pass what is not finite: for a device that only pretends to compute.</summary>
    internal bool Unchecked { get; init; }

    // Beyond this nothing but saturated noise comes; A1111's slider ends at 30.
    private const double MostGuidance = 1000;

    /// <summary>Refuses numbers that are none or out of range, before anything is computed.</summary>
    /// <exception cref="AfaException">One is.</exception>
    public void Validate()
    {
        if (Steps < 1)
            throw new AfaException($"At least one step is needed, got {Steps}.");
        if (Seeds.Count < 1)
            throw new AfaException("At least one seed is needed.");
        if (ClipSkip < 0)
            throw new AfaException($"The text encoder cannot leave out {ClipSkip} layers.");
        Check("The guidance", GuidanceScale, 0, MostGuidance);
        if (Eta is { } eta)
            Check("The eta", eta, 0, 1);
        Check("The strength", Strength, 0, 1);
        foreach (float weight in Magic.Weights ?? [])
            Check("A weight of MagicFusion", weight, -MostGuidance, MostGuidance);
        CheckAll("The picture to start from", InitImage);
        CheckAll("The mask", Mask);
        CheckAll("The initial latents", InitialLatents);
    }

    private static void Check(string what, double value, double least, double most)
    {
        if (!(value >= least && value <= most))
        {
            throw new AfaException(
                string.Create(CultureInfo.InvariantCulture, $"{what} is a number from {least} to {most}, not {value}.")
            );
        }
    }

    private static void CheckAll(string what, float[]? values)
    {
        if (values is not null && FiniteCheck.FirstOdd(values) is int at and >= 0)
        {
            throw new AfaException(
                string.Create(CultureInfo.InvariantCulture, $"{what} must be finite numbers, but value {at} is {values[at]}.")
            );
        }
    }

    /// <summary>
    /// What will not be as the settings may lead to expect, in whole sentences: settings without effect, runs that change nothing
    /// or begin late.
    /// </summary>
    /// <param name="scheduler">The model's noise schedule.</param>
    /// <exception cref="AfaException">The sampler does not take this number of steps.</exception>
    public IReadOnlyList<string> Warnings(SchedulerConfig scheduler)
    {
        ArgumentNullException.ThrowIfNull(scheduler);
        var warnings = new List<string>();
        Sampler sampler = this.Sampler.Create(new NoiseSchedule(scheduler), Steps, Eta);
        if (Eta is not null && Sampler.DefaultEta is null)
            warnings.Add(
                $"the sampler {Sampler.Name} has no eta: the one that is given has no effect; DDIM, Euler a and DPM++ 2M "
                    + $"SDE have "
                    + "one"
            );
        foreach (Setting setting in SettingTable.All.Where(s => s.Print(this) != s.Default))
        {
            if (setting.Idle?.Invoke(this) is { } why)
                warnings.Add($"{setting.Name} {setting.Print(this)} has no effect: {why}");
        }

        bool fromPicture = InitImage is not null;
        if (fromPicture && InitialPicture.StepsToRun(this) == 0)
        {
            warnings.Add(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{Steps} steps at a strength of {Strength} are none: nothing will change but what the autoencoder does"
                )
            );
        }

        int trained = scheduler.NumTrainTimesteps;
        if (!fromPicture && sampler.TrainingStep(0) < 0.75 * trained)
        {
            warnings.Add(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{Steps} steps of {Sampler.Name}, spread as the model's schedule says, begin at training step "
                        + $"{sampler.TrainingStep(0):F0} of {trained}, where less noise is expected than there is: other "
                        + $"numbers of steps or "
                        + $"another sampler do better"
                )
            );
        }

        if (HighResolution is { Strength: 0 })
            warnings.Add("the high-resolution pass has a strength of 0: it enlarges the picture and changes nothing");
        if (scheduler.Thresholding && !sampler.Thresholds)
            warnings.Add($"the model's schedule asks for thresholding, which the sampler {Sampler.Name} does not do");
        return warnings;
    }
}
