using AfaNative.Demo;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Sampling.Samplers;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Tests.Checkpoints;
using AfaNative.Tests.Tool;
using AfaNative.Tool.Commands;
using Xunit;

namespace AfaNative.Tests.Demo;

/// <summary>
/// The trained ensemble in the repository: small, whole, and it draws what a caption says, each expert where it counts.
/// </summary>
public sealed class ShippedEnsembleTests
{
    [Fact]
    public void It_is_small_and_says_what_it_is()
    {
        Assert.InRange(
            Directory.EnumerateFiles(ModelDefaults.DemoFolder, "*", SearchOption.AllDirectories).Sum(f => new FileInfo(f).Length),
            1,
            25_000_000
        );
        Assert.Equal(3, EnsembleFolder.Open(ModelDefaults.DemoFolder).UNets.Count);
        string card = File.ReadAllText(Path.Combine(ModelDefaults.DemoFolder, "README.md"));
        Assert.Contains("demo train --seed 1", card);
        Assert.Contains(
            $"| base U-Net with text encoder | channels 64, 64, text width 64 | {new DemoOptions().BaseSteps} |",
            card
        );
    }

    [Fact]
    public void Sample_without_a_model_draws_the_caption_and_writes_maps()
    {
        using var folder = new TemporaryFolder();
        (int code, _, string error) = InProcess.Run(
            "sample",
            "--prompt",
            "a red circle left of a green star",
            "--seed",
            "1",
            "--count",
            "1",
            "--out",
            folder.File("a"),
            "--attention-maps",
            folder.File("maps")
        );
        Assert.True(code == 0, error);
        RgbImage picture = PngFile.Read(Directory.GetFiles(folder.File("a")).Single(), out string? text);
        Assert.Contains("Steps: 20", text);
        Assert.True(
            SceneScorer
                .Judge(
                    [.. picture.Pixels.ToArray().Select(p => p / 255f)],
                    picture.Width,
                    SceneGrammar.Parse("a red circle left of a green star")
                )
                .Correct
        );
        Assert.Single(Directory.GetFiles(folder.File("maps"), "*-overview.png"));
    }

    [Fact]
    public void Most_mixed_captions_come_out_right_and_experts_count_where_their_shapes_are()
    {
        using var device = new CpuDevice(2);
        using DiffusionModel model = DiffusionModel.Load(device, ModelDefaults.DemoFolder);
        var pipeline = new TextToImagePipeline(model);
        // Circles and crosses, stars and rings, squares and triangles: families 0 and 1, 2 and 0, 1 and 2.
        (string Prompt, int Left, int Right)[] asked =
        [
            ("a blue circle left of a yellow cross on a plain gray background", 0, 1),
            ("a red star left of a cyan ring on a plain black background", 2, 0),
            ("a green square left of a purple triangle on a plain white background", 1, 2),
            ("a large yellow ring left of a small blue square on a striped background", 0, 1),
        ];
        var options = new GenerationOptions
        {
            Prompt = "",
            Prompts = [.. asked.Select(a => a.Prompt)],
            Seeds = [1, 2, 3, 4],
            Width = 64,
            Height = 64,
            Steps = 10,
            Sampler = SamplerChoice.Default,
            GuidanceScale = 4,
        };
        var recorder = new AttentionRecorder(model, pipeline.Evaluations(options), asked.Length);
        IReadOnlyList<float[]> pictures = pipeline.Generate(
            options,
            new GenerationObserver { Aggregation = recorder.Record },
            TestContext.Current.CancellationToken
        );
        Assert.InRange(
            pictures.Select((p, i) => SceneScorer.Judge(p, 64, SceneGrammar.Parse(asked[i].Prompt)).Correct ? 1 : 0).Sum(),
            3,
            4
        );
        for (int i = 0; i < asked.Length; i++)
        {
            float[] maps = AttentionOverview.Mean(recorder.For(i).Select(r => (r.Height, r.Width, r.Maps)), 3, 8, 8);
            // Backgrounds can be anyone's, so an expert is compared with itself in the other half.
            Assert.True(
                Half(maps, asked[i].Left, 0) > Half(maps, asked[i].Left, 4) + 0.03,
                $"{asked[i].Prompt}: expert {asked[i].Left}"
            );
            Assert.True(
                Half(maps, asked[i].Right, 4) > Half(maps, asked[i].Right, 0) + 0.03,
                $"{asked[i].Prompt}: expert {asked[i].Right}"
            );
        }

        static double Half(float[] maps, int expert, int from) =>
            Enumerable.Range(0, 64).Where(i => i % 8 >= from && i % 8 < from + 4).Average(i => maps[expert * 64 + i]);
    }
}
