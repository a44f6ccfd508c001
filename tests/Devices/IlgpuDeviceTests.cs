using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Pipeline;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Kernels.Devices.Ilgpu;
using AfaNative.Tests.Ensemble;
using AfaNative.Tests.StandIn;
using AfaNative.Tests.Support;
using AfaNative.Verification;
using Xunit;

namespace AfaNative.Tests.Devices;

/// <summary>One OpenCL device for all tests that want it; null where there is none.</summary>
public sealed class OpenClDevice : IDisposable
{
    private readonly IlgpuDevice? _device,
        _half;

    public OpenClDevice()
    {
        // ILGPU looks for CUDA's driver once in a process: the stand-in must be there before anything lists or opens a device.
        _ = StandInCuda.TryLoad(out _);
        if (!DeviceRegistry.Find().Any(d => d.Name == "opencl:0" && d.Unusable is null))
            return;
        _device = (IlgpuDevice)DeviceRegistry.Open("opencl:0");
        _half = (IlgpuDevice)DeviceRegistry.Open("opencl:0", ElementType.Float16);
    }

    internal IlgpuDevice? TryGet() => _device;

    internal IlgpuDevice Get()
    {
        if (_device is null)
            Assert.Skip("no OpenCL device (pocl-opencl-icd gives one without a GPU)");
        return _device;
    }

    internal IlgpuDevice Half
    {
        get
        {
            Get();
            return _half!;
        }
    }

    public void Dispose()
    {
        _device?.Dispose();
        _half?.Dispose();
    }
}

[CollectionDefinition("OpenCL")]
public sealed class OpenClCollection : ICollectionFixture<OpenClDevice>;

/// <summary>
/// The portable kernels: every compact case on OpenCL, the full set where it lies beside the checkout, and the smallest on
/// ILGPU's CPU accelerator.
/// </summary>
[Collection("OpenCL")]
public sealed class IlgpuDeviceTests(OpenClDevice opencl)
{
    private static string Compact => Path.Combine(AppContext.BaseDirectory, "goldens");

    public static TheoryData<string> CompactCases() =>
        [.. CaseRunner.Find(Compact).Select(f => Path.GetRelativePath(Compact, f))];

    public static TheoryData<string> SharedNetworks()
    {
        if (SharedFiles.Goldens() is not { } goldens)
            return [""];
        return
        [
            .. CaseRunner
                .Find(goldens)
                .Select(f => Path.GetRelativePath(goldens, f))
                .Where(f => !f.Contains("ops") && !f.Contains("schedulers") && !f.Contains("ldm") && !f.Contains("tokenizer")),
        ];
    }

    [Theory]
    [MemberData(nameof(CompactCases))]
    public void Compact_set_on_OpenCL(string path) => Check(Path.Combine(Compact, path), opencl.Get());

    [Theory]
    [MemberData(nameof(CompactCases))]
    public void Compact_set_on_OpenCL_with_float16_activations(string path)
    {
        // Whole networks in float16 train in HalfPrecisionTrainingTests.
        Slow.Only(unless: !path.StartsWith("afa", StringComparison.Ordinal));
        Check(Path.Combine(Compact, path), opencl.Half);
    }

    [Theory]
    [InlineData("ops/aggregator")]
    [InlineData("ops/transformer_2d")]
    [InlineData("ops/resnet_block_shortcut")]
    [InlineData("ops/feed_forward_geglu")]
    public void Modules_on_OpenCL_with_bfloat16_activations(string path)
    {
        // One shows that the type works; what each op does with 16 bits is float16's as well.
        Slow.Only(unless: path == "ops/feed_forward_geglu");
        opencl.Get();
        using IlgpuDevice device = (IlgpuDevice)DeviceRegistry.Open("opencl:0", ElementType.BFloat16);
        Check(Path.Combine(Compact, path), device);
    }

    [Fact]
    public void Half_precision_survives_the_way_in_and_out()
    {
        float[] values = [0f, -0f, 1f, 65504f, 6e-8f, -3.1415927f, 1e-5f, 70000f, float.NegativeInfinity];
        using DeviceBuffer a = opencl.Half.Allocate(values.Length),
            b = opencl.Half.Allocate(values.Length);
        opencl.Half.Upload(values, a);
        // None copies through the kernel's own widening and narrowing.
        opencl.Half.Kernels.Activate(AfaNative.Kernels.Contracts.ActivationKind.None, values.Length, a, b);
        var came = new float[values.Length];
        opencl.Half.Download(b, came);
        Assert.Equal(values.Select(v => (float)(Half)v), came);
    }

    [Theory]
    [MemberData(nameof(SharedNetworks))]
    public void Networks_of_the_full_set_on_OpenCL(string path)
    {
        if (SharedFiles.Goldens() is not { } goldens)
        {
            Assert.Skip(SharedFiles.Missing);
            return;
        }

        // The compact set has the first points of an ensemble, and a whole picture is compared with the CPU's.
        string kind = Path.GetFileName(Path.GetDirectoryName(path)!);
        Slow.Only(unless: kind is not ("afa" or "pipeline"));
        Check(Path.Combine(goldens, path), opencl.Get());
    }

    [Theory]
    [InlineData("ops/act_gelu_erf")]
    [InlineData("ops/attention_cross_hd8")]
    [InlineData("ops/conv2d_3x3_s2_asym_odd")]
    [InlineData("ops/expert_softmax_sum_n3")]
    [InlineData("ops/feed_forward_geglu")]
    [InlineData("ops/group_norm_g32_smallvar")]
    [InlineData("ops/layer_norm_a")]
    [InlineData("ops/linear_bias")]
    [InlineData("ops/softmax_lastdim")]
    [InlineData("ops/upsample_nearest_size_9x13")]
    public void Small_cases_on_the_debugging_accelerator(string path)
    {
        using IlgpuDevice device = (IlgpuDevice)DeviceRegistry.Open("ilgpu-cpu");
        Check(Path.Combine(Compact, path), device);
    }

    // Random aggregators choose experts at random, and so make much more of a difference in the last bits than a single expert
    // does.
    [Theory]
    [InlineData(0, 1e-4f)]
    [InlineData(null, 2e-3f)]
    public void A_picture_is_the_CPUs_within_rounding(int? expert, float tolerance)
    {
        IlgpuDevice device = opencl.Get();
        using var tiny = new TinyEnsemble();
        var options = new GenerationOptions
        {
            Prompt = "a red circle",
            Steps = 2,
            Width = 64,
            Height = 64,
            Seeds = [7],
        };
        using var cpu = new CpuDevice(2);
        float[][] pictures = new float[2][];
        foreach (IDevice one in new IDevice[] { cpu, device })
        {
            using DiffusionModel model = DiffusionModel.Load(one, tiny.Path, expert);
            pictures[one == cpu ? 0 : 1] = new TextToImagePipeline(model).GenerateLatents(options);
        }

        float largest = pictures[0].Max(MathF.Abs),
            apart = pictures[0].Zip(pictures[1]).Max(p => Math.Abs(p.First - p.Second));
        Assert.True(apart <= tolerance * largest, $"{apart} apart, the largest value is {largest}");
    }

    [Theory]
    [InlineData("cuda:99")]
    [InlineData("opencl:99")]
    [InlineData("opencl:x")]
    [InlineData("abacus")]
    public void A_device_that_is_not_there_is_named(string name) =>
        Assert.Contains(name, Assert.Throws<ArgumentException>(() => DeviceRegistry.Open(name)).Message);

    private static void Check(string folder, IDevice device)
    {
        CaseResult result = CaseRunner.Run(folder, device, gradients: true);
        if (result.Verdict == CaseVerdict.Skipped)
            Assert.Skip(result.Detail);
        Assert.True(result.Verdict == CaseVerdict.Passed, result.Detail);
    }
}
