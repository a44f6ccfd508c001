using AfaNative.Engine.Core;

namespace AfaNative.Engine.Sampling.Samplers;

/// <summary>
/// Pseudo numerical methods (Liu et al. 2022). As a rule the linear multistep kind alone (PLMS, equations 9 and 12), with one
/// evaluation more than steps; else the first three steps are Runge and Kutta's (PRK, equation 13), with four evaluations each. A
/// run that leaves out steps (image to image) has no such start.
/// </summary>
public sealed class PndmSampler : Sampler
{
    private int[] _timesteps;
    private readonly List<float[]> _outputs = [];
    private readonly float _least;
    private float[]? _start,
        _mean;
    private int _rungeKutta;

    /// <summary>A sampler over a schedule.</summary>
    /// <exception cref="AfaException">There are fewer steps than Runge and Kutta's start takes.</exception>
    public PndmSampler(NoiseSchedule schedule, int steps, SamplerSettings? settings = null)
        : base(schedule, steps)
    {
        SchedulerConfig config = schedule.Config;
        // This class's own default.
        _least = config.StatesAlphaToOne ? schedule.FinalAlphaCumprod : schedule.AlphasCumprod[0];
        int[] spread = Spread(TimestepSpacing.Leading);
        if (settings is { SkipRungeKutta: false })
        {
            if (steps < 4)
                throw new AfaException(
                    $"PNDM with Runge and Kutta's start (skip_prk_steps false) takes 4 steps or more, {steps} came; PLMS takes "
                        + "fewer."
                );
            int half = config.NumTrainTimesteps / steps / 2;
            // Both ends of a step once, its middle twice.
            int[] start =
            [
                .. spread[..3].Zip(spread[1..4]).SelectMany(t => (int[])[t.First, t.Second + half, t.Second + half, t.Second]),
            ];
            _rungeKutta = start.Length;
            _timesteps = [.. start, .. spread[3..]];
        }
        else
        {
            // The second step is taken twice: the first time there is no history to extrapolate from.
            _timesteps = WithSecondTwice(spread);
        }
    }

    /// <inheritdoc/>
    public override int Begin(int step)
    {
        if (step > 0)
        {
            _timesteps = WithSecondTwice(Spread(TimestepSpacing.Leading)[step..]);
            _rungeKutta = 0;
        }

        return 0;
    }

    private static int[] WithSecondTwice(int[] timesteps) =>
        timesteps.Length < 2 ? timesteps : [timesteps[0], timesteps[1], .. timesteps[1..]];

    /// <inheritdoc/>
    public override IReadOnlyList<double> Timesteps => [.. _timesteps.Select(t => (double)t)];

    /// <inheritdoc/>
    public override bool Thresholds => false;

    /// <inheritdoc/>
    public override void Step(int evaluation, ReadOnlySpan<float> modelOutput, ReadOnlySpan<float> noise, Span<float> sample)
    {
        Check(evaluation, modelOutput, noise, sample);
        int stride = Schedule.Config.NumTrainTimesteps / Steps,
            timestep = _timesteps[evaluation],
            previous = timestep - stride;
        var output = new float[sample.Length];
        if (evaluation < _rungeKutta)
        {
            (timestep, previous) = RungeKutta(evaluation, stride / 2, modelOutput, output, sample);
        }
        else if (evaluation == 1)
        {
            (previous, timestep) = (timestep, timestep + stride);
            for (int i = 0; i < output.Length; i++)
                output[i] = (modelOutput[i] + _outputs[0][i]) / 2;
            _start!.CopyTo(sample);
        }
        else
        {
            Remember(modelOutput);
            if (evaluation == 0)
                _start = sample.ToArray();
            float[] weights = _outputs.Count switch
            {
                1 => [1],
                2 => [3 / 2f, -1 / 2f],
                3 => [23 / 12f, -16 / 12f, 5 / 12f],
                _ => [55 / 24f, -59 / 24f, 37 / 24f, -9 / 24f],
            };
            for (int j = 0; j < weights.Length; j++)
            {
                for (int i = 0; i < output.Length; i++)
                    output[i] += weights[j] * _outputs[j][i];
            }
        }

        // The first of two evaluations at one step goes back by a whole one, which may lie beyond the last.
        double alpha = Math.Max(
            Schedule.AlphasCumprod[Math.Min(timestep, Schedule.Config.NumTrainTimesteps - 1)],
            NoiseSchedule.Least
        );
        double before = previous >= 0 ? Schedule.AlphasCumprod[previous] : _least;
        float signal = (float)Math.Sqrt(alpha),
            sigma = (float)Math.Sqrt(1 - alpha),
            ofSample = (float)Math.Sqrt(before / alpha);
        float ofOutput = (float)((before - alpha) / (alpha * Math.Sqrt(1 - before) + Math.Sqrt(alpha * (1 - alpha) * before)));
        Prediction prediction = Prediction(signal, sigma);
        for (int i = 0; i < output.Length; i++)
            sample[i] = ofSample * sample[i] - ofOutput * prediction.Noise(sample[i], output[i]);
    }

    // One of the four evaluations of a step: from its beginning to its middle or its end, along a slope.
    private (int From, int To) RungeKutta(int evaluation, int half, ReadOnlySpan<float> slope, float[] output, Span<float> sample)
    {
        int part = evaluation % 4;
        slope.CopyTo(output);
        if (part == 0)
        {
            _mean = new float[output.Length];
            _start = sample.ToArray();
            Remember(slope);
        }

        float weight = part is 0 or 3 ? 1 / 6f : 1 / 3f;
        for (int i = 0; i < output.Length; i++)
            _mean![i] += weight * slope[i];
        if (part == 3)
            _mean!.CopyTo(output, 0);
        _start!.CopyTo(sample);
        return (_timesteps[evaluation - part], _timesteps[evaluation] - (part % 2 == 0 ? half : 0));
    }

    private void Remember(ReadOnlySpan<float> slope)
    {
        _outputs.Insert(0, slope.ToArray());
        if (_outputs.Count > 4)
            _outputs.RemoveAt(4);
    }
}
