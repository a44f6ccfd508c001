using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Training;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Kernels.Devices.HalfStorage;
using AfaNative.Synthesis;
using AfaNative.Tests.Checkpoints;
using AfaNative.Tests.Support;
using Xunit;

namespace AfaNative.Tests.Training;

/// <summary>
/// A run goes on only with what it was begun with, and reuses nothing that was made of something else; what differs is named.
/// </summary>
public sealed class RunIdentityTests(TinyTraining tiny) : IClassFixture<TinyTraining>, IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly CpuDevice _device = new(2);

    public void Dispose()
    {
        _device.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public void A_unets_run_goes_on_only_with_the_same_data_models_and_options()
    {
        string model = Model("model", 1),
            data = Data("data");
        NetworkTrainingSetup setup = Setup(model, data, "run", TrainedNetwork.UNet);
        Stopped(setup);
        void Refused(string expected, NetworkTrainingSetup other)
        {
            string message = Assert.Throws<AfaException>(() => NetworkTraining.Run(_device, other)).Message;
            Assert.Contains(expected, message);
            Assert.DoesNotContain("other noise schedule", message);
        }

        TrainingOptions options = setup.Options;
        Refused("--learning-rate 0.5 instead of 0.001", setup with { Options = options with { LearningRate = 0.5 } });
        Refused("--seed 9 instead of 0", setup with { Options = options with { Seed = 9 } });
        Refused("--size 32 instead of 64", setup with { Options = options with { Size = 32 } });
        Refused("--posterior-means true instead of false", setup with { Options = options with { PosteriorMeans = true } });
        Refused("--from-scratch true instead of false", setup with { FromScratch = true });
        Refused("--train-text-encoder true", setup with { TrainText = true });
        Refused(
            "other captions",
            setup with
            {
                Records = [.. setup.Records.Select((r, i) => i == 1 ? r with { Caption = "something else" } : r)],
            }
        );
        Refused("other pictures", setup with { Records = [.. setup.Records.Skip(1)] });
        Refused("other U-Net", setup with { Model = Model("unet", 1, "unet") });
        Refused("other VAE", setup with { Model = Model("vae", 1, "vae") });
        Refused("other text encoder", setup with { Model = Model("text", 1, "text_encoder") });
        using (var half = new HalfStorageDevice(new CpuDevice(1), ElementType.BFloat16))
        {
            Assert.Contains(
                "--precision bf16 instead of f32",
                Assert.Throws<AfaException>(() => NetworkTraining.Run(half, setup)).Message
            );
        }

        // One byte of one picture, its size and time as they were.
        string picture = setup.Records[0].Image;
        (byte[] before, DateTime written) = (File.ReadAllBytes(picture), File.GetLastWriteTimeUtc(picture));
        File.Copy(setup.Records[3].Image, picture, overwrite: true);
        File.SetLastWriteTimeUtc(picture, written);
        Refused("other pictures", setup);
        File.WriteAllBytes(picture, before);

        // Elsewhere, but the same.
        string moved = _folder.File("moved");
        Directory.Move(data, moved);
        Directory.Move(model, _folder.File("elsewhere"));
        string trained = NetworkTraining.Run(_device, Setup(_folder.File("elsewhere"), moved, "run", TrainedNetwork.UNet));
        string whole = NetworkTraining.Run(_device, Setup(_folder.File("elsewhere"), moved, "whole", TrainedNetwork.UNet));
        SingleFileTests.SameTensors(Path.Combine(whole, "unet"), Path.Combine(trained, "unet"));
    }

    [Fact]
    public void Encoded_pictures_of_something_else_are_made_anew()
    {
        string model = Model("model", 1),
            data = Data("data");
        NetworkTrainingSetup setup = Setup(model, data, "run", TrainedNetwork.UNet),
            fresh = setup with { Output = _folder.File("fresh") };
        // Killed after encoding, before anything was saved; then run with other pictures, another VAE, another seed.
        foreach (
            NetworkTrainingSetup other in new[]
            {
                setup with
                {
                    Records = [.. setup.Records.Reverse()],
                },
                setup with
                {
                    Model = Model("vae", 1, "vae"),
                },
                setup with
                {
                    Options = setup.Options with { Seed = 4 },
                },
                setup,
            }
        )
        {
            Stopped(setup);
            string state = Path.Combine(setup.Output, "state.safetensors");
            File.Delete(state);
            Stopped(other);
            Stopped(other with { Output = fresh.Output });
            Assert.Equal(
                File.ReadAllBytes(Path.Combine(fresh.Output, "latents.safetensors")),
                File.ReadAllBytes(Path.Combine(setup.Output, "latents.safetensors"))
            );
            SingleFileTests.SameTensors(Path.Combine(fresh.Output, "state.safetensors"), state);
            Directory.Delete(fresh.Output, recursive: true);
            File.Delete(state);
        }
    }

    [Fact]
    public void A_vaes_run_does_not_depend_on_captions_but_on_its_pictures_and_weights()
    {
        string model = Model("model", 1),
            data = Data("data");
        NetworkTrainingSetup setup = Setup(model, data, "run", TrainedNetwork.Vae);
        Stopped(setup);
        Assert.Contains(
            "other pictures",
            Assert
                .Throws<AfaException>(() => NetworkTraining.Run(_device, setup with { Records = [.. setup.Records.Reverse()] }))
                .Message
        );
        Assert.Contains(
            "other VAE",
            Assert.Throws<AfaException>(() => NetworkTraining.Run(_device, setup with { Model = Model("vae", 1, "vae") })).Message
        );
        Assert.Contains(
            "--what unet instead of vae",
            Assert.Throws<AfaException>(() => NetworkTraining.Run(_device, setup with { What = TrainedNetwork.UNet })).Message
        );
        NetworkTraining.Run(_device, setup with { Records = [.. setup.Records.Select(r => r with { Caption = "x" })] });
    }

    [Fact]
    public void Aggregators_go_on_only_with_the_same_data_and_ensemble()
    {
        string data = Data("data");
        var options = new TrainingOptions
        {
            Steps = 1,
            Size = 64,
            LearningRate = 2e-3,
            Holdout = 0,
            Seed = 5,
        };
        using (AggregatorTrainer trainer = Trainer(tiny.Model, data, options))
            trainer.Train();
        void Refused(string expected, string model, string from, TrainingOptions how)
        {
            using AggregatorTrainer other = Trainer(model, from, how);
            string message = Assert.Throws<AfaException>(() => other.Resume()).Message;
            Assert.Contains(expected, message);
            Assert.DoesNotContain("schedule", message);
        }

        Refused(
            "--batch-size 2 instead of 1; --clip 3 instead of 1",
            tiny.Model,
            data,
            options with
            {
                BatchSize = 2,
                ClipNorm = 3,
            }
        );
        Refused("--holdout 1 instead of 0", tiny.Model, data, options with { Holdout = 1 });
        foreach (
            (string part, string expected) in new[]
            {
                ("vae", "other VAE"),
                ("additional_unet_1", "other U-Nets"),
                ("additional_text_encoder_0", "other text encoders"),
                ("aggregator_3", "other aggregators"),
            }
        )
        {
            Refused(expected, Changed(tiny.Model, part, part), data, options);
        }

        File.WriteAllText(Path.Combine(data, "02.txt"), "another caption");
        Refused("other captions", tiny.Model, data, options);
        File.Delete(Path.Combine(data, "02.png"));
        Refused("other pictures; other captions", tiny.Model, data, options);
    }

    [Fact]
    public void Hashes_are_remembered_until_a_file_changes_whatever_its_time_says()
    {
        string file = _folder.File("a.safetensors"),
            memory = _folder.File("hashes.json");
        File.WriteAllBytes(file, [1, 2, 3]);
        string first = new ContentHashes(memory).Of(file);
        Assert.Equal(Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData([1, 2, 3])), first);
        // What changed a moment ago is not trusted; what has settled is.
        Assert.False(File.Exists(memory));
        Thread.Sleep(4100);
        Assert.Equal(first, new ContentHashes(memory).Of(file));
        var remembered = new ContentHashes(memory);
        Assert.Equal(first, remembered.Of(file));
        if (OperatingSystem.IsLinux())
            Assert.Equal(0, remembered.BytesRead);
        DateTime written = File.GetLastWriteTimeUtc(file);
        File.WriteAllBytes(file, [3, 2, 1]);
        File.SetLastWriteTimeUtc(file, written);
        Assert.NotEqual(first, new ContentHashes(memory).Of(file));
        File.WriteAllText(memory, "{ torn");
        Assert.NotEqual(first, new ContentHashes(memory).Of(file));
    }

    [Fact]
    public void Runs_of_older_versions_say_that_they_cannot_be_checked()
    {
        var identity = new RunIdentity().Add("--seed", "1");
        Assert.Contains(
            "does not say what it was trained on",
            Assert.Throws<AfaException>(() => identity.Require("run", "1234abcd")).Message
        );
        Assert.Contains(
            "does not say what it was trained on",
            Assert.Throws<AfaException>(() => identity.Require("run", null)).Message
        );
        identity.Require("run", identity.ToString());
        Assert.Contains(
            "--seed 1 instead of none",
            Assert.Throws<AfaException>(() => identity.Require("run", new RunIdentity().Add("--size", "8").ToString())).Message
        );
    }

    // Two updates, then stopped; nothing is left but state and encoded pictures.
    private void Stopped(NetworkTrainingSetup setup)
    {
        using var stop = new CancellationTokenSource();
        Assert.Throws<OperationCanceledException>(() =>
            NetworkTraining.Run(
                _device,
                setup,
                new NetworkTrainingObserver
                {
                    Step = s =>
                    {
                        if (s.Step == 1)
                            stop.Cancel();
                    },
                },
                stop.Token
            )
        );
    }

    private NetworkTrainingSetup Setup(string model, string data, string run, TrainedNetwork what) =>
        new()
        {
            Model = model,
            What = what,
            Records = TrainingRecords.Find(data),
            Output = _folder.File(run),
            Options = new TrainingOptions
            {
                Steps = 2,
                Size = 64,
                LearningRate = 1e-3,
            },
        };

    private AggregatorTrainer Trainer(string model, string data, TrainingOptions options)
    {
        EnsembleFolder folder = EnsembleFolder.Open(model);
        var cache = new LatentCache(_folder.File("cache"), folder, options.Size, options.Seed);
        return new AggregatorTrainer(
            _device,
            folder,
            cache.Encode(_device, TrainingRecords.Find(data)),
            cache.EncodeCaption(_device, ""),
            options,
            _folder.File("sabw")
        );
    }

    private string Data(string name)
    {
        string to = _folder.File(name);
        Directory.CreateDirectory(to);
        foreach (string file in Directory.EnumerateFiles(tiny.Data).Order(StringComparer.Ordinal).Take(8))
            File.Copy(file, Path.Combine(to, Path.GetFileName(file)));
        return to;
    }

    // One synthetic model; with a part's weights changed a little.
    private string Model(string name, ulong seed, string? changed = null)
    {
        string plain = _folder.File("plain");
        if (!Directory.Exists(plain))
            TinyModels.Write(plain, new SyntheticOptions { Seed = seed });
        return Changed(plain, name, changed);
    }

    private string Changed(string model, string name, string? part)
    {
        string to = _folder.File(name + "-of-model");
        foreach (string file in Directory.EnumerateFiles(model, "*", SearchOption.AllDirectories))
        {
            string target = Path.Combine(to, Path.GetRelativePath(model, file));
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            File.Copy(file, target, overwrite: true);
            if (
                part is null
                || !target.EndsWith(".safetensors", StringComparison.Ordinal)
                || Path.GetFileName(Path.GetDirectoryName(target)) != part
            )
                continue;
            // The last byte: a little of one number.
            byte[] bytes = File.ReadAllBytes(target);
            bytes[^2] ^= 1;
            File.WriteAllBytes(target, bytes);
        }

        return to;
    }
}
