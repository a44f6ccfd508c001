using AfaNative.Engine.Core;
using AfaNative.Engine.Training;
using Xunit;

namespace AfaNative.Tests.Training;

/// <summary>Numbers of a run that make no sense are refused before anything is read, in the library too.</summary>
public sealed class TrainingOptionsTests
{
    public static TheoryData<string, string> Bad { get; } =
        new()
        {
            { "--steps", "0" },
            { "--steps", "-5" },
            { "--batch-size", "0" },
            { "--batch-size", "100000" },
            { "--accumulate", "-1" },
            { "--size", "-8" },
            { "--size", "100000" },
            { "--learning-rate", "NaN" },
            { "--learning-rate", "-0.1" },
            { "--learning-rate", "Infinity" },
            { "--weight-decay", "NaN" },
            { "--weight-decay", "1" },
            { "second decay", "NaN" },
            { "--clip", "NaN" },
            { "--clip", "Infinity" },
            { "--clip", "-1" },
            { "--text-dropout", "NaN" },
            { "--text-dropout", "1.5" },
            { "--warmup", "-1" },
            { "--holdout", "-1" },
            { "--evaluate-every", "0" },
            { "--save-every", "0" },
            { "--ema", "NaN" },
            { "--ema", "1" },
            { "--keep", "0" },
            { "--schedule", "7" },
        };

    [Theory]
    [MemberData(nameof(Bad))]
    public void Numbers_out_of_range_are_named(string what, string value)
    {
        var good = new TrainingOptions();
        double number = value switch
        {
            "NaN" => double.NaN,
            "Infinity" => double.PositiveInfinity,
            _ => Numbers.Double("", value),
        };
        int whole = double.IsFinite(number) ? (int)number : 0;
        TrainingOptions options = what switch
        {
            "--steps" => good with { Steps = whole },
            "--batch-size" => good with { BatchSize = whole },
            "--accumulate" => good with { Accumulate = whole },
            "--size" => good with { Size = whole },
            "--learning-rate" => good with { LearningRate = number },
            "--weight-decay" => good with { WeightDecay = number },
            "second decay" => good with { Beta2 = number },
            "--clip" => good with { ClipNorm = number },
            "--text-dropout" => good with { TextDropout = number },
            "--warmup" => good with { WarmupSteps = whole },
            "--holdout" => good with { Holdout = whole },
            "--evaluate-every" => good with { EvaluateEvery = whole },
            "--save-every" => good with { SaveEvery = whole },
            "--ema" => good with { Ema = number },
            "--keep" => good with { Keep = whole },
            _ => good with { Schedule = (LearningRateSchedule)whole },
        };
        string named = what.StartsWith("--", StringComparison.Ordinal) ? $"`{what[2..]}`" : what;
        Assert.Contains(named, Assert.Throws<AfaException>(options.Validate).Message);
        good.Validate();
    }
}
