using System.Reflection;
using System.Text.RegularExpressions;
using Xunit;

namespace AfaNative.Tests.Cuda;

/// <summary>Every kernel compiles for both targets, stays in registers, and holds the instructions it was written for.</summary>
public sealed partial class PtxCompilationTests : IDisposable
{
    private readonly PtxCompiler _compiler = new();

    [Theory]
    [InlineData("sm_80")]
    [InlineData("sm_90")]
    public void Every_kernel_compiles_without_spills_calls_or_indirect_branches(string target)
    {
        var problems = new List<string>();
        foreach ((MethodInfo kernel, bool grouped) in PtxCompiler.AllKernels())
        {
            string ptx = _compiler.Compile(kernel, target, grouped),
                name = PtxCompiler.Name(kernel);
            foreach (string problem in Problems(ptx))
                problems.Add($"{name} for {target}: {problem}");
        }

        Assert.Empty(problems);
    }

    [Fact]
    public void Tensor_core_kernels_use_tensor_cores_and_wide_asynchronous_copies()
    {
        foreach (MethodInfo kernel in PtxCompiler.CudaOnly())
        {
            string ptx = _compiler.Compile(kernel, "sm_80"),
                name = PtxCompiler.Name(kernel);
            if (name.StartsWith("TensorCore", StringComparison.Ordinal))
            {
                string type = name.Contains("BFloat16", StringComparison.Ordinal) ? "bf16" : "f16";
                Assert.True(Count(ptx, $@"mma\.sync\.aligned\.m16n8k16\.row\.col\.f32\.{type}\.{type}\.f32") >= 16, name);
                Assert.True(Count(ptx, @"ldmatrix\.sync\.aligned\.m8n8\.x4") >= 4, name);
                Assert.True(Count(ptx, @"cp\.async\.cg\.shared\.global \[[^\]]+\], \[[^\]]+\], 16") >= 3, name);
                Assert.True(Count(ptx, @"cp\.async\.wait_group") >= 1, name);
                // Accumulators written out: the inner loop multiplies without moving data between registers and memory.
                if (name.Contains("Multiply", StringComparison.Ordinal))
                    Assert.Equal(32, Count(ptx, @"mma\.sync"));
            }

            bool byElement =
                name.Contains("Unaligned", StringComparison.Ordinal)
                || name.Contains("Noise", StringComparison.Ordinal)
                || name.Contains("GroupStatistics", StringComparison.Ordinal)
                || name.Contains("GroupJoin", StringComparison.Ordinal);
            if (!byElement)
                Assert.True(Count(ptx, @"st\.global\.v4\.b32") >= 1, $"{name} stores no 16 bytes at once");
            if (name.Contains("Norm", StringComparison.Ordinal) && !name.Contains("Join", StringComparison.Ordinal))
                Assert.True(Count(ptx, @"ld\.global\.v4\.b32") >= 1, name);
        }
    }

    [Fact]
    public void Kernels_fit_48_KiB_of_shared_memory()
    {
        foreach ((MethodInfo kernel, bool grouped) in PtxCompiler.AllKernels())
        {
            int bytes = SharedArray()
                .Matches(_compiler.Compile(kernel, "sm_80", grouped))
                .Sum(m => int.Parse(m.Groups[1].Value, System.Globalization.CultureInfo.InvariantCulture));
            Assert.True(bytes <= 48 * 1024, $"{PtxCompiler.Name(kernel)}: {bytes} bytes");
        }
    }

    [Fact]
    public void The_lint_sees_what_it_is_for()
    {
        Assert.Contains(Problems(".local .align 4 .b8 a[16];"), p => p.Contains("local", StringComparison.Ordinal));
        Assert.Contains(Problems("st.local.f32 [%rd1], %f1;"), p => p.Contains("local", StringComparison.Ordinal));
        Assert.Contains(Problems(".extern .func f ();"), p => p.Contains("function", StringComparison.Ordinal));
        Assert.Contains(Problems("brx.idx %r1, table;"), p => p.Contains("indirect", StringComparison.Ordinal));
        Assert.Contains(Problems("cvt.rn.f64.u32 %fd1, %r1;"), p => p.Contains("float64", StringComparison.Ordinal));
        Assert.Empty(Problems("add.f32 %f1, %f2, %f3;"));
    }

    public void Dispose() => _compiler.Dispose();

    private static IEnumerable<string> Problems(string ptx)
    {
        if (LocalMemory().IsMatch(ptx))
            yield return "uses local memory";
        if (ptx.Contains(".extern .func", StringComparison.Ordinal))
            yield return "calls a function no one defines";
        if (Call().IsMatch(ptx))
            yield return "calls a function: it was not inlined";
        if (ptx.Contains("brx.idx", StringComparison.Ordinal))
            yield return "has an indirect branch";
        if (ptx.Contains(".f64", StringComparison.Ordinal))
            yield return "computes in float64";
    }

    private static int Count(string ptx, string pattern) => Regex.Count(ptx, pattern);

    [GeneratedRegex(@"\.local\b")]
    private static partial Regex LocalMemory();

    [GeneratedRegex(@"^\s*call\b", RegexOptions.Multiline)]
    private static partial Regex Call();

    [GeneratedRegex(@"\.shared[^;\n]*\[(\d+)\]")]
    private static partial Regex SharedArray();
}
