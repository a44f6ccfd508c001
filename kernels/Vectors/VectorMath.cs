using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Kernels.Vectors;

/// <summary>
/// Transcendental functions on 16 lanes; every lane is computed alike, so tails padded to a vector give the same values.
/// </summary>
internal static class VectorMath
{
    /// <summary>e^x, relative error about 2e-7; stays at e^-87.3 (about 1e-38) below -87.3 and at e^88.3 above 88.3.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Exp(Vector512<float> x)
    {
        // The native minimum and maximum are one instruction each; in this order a NaN stays one.
        x = Vector512.MinNative(Vector512.Create(88.3f), Vector512.MaxNative(Vector512.Create(-87.3f), x));
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
    /// erf(x), absolute error below 2e-7: below 1 an odd polynomial; from 1 to 3.9, beyond which float32 erf is +-1, one minus a
    /// polynomial of erfc
    /// (both interpolate at Chebyshev nodes). A single rational function would be shorter, but its float32 roundings alone reach
    /// 3e-7.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Erf(Vector512<float> x)
    {
        Vector512<float> end = Vector512.Create(3.9f),
            a = Vector512.MinNative(end, Vector512.Abs(x)),
            s = a * a,
            u = a - Vector512.Create(2.4375f);
        Vector512<float> near = Vector512.Create(-9.66704465e-06f);
        near = Vector512.FusedMultiplyAdd(near, s, Vector512.Create(0.000112659589f));
        near = Vector512.FusedMultiplyAdd(near, s, Vector512.Create(-0.000848408032f));
        near = Vector512.FusedMultiplyAdd(near, s, Vector512.Create(0.00522103161f));
        near = Vector512.FusedMultiplyAdd(near, s, Vector512.Create(-0.0268654302f));
        near = Vector512.FusedMultiplyAdd(near, s, Vector512.Create(0.112837821f));
        near = Vector512.FusedMultiplyAdd(near, s, Vector512.Create(-0.376126379f));
        near = Vector512.FusedMultiplyAdd(near, s, Vector512.Create(1.12837923f));
        Vector512<float> far = Vector512.Create(9.86090527e-06f);
        far = Vector512.FusedMultiplyAdd(far, u, Vector512.Create(-2.7984006e-05f));
        far = Vector512.FusedMultiplyAdd(far, u, Vector512.Create(-4.96387802e-05f));
        far = Vector512.FusedMultiplyAdd(far, u, Vector512.Create(0.000313127792f));
        far = Vector512.FusedMultiplyAdd(far, u, Vector512.Create(-0.000442729972f));
        far = Vector512.FusedMultiplyAdd(far, u, Vector512.Create(-0.000387339445f));
        far = Vector512.FusedMultiplyAdd(far, u, Vector512.Create(0.00301910494f));
        far = Vector512.FusedMultiplyAdd(far, u, Vector512.Create(-0.0072013489f));
        far = Vector512.FusedMultiplyAdd(far, u, Vector512.Create(0.010697729f));
        far = Vector512.FusedMultiplyAdd(far, u, Vector512.Create(-0.0107599078f));
        far = Vector512.FusedMultiplyAdd(far, u, Vector512.Create(0.00722939568f));
        far = Vector512.FusedMultiplyAdd(far, u, Vector512.Create(-0.00296565588f));
        far = Vector512.FusedMultiplyAdd(far, u, Vector512.Create(0.000566541974f));
        Vector512<float> y = Vector512.ConditionalSelect(
            Vector512.LessThan(a, Vector512<float>.One),
            a * near,
            Vector512<float>.One - far
        );
        // Exactly 1 at the end: a large x would multiply what is missing.
        return Vector512.CopySign(Vector512.ConditionalSelect(Vector512.Equals(a, end), Vector512<float>.One, y), x);
    }

    /// <summary>0.5 x (1 + erf(x / sqrt 2)).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Gelu(Vector512<float> x) =>
        Vector512.Create(0.5f) * x * (Vector512<float>.One + Erf(x * Vector512.Create(0.70710678f)));

    /// <summary>x * sigmoid(1.702 x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> QuickGelu(Vector512<float> x) =>
        x / (Vector512<float>.One + Exp(x * Vector512.Create(-1.702f)));

    /// <summary>The function named by <paramref name="kind"/>.</summary>
    public static Vector512<float> Apply(ActivationKind kind, Vector512<float> x) =>
        kind switch
        {
            ActivationKind.Silu => Silu(x),
            ActivationKind.Gelu => Gelu(x),
            ActivationKind.QuickGelu => QuickGelu(x),
            _ => x,
        };

    /// <summary>Loads <paramref name="count"/> (1 to 16) floats, zeros behind them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe Vector512<float> Load(float* from, int count) =>
        count >= 16 ? Vector512.Load(from) : LoadPart(from, count);

    /// <summary>Stores the first <paramref name="count"/> (1 to 16) lanes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe void Store(Vector512<float> value, float* to, int count)
    {
        if (count >= 16)
            value.Store(to);
        else
            StorePart(value, to, count);
    }

    // Apart, because a method with memory on its stack is not inlined.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static unsafe Vector512<float> LoadPart(float* from, int count)
    {
        float* temporary = stackalloc float[16];
        for (int i = 0; i < 16; i++)
            temporary[i] = i < count ? from[i] : 0;
        return Vector512.Load(temporary);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static unsafe void StorePart(Vector512<float> value, float* to, int count)
    {
        float* temporary = stackalloc float[16];
        value.Store(temporary);
        for (int i = 0; i < count; i++)
            to[i] = temporary[i];
    }
}
