using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace AfaNative.Kernels.Activation;

/// <summary>Transcendental functions on 16 lanes; every lane is computed alike, so tails padded to a vector give the same values.</summary>
internal static class VectorMath
{
    /// <summary>e^x, relative error about 2e-7; underflows to 0 below -87, saturates above 88.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Exp(Vector512<float> x)
    {
        x = Vector512.Min(Vector512.Max(x, Vector512.Create(-87.3f)), Vector512.Create(88.3f));
        // x = n ln 2 + r with ln 2 in two parts, so that r is exact enough near the ends of the range.
        Vector512<float> magic = Vector512.Create(12582912f);
        Vector512<float> t = Vector512.FusedMultiplyAdd(x, Vector512.Create(1.44269504f), magic);
        Vector512<float> n = t - magic;
        Vector512<float> r = Vector512.FusedMultiplyAdd(n, Vector512.Create(-0.693359375f), x);
        r = Vector512.FusedMultiplyAdd(n, Vector512.Create(2.12194440e-4f), r);
        Vector512<float> p = Vector512.Create(1f / 5040);
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(1f / 720));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(1f / 120));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(1f / 24));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(1f / 6));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(0.5f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512<float>.One);
        p = Vector512.FusedMultiplyAdd(p, r, Vector512<float>.One);
        return (p.AsInt32() + (t.AsInt32() << 23)).AsSingle();
    }

    /// <summary>1 / (1 + e^-x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Sigmoid(Vector512<float> x) => Vector512<float>.One / (Vector512<float>.One + Exp(-x));

    /// <summary>x * sigmoid(x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Silu(Vector512<float> x) => x / (Vector512<float>.One + Exp(-x));

    /// <summary>
    /// erf(x), absolute error below 2e-7: odd rational function on -3.92..3.92, beyond which float32 erf is +-1 (minimax coefficients as published for
    /// single precision).
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Erf(Vector512<float> x)
    {
        x = Vector512.Min(Vector512.Max(x, Vector512.Create(-4f)), Vector512.Create(4f));
        Vector512<float> s = x * x;
        Vector512<float> p = Vector512.Create(-2.72614225801306e-10f);
        p = Vector512.FusedMultiplyAdd(p, s, Vector512.Create(2.77068142495902e-08f));
        p = Vector512.FusedMultiplyAdd(p, s, Vector512.Create(-2.10102402082508e-06f));
        p = Vector512.FusedMultiplyAdd(p, s, Vector512.Create(-5.69250639462346e-05f));
        p = Vector512.FusedMultiplyAdd(p, s, Vector512.Create(-7.34990630326855e-04f));
        p = Vector512.FusedMultiplyAdd(p, s, Vector512.Create(-2.95459980854025e-03f));
        p = Vector512.FusedMultiplyAdd(p, s, Vector512.Create(-1.60960333262415e-02f));
        Vector512<float> q = Vector512.Create(-1.45660718464996e-05f);
        q = Vector512.FusedMultiplyAdd(q, s, Vector512.Create(-2.13374055278905e-04f));
        q = Vector512.FusedMultiplyAdd(q, s, Vector512.Create(-1.68282697438203e-03f));
        q = Vector512.FusedMultiplyAdd(q, s, Vector512.Create(-7.37332916720468e-03f));
        q = Vector512.FusedMultiplyAdd(q, s, Vector512.Create(-1.42647390514189e-02f));
        return x * p / q;
    }

    /// <summary>0.5 x (1 + erf(x / sqrt 2)).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Gelu(Vector512<float> x) => Vector512.Create(0.5f) * x * (Vector512<float>.One + Erf(x * Vector512.Create(0.70710678f)));

    /// <summary>x * sigmoid(1.702 x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> QuickGelu(Vector512<float> x) => x / (Vector512<float>.One + Exp(x * Vector512.Create(-1.702f)));

    /// <summary>The function named by <paramref name="kind"/>.</summary>
    public static Vector512<float> Apply(ActivationKind kind, Vector512<float> x) => kind switch
    {
        ActivationKind.Silu => Silu(x),
        ActivationKind.Gelu => Gelu(x),
        ActivationKind.QuickGelu => QuickGelu(x),
        _ => x,
    };

    /// <summary>Loads <paramref name="count"/> (1 to 16) floats, zeros behind them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe Vector512<float> Load(float* from, int count)
    {
        if (count >= 16) return Vector512.Load(from);
        float* temporary = stackalloc float[16];
        for (int i = 0; i < 16; i++) temporary[i] = i < count ? from[i] : 0;
        return Vector512.Load(temporary);
    }

    /// <summary>Stores the first <paramref name="count"/> (1 to 16) lanes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe void Store(Vector512<float> value, float* to, int count)
    {
        if (count >= 16)
        {
            value.Store(to);
            return;
        }

        float* temporary = stackalloc float[16];
        value.Store(temporary);
        for (int i = 0; i < count; i++) to[i] = temporary[i];
    }
}
