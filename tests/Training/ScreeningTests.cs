using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Training;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Cpu;
using Xunit;

namespace AfaNative.Tests.Training;

/// <summary>Screening on experts whose relation is known.</summary>
public sealed class ScreeningTests(TinyTraining tiny) : IClassFixture<TinyTraining>
{
    [Fact]
    public void Equal_experts_leave_nothing_to_choose()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(2);
        EnsembleFolder models = EnsembleFolder.Open(tiny.Model);
        EnsembleFolder twins = models with
        {
            UNets = [models.UNets[0], models.UNets[0]],
            TextEncoders = [models.TextEncoders[0], models.TextEncoders[0]],
            Aggregators = [],
        };
        ScreeningResult result = ExpertScreening.Run(
            device,
            twins,
            Encode(device, twins, folder.File("cache")),
            [100, 700],
            4,
            1
        );
        Assert.False(result.WorthTraining);
        Assert.Equal(0, result.Gain, 1e-6);
        Assert.All(
            result.Steps,
            s =>
            {
                Assert.Equal(s.Errors[0], s.Errors[1], 1e-6);
                Assert.Equal(s.Errors[0], s.Oracle, 1e-6);
                Assert.Equal(s.Errors[0], s.Routed, 1e-6);
                Assert.Equal(s.Errors[0], s.Mean, 1e-6);
            }
        );
    }

    [Fact]
    public void Bounds_hold_between_different_experts()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(2);
        EnsembleFolder models = EnsembleFolder.Open(tiny.Model);
        ScreeningResult result = ExpertScreening.Run(device, models, Encode(device, models, folder.File("cache")), [300], 6, 1);
        ScreeningStep step = Assert.Single(result.Steps);
        Assert.Equal(3, step.Errors.Length);
        Assert.True(step.Oracle < step.Errors.Min());
        Assert.True(step.Routed >= step.Oracle);
        Assert.True(step.Mean < step.Errors.Average());
        Assert.InRange(step.Agreement, 0, 1);
        Assert.InRange(step.Chance, 1 / 3.0 - 1e-9, 1);
    }

    [Fact]
    public void Odd_draws_and_lone_experts_are_refused()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        EnsembleFolder models = EnsembleFolder.Open(tiny.Model);
        IReadOnlyList<EncodedRecord> data = Encode(device, models, folder.File("cache"));
        Assert.Contains(
            "`draws`",
            Assert.Throws<AfaException>(() => ExpertScreening.Run(device, models, data, [1], 3, 1)).Message
        );
        Assert.Contains(
            "at least two",
            Assert
                .Throws<AfaException>(() =>
                    ExpertScreening.Run(device, models with { UNets = [models.UNets[0]] }, data, [1], 4, 1)
                )
                .Message
        );
    }

    private IReadOnlyList<EncodedRecord> Encode(IDevice device, EnsembleFolder models, string cache) =>
        new LatentCache(cache, models, 64, 1).Encode(device, [.. TrainingRecords.Find(tiny.Data).Take(3)]);
}
