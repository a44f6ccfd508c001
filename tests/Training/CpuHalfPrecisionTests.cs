using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Engine.Prompts;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Training;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Kernels.Devices.HalfStorage;
using AfaNative.Kernels.Devices.Planning;
using AfaNative.Kernels.Devices.Reference;
using AfaNative.Kernels.Host;
using AfaNative.Synthesis;
using AfaNative.Tests.Support;
using AfaNative.Tests.Tool;
using Xunit;

namespace AfaNative.Tests.Training;

/// <summary>
/// Training on the CPU with what 16-bit memory would hold: close to float32 by a stated bound, with trained numbers and moments
/// in float32, and a loss scale where float16 needs one.
/// </summary>
public sealed class CpuHalfPrecisionTests(TinyTraining tiny) : IClassFixture<TinyTraining>, IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static HalfStorageDevice Half(ElementType type, bool reference = false) =>
        new(reference ? new ReferenceDevice() : new CpuDevice(2), type);

    [Theory]
    [InlineData(ElementType.Float16, 0.001, 0.003)]
    [InlineData(ElementType.BFloat16, 0.005, 0.03)]
    public void Aggregators_losses_and_gradients_follow_those_of_float32(ElementType type, double loss, double gradient)
    {
        using var wide = new CpuDevice(2);
        using HalfStorageDevice half = Half(type);
        List<TrainingUpdate> expected = Aggregators(wide, "f32"),
            came = Aggregators(half, "half");
        Compare(expected, came, loss, gradient, $"aggregators, {type}");
    }

    [Theory]
    [InlineData(ElementType.Float16, 0.002, 0.01)]
    [InlineData(ElementType.BFloat16, 0.01, 0.1)]
    public void Whole_networks_follow_too(ElementType type, double loss, double gradient)
    {
        string model = Model();
        using var wide = new CpuDevice(2);
        using HalfStorageDevice half = Half(type);
        foreach (TrainedNetwork what in Enum.GetValues<TrainedNetwork>())
        {
            List<TrainingUpdate> expected = Network(wide, what, model, $"{what}-f32", 4),
                came = Network(half, what, model, $"{what}-half", 4);
            Compare(expected, came, loss, gradient, $"{what}, {type}");
            // What is trained is kept in float32: not every number is one of 16 bits.
            using Engine.Checkpoints.SafetensorsFile state = Engine.Checkpoints.SafetensorsFile.Open(
                Path.Combine(_folder.File($"{what}-half"), "state.safetensors")
            );
            string name = state.Tensors.Keys.First(k =>
                k.StartsWith("value.", StringComparison.Ordinal) && k.EndsWith("conv_in.weight", StringComparison.Ordinal)
            );
            float[] values = state.ReadFloat32(name),
                rounded = [.. values];
            StorageRounding.Round(rounded, type);
            Assert.NotEqual(values, rounded);
        }
    }

    [Fact]
    public void An_overflow_repeats_the_update_and_the_scale_is_resumed()
    {
        string model = Model();
        using HalfStorageDevice half = Half(ElementType.Float16);
        foreach (TrainedNetwork what in Enum.GetValues<TrainedNetwork>())
        {
            VaeConfig vae = VaeConfig.Load(Path.Combine(model, "vae"));
            string state = _folder.File($"{what}.safetensors");
            var options = new TrainingOptions
            {
                Steps = 2,
                Size = 64,
                LearningRate = 1e-3,
            };
            using (NetworkTrainer trainer = Open(1))
            {
                trainer.LossScale.Restore(1 << 24, 0);
                var steps = new List<TrainingUpdate>();
                trainer.Run(state, steps.Add);
                Assert.True(double.IsFinite(Assert.Single(steps).GradientNorm));
                Assert.True(trainer.LossScale.Value < 1 << 24, "nothing overflowed");
                Assert.Equal(1, trainer.LossScale.Good);
                trainer.LossScale.Restore(1 << 10, 41);
            }

            using NetworkTrainer again = Open(2);
            double value = 0;
            again.Run(state, _ => value = again.LossScale.Value);
            Assert.True(value is > 1 and < 1 << 24);
            Assert.Equal(2, again.LossScale.Good);

            NetworkTrainer Open(int until)
            {
                TrainingOptions now = options with { Steps = until };
                var pictures = new FilePictures([.. TrainingRecords.Find(tiny.Data).Take(4)], 64, 0);
                if (what == TrainedNetwork.Vae)
                    return new VaeTrainer(half, now, pictures, vae, Path.Combine(model, "vae"));
                (VaeModel encoder, CheckpointParameters parameters) = DiffusionModel.ReadComponent(
                    half,
                    [Path.Combine(model, "vae")],
                    p => new VaeModel(p, vae)
                );
                using (parameters)
                {
                    return new UNetTrainer(
                        half,
                        now,
                        new UNetTrainingSetup
                        {
                            UNet = UNetConfig.Load(Path.Combine(model, "unet")),
                            Text = ClipTextConfig.Load(Path.Combine(model, "text_encoder")),
                            Tokenizer = ClipTokenizer.Load(Path.Combine(model, "tokenizer")),
                            Scheduler = SchedulerConfig.StableDiffusion,
                            LatentScale = vae.ScalingFactor,
                            UNetFrom = Path.Combine(model, "unet"),
                            TextFrom = Path.Combine(model, "text_encoder"),
                        },
                        LatentPool.Encode(half, encoder, pictures, 0, 4)
                    );
                }
            }
        }
    }

    [Fact]
    public void Weights_take_half_the_memory_and_plain_loops_agree()
    {
        string model = Model(ElementType.Float32);
        EnsembleFolder folder = EnsembleFolder.Open(model);
        UNetConfig config = UNetConfig.Load(folder.UNets[0]);
        long wide = Bytes(new CpuDevice(1)),
            half = Bytes(Half(ElementType.BFloat16));
        Assert.InRange(half, 0.4 * wide, 0.6 * wide);
        using HalfStorageDevice plain = Half(ElementType.Float16, reference: true),
            fast = Half(ElementType.Float16);
        List<TrainingUpdate> expected = Network(plain, TrainedNetwork.UNet, model, "plain", 1),
            came = Network(fast, TrainedNetwork.UNet, model, "fast", 1);
        Compare(expected, came, 0.001, 0.003, "plain loops");

        long Bytes(IDevice device)
        {
            using (device)
            {
                using var planning = new PlanningDevice(device);
                DiffusionModel.ReadComponent(planning, folder.UNets, p => new UNetModel(p, config)).Parameters.Dispose();
                return planning.WeightBytes;
            }
        }
    }

    [Theory]
    [InlineData("f16")]
    [InlineData("bf16")]
    public void The_tool_trains_in_it(string precision)
    {
        string run = _folder.File("run");
        string[] arguments =
        [
            "train",
            tiny.Model,
            "--data",
            tiny.Data,
            "--out",
            run,
            "--steps",
            "1",
            "--size",
            "64",
            "--holdout",
            "1",
            "--precision",
            precision,
        ];
        (int code, string output, string error) = InProcess.Run(arguments);
        Assert.True(code == 0, error);
        Assert.Contains("model", output);
        (code, _, error) = InProcess.Run([.. arguments[..^1], "f32", "--resume", "--steps", "2"]);
        Assert.NotEqual(0, code);
    }

    private static void Compare(
        List<TrainingUpdate> expected,
        List<TrainingUpdate> came,
        double loss,
        double gradient,
        string what
    )
    {
        Assert.Equal(expected.Count, came.Count);
        double worstLoss = expected.Zip(came).Max(p => Math.Abs(p.First.Loss - p.Second.Loss) / p.First.Loss),
            worstNorm = expected
                .Zip(came)
                .Max(p => Math.Abs(p.First.GradientNorm - p.Second.GradientNorm) / p.First.GradientNorm);
        TestContext.Current.SendDiagnosticMessage($"{what}: loss {worstLoss:E1}, gradient {worstNorm:E1}");
        Assert.True(
            worstLoss <= loss && worstNorm <= gradient,
            $"{what}: losses differ by {worstLoss:P3}, gradients by {worstNorm:P3}"
        );
        Assert.True(worstLoss > 0, $"{what}: nothing was rounded");
    }

    private List<TrainingUpdate> Aggregators(IDevice device, string run)
    {
        var options = new TrainingOptions
        {
            Steps = 5,
            Size = 64,
            LearningRate = 2e-3,
            Holdout = 0,
            EvaluateEvery = 1000,
            SaveEvery = 1000,
            Seed = 5,
        };
        EnsembleFolder models = EnsembleFolder.Open(tiny.Model);
        using var cpu = new CpuDevice(2);
        var cache = new LatentCache(_folder.File("cache"), models, options.Size, options.Seed);
        using var trainer = new AggregatorTrainer(
            device,
            models,
            cache.Encode(cpu, TrainingRecords.Find(tiny.Data)),
            cache.EncodeCaption(cpu, ""),
            options,
            _folder.File(run)
        );
        var steps = new List<TrainingUpdate>();
        trainer.Train(steps.Add);
        return steps;
    }

    private List<TrainingUpdate> Network(IDevice device, TrainedNetwork what, string model, string run, int steps)
    {
        using var encoder = new CpuDevice(2);
        var done = new List<TrainingUpdate>();
        var setup = new NetworkTrainingSetup
        {
            Model = model,
            What = what,
            Records = [.. TrainingRecords.Find(tiny.Data).Take(8)],
            Output = _folder.File(run),
            Options = new TrainingOptions
            {
                Steps = steps,
                Size = 64,
                LearningRate = 1e-3,
                BatchSize = 2,
            },
            Encoder = encoder,
        };
        NetworkTraining.Run(device, setup, new NetworkTrainingObserver { Step = done.Add });
        return done;
    }

    private string Model(ElementType type = ElementType.Float16)
    {
        string model = _folder.File("model" + type);
        if (!Directory.Exists(model))
            TinyModels.Write(model, new SyntheticOptions { Type = type, Seed = 7 });
        return model;
    }
}
