using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Sampling.Samplers;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Tests.Ensemble;
using Xunit;

namespace AfaNative.Tests.Diffusion;

/// <summary>Runs that a caller takes from step to step, and what the denoiser is told at each.</summary>
public sealed class GenerationRunTests : IClassFixture<TinyEnsemble>, IDisposable
{
    private readonly CpuDevice _device = new(2);
    private readonly DiffusionModel _model;
    private readonly TextToImagePipeline _pipeline;
    private readonly GenerationOptions _options = new()
    {
        Prompt = "a red circle",
        NegativePrompt = "blue",
        Steps = 4,
        Width = 32,
        Height = 32,
        Seeds = [5, 6],
    };

    public GenerationRunTests(TinyEnsemble tiny)
    {
        _model = DiffusionModel.Load(_device, tiny.Path);
        _pipeline = new TextToImagePipeline(_model);
    }

    public void Dispose()
    {
        _model.Dispose();
        _device.Dispose();
    }

    [Fact]
    public void Steps_by_hand_are_a_run_and_two_runs_may_take_turns()
    {
        GenerationOptions other = _options with
        {
            Prompt = "a green star",
            Sampler = SamplerChoice.Find("heun"),
            HighResolution = new HighResolutionPass { Scale = 1.5, Strength = 0.5 },
        };
        float[] expected = _pipeline.GenerateLatents(_options);
        float[] expectedOther = _pipeline.GenerateLatents(other);
        using GenerationRun run = _pipeline.Begin(_options);
        using GenerationRun second = _pipeline.Begin(other);
        using (GenerationRun left = _pipeline.Begin(_options))
            Assert.True(left.Step());
        Assert.Equal((0, 4, false), (run.Done, run.Evaluations, run.Finished));
        int steps = 0;
        while (run.Step() | second.Step())
        {
            steps++;
            Assert.Equal((Math.Min(steps, 4), steps), (run.Done, second.Done));
        }

        Assert.Equal((_pipeline.Evaluations(other), true), (steps, second.Finished));
        Assert.False(run.Step());
        Assert.Equal(expected, run.Latents);
        Assert.Equal(expectedOther, second.Latents);
    }

    [Fact]
    public void A_conditioning_holds_from_its_share_of_the_evaluations_on()
    {
        var ops = new Ops(_device);
        using TensorScope scope = ops.Scope();
        Conditioning first = _pipeline.EncodePrompts(ops, ["blue", "blue", "a red circle", "a red circle"]);
        // Of another length: three chunks of tokens instead of one.
        string[] long3 = ["blue", "blue", "a BREAK green BREAK star", "a BREAK green BREAK star"];
        Conditioning last = _pipeline.EncodePrompts(ops, long3, 0, Engine.Prompts.PromptSyntax.Weighted);
        float[][] expected = Run(null);
        Assert.Equal(expected, Run(new ConditioningSchedule(first)));
        float[][] half = Run(new ConditioningSchedule([(0, first), (0.5, last)]));
        Assert.Equal(expected[..3], half[..3]);
        Assert.NotEqual(expected[3], half[3]);
        // From the same latents and the second conditioning alone the third step is the same.
        Assert.Equal(
            [false, false, true],
            new[] { 0, 1, 2 }.Select(i => new ConditioningSchedule([(0, first), (0.5, last)]).At(i, 3) == last)
        );

        float[][] Run(ConditioningSchedule? conditioning)
        {
            var latents = new List<float[]>();
            using GenerationRun run = _pipeline.Begin(_options, conditioning);
            do latents.Add([.. run.Latents]);
            while (run.Step());
            return [.. latents];
        }
    }

    [Fact]
    public void Conditionings_that_do_not_fit_are_refused()
    {
        var ops = new Ops(_device);
        using TensorScope scope = ops.Scope();
        Conditioning two = _pipeline.EncodePrompts(ops, ["a", "b"]);
        Assert.Contains(
            "for 4 latents (2 pictures under 2 conditions), but one of 3 for 2 came",
            Assert.Throws<AfaException>(() => _pipeline.Begin(_options, new ConditioningSchedule(two))).Message
        );
        foreach ((double, Conditioning)[] parts in new (double, Conditioning)[][] { [], [(0.1, two)], [(0, two), (0, two)] })
            Assert.Throws<AfaException>(() => new ConditioningSchedule(parts));
        Assert.Contains(
            "conditioning 1 begins at 1.5",
            Assert.Throws<AfaException>(() => new ConditioningSchedule([(0, two), (1.5, two)])).Message
        );
        // One that begins with the end is never reached.
        Assert.Same(two, new ConditioningSchedule([(0, two), (1, new Conditioning(two.HiddenStates))]).At(9, 10));
    }
}
