using System.Text.Json.Nodes;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Engine.Pipeline;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Synthesis;
using Xunit;

namespace AfaNative.Tests.Ensemble;

public sealed class EnsembleTests(TinyEnsemble tiny) : IClassFixture<TinyEnsemble>
{
    private static readonly GenerationOptions s_options = new()
    {
        Prompt = "a red circle",
        NegativePrompt = "blue",
        Steps = 3,
        Width = 72,
        Height = 56,
        Seeds = [7],
    };

    [Fact]
    public void Threads_and_batch_do_not_change_a_pixel()
    {
        List<float[]> single = [];
        using (var device = new CpuDevice(1))
        using (DiffusionModel model = DiffusionModel.Load(device, tiny.Path))
        {
            foreach (ulong seed in new ulong[] { 7, 8, 9 })
                single.AddRange(new TextToImagePipeline(model).Generate(s_options with { Seeds = [seed] }));
        }

        using (var device = new CpuDevice(3))
        using (DiffusionModel model = DiffusionModel.Load(device, tiny.Path))
        {
            IReadOnlyList<float[]> batch = new TextToImagePipeline(model).Generate(s_options with { Seeds = [7, 8, 9] });
            for (int i = 0; i < 3; i++)
                Assert.Equal(single[i], batch[i]);
        }

        Assert.NotEqual(single[0], single[1]);
    }

    [Fact]
    public void Noise_of_later_steps_belongs_to_the_seed_too()
    {
        using var device = new CpuDevice(2);
        using DiffusionModel model = DiffusionModel.Load(device, tiny.Path, expert: 1);
        GenerationOptions noisy = s_options with { Eta = 1 };
        IReadOnlyList<float[]> batch = new TextToImagePipeline(model).Generate(noisy with { Seeds = [7, 8] });
        Assert.Equal(new TextToImagePipeline(model).Generate(noisy with { Seeds = [8] })[0], batch[1]);
        Assert.NotEqual(new TextToImagePipeline(model).Generate(s_options with { Seeds = [8] })[0], batch[1]);
    }

    [Fact]
    public void Cancellation_stops_between_ops()
    {
        using var device = new CpuDevice(1);
        using DiffusionModel model = DiffusionModel.Load(device, tiny.Path);
        using var source = new CancellationTokenSource();
        var observer = new GenerationObserver
        {
            Step = (step, _) =>
            {
                if (step == 1)
                    source.Cancel();
            },
        };
        Assert.ThrowsAny<OperationCanceledException>(() =>
            new TextToImagePipeline(model).Generate(s_options, observer, source.Token)
        );
    }

    [Fact]
    public void Nothing_stays_allocated_after_a_run()
    {
        using var device = new CpuDevice(1);
        using DiffusionModel model = DiffusionModel.Load(device, tiny.Path);
        long before = device.AllocatedBytes;
        new TextToImagePipeline(model).Generate(s_options);
        Assert.Equal(before, device.AllocatedBytes);
        model.Dispose();
        Assert.Equal(0, device.AllocatedBytes);
    }

    [Fact]
    public void Aggregation_points_are_those_of_the_paper()
    {
        var config = new UNetConfig();
        Assert.Equal(
            [
                320,
                320,
                320,
                320,
                640,
                640,
                640,
                1280,
                1280,
                1280,
                1280,
                1280,
                1280,
                1280,
                1280,
                1280,
                1280,
                1280,
                1280,
                640,
                640,
                640,
                320,
                320,
                4,
            ],
            config.AggregationChannels
        );
        Assert.Equal(25, AttentionRecorder.PointNames(config).Count);
    }

    [Fact]
    public void Synthesis_is_reproducible()
    {
        using var folder = new TemporaryFolder();
        string again = folder.File("again");
        SyntheticModel.Write(
            again,
            new SyntheticOptions
            {
                Experts = 3,
                Type = ElementType.Float16,
                Seed = 3,
            }
        );
        foreach (string file in Directory.EnumerateFiles(tiny.Path, "*", SearchOption.AllDirectories))
        {
            Assert.Equal(File.ReadAllBytes(file), File.ReadAllBytes(Path.Combine(again, Path.GetRelativePath(tiny.Path, file))));
        }

        Assert.Throws<AfaException>(() => SyntheticModel.Write(again, new SyntheticOptions()));
    }

    [Fact]
    public void A_size_that_is_no_multiple_of_eight_is_refused()
    {
        using var device = new CpuDevice(1);
        using DiffusionModel model = DiffusionModel.Load(device, tiny.Path, expert: 0);
        AfaException e = Assert.Throws<AfaException>(() =>
            new TextToImagePipeline(model).Generate(s_options with { Width = 70 })
        );
        Assert.Contains("70x56", e.Message);
    }

    [Fact]
    public void Experts_of_different_architecture_are_named()
    {
        using var folder = new TemporaryFolder();
        string copy = Copy(folder);
        Edit(Path.Combine(copy, "additional_unet_1", "config.json"), j => j["norm_num_groups"] = 4);
        CheckpointException e = Refused(copy);
        Assert.Contains("NormGroups", e.Message);
        Assert.Contains("additional_unet_1", e.Message);
    }

    [Fact]
    public void Missing_unexpected_and_misshapen_tensors_come_in_one_message()
    {
        using var folder = new TemporaryFolder();
        string copy = Copy(folder),
            file = Path.Combine(copy, "unet", "diffusion_pytorch_model.safetensors");
        var entries = new List<TensorEntry>();
        using (SafetensorsFile original = SafetensorsFile.Open(file))
        {
            foreach (SafetensorsTensor t in original.Tensors.Values)
            {
                if (t.Name == "conv_out.bias")
                    continue;
                long[] shape = t.Name == "conv_in.bias" ? [t.ElementCount + 1] : [.. t.Shape];
                entries.Add(TensorEntry.FromFloat32(t.Name, shape, new float[shape.Aggregate(1L, (a, b) => a * b)]));
            }

            entries.Add(TensorEntry.FromFloat32("stray", [1], [1f]));
        }

        SafetensorsWriter.Write(file, entries, null);
        CheckpointException e = Refused(copy);
        Assert.Contains("conv_out.bias", e.Message);
        Assert.Contains("stray", e.Message);
        Assert.Contains("conv_in.bias", e.Message);
    }

    [Fact]
    public void A_missing_aggregator_is_named()
    {
        using var folder = new TemporaryFolder();
        string copy = Copy(folder);
        Directory.Delete(Path.Combine(copy, "aggregator_3"), recursive: true);
        Assert.Contains("aggregator_3", Refused(copy).Message);
    }

    [Theory]
    [InlineData("unet/config.json")]
    [InlineData("vae/diffusion_pytorch_model.safetensors")]
    [InlineData("tokenizer/vocab.json")]
    [InlineData("scheduler/scheduler_config.json")]
    [InlineData("aggregator_7/config.json")]
    public void A_missing_file_is_named(string file)
    {
        using var folder = new TemporaryFolder();
        string copy = Copy(folder);
        File.Delete(Path.Combine(copy, file));
        Assert.Contains(Path.GetDirectoryName(file)!, Refused(copy).Message);
    }

    [Fact]
    public void Pickles_are_refused_with_a_way_out()
    {
        using var folder = new TemporaryFolder();
        folder.Write("model.ckpt", "not a pickle");
        Assert.Contains("safe_serialization", Refused(folder.File("model.ckpt")).Message);
    }

    private static CheckpointException Refused(string path)
    {
        using var device = new CpuDevice(1);
        return Assert.Throws<CheckpointException>(() => DiffusionModel.Load(device, path).Dispose());
    }

    private string Copy(TemporaryFolder folder)
    {
        string to = folder.File("copy");
        foreach (string file in Directory.EnumerateFiles(tiny.Path, "*", SearchOption.AllDirectories))
        {
            string target = Path.Combine(to, Path.GetRelativePath(tiny.Path, file));
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            File.Copy(file, target);
        }

        return to;
    }

    private static void Edit(string path, Action<JsonObject> edit)
    {
        JsonObject json = JsonNode.Parse(File.ReadAllText(path))!.AsObject();
        edit(json);
        File.WriteAllText(path, json.ToJsonString());
    }
}
