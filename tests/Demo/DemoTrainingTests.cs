using AfaNative.Demo;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Prompts;
using AfaNative.Engine.Training;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Tests.Checkpoints;
using AfaNative.Tests.Support;
using Xunit;

namespace AfaNative.Tests.Demo;

/// <summary>The demo's whole chain in miniature, trained once for all tests, which only read it.</summary>
internal static class MiniatureDemo
{
    private static readonly SharedFolder s_folder = new(to =>
    {
        using var device = new CpuDevice(2);
        var training = new DemoTraining(device, to, DemoOptions.Miniature);
        foreach (string stage in DemoTraining.Stages)
            training.Run(stage);
    });

    /// <summary>The folder of the run.</summary>
    public static string Path => s_folder.Path;

    /// <summary>The run, every stage done.</summary>
    public static DemoTraining Open(IDevice device) => new(device, Path, DemoOptions.Miniature);
}

/// <summary>
/// The demo's training chain in miniature: every stage runs, repeats and resumes bit for bit, and networks learn.
/// </summary>
public sealed class DemoTrainingTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly CpuDevice _device = new(2);

    public void Dispose()
    {
        _device.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public void The_whole_chain_ends_in_an_ensemble_that_draws()
    {
        var empty = new DemoTraining(_device, _folder.File("run"), DemoOptions.Miniature);
        Assert.Contains("stage vae", Assert.Throws<AfaException>(() => empty.Run("base")).Message);
        DemoTraining training = MiniatureDemo.Open(_device);
        using DiffusionModel model = DiffusionModel.Load(_device, training.Result("sabw"));
        Assert.Equal(3, model.Ensemble.Experts);
        float[] picture = new TextToImagePipeline(model).Generate(
            new GenerationOptions
            {
                Prompt = "a red circle left of a green star",
                Width = 32,
                Height = 32,
                Steps = 2,
                Seeds = [1],
            }
        )[0];
        Assert.Equal(32 * 32 * 3, picture.Length);
        Assert.All(picture, v => Assert.InRange(v, 0f, 1f));
        // Experts differ from the base and from each other.
        Assert.ThrowsAny<Xunit.Sdk.XunitException>(() =>
            SingleFileTests.SameTensors(
                Path.Combine(training.Result("base"), "unet"),
                Path.Combine(training.Result("expert-0"), "unet")
            )
        );
        Assert.ThrowsAny<Xunit.Sdk.XunitException>(() =>
            SingleFileTests.SameTensors(
                Path.Combine(training.Result("expert-1"), "unet"),
                Path.Combine(training.Result("expert-0"), "unet")
            )
        );
    }

    [Fact]
    public void Aggregators_alone_are_trained_again_on_the_experts_of_an_ensemble()
    {
        DemoTraining whole = MiniatureDemo.Open(_device);
        var again = new DemoTraining(_device, _folder.File("again"), DemoOptions.Miniature with { Seed = 2 });
        again.Adopt(whole.Result("sabw"));
        again.Run("sabw");
        Assert.False(again.IsDone("base"));
        foreach (string part in (string[])["vae", "unet", "additional_unet_1", "text_encoder"])
        {
            SingleFileTests.SameTensors(Path.Combine(whole.Result("sabw"), part), Path.Combine(again.Result("sabw"), part));
        }

        Assert.ThrowsAny<Xunit.Sdk.XunitException>(() =>
            SingleFileTests.SameTensors(
                Path.Combine(whole.Result("sabw"), "aggregator_0"),
                Path.Combine(again.Result("sabw"), "aggregator_0")
            )
        );
        Assert.Contains("3 experts was expected", Assert.Throws<AfaException>(() => again.Adopt(whole.Result("base"))).Message);
    }

    [Fact]
    public void A_stage_repeats_bit_for_bit_also_when_cut_off_and_on_other_threads()
    {
        DemoOptions options = DemoOptions.Miniature;
        DemoTraining whole = MiniatureDemo.Open(_device);
        using var one = new CpuDevice(1);
        var cut = new DemoTraining(one, _folder.File("cut"), options);
        foreach (string stage in (string[])["vae", "base"])
        {
            using var stop = new CancellationTokenSource();
            Assert.Throws<OperationCanceledException>(() =>
                cut.Run(
                    stage,
                    new DemoProgress(
                        Step: (step, _) =>
                        {
                            if (step.Step == 5)
                                stop.Cancel();
                        }
                    ),
                    stop.Token
                )
            );
            Assert.False(cut.IsDone(stage));
            var seen = new List<int>();
            cut.Run(stage, new DemoProgress(Step: (step, _) => seen.Add(step.Step)));
            // The autoencoder's decoder goes on alone.
            Assert.Equal(Enumerable.Range(6, 7 + (stage == "vae" ? options.DecoderSteps : 0)), seen);
        }

        foreach (string part in (string[])["unet", "text_encoder", "vae"])
            SingleFileTests.SameTensors(Path.Combine(whole.Result("base"), part), Path.Combine(cut.Result("base"), part));
        Assert.Equal(
            File.ReadAllText(Path.Combine(whole.Result("vae"), "config.json")),
            File.ReadAllText(Path.Combine(cut.Result("vae"), "config.json"))
        );
    }

    [Fact]
    public void A_state_of_other_options_is_refused()
    {
        string state = _folder.File("vae.safetensors");
        var pictures = new ScenePictures(SceneDistribution.All, 16, 1);
        var options = new TrainingOptions { Steps = 2, BatchSize = 1 };
        var config = new VaeConfig
        {
            BlockOutChannels = [8, 8],
            LayersPerBlock = 1,
            NormGroups = 4,
        };
        using (var trainer = new VaeTrainer(_device, options, pictures, config))
            trainer.Run(state);
        using var other = new VaeTrainer(_device, options with { LearningRate = 1e-3 }, pictures, config);
        Assert.Contains("other options", Assert.Throws<AfaException>(() => other.Run(state)).Message);
        Assert.Contains(
            "divisible by 2",
            Assert
                .Throws<AfaException>(() =>
                    new VaeTrainer(_device, options, new ScenePictures(SceneDistribution.All, 17, 1), config)
                )
                .Message
        );
    }

    [Fact]
    public void An_autoencoder_and_a_denoiser_learn()
    {
        var pictures = new ScenePictures(SceneDistribution.All, 32, 1);
        var config = new VaeConfig
        {
            BlockOutChannels = [16, 16, 16],
            LayersPerBlock = 1,
            NormGroups = 8,
        };
        var losses = new List<double>();
        using (
            var trainer = new VaeTrainer(
                _device,
                new TrainingOptions
                {
                    Steps = 60,
                    BatchSize = 4,
                    LearningRate = 2e-3,
                    Ema = 0.9,
                },
                pictures,
                config
            )
        )
            trainer.Run(_folder.File("vae.state"), s => losses.Add(s.Loss));
        Assert.True(losses.TakeLast(10).Average() < 0.5 * losses.Take(3).Average(), string.Join(", ", losses));

        var training = new DemoTraining(_device, _folder.File("run"), DemoOptions.Miniature with { BaseSteps = 60 });
        SharedFolder.Copy(MiniatureDemo.Open(_device).Result("vae"), training.Result("vae"));
        losses.Clear();
        training.Run("base", new DemoProgress(Step: (s, _) => losses.Add(s.Loss)));
        Assert.True(losses.TakeLast(10).Average() < 0.95 * losses.Take(10).Average(), string.Join(", ", losses));
    }

    [Fact]
    public void Gradients_of_the_autoencoder_are_slopes_of_its_loss()
    {
        var config = new VaeConfig
        {
            BlockOutChannels = [8, 8],
            LayersPerBlock = 1,
            NormGroups = 4,
        };
        // A divergence large enough to matter in every gradient.
        using var trainer = new VaeTrainer(
            _device,
            new TrainingOptions { BatchSize = 2, Seed = 3 },
            new ScenePictures(SceneDistribution.All, 8, 1),
            config,
            divergence: 0.3f
        );
        foreach (Parameter parameter in trainer.Trained)
            parameter.ZeroGradient();
        trainer.Gradients(0);
        Dictionary<string, float[]> gradients = trainer.Trained.ToDictionary(p => p.Name, p => (float[])p.Gradient.Clone());
        foreach (
            string name in (string[])
                [
                    "encoder.conv_in.weight",
                    "encoder.conv_out.bias",
                    "quant_conv.weight",
                    "post_quant_conv.weight",
                    "decoder.up_blocks.0.resnets.0.conv1.weight",
                    "decoder.conv_out.weight",
                ]
        )
        {
            Parameter parameter = trainer.Trained.Single(p => p.Name == name);
            float[] gradient = gradients[name];
            int at = Array.IndexOf(gradient.Select(Math.Abs).ToArray(), gradient.Max(Math.Abs));
            float value = parameter.Values[at],
                h = 1e-2f;
            double up = Loss(value + h),
                down = Loss(value - h),
                slope = (up - down) / (2 * h);
            Loss(value);
            Assert.True(
                Math.Abs(slope - gradient[at]) <= 0.02 * Math.Abs(slope) + 1e-5,
                $"{name}[{at}]: gradient {gradient[at]}, slope {slope}"
            );

            double Loss(float v)
            {
                parameter.Values[at] = v;
                parameter.Publish();
                return trainer.Gradients(0);
            }
        }
    }

    [Fact]
    public void Every_word_of_the_world_is_one_token()
    {
        DemoTraining training = MiniatureDemo.Open(_device);
        ClipTokenizer tokenizer = ClipTokenizer.Load(Path.Combine(training.Result("base"), "tokenizer"));
        foreach (string word in SceneGrammar.Words)
            Assert.Single(tokenizer.Tokenize(word));
        Assert.Equal(SceneGrammar.Words.Count, SceneGrammar.Words.Select(w => tokenizer.Tokenize(w)[0]).Distinct().Count());
        Assert.True(tokenizer.Tokenize("zebra").Length > 1);
    }
}
