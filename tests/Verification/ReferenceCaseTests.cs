using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Kernels.Devices.Reference;
using AfaNative.Kernels.MatrixMultiply;
using AfaNative.Verification;
using Xunit;

namespace AfaNative.Tests.Verification;

/// <summary>
/// Reference cases on every implementation: the compact set in the repository always, the full set where it lies beside it.
/// </summary>
public class ReferenceCaseTests
{
    private static string Compact => Path.Combine(AppContext.BaseDirectory, "goldens");

    public static TheoryData<string> CompactCases() =>
        [.. CaseRunner.Find(Compact).Select(f => Path.GetRelativePath(Compact, f))];

    public static TheoryData<string> SharedCases()
    {
        if (SharedFiles.Goldens() is not { } goldens)
            return [""];
        return [.. CaseRunner.Find(goldens).Select(f => Path.GetRelativePath(goldens, f))];
    }

    [Theory]
    [MemberData(nameof(CompactCases))]
    public void Compact_set_on_the_widest_vectors(string path) => Check(Path.Combine(Compact, path), null);

    [Theory]
    [MemberData(nameof(CompactCases))]
    public void Compact_set_on_512_bit_vectors(string path)
    {
        if (!PairedProduct.IsSupported)
            Assert.Skip("no AVX-512 here");
        Check(Path.Combine(Compact, path), RegisterTile.Best == SimdWidth.Paired512 ? SimdWidth.Vector512 : SimdWidth.Paired512);
    }

    [Theory]
    [MemberData(nameof(CompactCases))]
    public void Compact_set_on_256_bit_vectors(string path) => Check(Path.Combine(Compact, path), SimdWidth.Vector256);

    [Theory]
    [MemberData(nameof(CompactCases))]
    public void Compact_set_on_portable_vectors(string path) => Check(Path.Combine(Compact, path), SimdWidth.Portable);

    [Theory]
    [MemberData(nameof(CompactCases))]
    public void Compact_set_on_the_reference_kernels(string path) => Check(Path.Combine(Compact, path), null, reference: true);

    [Theory]
    [MemberData(nameof(CompactCases))]
    public void Compact_set_with_products_in_bfloat16(string path)
    {
        if (!CpuDevice.SupportsBFloat16)
            Assert.Skip("no AVX512-BF16 here");
        Check(Path.Combine(Compact, path), null, products: ElementType.BFloat16);
    }

    [Theory]
    [MemberData(nameof(SharedCases))]
    public void Full_set(string path)
    {
        if (SharedFiles.Goldens() is not { } goldens)
        {
            Assert.Skip(SharedFiles.Missing);
            return;
        }

        Check(Path.Combine(goldens, path), null);
    }

    [Fact]
    public void A_wrong_result_fails_and_names_the_tensor()
    {
        using var folder = new TemporaryFolder();
        File.Copy(Path.Combine(Compact, "ops", "act_silu", "tensors.safetensors"), folder.File("tensors.safetensors"));
        folder.Write("case.json", """{ "id": "wrong", "op": "act", "params": { "fn": "quick_gelu" } }""");
        using var device = new CpuDevice(1);
        CaseResult result = CaseRunner.Run(folder.Path, device);
        Assert.Equal(CaseVerdict.Failed, result.Verdict);
        Assert.Contains("out.y", result.Detail);
    }

    [Fact]
    public void Unknown_kinds_are_skipped_and_broken_cases_fail()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        folder.Write("case.json", """{ "id": "later", "op": "something_new" }""");
        Assert.Equal(CaseVerdict.Skipped, CaseRunner.Run(folder.Path, device).Verdict);
        folder.Write("case.json", """{ "id": "torn", "op": "act", """);
        Assert.Equal(CaseVerdict.Failed, CaseRunner.Run(folder.Path, device).Verdict);
        folder.Write("case.json", """{ "id": "empty", "op": "act", "params": { "fn": "silu" } }""");
        Assert.Equal(CaseVerdict.Failed, CaseRunner.Run(folder.Path, device).Verdict);
    }

    private static void Check(string folder, SimdWidth? simd, bool reference = false, ElementType products = ElementType.Float32)
    {
        using HostDevice device = reference ? new ReferenceDevice() : new CpuDevice(2, simd, products);
        CaseResult result = CaseRunner.Run(folder, device, gradients: device.Gradients is not null);
        if (result.Verdict == CaseVerdict.Skipped)
            Assert.Skip(result.Detail);
        Assert.True(result.Verdict == CaseVerdict.Passed, result.Detail);
    }
}
