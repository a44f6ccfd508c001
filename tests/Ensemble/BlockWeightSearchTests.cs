using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Synthesis;
using AfaNative.Tests.Support;
using Xunit;

namespace AfaNative.Tests.Ensemble;

/// <summary>
/// autoMBW on scores with a known optimum, cut off and continued; and merged models in memory against those written.
/// </summary>
public class BlockWeightSearchTests
{
    private static readonly BlockWeightSearchOptions s_options = new()
    {
        Models = 3,
        Trials = 80,
        Seed = 4,
        Subject = "a test",
    };

    [Theory]
    [InlineData(SearchResolution.Model, 1, 0.6)]
    [InlineData(SearchResolution.Levels, 9, 0.6)]
    [InlineData(SearchResolution.Blocks, 25, 0.85)]
    public void It_comes_nearer_to_an_optimum_than_any_simple_merge(SearchResolution resolution, int groups, double share)
    {
        var trials = new List<SearchTrial>();
        SearchTrial best = BlockWeightSearch.Run(s_options with { Resolution = resolution }, b => Score(b), done: trials.Add);
        Assert.Equal(80, trials.Count);
        Assert.Equal(trials.Max(t => t.Score), best.Score);
        Assert.Equal(groups, trials.Max(t => t.Blocks[0].Distinct().Count()));
        foreach (SearchTrial t in trials)
        {
            for (int k = 0; k < 25; k++)
                Assert.Equal(1, t.Blocks.Sum(b => b[k]), 12);
        }

        // The first four are the average and every model alone. One weight per model cannot follow the optimum through the
        // blocks, and 25 take longer than 80 trials.
        double simple = trials.Take(4).Max(t => t.Score);
        Assert.True(best.Score > simple * share, $"{best.Score} from {simple}");
        Assert.Equal([1.0 / 3, 1, 0, 0], trials.Take(4).Select(t => t.Blocks[0][7]));
    }

    [Fact]
    public void A_search_cut_off_in_the_middle_of_a_line_ends_as_if_it_had_not_been()
    {
        using var folder = new TemporaryFolder();
        string log = folder.File("trials.jsonl"),
            whole = folder.File("whole.jsonl");
        SearchTrial expected = BlockWeightSearch.Run(s_options, b => Score(b), whole);
        int calls = 0;
        Assert.Throws<InvalidOperationException>(() =>
            BlockWeightSearch.Run(s_options, b => ++calls <= 30 ? Score(b) : throw new InvalidOperationException(), log)
        );
        File.AppendAllText(log, "{\"trial\":30,\"sco");
        calls = 0;
        SearchTrial came = BlockWeightSearch.Run(
            s_options,
            b =>
            {
                calls++;
                return Score(b);
            },
            log
        );
        Assert.Equal(50, calls);
        Assert.Equal(File.ReadAllText(whole), File.ReadAllText(log));
        Assert.Equal(expected.Blocks, came.Blocks);
        Assert.Contains(
            "another search",
            Assert.Throws<AfaException>(() => BlockWeightSearch.Run(s_options with { Seed = 5 }, b => Score(b), log)).Message
        );
    }

    [Fact]
    public void A_score_that_is_no_number_is_the_worst()
    {
        SearchTrial best = BlockWeightSearch.Run(s_options with { Trials = 10 }, b => b[0][0] == 1 ? -7 : double.NaN);
        Assert.Equal((1, -7), (best.Trial, best.Score));
    }

    [Fact]
    public void A_merge_in_memory_is_the_merge_written()
    {
        using var folder = new TemporaryFolder();
        string[] models = [folder.File("a"), folder.File("b")];
        for (int i = 0; i < 2; i++)
            TinyModels.Write(models[i], new SyntheticOptions { Seed = (ulong)i, Type = ElementType.Float16 });
        MergeOptions options = MergeOptions.BlockWeighted(models, [BlockWeights.Parse("cosine")], [0]);
        ModelMerge.Write(folder.File("m"), options);
        using var device = new CpuDevice(2);
        UNetConfig config = UNetConfig.Load(Path.Combine(models[0], "unet"));
        Checkpoint[] checkpoints = [.. models.Select(m => Checkpoint.Open(Path.Combine(m, "unet"), "diffusion_pytorch_model"))];
        (UNetModel inMemory, MergedParameters merged) = ModelMerge.LoadUNet(device, checkpoints, config, options.Blocks);
        (UNetModel written, CheckpointParameters read) = DiffusionModel.ReadComponent(
            device,
            [Path.Combine(folder.File("m"), "unet")],
            p => new UNetModel(p, config)
        );
        using (merged)
        using (read)
        {
            Assert.Equal(Predict(written), Predict(inMemory));
        }

        foreach (Checkpoint checkpoint in checkpoints)
            checkpoint.Dispose();

        float[] Predict(UNetModel unet)
        {
            var ops = new Ops(device);
            using TensorScope scope = ops.Scope();
            var values = new float[8 * 8 * config.InChannels];
            AfaNative.Kernels.Random.GaussianNoise.Fill(values, 3, 0);
            return ops.Download(
                unet.Forward(
                    ops,
                    ops.Upload(values, new Shape(1, 1, 8, 8, config.InChannels)),
                    unet.EmbedTime(ops, [321f]),
                    ops.Upload(new float[7 * config.CrossAttentionDim], new Shape(1, 1, 7, 1, config.CrossAttentionDim))
                )
            );
        }
    }

    // Best where the shares run from (0.6, 0.3, 0.1) to (0.1, 0.6, 0.3) over the blocks.
    private static double Score(double[][] blocks)
    {
        double sum = 0;
        for (int k = 0; k < 25; k++)
        {
            double x = k / 24.0;
            double[] wanted = [0.6 - 0.5 * x, 0.3 + 0.3 * x, 0.1 + 0.2 * x];
            for (int m = 0; m < 3; m++)
                sum += Math.Pow(blocks[m][k] - wanted[m], 2);
        }

        return -sum;
    }
}
