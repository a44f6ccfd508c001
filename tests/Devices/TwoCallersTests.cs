using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Prompts;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Kernels.Devices.HalfStorage;
using AfaNative.Kernels.Devices.Planning;
using AfaNative.Kernels.Devices.Reference;
using AfaNative.Kernels.Host;
using AfaNative.Tests.Ensemble;
using Xunit;

namespace AfaNative.Tests.Devices;

/// <summary>One device, several threads: everyone gets what they would get alone.</summary>
[Collection("OpenCL")]
public sealed class TwoCallersTests(OpenClDevice opencl)
{
    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void Every_run_of_many_threads_is_done_whole_and_with_scratch_of_its_own(int threads)
    {
        using var pool = new WorkerPool(threads);
        Together(
            6,
            caller =>
            {
                for (int round = 0; round < 100; round++)
                {
                    int count = round % 7,
                        mark = caller * 1000 + round;
                    var done = new int[count];
                    var spoilt = 0;
                    pool.Run(count, (task, worker) => Work(pool.Scratch(worker), mark, done, task, ref spoilt));
                    Assert.All(done, d => Assert.Equal(mark + 1, d));
                    Assert.Equal(0, spoilt);
                }
            }
        );
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void A_run_within_a_task_is_refused_and_the_pool_goes_on(int threads)
    {
        using var pool = new WorkerPool(threads);
        using var other = new WorkerPool(2);
        foreach (int count in (int[])[1, 8])
        {
            var e = Assert.Throws<InvalidOperationException>(() => pool.Run(count, (_, _) => pool.Run(2, (_, _) => { })));
            Assert.Contains("cannot start another run on the same pool", e.Message);
        }

        // Another pool may be run, but not the first one through it.
        int done = 0;
        pool.Run(4, (_, _) => other.Run(3, (_, _) => Interlocked.Increment(ref done)));
        Assert.Equal(12, done);
        Assert.Throws<InvalidOperationException>(() => pool.Run(1, (_, _) => other.Run(1, (_, _) => pool.Run(1, (_, _) => { }))));
        pool.Run(5, (_, _) => Interlocked.Increment(ref done));
        Assert.Equal(17, done);
    }

    [Fact]
    public void A_failing_run_leaves_the_others_alone()
    {
        using var pool = new WorkerPool(3);
        Together(
            4,
            caller =>
            {
                for (int round = 0; round < 50; round++)
                {
                    if (caller == 0)
                    {
                        Assert.Throws<InvalidOperationException>(() => pool.Run(5, (_, _) => throw new TimeoutException()));
                        continue;
                    }

                    int done = 0;
                    pool.Run(5, (_, _) => Interlocked.Increment(ref done));
                    Assert.Equal(5, done);
                }
            }
        );
    }

    [Fact]
    public void A_pool_that_is_gone_says_so()
    {
        var pool = new WorkerPool(2);
        pool.Dispose();
        Assert.Throws<ObjectDisposedException>(() => pool.Run(3, (_, _) => { }));
    }

    // 16 x 16 is enough for Winograd's way, whose two runs share memory of the device; so do a group norm's launches.
    [Theory]
    [InlineData("cpu", 16)]
    [InlineData("cpu half", 16)]
    [InlineData("cpu", 3)]
    [InlineData("cpu-reference", 3)]
    [InlineData("OpenCL", 3)]
    public void Ops_of_several_threads_have_the_bits_of_one(string name, int size)
    {
        using IDevice? own = Own(name);
        IDevice device = own ?? opencl.Get();
        const int Channels = 32;
        float[][] results = new float[4][];
        for (int caller = 0; caller < results.Length; caller++)
            results[caller] = Compute(device, caller, size, Channels);
        Together(
            results.Length,
            caller =>
            {
                for (int round = 0; round < 8; round++)
                    Assert.Equal(results[caller], Compute(device, caller, size, Channels));
            }
        );
        Assert.NotEqual(results[0], results[1]);
    }

    [Theory]
    [InlineData("cpu")]
    [InlineData("cpu half")]
    public void Pictures_drawn_at_the_same_time_are_those_drawn_alone(string name)
    {
        using IDevice device = Own(name)!;
        using var tiny = new TinyEnsemble();
        using DiffusionModel model = DiffusionModel.Load(device, tiny.Path);
        var pipeline = new TextToImagePipeline(model);
        int rounds = name == "cpu" ? 3 : 1,
            size = name == "cpu" ? 32 : 16;
        float[][] alone = [Draw(0), Draw(1)];
        Assert.NotEqual(alone[0], alone[1]);
        Together(
            2,
            caller =>
            {
                for (int round = 0; round < rounds; round++)
                    Assert.Equal(alone[caller], Draw(caller));
            }
        );

        float[] Draw(int caller) =>
            pipeline
                .Generate(
                    new GenerationOptions
                    {
                        Prompt = caller == 0 ? "a red circle" : "two blue squares on (grass:1.3)",
                        Syntax = caller == 0 ? PromptSyntax.Plain : PromptSyntax.Weighted,
                        Steps = 2 + caller,
                        Width = size,
                        Height = size,
                        Seeds = [7 + (ulong)caller],
                    }
                )
                .Single();
    }

    [Fact]
    public void A_plan_of_several_threads_counts_every_byte()
    {
        using var cpu = new CpuDevice(1);
        using var plan = new PlanningDevice(cpu);
        Together(
            4,
            _ =>
            {
                for (int round = 0; round < 500; round++)
                {
                    using DeviceBuffer a = plan.Allocate(100),
                        b = plan.Allocate(5000);
                }
            }
        );
        Assert.Equal(0, plan.AllocatedBytes);
        Assert.InRange(
            plan.Peak,
            plan.BufferBytes(100) + plan.BufferBytes(5000),
            4 * (plan.BufferBytes(100) + plan.BufferBytes(5000))
        );
    }

    // Null for OpenCL, which all tests share.
    private static IDevice? Own(string name) =>
        name switch
        {
            "cpu" => new CpuDevice(3),
            "cpu half" => new HalfStorageDevice(new CpuDevice(3), ElementType.Float16),
            "cpu-reference" => new ReferenceDevice(),
            _ => null,
        };

    private static unsafe float[] Compute(IDevice device, int caller, int size, int channels)
    {
        var random = new System.Random(caller);
        var shape = new WeightShape(channels, channels, 3, 3);
        float[] input = Values(random, size * size * channels),
            result = new float[input.Length];
        fixed (float* weights = Values(random, channels * shape.K))
        {
            using PackedWeights packed = device.Pack(shape, [new WeightSource(weights, ElementType.Float32)]);
            using DeviceBuffer x = device.Allocate(input.Length),
                y = device.Allocate(input.Length),
                scale = device.Allocate(channels);
            device.Upload(input, x);
            device.Upload(Values(random, channels), scale);
            device.Kernels.Convolution(new ConvolutionShape(1, 1, size, size, false, 1, 1, 1, 1, 1, 3, 3), x, packed, default, y);
            device.Kernels.GroupNorm(new GroupNormShape(1, 1, size * size, channels, 4, 1e-5f, true, false), y, scale, scale, x);
            device.Download(x, result);
        }

        return result;
    }

    private static float[] Values(System.Random random, int count)
    {
        var values = new float[count];
        for (int i = 0; i < count; i++)
            values[i] = random.NextSingle() - 0.5f;
        return values;
    }

    private static unsafe void Work(Scratch scratch, int mark, int[] done, int task, ref int spoilt)
    {
        float* memory = scratch.Floats(64);
        for (int i = 0; i < 64; i++)
            memory[i] = mark + i;
        Thread.SpinWait(20);
        for (int i = 0; i < 64; i++)
        {
            if (memory[i] != mark + i)
                Interlocked.Increment(ref spoilt);
        }

        done[task] += mark + 1;
    }

    // The threads begin at once; the first failure is thrown here.
    private static void Together(int callers, Action<int> work)
    {
        var failures = new Exception?[callers];
        using var start = new Barrier(callers);
        Thread[] threads =
        [
            .. Enumerable
                .Range(0, callers)
                .Select(caller => new Thread(() =>
                {
                    start.SignalAndWait();
                    try
                    {
                        work(caller);
                    }
                    catch (Exception e)
                    {
                        failures[caller] = e;
                    }
                })),
        ];
        foreach (Thread thread in threads)
            thread.Start();
        foreach (Thread thread in threads)
            thread.Join();
        if (failures.FirstOrDefault(f => f is not null) is { } failure)
            throw new InvalidOperationException(failure.Message, failure);
    }
}
