namespace AfaNative.Kernels.Random;

/// <summary>
/// Standard normal float32 noise: Philox words through Box-Muller. Element i depends only on (seed, stream, i). All
/// arithmetic is correctly rounded float32 (+ - * /, square root, fused multiply-add) in a fixed order, so a device that
/// follows the same steps, and contracts none of them by itself, gives the same bits.
/// </summary>
public static class GaussianNoise
{
    private const float InverseTwoTo24 = 1f / 16777216f;
    private const float TwoPi = 6.2831853f;
    private const float LnTwo = 0.69314718f;
    private const int SqrtHalfBits = 0x3F3504F3;

    /// <summary>Fills <paramref name="destination"/> with elements 0, 1, 2, ... of the stream.</summary>
    public static void Fill(Span<float> destination, ulong seed, ulong stream)
    {
        int index = 0;
        for (ulong block = 0; index < destination.Length; block++)
        {
            (uint x0, uint x1, uint x2, uint x3) = Philox.Block(seed, stream, block);
            (float z0, float z1) = Pair(x0, x1);
            (float z2, float z3) = Pair(x2, x3);
            destination[index++] = z0;
            if (index < destination.Length)
                destination[index++] = z1;
            if (index < destination.Length)
                destination[index++] = z2;
            if (index < destination.Length)
                destination[index++] = z3;
        }
    }

    /// <summary>Two independent standard normals from two random words.</summary>
    internal static (float Z0, float Z1) Pair(uint radiusWord, uint angleWord)
    {
        // (0, 1] in steps of 2^-24: exact in float32, and never zero.
        float u = ((int)(radiusWord >> 8) + 1) * InverseTwoTo24;
        float radius = MathF.Sqrt(-2f * Log(u));
        (float sin, float cos) = SinCosTurns((int)(angleWord >> 8));
        return (radius * cos, radius * sin);
    }

    /// <summary>Natural logarithm of a positive normal float32.</summary>
    internal static float Log(float x)
    {
        // x = m * 2^e with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh((m - 1) / (m + 1)).
        int bits = BitConverter.SingleToInt32Bits(x);
        int exponent = (bits - SqrtHalfBits) >> 23;
        float m = BitConverter.Int32BitsToSingle(bits - (exponent << 23));
        float s = (m - 1f) / (m + 1f);
        float s2 = s * s;
        float p = MathF.FusedMultiplyAdd(s2, 2f / 9f, 2f / 7f);
        p = MathF.FusedMultiplyAdd(s2, p, 2f / 5f);
        p = MathF.FusedMultiplyAdd(s2, p, 2f / 3f);
        p = MathF.FusedMultiplyAdd(s2, p, 2f);
        return MathF.FusedMultiplyAdd(exponent, LnTwo, s * p);
    }

    /// <summary>Sine and cosine of <paramref name="turn24"/> / 2^24 turns, 0 &lt;= turn24 &lt; 2^24.</summary>
    internal static (float Sin, float Cos) SinCosTurns(int turn24)
    {
        // The nearest quarter turn is taken off in integers, which is exact; at most an eighth of a turn is left.
        int quadrant = (turn24 + (1 << 21)) >> 22;
        float t = (turn24 - (quadrant << 22)) * InverseTwoTo24 * TwoPi;
        float t2 = t * t;

        float s = MathF.FusedMultiplyAdd(t2, 1f / 362880f, -1f / 5040f);
        s = MathF.FusedMultiplyAdd(t2, s, 1f / 120f);
        s = MathF.FusedMultiplyAdd(t2, s, -1f / 6f);
        s = MathF.FusedMultiplyAdd(t2 * s, t, t);

        float c = MathF.FusedMultiplyAdd(t2, -1f / 3628800f, 1f / 40320f);
        c = MathF.FusedMultiplyAdd(t2, c, -1f / 720f);
        c = MathF.FusedMultiplyAdd(t2, c, 1f / 24f);
        c = MathF.FusedMultiplyAdd(t2, c, -0.5f);
        c = MathF.FusedMultiplyAdd(t2, c, 1f);

        return (quadrant & 3) switch
        {
            0 => (s, c),
            1 => (c, -s),
            2 => (-s, -c),
            _ => (-c, s),
        };
    }
}
