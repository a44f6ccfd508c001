namespace AfaNative.Engine.Imaging;

/// <summary>
/// Brings pictures and latents to other sizes. What a new shape has no room for is cut off evenly on both sides; nothing is
/// stretched.
/// </summary>
public static class Resampling
{
    private const int Lobes = 3;

    /// <summary>
    /// Maps [C, height, width] to [C, newHeight, newWidth] by straight lines between the centres of pixels; beyond the outermost
    /// they stay as they are (torch's bilinear interpolation without aligned corners).
    /// </summary>
    public static float[] Bilinear(float[] maps, int height, int width, int newHeight, int newWidth)
    {
        int channels = maps.Length / (height * width);
        (Taps down, Taps across) = Axes(
            height,
            width,
            newHeight,
            newWidth,
            1,
            antialias: false,
            x => Math.Max(0, 1 - Math.Abs(x))
        );
        return down.Apply(across.Apply(maps, channels * height, 1), channels, newWidth);
    }

    /// <summary>
    /// A picture [height, width, 3] to [newHeight, newWidth, 3], 0 to 1, by Lanczos' kernel of three lobes, widened where the
    /// picture shrinks (as Pillow does, without its rounding to bytes).
    /// </summary>
    public static float[] Lanczos(float[] picture, int height, int width, int newHeight, int newWidth)
    {
        (Taps down, Taps across) = Axes(
            height,
            width,
            newHeight,
            newWidth,
            Lobes,
            antialias: true,
            x => Math.Abs(x) < Lobes ? Sinc(x) * Sinc(x / Lobes) : 0
        );
        float[] result = down.Apply(across.Apply(picture, height, 3), 1, newWidth * 3);
        // The kernel's negative lobes overshoot at edges.
        for (int i = 0; i < result.Length; i++)
            result[i] = Math.Clamp(result[i], 0f, 1f);
        return result;
    }

    private static double Sinc(double x) => x == 0 ? 1 : Math.Sin(Math.PI * x) / (Math.PI * x);

    // One scale for both axes, the larger of the two enlargements: the new shape is filled.
    private static (Taps Down, Taps Across) Axes(
        int height,
        int width,
        int newHeight,
        int newWidth,
        double radius,
        bool antialias,
        Func<double, double> kernel
    )
    {
        double scale = Math.Min((double)height / newHeight, (double)width / newWidth),
            wide = antialias ? Math.Max(1, scale) : 1;
        return (Taps.Of(height, newHeight, scale, radius, wide, kernel), Taps.Of(width, newWidth, scale, radius, wide, kernel));
    }

    /// <summary>
    /// For every new pixel along one axis: the first old one that counts, and how much it and those after it do.
    /// </summary>
    private sealed record Taps(int Size, int[] First, double[][] Weights)
    {
        public static Taps Of(int size, int newSize, double scale, double radius, double wide, Func<double, double> kernel)
        {
            var first = new int[newSize];
            var weights = new double[newSize][];
            double offset = (size - newSize * scale) / 2;
            for (int i = 0; i < newSize; i++)
            {
                double centre = offset + (i + 0.5) * scale;
                int from = Math.Clamp((int)(centre - radius * wide + 0.5), 0, size - 1),
                    to = Math.Clamp((int)(centre + radius * wide + 0.5), from + 1, size);
                double[] shares = [.. Enumerable.Range(from, to - from).Select(x => kernel((x + 0.5 - centre) / wide))];
                double total = shares.Sum();
                (first[i], weights[i]) = (from, [.. shares.Select(s => s / total)]);
            }

            return new Taps(size, first, weights);
        }

        // [outer, Size, inner] to [outer, new, inner].
        public float[] Apply(float[] x, int outer, int inner)
        {
            int size = First.Length;
            var y = new float[outer * size * inner];
            for (int o = 0; o < outer; o++)
            {
                for (int i = 0; i < size; i++)
                {
                    double[] weights = Weights[i];
                    for (int c = 0; c < inner; c++)
                    {
                        double sum = 0;
                        for (int k = 0; k < weights.Length; k++)
                            sum += weights[k] * x[(o * Size + First[i] + k) * inner + c];
                        y[(o * size + i) * inner + c] = (float)sum;
                    }
                }
            }

            return y;
        }
    }
}
