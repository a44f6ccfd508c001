using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Pipeline;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Kernels.Devices.Ilgpu;
using AfaNative.Tests.Devices;
using Xunit;

namespace AfaNative.Tests.Ensemble;

/// <summary>The plan is what the run then takes, and budgets are kept.</summary>
public sealed class MemoryPlanTests(TinyEnsemble tiny) : IClassFixture<TinyEnsemble>
{
    private static GenerationOptions Options =>
        new()
        {
            Prompt = "a red circle",
            Steps = 2,
            Width = 64,
            Height = 48,
            Seeds = [7, 8],
        };

    [Fact]
    public void The_plan_is_the_peak_of_the_run_to_the_byte()
    {
        using var device = new CpuDevice(2);
        MemoryPlan plan = MemoryPlan.For(device, tiny.Path, Options);
        Assert.Equal(0, device.PeakBytes);
        using DiffusionModel model = DiffusionModel.Load(device, tiny.Path);
        new TextToImagePipeline(model).Generate(Options);
        Assert.Equal(device.PeakBytes, plan.Buffers);
        Assert.True(plan.Weights > plan.LargestWeight && plan.LargestWeight > 0);
        Assert.Equal(plan.Weights + plan.Buffers + device.WorkspaceBytes, plan.Total);
    }

    [Fact]
    public void More_pictures_at_once_need_more_and_one_expert_needs_less()
    {
        using var device = new CpuDevice(1);
        MemoryPlan one = MemoryPlan.For(device, tiny.Path, Options with { Seeds = [1] }),
            two = MemoryPlan.For(device, tiny.Path, Options),
            single = MemoryPlan.For(device, tiny.Path, Options, expert: 0);
        Assert.True(one.Denoising < two.Denoising);
        Assert.True(single.Weights < two.Weights / 2);
    }

    [Fact]
    public void A_budget_the_processor_cannot_keep_is_refused_with_what_is_needed()
    {
        using var device = new CpuDevice(1);
        MemoryPlan plan = MemoryPlan.For(device, tiny.Path, Options);
        Assert.Equal(0, plan.Fit(device, plan.Total));
        string message = Assert.Throws<AfaException>(() => plan.Fit(device, plan.Total - 1)).Message;
        Assert.Contains(MemoryPlan.Format(plan.Total), message);
        Assert.Contains("`batch-size`", message);
    }

    [Theory]
    [InlineData("6GiB", 6L << 30)]
    [InlineData("6g", 6L << 30)]
    [InlineData("1.5 GiB", 3L << 29)]
    [InlineData("512MiB", 512L << 20)]
    [InlineData("2GB", 2_000_000_000L)]
    [InlineData("4096", 4096L)]
    public void Amounts_of_memory_are_read(string text, long bytes) => Assert.Equal(bytes, MemoryPlan.Parse(text));

    [Theory]
    [InlineData("")]
    [InlineData("GiB")]
    [InlineData("-1G")]
    [InlineData("0")]
    [InlineData("6 gigs")]
    [InlineData("1e30G")]
    public void What_is_no_amount_is_refused(string text) =>
        Assert.Contains($"'{text}'", Assert.Throws<AfaException>(() => MemoryPlan.Parse(text)).Message);
}

/// <summary>Weights that do not fit stay on the host and come when they are needed.</summary>
[Collection("OpenCL")]
public sealed class StreamedWeightTests(OpenClDevice opencl, TinyEnsemble tiny) : IClassFixture<TinyEnsemble>
{
    [Fact]
    public void Streamed_weights_give_the_same_latents_within_the_budget()
    {
        IlgpuDevice device = opencl.Half;
        var options = new GenerationOptions
        {
            Prompt = "a red circle",
            Steps = 1,
            Width = 32,
            Height = 32,
            Seeds = [7],
        };
        MemoryPlan plan = MemoryPlan.For(device, tiny.Path, options);
        float[] resident = Latents(0, 0);
        try
        {
            long streamed = plan.Fit(device, plan.Least + plan.Weights / 3);
            Assert.True(streamed > 0);
            Assert.Equal(resident, Latents(streamed, long.MaxValue));
            Assert.Throws<AfaException>(() => plan.Fit(device, plan.Least - 1));
        }
        finally
        {
            device.ResidentWeightLimit = null;
        }

        float[] Latents(long least, long most)
        {
            using DiffusionModel model = DiffusionModel.Load(device, tiny.Path);
            Assert.InRange(device.StreamedBytes, least, most);
            return new TextToImagePipeline(model).GenerateLatents(options);
        }
    }
}
