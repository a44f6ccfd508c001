using ILGPU;

namespace AfaNative.Kernels.Gpu;

/// <summary>Eight floats in registers.</summary>
internal struct F8
{
    public float A,
        B,
        C,
        D,
        E,
        F,
        G,
        H;
}

/// <summary>A 16-bit storage type on tensor cores. A struct parameter, so that calls fold away in kernels.</summary>
internal interface IHalfMath
{
    /// <summary>Tensor-core multiply-add, float32 sums.</summary>
    F4 Mma(F4 c, U4 a, uint b0, uint b1);

    /// <summary>Rounds two floats to storage, to nearest, ties to even.</summary>
    uint Pack(float low, float high);

    /// <summary>The low element of a pair.</summary>
    float Low(uint pair);

    /// <summary>The high element of a pair.</summary>
    float High(uint pair);
}

/// <summary>IEEE binary16.</summary>
internal readonly struct Float16Math : IHalfMath
{
    public F4 Mma(F4 c, U4 a, uint b0, uint b1) => Ptx.MmaFloat16(c, a, b0, b1);

    public uint Pack(float low, float high) => Ptx.PackFloat16(low, high);

    public float Low(uint pair) => Ptx.LowFloat16(pair);

    public float High(uint pair) => Ptx.HighFloat16(pair);
}

/// <summary>The upper half of a binary32.</summary>
internal readonly struct BFloat16Math : IHalfMath
{
    public F4 Mma(F4 c, U4 a, uint b0, uint b1) => Ptx.MmaBFloat16(c, a, b0, b1);

    public uint Pack(float low, float high) => Ptx.PackBFloat16(low, high);

    public float Low(uint pair) => Interop.IntAsFloat(pair << 16);

    public float High(uint pair) => Interop.IntAsFloat(pair & 0xFFFF0000u);
}

/// <summary>Eight neighbouring elements at once, 16 bytes of a 16-bit type.</summary>
internal static class Eight<TMath>
    where TMath : struct, IHalfMath
{
    /// <summary>Reads eight elements at a 16-byte aligned address.</summary>
    public static F8 Load(ulong address)
    {
        U4 w = Ptx.LoadGlobal16(address);
        return new F8
        {
            A = default(TMath).Low(w.X),
            B = default(TMath).High(w.X),
            C = default(TMath).Low(w.Y),
            D = default(TMath).High(w.Y),
            E = default(TMath).Low(w.Z),
            F = default(TMath).High(w.Z),
            G = default(TMath).Low(w.W),
            H = default(TMath).High(w.W),
        };
    }

    /// <summary>Writes eight elements to a 16-byte aligned address.</summary>
    public static void Store(ulong address, F8 v) =>
        Ptx.StoreGlobal16(
            address,
            new U4
            {
                X = default(TMath).Pack(v.A, v.B),
                Y = default(TMath).Pack(v.C, v.D),
                Z = default(TMath).Pack(v.E, v.F),
                W = default(TMath).Pack(v.G, v.H),
            }
        );

    /// <summary>Reads one element.</summary>
    public static float LoadOne(ulong address) => default(TMath).Low(Ptx.LoadGlobalHalf(address));

    /// <summary>Writes one element.</summary>
    public static void StoreOne(ulong address, float value) =>
        Ptx.StoreGlobalHalf(address, (ushort)default(TMath).Pack(value, 0));

    public static F8 Add(F8 a, F8 b) =>
        new()
        {
            A = a.A + b.A,
            B = a.B + b.B,
            C = a.C + b.C,
            D = a.D + b.D,
            E = a.E + b.E,
            F = a.F + b.F,
            G = a.G + b.G,
            H = a.H + b.H,
        };

    /// <summary>a + s b.</summary>
    public static F8 Add(F8 a, float s, F8 b) =>
        new()
        {
            A = a.A + s * b.A,
            B = a.B + s * b.B,
            C = a.C + s * b.C,
            D = a.D + s * b.D,
            E = a.E + s * b.E,
            F = a.F + s * b.F,
            G = a.G + s * b.G,
            H = a.H + s * b.H,
        };

    public static F8 Scale(F8 a, float s) =>
        new()
        {
            A = a.A * s,
            B = a.B * s,
            C = a.C * s,
            D = a.D * s,
            E = a.E * s,
            F = a.F * s,
            G = a.G * s,
            H = a.H * s,
        };
}
