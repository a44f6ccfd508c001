using System.Text.Json;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Samplers;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Tests.Ensemble;
using Xunit;

namespace AfaNative.Tests.Diffusion;

/// <summary>Numbers of a run go out to safetensors files, and noise comes in from one.</summary>
public sealed class TensorFilesTests(LoadedEnsemble loaded) : IClassFixture<LoadedEnsemble>, IDisposable
{
    private static readonly GenerationOptions s_options = new()
    {
        Prompt = "a red circle",
        Steps = 3,
        Width = 48,
        Height = 32,
        GuidanceScale = 3,
        Seeds = [7, 8],
    };
    private readonly TemporaryFolder _folder = new();
    private readonly DiffusionModel _model = loaded.Model;

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("ddim")]
    [InlineData("euler")]
    [InlineData("euler_a")]
    public void Noise_that_was_saved_and_is_given_back_draws_the_same_picture(string sampler)
    {
        GenerationOptions options = s_options with { Sampler = SamplerChoice.Find(sampler) };
        var recorder = new LatentRecorder(_model, options, RecordedSteps.Parse("steps", "0,1,last"));
        IReadOnlyList<float[]> pictures = new TextToImagePipeline(_model).Generate(options, recorder.Observe());
        recorder.Write(_folder.File("1.safetensors"), 1);
        using SafetensorsFile file = SafetensorsFile.Open(_folder.File("1.safetensors"));
        Assert.Equal(
            ["latents", "latents.0", "latents.1", "latents.3", "latents.final", "prediction.0", "prediction.1"],
            file.Tensors.Keys.Order(StringComparer.Ordinal)
        );
        Assert.All(file.Tensors.Values, t => Assert.Equal([4, 4, 6], t.Shape));
        Assert.Equal(file.ReadFloat32("latents.final"), file.ReadFloat32("latents.3"));
        Assert.Equal("8", file.Metadata["seed"]);
        double[] timesteps = JsonSerializer.Deserialize<double[]>(file.Metadata["timesteps"])!;
        Assert.Equal(new TextToImagePipeline(_model).Timesteps(options), timesteps);

        // A step of the sampler's leads from what was kept to what was kept.
        if (sampler != "euler_a")
        {
            Sampler again = options.Sampler.Create(new NoiseSchedule(_model.Scheduler), 3);
            float[] sample = file.ReadFloat32("latents.0");
            again.Step(0, file.ReadFloat32("prediction.0"), [], sample);
            Assert.Equal(file.ReadFloat32("latents.1"), sample);
        }

        LatentFile latents = LatentFile.Open(_folder.File("1.safetensors"));
        GenerationOptions second = options with { Seeds = [8], InitialLatents = latents.For(1, 4, 4, 6, 0, 1) };
        Assert.Equal(pictures[1], new TextToImagePipeline(_model).Generate(second)[0]);
        Assert.NotNull(LatentFile.HashOf(second, 8));
        Assert.Null(LatentFile.HashOf(options, 8));
    }

    [Fact]
    public void A_second_pass_is_kept_with_the_first()
    {
        GenerationOptions options = s_options with
        {
            Seeds = [7],
            HighResolution = new HighResolutionPass
            {
                Scale = 2,
                Strength = 0.6,
                Steps = 2,
            },
        };
        var recorder = new LatentRecorder(_model, options, RecordedSteps.All);
        var pipeline = new TextToImagePipeline(_model);
        pipeline.GenerateLatents(options, recorder.Observe());
        recorder.Write(_folder.File("1.safetensors"), 0);
        using SafetensorsFile file = SafetensorsFile.Open(_folder.File("1.safetensors"));
        Assert.Equal(5, pipeline.Evaluations(options));
        Assert.Equal([4, 4, 6], file.Tensors["latents"].Shape);
        Assert.Equal([4, 4, 6], file.Tensors["latents.2"].Shape);
        // Where the second pass begins.
        Assert.Equal([4, 8, 12], file.Tensors["latents.3"].Shape);
        Assert.Equal([4, 8, 12], file.Tensors["prediction.4"].Shape);
        Assert.Equal([4, 8, 12], file.Tensors["latents.final"].Shape);
    }

    [Fact]
    public void Steps_of_a_run_from_a_picture_are_counted_from_its_own_start()
    {
        GenerationOptions options = s_options with
        {
            Seeds = [7],
            Steps = 10,
            Strength = 0.3,
            InitImage = new float[48 * 32 * 3],
        };
        var seen = new List<int>();
        new TextToImagePipeline(_model).GenerateLatents(
            options,
            new GenerationObserver { Latents = (done, _) => seen.Add(done) }
        );
        Assert.Equal([0, 1, 2, 3], seen);
        Assert.Equal([201, 101, 1], new TextToImagePipeline(_model).Timesteps(options));
    }

    [Fact]
    public void Maps_of_every_step_and_point_are_written()
    {
        var recorder = new AttentionRecorder(_model, 3, 2, int.MaxValue);
        new TextToImagePipeline(_model).GenerateLatents(s_options, new GenerationObserver { Aggregation = recorder.Record });
        AttentionMapFile.Write(_folder.File("maps.safetensors"), _model, s_options, 1, recorder.For(1));
        using SafetensorsFile file = SafetensorsFile.Open(_folder.File("maps.safetensors"));
        string[] points = JsonSerializer.Deserialize<string[]>(file.Metadata["points"])!;
        Assert.Equal(3 * points.Length, file.Tensors.Count);
        for (int step = 0; step < 3; step++)
        {
            for (int point = 0; point < points.Length; point++)
            {
                string name = $"step.{step}.point.{point}";
                long[] shape = file.Tensors[name].Shape;
                float[] maps = file.ReadFloat32(name);
                Assert.Equal(3, shape[0]);
                int area = maps.Length / 3;
                for (int i = 0; i < area; i++)
                    Assert.Equal(1f, maps[i] + maps[area + i] + maps[2 * area + i], 1e-5f);
            }
        }
    }

    [Fact]
    public void Latents_that_do_not_fit_are_named_with_both_shapes()
    {
        string path = _folder.File("x.safetensors");
        SafetensorsWriter.Write(path, [TensorEntry.FromFloat32("latents", [4, 2, 2], new float[16])]);
        string message = Assert.Throws<AfaException>(() => LatentFile.Open(path).For(2, 4, 4, 6, 0, 2)).Message;
        Assert.Contains("[1, 4, 2, 2]", message);
        Assert.Contains("[2, 4, 4, 6]", message);
        SafetensorsWriter.Write(path, [TensorEntry.FromFloat32("latents", [2, 2], new float[4])]);
        Assert.Contains("[2, 2]", Assert.ThrowsAny<AfaException>(() => LatentFile.Open(path)).Message);
        SafetensorsWriter.Write(path, [TensorEntry.FromFloat32("latents", [1, 1, 2], [0, float.NaN])]);
        Assert.Contains("finite", Assert.ThrowsAny<AfaException>(() => LatentFile.Open(path)).Message);
        SafetensorsWriter.Write(path, [TensorEntry.FromFloat32("a", [1], [0]), TensorEntry.FromFloat32("b", [1], [0])]);
        Assert.Contains("'latents'", Assert.ThrowsAny<AfaException>(() => LatentFile.Open(path)).Message);
    }

    [Theory]
    [InlineData("0,x")]
    [InlineData("")]
    [InlineData("-1")]
    [InlineData("1.5")]
    public void Steps_that_are_none_are_refused(string text) =>
        Assert.Contains("--save-steps", Assert.Throws<AfaException>(() => RecordedSteps.Parse("--save-steps", text)).Message);

    [Fact]
    public void Steps_beyond_the_run_are_refused() =>
        Assert.Contains(
            "no step 4",
            Assert.Throws<AfaException>(() => new LatentRecorder(_model, s_options, RecordedSteps.Parse("steps", "4"))).Message
        );
}
