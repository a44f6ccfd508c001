using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices;
using AfaNative.Kernels.Devices.Ilgpu;
using AfaNative.Tests.StandIn;
using AfaNative.Tests.Support;
using AfaNative.Verification;
using Xunit;

namespace AfaNative.Tests.Cuda;

/// <summary>CUDA devices of every storage type over the stand-in driver; tests skip where it cannot be built.</summary>
public sealed class StandInFixture : IDisposable
{
    private readonly Dictionary<ElementType, IlgpuDevice> _devices = [],
        _narrow = [];
    private readonly StandInCuda? _cuda = StandInCuda.TryLoad(out s_reason);
    private static string s_reason = "";

    internal StandInCuda Cuda
    {
        get
        {
            if (_cuda is null)
                Assert.Skip(s_reason);
            return _cuda;
        }
    }

    internal IlgpuDevice Device(ElementType storage)
    {
        _ = Cuda;
        if (!_devices.TryGetValue(storage, out IlgpuDevice? device))
            _devices[storage] = device = (IlgpuDevice)DeviceRegistry.Open("cuda:0", storage);
        return device;
    }

    /// <summary>A device of one multiprocessor, for which large tiles pay early.</summary>
    internal IlgpuDevice Narrow(ElementType storage)
    {
        if (_narrow.TryGetValue(storage, out IlgpuDevice? device))
            return device;
        Cuda.Multiprocessors = 1;
        try
        {
            return _narrow[storage] = (IlgpuDevice)DeviceRegistry.Open("cuda:0", storage);
        }
        finally
        {
            Cuda.Multiprocessors = 132;
        }
    }

    public void Dispose()
    {
        foreach (IlgpuDevice device in _narrow.Values)
            device.Dispose();
        foreach (IlgpuDevice device in _devices.Values)
            device.Dispose();
    }
}

[CollectionDefinition("CUDA")]
public sealed class CudaCollection : ICollectionFixture<StandInFixture>;

/// <summary>Reference cases through the whole host path, every launch executed as the PTX the device would get.</summary>
[Collection("CUDA")]
public sealed class CudaDeviceTests(StandInFixture fixture)
{
    private static string Compact => Path.Combine(AppContext.BaseDirectory, "goldens");

    // Modules of whole networks: what they are made of has cases of its own in every type.
    private static readonly string[] s_large =
    [
        "aggregator",
        "attention_cross_hd160",
        "attention_cross_hd40",
        "basic_transformer_block",
        "conv2d_3x3_wide",
        "resnet_block_shortcut",
        "transformer_2d",
        "upsample2d_conv",
    ];

    public static TheoryData<string, ElementType> CompactCases()
    {
        var data = new TheoryData<string, ElementType>();
        foreach (string path in CaseRunner.Find(Compact).Select(f => Path.GetRelativePath(Compact, f)))
        {
            foreach (
                ElementType storage in (ReadOnlySpan<ElementType>)[ElementType.Float32, ElementType.Float16, ElementType.BFloat16]
            )
                data.Add(path, storage);
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(CompactCases))]
    public void Compact_set(string path, ElementType storage)
    {
        // The first points of an ensemble take minutes in the interpreter.
        bool ensemble = path.StartsWith("afa", StringComparison.Ordinal),
            large = s_large.Contains(Path.GetFileName(path));
        Slow.Only(unless: !ensemble && (!large || storage == ElementType.Float16));
        fixture.Cuda.Clear();
        CaseResult result;
        try
        {
            result = CaseRunner.Run(Path.Combine(Compact, path), fixture.Device(storage), gradients: true);
        }
        catch (Exception e)
        {
            Assert.Fail($"{e.Message} {fixture.Cuda.LastFault}");
            return;
        }

        if (result.Verdict == CaseVerdict.Skipped)
            Assert.Skip(result.Detail);
        Assert.True(result.Verdict == CaseVerdict.Passed, $"{result.Detail} {fixture.Cuda.LastFault}");
    }
}
