using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Training;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Synthesis;
using AfaNative.Tests.Devices;
using AfaNative.Tests.Support;
using Xunit;

namespace AfaNative.Tests.Training;

/// <summary>Training with float16 activations and gradients, on OpenCL.</summary>
[Collection("OpenCL")]
public sealed class HalfPrecisionTrainingTests(OpenClDevice opencl, TinyTraining tiny) : IClassFixture<TinyTraining>
{
    [Fact]
    public void Losses_follow_those_of_float32_and_the_scale_is_resumed()
    {
        using var folder = new TemporaryFolder();
        IDevice half = opencl.Half;
        using var cpu = new CpuDevice(2);
        List<TrainingUpdate> expected = Run(cpu, folder.File("cpu"), 5, null),
            came = Run(
                half,
                folder.File("half"),
                3,
                t =>
                {
                    Assert.False(t.Resume());
                    t.LossScale.Restore(1 << 12, 17);
                }
            );
        came.AddRange(
            Run(
                half,
                folder.File("half"),
                5,
                t =>
                {
                    Assert.True(t.Resume());
                    Assert.Equal((1 << 12, 20), (t.LossScale.Value, t.LossScale.Good));
                }
            )
        );
        Assert.Equal([1, 2, 3, 4, 5], came.Select(s => s.Step));
        for (int i = 0; i < 5; i++)
        {
            Assert.Equal(expected[i].Loss, came[i].Loss, 0.02 * expected[i].Loss);
            Assert.Equal(expected[i].GradientNorm, came[i].GradientNorm, 0.1 * expected[i].GradientNorm);
        }
    }

    [Fact]
    public void An_overflow_repeats_the_update_with_a_smaller_scale()
    {
        using var folder = new TemporaryFolder();
        using AggregatorTrainer trainer = Trainer(opencl.Half, folder.File("run"), 1);
        // Far more than the dynamic scale itself would reach: the first tries overflow.
        trainer.LossScale.Restore(1 << 24, 0);
        var steps = new List<TrainingUpdate>();
        trainer.Train(steps.Add);
        Assert.Equal(1, Assert.Single(steps).Step);
        Assert.True(double.IsFinite(steps[0].GradientNorm));
        Assert.True(trainer.LossScale.Value < 1 << 24, "nothing overflowed");
    }

    [Fact]
    public void Whole_networks_train_on_it_too()
    {
        using var folder = new TemporaryFolder();
        string model = folder.File("model");
        TinyModels.Write(model, new SyntheticOptions { Seed = 7 });
        using var cpu = new CpuDevice(2);
        List<TrainingUpdate> expected = Steps(cpu, "cpu"),
            came = Steps(opencl.Half, "half");
        for (int i = 0; i < 2; i++)
        {
            Assert.Equal(expected[i].Loss, came[i].Loss, 0.02 * expected[i].Loss);
            Assert.Equal(expected[i].GradientNorm, came[i].GradientNorm, 0.1 * expected[i].GradientNorm);
        }

        List<TrainingUpdate> Steps(IDevice device, string run)
        {
            var done = new List<TrainingUpdate>();
            NetworkTraining.Run(
                device,
                new NetworkTrainingSetup
                {
                    Model = model,
                    What = TrainedNetwork.UNet,
                    Records = [.. TrainingRecords.Find(tiny.Data).Take(2)],
                    Output = folder.File(run),
                    Options = new TrainingOptions
                    {
                        Steps = 2,
                        Size = 64,
                        LearningRate = 1e-3,
                    },
                    Encoder = cpu,
                },
                new NetworkTrainingObserver { Step = done.Add }
            );
            return done;
        }
    }

    [Fact]
    public void The_scale_halves_doubles_and_stays_in_bounds()
    {
        var scale = new LossScale(ElementType.Float16);
        Assert.Equal(65536, scale.Value);
        Assert.True(scale.Overflowed());
        Assert.Equal(32768, scale.Value);
        for (int i = 0; i < LossScale.GrowthInterval; i++)
            scale.Succeeded();
        Assert.Equal((65536, 0), (scale.Value, scale.Good));
        while (scale.Overflowed())
            Assert.True(scale.Value >= 1);
        Assert.Equal(1, scale.Value);

        var none = new LossScale(ElementType.BFloat16);
        none.Restore(8, 3);
        none.Succeeded();
        Assert.False(none.Overflowed());
        Assert.Equal((1, 0), (none.Value, none.Good));
    }

    private List<TrainingUpdate> Run(IDevice device, string run, int steps, Action<AggregatorTrainer>? prepare)
    {
        using AggregatorTrainer trainer = Trainer(device, run, steps);
        prepare?.Invoke(trainer);
        var done = new List<TrainingUpdate>();
        trainer.Train(done.Add);
        return done;
    }

    private AggregatorTrainer Trainer(IDevice device, string run, int steps)
    {
        var models = EnsembleFolder.Open(tiny.Model);
        var options = new TrainingOptions
        {
            Steps = steps,
            Size = 64,
            LearningRate = 2e-3,
            Holdout = 0,
            EvaluateEvery = 1000,
            SaveEvery = 1000,
            Seed = 5,
        };
        // The cache is the CPU's for every device: what differs is training alone.
        using var cpu = new CpuDevice(2);
        var cache = new LatentCache(Path.Combine(Path.GetDirectoryName(run)!, "cache"), models, options.Size, options.Seed);
        IReadOnlyList<EncodedRecord> data = cache.Encode(cpu, TrainingRecords.Find(tiny.Data));
        return new AggregatorTrainer(device, models, data, cache.EncodeCaption(cpu, ""), options, run);
    }
}
