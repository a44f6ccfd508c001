using AfaNative.Engine.Core;
using AfaNative.Engine.Training;
using AfaNative.Kernels.Contracts;
using Xunit;

namespace AfaNative.Tests.Training;

/// <summary>The update that all trainers share, on two numbers whose gradients are known.</summary>
public sealed class UpdateLoopTests
{
    private static readonly TrainingOptions s_options = new()
    {
        LearningRate = 0.1,
        ClipNorm = 0.5,
        Ema = 0.9,
        WarmupSteps = 2,
        Steps = 4,
    };

    // Of forward pass n: a gradient of n + 1 and one of -2 n.
    private static double Pass(Number parameter, long number, float scale)
    {
        parameter.Add(scale * (number + 1), scale * (-2 * number));
        return number;
    }

    private static UpdateLoop Loop(
        TrainingOptions options,
        Number parameter,
        ElementType storage = ElementType.Float32,
        GradientExchange? exchange = null,
        bool risingMeans = false
    ) => new(options, [parameter], new LossScale(storage), risingMeans) { Exchange = exchange ?? ((_, loss) => loss) };

    [Fact]
    public void Passes_of_an_update_count_as_their_mean()
    {
        using var one = new Number();
        UpdateLoop loop = Loop(s_options with { Accumulate = 2 }, one);
        var numbers = new List<long>();
        TrainingUpdate update = new(0, 0, 0, 0);
        for (int i = 0; i < 2; i++)
        {
            update = loop.Next(
                (number, scale) =>
                {
                    numbers.Add(number);
                    return Pass(one, number, scale);
                }
            );
        }

        Assert.Equal([0, 1, 2, 3], numbers);
        Assert.Equal(new TrainingUpdate(2, 2.5, Math.Sqrt(3.5 * 3.5 + 5 * 5), 0.1 * s_options.RateAt(1)), update);
        // Clipped to a norm of 0.5.
        Assert.Equal(0.5, loop.Optimizer.GradientNorm(), 1e-6);
    }

    [Fact]
    public void Two_workers_that_exchange_their_gradients_do_what_one_does_with_both_passes()
    {
        using var alone = new Number();
        using var left = new Number();
        using var right = new Number();
        UpdateLoop expected = Loop(s_options with { Accumulate = 2 }, alone);
        long round = 0;
        // Each worker takes every other pass; what the other one has is made on the spot.
        UpdateLoop first = Loop(s_options, left, exchange: (p, loss) => Join(p[0], loss, 2 * round + 1));
        UpdateLoop second = Loop(s_options, right, exchange: (p, loss) => Join(p[0], loss, 2 * round));
        for (; round < 4; round++)
        {
            TrainingUpdate update = expected.Next((n, scale) => Pass(alone, n, scale));
            Assert.Equal(update, first.Next((n, scale) => Pass(left, 2 * n, scale)));
            Assert.Equal(update, second.Next((n, scale) => Pass(right, 2 * n + 1, scale)));
            Assert.Equal(alone.Values, left.Values);
            Assert.Equal(alone.Values, right.Values);
        }

        static double Join(Parameter parameter, double loss, long other)
        {
            parameter.Gradient[0] = (parameter.Gradient[0] + other + 1) / 2;
            parameter.Gradient[1] = (parameter.Gradient[1] - 2 * other) / 2;
            return (loss + other) / 2;
        }
    }

    [Fact]
    public void An_overflow_that_only_the_exchange_shows_repeats_the_update()
    {
        using var number = new Number();
        int exchanges = 0;
        var scales = new List<float>();
        UpdateLoop loop = Loop(
            s_options,
            number,
            ElementType.Float16,
            (parameters, loss) =>
            {
                if (exchanges++ == 0)
                    parameters[0].Gradient[1] = float.PositiveInfinity;
                return loss;
            }
        );
        TrainingUpdate update = loop.Next(
            (n, scale) =>
            {
                scales.Add(scale);
                return Pass(number, n, scale);
            }
        );
        Assert.Equal([65536, 32768], scales);
        Assert.Equal((1, 1.0, 1), (update.Step, update.GradientNorm, loop.LossScale.Good));
        Assert.Contains(
            "no longer a number after 1 updates",
            Assert.Throws<AfaException>(() => loop.Next((_, _) => double.NaN)).Message
        );
    }

    [Theory]
    [InlineData(false, 0.9)]
    [InlineData(true, 0.1)]
    public void Running_means_may_rise_to_their_decay(bool rising, double decay)
    {
        using var number = new Number();
        UpdateLoop loop = Loop(s_options, number, risingMeans: rising);
        loop.Next((n, scale) => Pass(number, n, scale));
        Assert.Equal(decay * 1 + (1 - decay) * number.Values[0], loop.Optimizer.Means![0][0], 1e-6);
    }

    // Two trained values on no device.
    private sealed class Number() : Parameter("number", [2], [1, 1])
    {
        internal override object Key => this;

        public void Add(params float[] gradient) => Accumulate(0, gradient);

        public override void Publish() { }

        public override void Dispose() { }
    }
}
