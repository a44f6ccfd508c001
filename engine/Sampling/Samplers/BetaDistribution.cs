namespace AfaNative.Engine.Sampling.Samplers;

/// <summary>Quantiles of the beta distribution.</summary>
internal static class BetaDistribution
{
    /// <summary>
    /// The x below which a share <paramref name="p"/> of the distribution lies, for parameters of at least 0.1.
    /// </summary>
    public static double Quantile(double p, double a, double b)
    {
        if (p <= 0)
            return 0;
        if (p >= 1)
            return 1;
        double low = 0,
            high = 1;
        // Halving to the last bit: a run needs a handful of these.
        for (int i = 0; i < 1100 && high > low; i++)
        {
            double middle = low + (high - low) / 2;
            if (middle == low || middle == high)
                break;
            if (Cumulative(middle, a, b) < p)
                low = middle;
            else
                high = middle;
        }

        return high;
    }

    /// <summary>The share of the distribution below x: the regularized incomplete beta function.</summary>
    public static double Cumulative(double x, double a, double b)
    {
        if (x <= 0)
            return 0;
        if (x >= 1)
            return 1;
        // The continued fraction converges fast on this side of the mean.
        if (x > (a + 1) / (a + b + 2))
            return 1 - Cumulative(1 - x, b, a);
        double front = Math.Exp(a * Math.Log(x) + b * Math.Log(1 - x) + LogGamma(a + b) - LogGamma(a) - LogGamma(b)) / a;
        return front * Fraction(x, a, b);
    }

    // By Lentz's method (Press et al., Numerical recipes, 6.4).
    private static double Fraction(double x, double a, double b)
    {
        const double Tiny = 1e-300;
        double c = 1,
            d = NotZero(1 - (a + b) * x / (a + 1)),
            value = 1 / d;
        d = value;
        for (int m = 1; m < 500; m++)
        {
            double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
                odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
            Next(even);
            if (Math.Abs(Next(odd) - 1) < 1e-16)
                break;
        }

        return value;

        double Next(double term)
        {
            d = 1 / NotZero(1 + term * d);
            c = NotZero(1 + term / c);
            value *= c * d;
            return c * d;
        }

        static double NotZero(double v) => Math.Abs(v) < Tiny ? Tiny : v;
    }

    // Lanczos' approximation with g = 7, good to 15 digits for positive x.
    private static double LogGamma(double x)
    {
        ReadOnlySpan<double> series =
        [
            0.99999999999980993,
            676.5203681218851,
            -1259.1392167224028,
            771.32342877765313,
            -176.61502916214059,
            12.507343278686905,
            -0.13857109526572012,
            9.9843695780195716e-6,
            1.5056327351493116e-7,
        ];
        if (x < 0.5)
            return Math.Log(Math.PI / Math.Sin(Math.PI * x)) - LogGamma(1 - x);
        double sum = series[0],
            shifted = x - 1,
            t = shifted + 7.5;
        for (int i = 1; i < series.Length; i++)
            sum += series[i] / (shifted + i);
        return 0.5 * Math.Log(2 * Math.PI) + (shifted + 0.5) * Math.Log(t) - t + Math.Log(sum);
    }
}
