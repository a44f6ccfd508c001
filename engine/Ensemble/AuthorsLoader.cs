using System.Globalization;
using AfaNative.Engine.Sampling;

namespace AfaNative.Engine.Ensemble;

/// <summary>What an ensemble has that the method's authors' own loader does not look at.</summary>
public static class AuthorsLoader
{
    /// <summary>
    /// Sentences, none where all is well. The authors' loader reads no <c>scheduler/</c>: it samples with DDIM on Stable
    /// Diffusion 1.5's schedule and takes every prediction for noise.
    /// </summary>
    public static IReadOnlyList<string> Notes(SchedulerConfig scheduler)
    {
        ArgumentNullException.ThrowIfNull(scheduler);
        SchedulerConfig theirs = SchedulerConfig.StableDiffusion;
        List<string> wrong = [],
            different = [];
        if (scheduler.PredictionType != theirs.PredictionType)
            wrong.Add(
                $"prediction_type is {(scheduler.PredictionType == PredictionType.VPrediction ? "v_prediction" : "sample")}, not "
                    + $"epsilon"
            );
        if (scheduler.NumTrainTimesteps != theirs.NumTrainTimesteps)
            wrong.Add($"num_train_timesteps is {scheduler.NumTrainTimesteps}, not {theirs.NumTrainTimesteps}");
        if (scheduler.BetaSchedule != theirs.BetaSchedule)
            wrong.Add("beta_schedule is not scaled_linear");
        if (scheduler.TrainedBetas is not null)
            wrong.Add("there are trained_betas");
        if (scheduler.ZeroTerminalSnr)
            wrong.Add("rescale_betas_zero_snr is true, not false");
        if (scheduler.BetaStart != theirs.BetaStart || scheduler.BetaEnd != theirs.BetaEnd)
        {
            wrong.Add(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"betas run from {scheduler.BetaStart} to {scheduler.BetaEnd}, not {theirs.BetaStart} to {theirs.BetaEnd}"
                )
            );
        }

        if (scheduler.Thresholding)
            different.Add("thresholding is true, not false");
        if (scheduler.ClipSample)
            different.Add("clip_sample is true, not false");
        if (scheduler.SetAlphaToOne)
            different.Add("set_alpha_to_one is true, not false");
        if (scheduler.StepsOffset != theirs.StepsOffset)
            different.Add($"steps_offset is {scheduler.StepsOffset}, not {theirs.StepsOffset}");
        const string Why =
            "the AFA authors' loader does not read scheduler/ and takes every model for one that predicts noise "
            + "on Stable Diffusion 1.5's schedule";
        List<string> notes = [];
        if (wrong.Count > 0)
            notes.Add($"{Why}: this ensemble will not sample there ({string.Join("; ", wrong)})");
        else if (different.Count > 0)
            notes.Add($"{Why}: this ensemble samples a little otherwise there ({string.Join("; ", different)})");
        return notes;
    }
}
