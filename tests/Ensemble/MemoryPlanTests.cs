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
[Collection("OpenCL")]
public sealed class MemoryPlanTests(OpenClDevice opencl) : IDisposable
{
    private readonly TinyEnsemble _tiny = new();

    private static GenerationOptions Options =>
        new()
        {
            Prompt = "a red circle",
            Steps = 3,
            Width = 64,
            Height = 48,
            Seeds = [7, 8],
        };

    [Fact]
    public void The_plan_is_the_peak_of_the_run_to_the_byte()
    {
        using var device = new CpuDevice(2);
        MemoryPlan plan = MemoryPlan.For(device, _tiny.Path, Options);
        Assert.Equal(0, device.PeakBytes);
        using DiffusionModel model = DiffusionModel.Load(device, _tiny.Path);
        new TextToImagePipeline(model).Generate(Options);
        Assert.Equal(device.PeakBytes, plan.Buffers);
        Assert.True(plan.Weights > plan.LargestWeight && plan.LargestWeight > 0);
        Assert.Equal(plan.Weights + plan.Buffers + device.WorkspaceBytes, plan.Total);
    }

    [Fact]
    public void More_pictures_at_once_need_more_and_one_expert_needs_less()
    {
        using var device = new CpuDevice(1);
        MemoryPlan one = MemoryPlan.For(device, _tiny.Path, Options with { Seeds = [1] }),
            two = MemoryPlan.For(device, _tiny.Path, Options),
            single = MemoryPlan.For(device, _tiny.Path, Options, expert: 0);
        Assert.True(one.Denoising < two.Denoising);
        Assert.True(single.Weights < two.Weights / 2);
    }

    [Fact]
    public void A_budget_the_processor_cannot_keep_is_refused_with_what_is_needed()
    {
        using var device = new CpuDevice(1);
        MemoryPlan plan = MemoryPlan.For(device, _tiny.Path, Options);
        Assert.Equal(0, plan.Fit(device, plan.Total));
        string message = Assert.Throws<AfaException>(() => plan.Fit(device, plan.Total - 1)).Message;
        Assert.Contains(MemoryPlan.Format(plan.Total), message);
        Assert.Contains("--batch-size", message);
    }

    [Theory]
    [InlineData(ElementType.Float16)]
    public void Streamed_weights_give_the_same_latents_within_the_budget(ElementType storage)
    {
        opencl.Get();
        float[][] latents = new float[2][];
        for (int i = 0; i < 2; i++)
        {
            using IlgpuDevice device = (IlgpuDevice)DeviceRegistry.Open("opencl:0", storage);
            MemoryPlan plan = MemoryPlan.For(device, _tiny.Path, Options);
            long streamed = i == 0 ? 0 : plan.Fit(device, plan.Least + plan.Weights / 3);
            using DiffusionModel model = DiffusionModel.Load(device, _tiny.Path);
            latents[i] = new TextToImagePipeline(model).GenerateLatents(Options);
            Assert.Equal(i == 1, device.StreamedBytes > 0);
            Assert.True(device.StreamedBytes >= streamed);
            Assert.Throws<AfaException>(() => plan.Fit(device, plan.Least - 1));
        }

        Assert.Equal(latents[0], latents[1]);
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

    public void Dispose() => _tiny.Dispose();
}
