using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Pipeline;
using AfaNative.Kernels.Devices.Cpu;
using Xunit;

namespace AfaNative.Tests.Ensemble;

/// <summary>
/// Some of an ensemble's experts: their weights are the aggregators' own, shared out anew, and one alone is itself.
/// </summary>
public sealed class ExpertSubsetTests(TinyEnsemble tiny) : IClassFixture<TinyEnsemble>
{
    private static readonly GenerationOptions s_options = new()
    {
        Prompt = "a red circle",
        NegativePrompt = "blue",
        Steps = 3,
        Width = 48,
        Height = 32,
        Seeds = [7, 8],
    };

    [Fact]
    public void One_expert_of_an_ensemble_is_that_expert_alone()
    {
        using var device = new CpuDevice(2);
        using DiffusionModel model = DiffusionModel.Load(device, tiny.Path);
        var pipeline = new TextToImagePipeline(model);
        for (int expert = 0; expert < 3; expert++)
        {
            using DiffusionModel one = DiffusionModel.Load(device, tiny.Path, expert);
            float[] alone = new TextToImagePipeline(one).GenerateLatents(s_options);
            foreach (FusionMode fusion in Enum.GetValues<FusionMode>())
            {
                float[] subset = pipeline.GenerateLatents(s_options with { Experts = [expert], Fusion = fusion });
                for (int i = 0; i < alone.Length; i++)
                    Assert.Equal(alone[i], subset[i], 1e-5f);
            }
        }
    }

    [Fact]
    public void Weights_are_those_of_all_shared_out_among_who_is_left()
    {
        using var device = new CpuDevice(2);
        using DiffusionModel model = DiffusionModel.Load(device, tiny.Path);
        // At the first point of the first step nothing has differed yet.
        float[] all = First(null, FusionMode.Afa),
            pair = First([0, 2], FusionMode.Afa),
            even = First([0, 2], FusionMode.Average),
            thirds = First(null, FusionMode.Average);
        int differ = 0;
        for (int i = 0; i < all.Length; i += 3)
        {
            float rest = all[i] + all[i + 2];
            Assert.Equal(all[i] / rest, pair[i], 1e-6f);
            Assert.Equal(0, pair[i + 1]);
            Assert.Equal(all[i + 2] / rest, pair[i + 2], 1e-6f);
            Assert.Equal([0.5f, 0, 0.5f], even[i..(i + 3)]);
            for (int n = 0; n < 3; n++)
                Assert.Equal(1 / 3f, thirds[i + n], 1e-6f);
            if (Math.Abs(all[i] - 1 / 3f) > 0.01)
                differ++;
        }

        Assert.True(differ > all.Length / 6, "the aggregators' own weights are too even to tell");

        float[] First(int[]? experts, FusionMode fusion)
        {
            float[]? maps = null;
            var ops = new Ops(device);
            new TextToImagePipeline(model).GenerateLatents(
                s_options with
                {
                    Experts = experts,
                    Fusion = fusion,
                    Steps = 1,
                },
                new GenerationObserver { Aggregation = (_, point, _, m) => maps ??= point == 0 ? ops.Download(m) : null }
            );
            return maps!;
        }
    }

    [Fact]
    public void All_named_are_all_and_the_average_is_an_ensemble_that_was_never_trained()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(2);
        using DiffusionModel model = DiffusionModel.Load(device, tiny.Path);
        var pipeline = new TextToImagePipeline(model);
        long before = device.AllocatedBytes;
        Assert.Equal(pipeline.GenerateLatents(s_options), pipeline.GenerateLatents(s_options with { Experts = [0, 1, 2] }));
        float[] average = pipeline.GenerateLatents(s_options with { Fusion = FusionMode.Average });
        Assert.NotEqual(pipeline.GenerateLatents(s_options with { Experts = [0, 1] }), pipeline.GenerateLatents(s_options));
        Assert.Equal(before, device.AllocatedBytes);
        foreach (string file in Directory.EnumerateFiles(tiny.Path, "*", SearchOption.AllDirectories))
        {
            string target = Path.Combine(folder.File("model"), Path.GetRelativePath(tiny.Path, file));
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            File.Copy(file, target);
            if (
                !file.Contains("aggregator_", StringComparison.Ordinal)
                || !file.EndsWith(".safetensors", StringComparison.Ordinal)
            )
                continue;
            List<TensorEntry> entries = [];
            using (SafetensorsFile original = SafetensorsFile.Open(file))
            {
                foreach (SafetensorsTensor t in original.Tensors.Values)
                    entries.Add(
                        TensorEntry.FromFloat32(
                            t.Name,
                            [.. t.Shape],
                            t.Name == "conv_out.weight" ? new float[t.ElementCount] : original.ReadFloat32(t.Name)
                        )
                    );
            }

            SafetensorsWriter.Write(target, entries, null);
        }

        using DiffusionModel untrained = DiffusionModel.Load(device, folder.File("model"));
        Assert.Equal(new TextToImagePipeline(untrained).GenerateLatents(s_options), average);
    }

    [Theory]
    [InlineData("At least one", new int[0])]
    [InlineData("Expert 3 was to take part; there are experts 0 to 2", new[] { 0, 3 })]
    [InlineData("Expert -1", new[] { -1 })]
    [InlineData("named twice", new[] { 1, 1 })]
    public void Choices_that_make_no_sense_are_named(string expected, int[] experts)
    {
        using var device = new CpuDevice(1);
        using DiffusionModel model = DiffusionModel.Load(device, tiny.Path);
        Assert.Contains(
            expected,
            Assert
                .Throws<AfaException>(() => new TextToImagePipeline(model).GenerateLatents(s_options with { Experts = experts }))
                .Message
        );
    }
}
