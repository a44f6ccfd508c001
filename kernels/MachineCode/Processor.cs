using System.Runtime.Intrinsics.X86;

namespace AfaNative.Kernels.MachineCode;

/// <summary>What CPUID says about the processor where instruction sets alone do not tell what is fast.</summary>
internal static class Processor
{
    /// <summary>Made by AMD: additions have units of their own beside those that multiply. (Leaf 0: "AuthenticAMD".)</summary>
    public static bool IsAmd { get; } =
        X86Base.IsSupported && X86Base.CpuId(0, 0) is { Ebx: 0x68747541, Edx: 0x69746E65, Ecx: 0x444D4163 };

    /// <summary>
    /// Of AMD's family 1Ah (Zen 5) or later: twice as many 512-bit multiplications and additions a cycle as before, but no more
    /// loads of single values.
    /// </summary>
    public static bool IsZen5 { get; } = IsAmd && Family(X86Base.CpuId(1, 0).Eax) >= 0x1A;

    // Base family, and the extended one where that is 15.
    private static int Family(int signature) => (signature >> 8 & 15) + (signature >> 20 & 255);
}
