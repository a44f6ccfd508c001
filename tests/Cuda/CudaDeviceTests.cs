using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices;
using AfaNative.Kernels.Devices.Ilgpu;
using AfaNative.Tests.StandIn;
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

    public static TheoryData<string, ElementType> CompactCases()
    {
        var data = new TheoryData<string, ElementType>();
        // The first points of an ensemble take minutes in the interpreter: AFA_SLOW_TESTS=1 includes them.
        bool slow = Environment.GetEnvironmentVariable("AFA_SLOW_TESTS") == "1";
        foreach (
            string path in CaseRunner
                .Find(Compact)
                .Select(f => Path.GetRelativePath(Compact, f))
                .Where(p => slow || !p.StartsWith("afa", StringComparison.Ordinal))
        )
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
