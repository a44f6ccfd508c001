using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Kernels.Devices.HalfStorage;
using AfaNative.Kernels.Devices.Reference;
using Xunit;

namespace AfaNative.Tests.Devices;

/// <summary>Devices are found by name, and everything that lists them lists the same.</summary>
[Collection("OpenCL")]
public sealed class DeviceRegistryTests(OpenClDevice opencl)
{
    [Fact]
    public void Every_name_belongs_to_one_kind_and_every_kind_says_what_is_here()
    {
        _ = opencl;
        Assert.Equal(
            ["cpu", "cpu-plain", "cpu-reference", "cuda:0", "opencl:0", "ilgpu-cpu"],
            DeviceRegistry.Providers.Select(p => p.Example())
        );
        foreach (IDeviceProvider provider in DeviceRegistry.Providers)
        {
            Assert.Same(provider, Assert.Single(DeviceRegistry.Providers, p => p.Names(provider.Example())));
            Assert.All(provider.Find(), d => Assert.Same(provider, DeviceRegistry.Of(d.Name)));
        }
    }

    [Fact]
    public void A_name_that_is_no_device_gets_all_that_are()
    {
        var e = Assert.Throws<ArgumentException>(() => DeviceRegistry.Open("abacus"));
        Assert.Equal(
            "'abacus' is not a device: expected cpu, cpu-plain, cpu-reference, cuda:N, opencl:N or ilgpu-cpu.",
            e.Message
        );
    }

    [Theory]
    [InlineData("cpu", ElementType.Float16, "Float16 is for accelerators; cpu computes in f32 or bf16.")]
    [InlineData("cpu-plain", ElementType.BFloat16, "BFloat16 is for cpu and accelerators; cpu-plain computes in f32.")]
    [InlineData("cpu-reference", ElementType.Float16, "Float16 is for faster devices; cpu-reference computes in f32.")]
    public void A_precision_that_a_device_lacks_is_refused(string name, ElementType precision, string message) =>
        Assert.Equal(message, Assert.Throws<ArgumentException>(() => DeviceRegistry.Open(name, precision)).Message);

    [Theory]
    [InlineData("cpu", typeof(CpuDevice))]
    [InlineData("cpu-plain", typeof(CpuDevice))]
    [InlineData("cpu-reference", typeof(ReferenceDevice))]
    public void Hosts_train_in_16_bits_by_rounding(string name, Type type)
    {
        using IDevice wide = DeviceRegistry.OpenForTraining(name, ElementType.Float32, 1),
            half = DeviceRegistry.OpenForTraining(name, ElementType.BFloat16, 1),
            plain = DeviceRegistry.Open(name, threads: 1);
        Assert.IsType(type, wide);
        Assert.IsType(type, plain);
        Assert.IsType<HalfStorageDevice>(half);
        Assert.Equal((plain.Name, ElementType.BFloat16), (half.Name, half.Storage));
    }

    // What a device draws is the stream itself, rounded to what it stores.
    [Fact]
    public void Noise_is_the_same_stream_on_every_device()
    {
        var expected = new float[40];
        AfaNative.Kernels.Random.GaussianNoise.Fill(expected, 5, 6);
        using IDevice wide = DeviceRegistry.Open("cpu", threads: 1),
            half = DeviceRegistry.OpenForTraining("cpu", ElementType.Float16, 1);
        Assert.Equal(expected, Noise(wide));
        Assert.Equal(expected.Select(v => (float)(Half)v), Noise(half));

        static float[] Noise(IDevice device)
        {
            using DeviceBuffer buffer = device.Allocate(40);
            device.FillNoise(buffer, 40, 5, 6);
            var came = new float[40];
            device.Download(buffer, came);
            return came;
        }
    }
}
