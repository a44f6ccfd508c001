using AfaNative.Engine.Core;

namespace AfaNative.Engine.Training;

/// <summary>How the learning rate goes over a run.</summary>
public enum LearningRateSchedule
{
    /// <summary>The same throughout.</summary>
    Constant,

    /// <summary>Down to zero in a straight line.</summary>
    Linear,

    /// <summary>Down to zero along half a cosine.</summary>
    Cosine,
}

/// <summary>How aggregators are trained.</summary>
public sealed record TrainingOptions
{
    /// <summary>Updates.</summary>
    public int Steps { get; init; } = 1000;

    /// <summary>Pictures of one forward pass.</summary>
    public int BatchSize { get; init; } = 1;

    /// <summary>Forward passes of one update; their gradients are averaged.</summary>
    public int Accumulate { get; init; } = 1;

    /// <summary>
    /// Edge of the square cut from every picture, a multiple of the VAE's factor (8); <see cref="Ensemble.NativeSize"/> has what
    /// a model was made for.
    /// </summary>
    public int Size { get; init; } = 512;

    /// <summary>AdamW's learning rate after warm-up.</summary>
    public double LearningRate { get; init; } = 1e-4;

    /// <summary>AdamW's decoupled weight decay.</summary>
    public double WeightDecay { get; init; } = 0.01;

    /// <summary>
    /// AdamW's decay of the squared gradients; below 0.999 where gradients shrink a lot, as when a network starts from nothing.
    /// </summary>
    public double Beta2 { get; init; } = 0.999;

    /// <summary>Gradients are scaled down to this L2 norm; 0 leaves them alone.</summary>
    public double ClipNorm { get; init; } = 1;

    /// <summary>What follows the warm-up.</summary>
    public LearningRateSchedule Schedule { get; init; } = LearningRateSchedule.Constant;

    /// <summary>Updates over which the learning rate grows from zero.</summary>
    public int WarmupSteps { get; init; }

    /// <summary>Chance that a whole batch goes without its captions (one coin a batch, as the authors do).</summary>
    public double TextDropout { get; init; } = 0.1;

    /// <summary>
    /// Take the means of the VAE's posteriors as latents instead of samples: for autoencoders whose posteriors are wide, where
    /// samples would hide what a picture shows in noise no network can predict.
    /// </summary>
    public bool PosteriorMeans { get; init; }

    /// <summary>Decides the order of data, crops, noise, time steps and dropout.</summary>
    public ulong Seed { get; init; }

    /// <summary>Pictures set aside for evaluation.</summary>
    public int Holdout { get; init; } = 4;

    /// <summary>Updates between evaluations.</summary>
    public int EvaluateEvery { get; init; } = 100;

    /// <summary>Updates between checkpoints.</summary>
    public int SaveEvery { get; init; } = 100;

    /// <summary>Checkpoints kept.</summary>
    public int Keep { get; init; } = 3;

    /// <summary>Decay of the running mean of the weights that the trained model gets; 0 uses the weights themselves.</summary>
    public double Ema { get; init; }

    /// <summary>
    /// Keep the experts' activations of one block at a time and compute them again on the way back: less memory, more time.
    /// </summary>
    public bool Recompute { get; init; }

    /// <summary>The learning rate of update <paramref name="step"/> (from 0), as a share of <see cref="LearningRate"/>.</summary>
    public double RateAt(int step)
    {
        if (step < WarmupSteps)
            return (step + 1.0) / (WarmupSteps + 1);
        double done = Steps <= WarmupSteps ? 0 : Math.Min(1, (double)(step - WarmupSteps) / (Steps - WarmupSteps));
        return Schedule switch
        {
            LearningRateSchedule.Linear => 1 - done,
            LearningRateSchedule.Cosine => 0.5 * (1 + Math.Cos(Math.PI * done)),
            _ => 1,
        };
    }

    /// <summary>Refuses what makes no sense.</summary>
    /// <exception cref="AfaException">One sentence that names the option.</exception>
    public void Validate()
    {
        // No comparison is true of a number that is none, so each of these refuses NaN.
        Check(Steps is >= 1 and <= 100_000_000, "`steps` takes 1 to 100000000", Steps);
        Check(BatchSize is >= 1 and <= 65536, "`batch-size` takes 1 to 65536", BatchSize);
        Check(Accumulate is >= 1 and <= 65536, "`accumulate` takes 1 to 65536", Accumulate);
        Check(Size is >= 1 and <= 16384, "`size` takes 1 to 16384", Size);
        Check(LearningRate is > 0 and < 10, "`learning-rate` takes a number above 0 and below 10", LearningRate);
        Check(WeightDecay is >= 0 and < 1, "`weight-decay` takes 0 to 1 (1 itself not)", WeightDecay);
        Check(Beta2 is >= 0 and < 1, "AdamW's second decay takes 0 to 1 (1 itself not)", Beta2);
        Check(ClipNorm is >= 0 and < double.PositiveInfinity, "`clip` takes 0 or more", ClipNorm);
        Check(Enum.IsDefined(Schedule), "`schedule` takes constant, linear or cosine", Schedule);
        Check(TextDropout is >= 0 and <= 1, "`text-dropout` takes 0 to 1", TextDropout);
        Check(WarmupSteps >= 0, "`warmup` takes 0 or more", WarmupSteps);
        Check(Holdout >= 0, "`holdout` takes 0 or more", Holdout);
        Check(EvaluateEvery >= 1, "`evaluate-every` takes 1 or more", EvaluateEvery);
        Check(SaveEvery >= 1, "`save-every` takes 1 or more", SaveEvery);
        Check(Ema is >= 0 and < 1, "`ema` takes 0 to 1 (1 itself not)", Ema);
        Check(Keep >= 1, "`keep` takes 1 or more", Keep);

        static void Check(bool good, string what, object came)
        {
            if (!good)
                throw new AfaException(FormattableString.Invariant($"{what}, not {came}."));
        }
    }
}
