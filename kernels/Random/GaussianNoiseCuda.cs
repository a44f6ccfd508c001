using AfaNative.Kernels.Gpu;
using ILGPU;

namespace AfaNative.Kernels.Random;

/// <summary>Where noise goes, and which.</summary>
internal struct NoiseCudaArguments
{
    public ulong Y;
    public int Count;
    public uint SeedLow,
        SeedHigh,
        StreamLow,
        StreamHigh;
}

/// <summary>
/// <see cref="GaussianNoise"/> on CUDA, number for number: the same steps in the same order, every rounding spelled out, so that
/// no assembler contracts
/// what the processor does not.
/// </summary>
internal static class GaussianNoiseCuda
{
    /// <summary>Threads of a block.</summary>
    public const int Threads = 256;

    /// <summary>A thread per four elements, float32.</summary>
    public static void Run(NoiseCudaArguments s)
    {
        int block = Grid.IdxX * Threads + Group.IdxX,
            at = block * 4;
        if (at >= s.Count)
            return;
        uint c0 = (uint)block,
            c1 = 0,
            c2 = s.StreamLow,
            c3 = s.StreamHigh,
            k0 = s.SeedLow,
            k1 = s.SeedHigh;
        for (int round = 0; round < 10; round++)
        {
            ulong product0 = 0xD2511F53ul * c0,
                product1 = 0xCD9E8D57ul * c2;
            uint n0 = (uint)(product1 >> 32) ^ c1 ^ k0,
                n2 = (uint)(product0 >> 32) ^ c3 ^ k1;
            c0 = n0;
            c1 = (uint)product1;
            c2 = n2;
            c3 = (uint)product0;
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }

        Pair(s, at, c0, c1);
        Pair(s, at + 2, c2, c3);
    }

    private static void Pair(NoiseCudaArguments s, int at, uint radiusWord, uint angleWord)
    {
        float u = Ptx.Multiply((int)(radiusWord >> 8) + 1, 1f / 16777216f),
            radius = Ptx.SquareRoot(Ptx.Multiply(-2f, Log(u)));
        int turn = (int)(angleWord >> 8),
            quadrant = (turn + (1 << 21)) >> 22;
        float t = Ptx.Multiply(Ptx.Multiply(turn - (quadrant << 22), 1f / 16777216f), 6.2831853f),
            t2 = Ptx.Multiply(t, t);
        float sin = Ptx.FusedMultiplyAdd(t2, 1f / 362880f, -1f / 5040f);
        sin = Ptx.FusedMultiplyAdd(t2, sin, 1f / 120f);
        sin = Ptx.FusedMultiplyAdd(t2, sin, -1f / 6f);
        sin = Ptx.FusedMultiplyAdd(Ptx.Multiply(t2, sin), t, t);
        float cos = Ptx.FusedMultiplyAdd(t2, -1f / 3628800f, 1f / 40320f);
        cos = Ptx.FusedMultiplyAdd(t2, cos, -1f / 720f);
        cos = Ptx.FusedMultiplyAdd(t2, cos, 1f / 24f);
        cos = Ptx.FusedMultiplyAdd(t2, cos, -0.5f);
        cos = Ptx.FusedMultiplyAdd(t2, cos, 1f);
        bool swap = (quadrant & 1) == 1;
        float first = swap ? sin : cos,
            second = swap ? cos : sin;
        // Quarters: (cos, sin), (-sin, cos), (-cos, -sin), (sin, -cos).
        bool negateFirst = ((quadrant + 1) & 2) != 0,
            negateSecond = (quadrant & 2) != 0;
        first = negateFirst ? -first : first;
        second = negateSecond ? -second : second;
        if (at < s.Count)
            Ptx.StoreGlobalFloat(s.Y + (ulong)at * 4, Ptx.Multiply(radius, first));
        if (at + 1 < s.Count)
            Ptx.StoreGlobalFloat(s.Y + (ulong)at * 4 + 4, Ptx.Multiply(radius, second));
    }

    private static float Log(float x)
    {
        int bits = (int)Interop.FloatAsInt(x),
            exponent = (bits - 0x3F3504F3) >> 23;
        float m = Interop.IntAsFloat((uint)(bits - (exponent << 23))),
            s = Ptx.Divide(Ptx.Add(m, -1f), Ptx.Add(m, 1f)),
            s2 = Ptx.Multiply(s, s);
        float p = Ptx.FusedMultiplyAdd(s2, 2f / 9f, 2f / 7f);
        p = Ptx.FusedMultiplyAdd(s2, p, 2f / 5f);
        p = Ptx.FusedMultiplyAdd(s2, p, 2f / 3f);
        p = Ptx.FusedMultiplyAdd(s2, p, 2f);
        return Ptx.FusedMultiplyAdd(exponent, 0.69314718f, Ptx.Multiply(s, p));
    }
}
