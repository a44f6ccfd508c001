using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Engine.Pipeline;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices;
using AfaNative.Kernels.Devices.Ilgpu;
using AfaNative.Tests.Ensemble;
using AfaNative.Tests.StandIn;
using Xunit;

namespace AfaNative.Tests.Cuda;

/// <summary>
/// What the host asks of the driver: modules, launches, recorded steps, memory. Kernels are counted, not run, unless a test says
/// so.
/// </summary>
[Collection("CUDA")]
public sealed class CudaHostTests(StandInFixture fixture)
{
    private static GenerationOptions Options =>
        new()
        {
            Prompt = "a red circle",
            Steps = 4,
            Width = 64,
            Height = 64,
            Seeds = [7],
            Unchecked = true,
        };

    [Fact]
    public void Steps_after_the_second_are_one_call_and_the_first_waits_for_nothing()
    {
        StandInCuda cuda = fixture.Cuda;
        using var tiny = new TinyEnsemble();
        cuda.Execute = false;
        try
        {
            using IlgpuDevice device = (IlgpuDevice)DeviceRegistry.Open("cuda:0", ElementType.Float16);
            using DiffusionModel model = DiffusionModel.Load(device, tiny.Path);
            var pipeline = new TextToImagePipeline(model);
            pipeline.GenerateLatents(Options with { Steps = 1 });
            var perStep = new List<(int Launched, int Replayed, int Waits, int Allocations)>();
            cuda.Clear();
            pipeline.GenerateLatents(
                Options,
                new GenerationObserver
                {
                    Step = (step, _) =>
                    {
                        if (step > 0)
                            perStep.Add(
                                (
                                    cuda.CountOf("cuLaunchKernel"),
                                    cuda.CountOf("cuGraphLaunch"),
                                    cuda.CountOf("cuStreamSynchronize") + cuda.CountOf("cuCtxSynchronize"),
                                    cuda.CountOf("cuMemAlloc_v2")
                                )
                            );
                        cuda.Clear();
                    },
                }
            );
            Assert.Equal(4, perStep.Count);
            // Latents and sinusoids go in, the prediction comes out: three waits, whatever is between.
            Assert.All(perStep, s => Assert.Equal((3, 0), (s.Waits, s.Allocations)));
            Assert.True(perStep[0].Launched > 100, $"{perStep[0].Launched} launches");
            Assert.Equal(0, perStep[0].Replayed);
            Assert.Equal((perStep[0].Launched, 1), (perStep[1].Launched, perStep[1].Replayed));
            Assert.All(perStep[2..], s => Assert.Equal((0, 1), (s.Launched, s.Replayed)));
        }
        finally
        {
            cuda.Execute = true;
        }
    }

    [Fact]
    public void Another_conditioning_is_launched_and_recorded_anew()
    {
        StandInCuda cuda = fixture.Cuda;
        using var tiny = new TinyEnsemble();
        cuda.Execute = false;
        try
        {
            using IDevice device = DeviceRegistry.Open("cuda:0", ElementType.Float16);
            using DiffusionModel model = DiffusionModel.Load(device, tiny.Path);
            var pipeline = new TextToImagePipeline(model);
            var ops = new Ops(device);
            using TensorScope scope = ops.Scope();
            Conditioning first = pipeline.EncodePrompts(ops, ["", "a"]);
            Conditioning second = pipeline.EncodePrompts(ops, ["", "b"]);
            var schedule = new ConditioningSchedule([(0, first), (0.5, second)]);
            using GenerationRun run = pipeline.Begin(Options with { Steps = 6 }, schedule);
            var launched = new List<bool>();
            for (int step = 0; step < 6; step++)
            {
                cuda.Clear();
                run.Step();
                launched.Add(cuda.CountOf("cuLaunchKernel") > 100);
            }

            Assert.Equal([true, true, false, true, true, false], launched);
        }
        finally
        {
            cuda.Execute = true;
        }
    }

    [Fact]
    public void Replayed_work_reads_its_inputs_anew()
    {
        IlgpuDevice device = fixture.Device(ElementType.Float16);
        using DeviceBuffer x = device.Allocate(64),
            y = device.Allocate(64);
        device.Upload(Enumerable.Repeat(1f, 64).ToArray(), x);
        void Work() => device.Kernels.Activate(ActivationKind.Silu, 64, x, y);
        Work();
        using IRecordedWork? recorded = device.Record(Work);
        Assert.NotNull(recorded);
        var came = new float[64];
        foreach (float value in (float[])[-2, 0, 3])
        {
            device.Upload(Enumerable.Repeat(value, 64).ToArray(), x);
            Assert.True(recorded.TryReplay());
            device.Download(y, came);
            Assert.All(came, c => Assert.Equal(value / (1 + MathF.Exp(-value)), c, 0.002f));
        }
    }

    // Another thread may take memory between two replays of this one's work.
    [Fact]
    public void Replayed_work_writes_to_no_memory_that_was_handed_out_since()
    {
        using IlgpuDevice device = (IlgpuDevice)DeviceRegistry.Open("cuda:0", ElementType.Float16);
        using DeviceBuffer x = device.Allocate(64),
            y = device.Allocate(64);
        device.Upload(Enumerable.Repeat(2f, 64).ToArray(), x);
        void Work()
        {
            using DeviceBuffer between = device.Allocate(64);
            device.Kernels.Activate(ActivationKind.Silu, 64, x, between);
            device.Kernels.Activate(ActivationKind.Silu, 64, between, y);
        }

        Work();
        var came = new float[64];
        using (IRecordedWork? recorded = device.Record(Work))
        {
            Assert.True(recorded!.TryReplay());
            using DeviceBuffer since = device.Allocate(64),
                later = device.Allocate(64);
            device.Upload(Enumerable.Repeat(5f, 64).ToArray(), since);
            device.Upload(Enumerable.Repeat(5f, 64).ToArray(), later);
            Assert.True(recorded.TryReplay());
            device.Download(since, came);
            Assert.All(came, c => Assert.Equal(5, c));
            device.Download(later, came);
            Assert.All(came, c => Assert.Equal(5, c));
        }

        // What the recording held is there for others once it is gone.
        StandInCuda cuda = fixture.Cuda;
        cuda.Clear();
        using DeviceBuffer first = device.Allocate(64),
            second = device.Allocate(64),
            third = device.Allocate(64);
        Assert.Equal(0, cuda.CountOf("cuMemAlloc_v2"));
    }

    [Fact]
    public unsafe void Weights_on_the_host_are_copied_again_after_a_replay_that_copied_others()
    {
        using IlgpuDevice device = (IlgpuDevice)DeviceRegistry.Open("cuda:0", ElementType.Float16);
        device.ResidentWeightLimit = 0;
        using PackedWeights ones = Pack(1),
            twos = Pack(2);
        using DeviceBuffer x = device.Allocate(8),
            y = device.Allocate(8),
            z = device.Allocate(8);
        device.Upload(Enumerable.Repeat(1f, 8).ToArray(), x);
        void Work() => device.Kernels.Linear(new LinearShape(1, 1, false), x, ones, default, y);
        Work();
        using IRecordedWork? recorded = device.Record(Work);
        var came = new float[8];
        for (int round = 0; round < 2; round++)
        {
            device.Kernels.Linear(new LinearShape(1, 1, false), x, twos, default, z);
            Assert.True(recorded!.TryReplay());
            device.Kernels.Linear(new LinearShape(1, 1, false), x, twos, default, z);
            device.Download(y, came);
            Assert.All(came, c => Assert.Equal(8, c));
            device.Download(z, came);
            Assert.All(came, c => Assert.Equal(16, c));
        }

        PackedWeights Pack(float value)
        {
            fixed (float* values = Enumerable.Repeat(value, 64).ToArray())
                return device.Pack(new WeightShape(8, 8), [new WeightSource(values, ElementType.Float32)]);
        }
    }

    // A group norm's launches hand statistics on in memory of the device.
    [Fact]
    public void Threads_that_record_and_replay_at_the_same_time_compute_what_they_would_alone()
    {
        IlgpuDevice device = fixture.Device(ElementType.Float16);
        float[][] alone = [Compute(0, false), Compute(1, false)],
            together = new float[2][];
        Thread[] threads = [new(() => together[0] = Compute(0, true)), new(() => together[1] = Compute(1, true))];
        foreach (Thread thread in threads)
            thread.Start();
        foreach (Thread thread in threads)
            thread.Join();
        Assert.Equal(alone, together);

        float[] Compute(int caller, bool recorded)
        {
            const int Count = 4 * 16;
            using DeviceBuffer x = device.Allocate(Count),
                y = device.Allocate(Count),
                weight = device.Allocate(16),
                bias = device.Allocate(16);
            device.Upload([.. Enumerable.Range(0, Count).Select(i => (i * (caller + 3) % 17) - 8f)], x);
            device.Upload(Enumerable.Repeat(1f + caller, 16).ToArray(), weight);
            device.Upload(Enumerable.Repeat(0.5f, 16).ToArray(), bias);
            void Work()
            {
                using DeviceBuffer between = device.Allocate(Count);
                device.Kernels.GroupNorm(new GroupNormShape(1, 1, 4, 16, 2, 1e-5f, false, false), x, weight, bias, between);
                device.Kernels.Activate(ActivationKind.Silu, Count, between, y);
            }

            for (int round = 0; round < (recorded ? 5 : 1); round++)
                Work();
            using IRecordedWork? replay = recorded ? device.Record(Work) : null;
            var came = new float[Count];
            for (int round = 0; replay is not null && round < 5; round++)
            {
                device.Upload(came, y);
                Assert.True(replay.TryReplay());
            }

            device.Download(y, came);
            return came;
        }
    }

    [Fact]
    public void Work_that_waits_cannot_be_recorded_and_leaves_the_stream_usable()
    {
        IlgpuDevice device = fixture.Device(ElementType.Float16);
        using DeviceBuffer x = device.Allocate(8);
        Assert.ThrowsAny<Exception>(() => device.Record(() => device.Download(x, new float[8])));
        device.Upload([1, 2, 3, 4, 5, 6, 7, 8], x);
        var came = new float[8];
        device.Download(x, came);
        Assert.Equal([1, 2, 3, 4, 5, 6, 7, 8], came);
    }

    [Fact]
    public void Recorded_work_is_void_once_the_memory_it_uses_may_be_gone()
    {
        StandInCuda cuda = fixture.Cuda;
        using IlgpuDevice device = (IlgpuDevice)DeviceRegistry.Open("cuda:0", ElementType.Float16);
        using DeviceBuffer x = device.Allocate(64),
            y = device.Allocate(64);
        void Work() => device.Kernels.Activate(ActivationKind.Silu, 64, x, y);
        Work();
        using IRecordedWork? recorded = device.Record(Work);
        Assert.True(recorded!.TryReplay());
        cuda.MemoryLimit = 0;
        try
        {
            Assert.Throws<DeviceMemoryException>(() => device.Allocate(1 << 20));
        }
        finally
        {
            cuda.MemoryLimit = 64L << 30;
        }

        Assert.False(recorded.TryReplay());
    }

    [Fact]
    public void Out_of_memory_says_how_much_was_asked_for_and_what_to_lower()
    {
        StandInCuda cuda = fixture.Cuda;
        using IlgpuDevice device = (IlgpuDevice)DeviceRegistry.Open("cuda:0");
        cuda.MemoryLimit = 1 << 20;
        try
        {
            string message = Assert.Throws<DeviceMemoryException>(() => device.Allocate(4 << 20)).Message;
            Assert.Contains("16 MiB", message);
            Assert.Contains("`batch-size`", message);
        }
        finally
        {
            cuda.MemoryLimit = 64L << 30;
        }
    }

    [Fact]
    public void A_closed_device_leaves_no_memory_behind()
    {
        StandInCuda cuda = fixture.Cuda;
        using var tiny = new TinyEnsemble();
        int before = cuda.LiveAllocations,
            errors = cuda.Errors;
        cuda.Execute = false;
        try
        {
            using IlgpuDevice device = (IlgpuDevice)DeviceRegistry.Open("cuda:0", ElementType.BFloat16);
            using DiffusionModel model = DiffusionModel.Load(device, tiny.Path);
            new TextToImagePipeline(model).Generate(Options);
            Assert.True(cuda.LiveAllocations > before);
        }
        finally
        {
            cuda.Execute = true;
        }

        Assert.Equal((before, errors), (cuda.LiveAllocations, cuda.Errors));
    }

    [Fact]
    public void Streamed_weights_are_copied_within_recorded_steps_too()
    {
        StandInCuda cuda = fixture.Cuda;
        using var tiny = new TinyEnsemble();
        cuda.Execute = false;
        try
        {
            using IlgpuDevice device = (IlgpuDevice)DeviceRegistry.Open("cuda:0", ElementType.Float16);
            device.ResidentWeightLimit = 0;
            using DiffusionModel model = DiffusionModel.Load(device, tiny.Path);
            Assert.True(device.StreamedBytes > 0);
            var copies = new List<int>();
            cuda.Clear();
            new TextToImagePipeline(model).GenerateLatents(
                Options,
                new GenerationObserver
                {
                    Step = (_, _) =>
                    {
                        copies.Add(cuda.CountOf("cuMemcpyAsync"));
                        cuda.Clear();
                    },
                }
            );
            // The first step copies every weight, the second records those copies, the others are replays: latents, sinusoids,
            // prediction.
            Assert.True(copies[1] > 50 && copies[2] >= copies[1], $"{copies[1]}, {copies[2]}");
            Assert.Equal([3, 3], copies[3..]);
        }
        finally
        {
            cuda.Execute = true;
        }
    }

    [Fact]
    public void Devices_before_compute_capability_8_run_the_portable_kernels()
    {
        StandInCuda cuda = fixture.Cuda;
        cuda.Capability = 75;
        try
        {
            using IlgpuDevice device = (IlgpuDevice)DeviceRegistry.Open("cuda:0", ElementType.Float16);
            cuda.Modules.Clear();
            using DeviceBuffer x = device.Allocate(64),
                y = device.Allocate(64);
            device.Kernels.Activate(ActivationKind.Silu, 64, x, y);
            Assert.DoesNotContain(
                cuda.Modules,
                m => m.Contains("cp.async", StringComparison.Ordinal) || m.Contains("v4.b32", StringComparison.Ordinal)
            );
        }
        finally
        {
            cuda.Capability = 90;
        }
    }

    [Fact]
    public void The_device_is_listed()
    {
        _ = fixture.Cuda;
        Assert.Contains(
            DeviceRegistry.Find(),
            d => d.Name == "cuda:0" && d.Unusable is null && d.Description.Contains("Stand-in", StringComparison.Ordinal)
        );
    }
}
