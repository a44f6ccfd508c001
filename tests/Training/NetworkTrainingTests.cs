using AfaNative.Demo;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Training;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Tests.Checkpoints;
using Xunit;

namespace AfaNative.Tests.Training;

/// <summary>
/// Whole networks trained on a user's pictures: only what was asked for changes, a run cut off goes on bit for bit.
/// </summary>
public sealed class NetworkTrainingTests(TinyTraining tiny) : IClassFixture<TinyTraining>, IDisposable
{
    private static readonly TrainingOptions s_options = new()
    {
        Steps = 4,
        BatchSize = 2,
        Size = 32,
        LearningRate = 1e-3,
        Ema = 0.5,
    };
    private readonly TemporaryFolder _folder = new();
    private readonly CpuDevice _device = new(2);

    public void Dispose()
    {
        _device.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public void A_batch_has_one_time_step_from_each_stretch()
    {
        for (int b = 0; b < 8; b++)
        {
            Assert.Equal(125 * b, UNetTrainer.Timestep(0, b, 8, 1000));
            Assert.Equal(125 * b + 124, UNetTrainer.Timestep(uint.MaxValue, b, 8, 1000));
        }

        Assert.Equal((0, 999), (UNetTrainer.Timestep(0, 0, 1, 1000), UNetTrainer.Timestep(uint.MaxValue, 0, 1, 1000)));
        // A thousand steps do not divide by three.
        Assert.Equal(
            (333, 333, 666),
            (
                UNetTrainer.Timestep(uint.MaxValue - 3_000_000, 0, 3, 1000),
                UNetTrainer.Timestep(3_000_000, 1, 3, 1000),
                UNetTrainer.Timestep(1_000_000, 2, 3, 1000)
            )
        );
    }

    [Fact]
    public void A_unet_learns_from_pictures_and_the_rest_of_the_model_stays()
    {
        string model = Base();
        NetworkTrainingSetup setup = Setup(model, "whole", TrainedNetwork.UNet);
        string broken = Path.Combine(_folder.Path, "broken.png");
        File.WriteAllText(broken, "no picture");
        var skipped = new List<string>();
        string trained = NetworkTraining.Run(
            _device,
            setup with
            {
                Records = [new TrainingRecord(broken, "x"), .. setup.Records],
            },
            new NetworkTrainingObserver { Skipped = (path, _) => skipped.Add(path) }
        );
        Assert.Equal([broken], skipped);
        SingleFileTests.SameTensors(Path.Combine(model, "vae"), Path.Combine(trained, "vae"));
        SingleFileTests.SameTensors(Path.Combine(model, "text_encoder"), Path.Combine(trained, "text_encoder"));
        Assert.ThrowsAny<Xunit.Sdk.XunitException>(() =>
            SingleFileTests.SameTensors(Path.Combine(model, "unet"), Path.Combine(trained, "unet"))
        );
        using (DiffusionModel.Load(_device, trained)) { }

        NetworkTrainingSetup cut = Setup(model, "cut", TrainedNetwork.UNet);
        using var stop = new CancellationTokenSource();
        Assert.Throws<OperationCanceledException>(() =>
            NetworkTraining.Run(
                _device,
                cut,
                new NetworkTrainingObserver
                {
                    Step = s =>
                    {
                        if (s.Step == 2)
                            stop.Cancel();
                    },
                },
                stop.Token
            )
        );
        Assert.False(Directory.Exists(Path.Combine(cut.Output, "model")));
        SingleFileTests.SameTensors(Path.Combine(trained, "unet"), Path.Combine(NetworkTraining.Run(_device, cut), "unet"));
    }

    [Fact]
    public void A_vae_and_a_text_encoder_start_from_the_model_or_from_nothing()
    {
        string model = Base();
        string vae = NetworkTraining.Run(_device, Setup(model, "vae", TrainedNetwork.Vae)),
            fresh = NetworkTraining.Run(_device, Setup(model, "fresh", TrainedNetwork.Vae) with { FromScratch = true });
        SingleFileTests.SameTensors(Path.Combine(model, "unet"), Path.Combine(vae, "unet"));
        Assert.ThrowsAny<Xunit.Sdk.XunitException>(() =>
            SingleFileTests.SameTensors(Path.Combine(model, "vae"), Path.Combine(vae, "vae"))
        );
        Assert.ThrowsAny<Xunit.Sdk.XunitException>(() =>
            SingleFileTests.SameTensors(Path.Combine(fresh, "vae"), Path.Combine(vae, "vae"))
        );
        string text = NetworkTraining.Run(_device, Setup(model, "text", TrainedNetwork.UNet) with { TrainText = true });
        Assert.ThrowsAny<Xunit.Sdk.XunitException>(() =>
            SingleFileTests.SameTensors(Path.Combine(model, "text_encoder"), Path.Combine(text, "text_encoder"))
        );
    }

    [Fact]
    public void What_cannot_be_trained_is_named()
    {
        Assert.Contains(
            "one model at a time",
            Assert.Throws<AfaException>(() => NetworkTraining.Run(_device, Setup(tiny.Model, "out", TrainedNetwork.UNet))).Message
        );
        string model = Base();
        Assert.Contains(
            "multiple of 8, not 33",
            Assert
                .Throws<AfaException>(() =>
                    NetworkTraining.Run(
                        _device,
                        Setup(model, "out", TrainedNetwork.Vae) with
                        {
                            Options = s_options with { Size = 33 },
                        }
                    )
                )
                .Message
        );
        Assert.Contains(
            "None of the 1 pictures",
            Assert
                .Throws<AfaException>(() =>
                    NetworkTraining.Run(
                        _device,
                        Setup(model, "out", TrainedNetwork.Vae) with
                        {
                            Records = [new TrainingRecord("/no/such.png", "x")],
                        }
                    )
                )
                .Message
        );
    }

    private string Base()
    {
        var training = new DemoTraining(
            _device,
            _folder.File("demo"),
            DemoOptions.Miniature with
            {
                VaeSteps = 2,
                BaseSteps = 2,
            }
        );
        training.Run("vae");
        training.Run("base");
        return training.Result("base");
    }

    private NetworkTrainingSetup Setup(string model, string name, TrainedNetwork what) =>
        new()
        {
            Model = model,
            What = what,
            Records = [.. TrainingRecords.Find(tiny.Data).Take(6)],
            Output = _folder.File(name),
            Options = s_options,
        };
}
