using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Sampling.Guidance;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Tests.Ensemble;
using Xunit;

namespace AfaNative.Tests.Diffusion;

/// <summary>Fusions of noise against cases worked out by hand, and through a whole ensemble.</summary>
public class NoiseFusionTests
{
    private static Predictions Of(float[] values, int experts, int conditions, int width) =>
        new(values, experts, conditions, new LatentShape(1, 1, 1, width));

    [Fact]
    public void Guidance_and_mean_by_hand()
    {
        // Two experts, [negative, positive] of two values each.
        Predictions predictions = Of([1, 2, 3, 6, 0, 4, 2, 0], 2, 2, 2);
        var guidance = new ClassifierFreeGuidance(2);
        Assert.Equal([1 + 2 * 2f, 2 + 2 * 4f], guidance.Guide(predictions.Expert(0), 0));
        Assert.Equal([0 + 2 * 2f, 4 + 2 * -4f], guidance.Guide(predictions.Expert(1), 0));
        Assert.Equal([4.5f, 3f], new MeanGuidance(guidance).Guide(predictions, 0));
        var without = new MeanGuidance(new NoGuidance());
        Assert.Equal((1, 2), (without.Conditions, new MeanGuidance(guidance).Conditions));
        Assert.Equal([1.5f, 2.5f, 2.5f, 3], without.Guide(Of([1, 2, 3, 6, 2, 3, 2, 0], 2, 1, 4), 0));
    }

    [Fact]
    public void Saliency_is_a_smoothed_difference()
    {
        // One channel, 5x5, a single difference of -3 in the middle, scale 2: |6| / 16 wherever the 4x4 window, shifted by one,
        // covers it.
        var shape = new LatentShape(1, 1, 5, 5);
        var conditional = new float[25];
        conditional[12] = -3;
        double[] saliency = MagicFusion.Saliency(conditional, new float[25], 2, shape);
        // Windows of the 4x4 result start at -1..2 and all hold row 2, except none; the nearest neighbour of 5 rows is 0, 0, 1,
        // 2, 3.
        for (int y = 0; y < 5; y++)
        {
            for (int x = 0; x < 5; x++)
                Assert.Equal(6.0 / 16, saliency[y * 5 + x]);
        }

        conditional = new float[25];
        conditional[0] = 16;
        saliency = MagicFusion.Saliency(conditional, new float[25], 1, shape);
        // Only windows that start at -1 or 0 hold the corner: result rows 0 and 1, which rows 0, 1 and 2 of the picture show.
        for (int y = 0; y < 5; y++)
        {
            for (int x = 0; x < 5; x++)
                Assert.Equal(y <= 2 && x <= 2 ? 1 : 0, saliency[y * 5 + x]);
        }
    }

    [Fact]
    public void The_most_salient_expert_supplies_each_pixel()
    {
        // 1 channel, 1 x 16: expert 0 differs at the left end, expert 1 at the right.
        const int width = 16;
        var predicted = new float[4 * width];
        for (int x = 0; x < width; x++)
        {
            predicted[x] = 0.5f;
            predicted[width + x] = x < 4 ? 10 : 0.5f;
            predicted[2 * width + x] = -1;
            predicted[3 * width + x] = x >= 12 ? -20 : 0.5f;
        }

        Predictions predictions = Of(predicted, 2, 2, width);
        var each = new ClassifierFreeGuidance(2);
        float[] result = new MagicFusion(each).Guide(predictions, 900);
        float[] first = each.Guide(predictions.Expert(0), 0);
        float[] second = each.Guide(predictions.Expert(1), 0);
        for (int x = 0; x < 4; x++)
            Assert.Equal(first[x], result[x]);
        for (int x = 12; x < width; x++)
            Assert.Equal(second[x], result[x]);
        // At and below the switch expert 0 goes alone; the other mode has it the other way round.
        Assert.Equal(first, new MagicFusion(each).Guide(predictions, 600));
        Assert.Equal(first, new MagicFusion(each, blendLast: true).Guide(predictions, 900));
        Assert.Equal(result, new MagicFusion(each, blendLast: true).Guide(predictions, 600));
    }

    [Fact]
    public void An_ensemble_draws_with_every_fusion_and_the_mean_of_one_expert_is_that_expert()
    {
        using var tiny = new TinyEnsemble();
        using var device = new CpuDevice(2);
        EnsembleFolder folder = EnsembleFolder.Open(tiny.Path),
            twins =
                folder.WithoutAggregators() with
                {
                    UNets = [folder.UNets[1], folder.UNets[1]],
                    TextEncoders = [folder.TextEncoders[1], folder.TextEncoders[1]],
                };
        var options = new GenerationOptions
        {
            Prompt = "a",
            Steps = 3,
            Width = 64,
            Height = 64,
            Seeds = [1, 2],
            Fusion = FusionMode.Mean,
        };
        using DiffusionModel apart = DiffusionModel.Load(device, folder.WithoutAggregators()),
            same = DiffusionModel.Load(device, twins),
            one = DiffusionModel.Load(device, folder, expert: 1),
            afa = DiffusionModel.Load(device, folder);
        float[] alone = new TextToImagePipeline(one).GenerateLatents(options with { Fusion = FusionMode.Afa }),
            twin = new TextToImagePipeline(same).GenerateLatents(options);
        for (int i = 0; i < alone.Length; i++)
            Assert.Equal(alone[i], twin[i], 1e-4f);
        float[] mean = new TextToImagePipeline(apart).GenerateLatents(options),
            magic = new TextToImagePipeline(apart).GenerateLatents(
                options with
                {
                    Fusion = FusionMode.Magic,
                    Magic = new MagicFusionOptions { SwitchTimestep = 300 },
                }
            );
        Assert.NotEqual(mean, magic);
        Assert.Equal(mean[..(mean.Length / 2)], new TextToImagePipeline(apart).GenerateLatents(options with { Seeds = [1] }));
        Assert.Throws<AfaException>(() =>
            new TextToImagePipeline(apart).GenerateLatents(options with { Fusion = FusionMode.Afa })
        );
        Assert.Throws<AfaException>(() =>
            new TextToImagePipeline(apart).GenerateLatents(options with { Fusion = FusionMode.Magic, GuidanceScale = 1 })
        );
        // An ensemble with aggregators can be run apart as well, on the weights it has.
        Assert.Equal(mean, new TextToImagePipeline(afa).GenerateLatents(options));
        Assert.Throws<AfaException>(() =>
            new TextToImagePipeline(apart).GenerateLatents(options with { Fusion = FusionMode.Average })
        );
        Assert.Throws<AfaException>(() => new TextToImagePipeline(one).GenerateLatents(options));
    }
}
