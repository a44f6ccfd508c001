using AfaNative.Kernels.Contracts;
using ILGPU;

namespace AfaNative.Kernels.Gpu;

/// <summary>Functions that give the same numbers on every ILGPU device: plain arithmetic and bit casts only.</summary>
internal static class PortableMath
{
    /// <summary>e^x, relative error about 3e-7; saturates outside -87..88.</summary>
    public static float Exp(float x)
    {
        x = x < -87.3f ? -87.3f : x;
        x = x > 88.3f ? 88.3f : x;
        float t = x * 1.44269504f;
        int n = (int)(t + (t < 0 ? -0.5f : 0.5f));
        float r = x - n * 0.693359375f + n * 2.12194440e-4f;
        float p = 1f / 5040;
        p = p * r + 1f / 720;
        p = p * r + 1f / 120;
        p = p * r + 1f / 24;
        p = p * r + 1f / 6;
        p = p * r + 0.5f;
        p = p * r + 1;
        p = p * r + 1;
        return p * Interop.IntAsFloat((uint)(n + 127) << 23);
    }

    /// <summary>erf(x), absolute error about 4e-7.</summary>
    public static float Erf(float x)
    {
        x = x < -4 ? -4 : x;
        x = x > 4 ? 4 : x;
        float s = x * x;
        float p = -2.72614225801306e-10f;
        p = p * s + 2.77068142495902e-08f;
        p = p * s - 2.10102402082508e-06f;
        p = p * s - 5.69250639462346e-05f;
        p = p * s - 7.34990630326855e-04f;
        p = p * s - 2.95459980854025e-03f;
        p = p * s - 1.60960333262415e-02f;
        float q = -1.45660718464996e-05f;
        q = q * s - 2.13374055278905e-04f;
        q = q * s - 1.68282697438203e-03f;
        q = q * s - 7.37332916720468e-03f;
        q = q * s - 1.42647390514189e-02f;
        return x * p / q;
    }

    /// <summary>
    /// The function numbered as in <see cref="ActivationKind"/>; if-chains because a switch may become an indirect branch.
    /// </summary>
    public static float Activate(int kind, float x)
    {
        if (kind == (int)ActivationKind.Silu)
            return x / (1 + Exp(-x));
        if (kind == (int)ActivationKind.Gelu)
            return 0.5f * x * (1 + Erf(x * 0.70710678f));
        if (kind == (int)ActivationKind.QuickGelu)
            return x / (1 + Exp(-1.702f * x));
        return x;
    }

    /// <summary>Its derivative.</summary>
    public static float Derivative(int kind, float x)
    {
        if (kind == 1)
        {
            float s = 1 / (1 + Exp(-x));
            return s * (1 + x * (1 - s));
        }

        if (kind == 2)
            return 0.5f * (1 + Erf(x * 0.70710678f)) + x * 0.39894228f * Exp(-0.5f * x * x);
        if (kind == 3)
        {
            float q = 1 / (1 + Exp(-1.702f * x));
            return q * (1 + 1.702f * x * (1 - q));
        }

        return 1;
    }

    /// <summary>binary16 to float32, exact.</summary>
    public static float WidenHalf(ushort bits)
    {
        uint sign = (uint)(bits & 0x8000) << 16,
            magnitude = (uint)(bits & 0x7FFF) << 13;
        if (magnitude >= 0x0F800000u)
            return Interop.IntAsFloat(sign | 0x7F800000u | magnitude);
        // Exponent and mantissa in place are too small by 2^112: one multiplication repairs normals and subnormals alike.
        float value = Interop.IntAsFloat(magnitude) * Interop.IntAsFloat(0x77800000u);
        return sign != 0 ? -value : value;
    }

    /// <summary>float32 to binary16, to nearest, ties to even; overflow gives infinity.</summary>
    public static ushort NarrowHalf(float value)
    {
        uint bits = Interop.FloatAsInt(value),
            sign = (bits >> 16) & 0x8000u;
        bits &= 0x7FFFFFFFu;
        if (bits > 0x7F800000u)
            return (ushort)(sign | 0x7E00u);
        if (bits >= 0x477FF000u)
            return (ushort)(sign | 0x7C00u);
        // Below 2^-14 the result is subnormal: adding 0.5 lets the float adder shift and round.
        if (bits < 0x38800000u)
            return (ushort)(sign | (Interop.FloatAsInt(Interop.IntAsFloat(bits) + 0.5f) - 0x3F000000u));
        return (ushort)(sign | ((bits + 0xFFFu + ((bits >> 13) & 1u) - 0x38000000u) >> 13));
    }

    /// <summary>float32 to bfloat16, to nearest, ties to even.</summary>
    public static ushort NarrowBFloat(float value)
    {
        uint bits = Interop.FloatAsInt(value);
        if ((bits & 0x7FFFFFFFu) > 0x7F800000u)
            return (ushort)((bits >> 16) | 0x40u);
        return (ushort)((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
    }
}
