namespace AfaNative.Engine.Pipeline;

/// <summary>How several experts become one picture.</summary>
public enum FusionMode
{
    /// <summary>AFA: features are fused inside the U-Nets after every block, by the aggregators.</summary>
    Afa,

    /// <summary>
    /// Fused inside the U-Nets like AFA, but every expert counts the same everywhere: an ensemble whose aggregators were never
    /// trained.
    /// </summary>
    Average,

    /// <summary>The mean of the experts' guided noise predictions.</summary>
    Mean,

    /// <summary>MagicFusion: at every pixel the noise of the expert to which it is most salient.</summary>
    Magic,
}

/// <summary>MagicFusion's settings.</summary>
public sealed record MagicFusionOptions
{
    /// <summary>Temperature weight of every expert's saliency; null means 1 for all.</summary>
    public IReadOnlyList<float>? Weights { get; init; }

    /// <summary>Time step between the two phases: above it experts are blended, from it on expert 0 goes alone.</summary>
    public int SwitchTimestep { get; init; } = 600;

    /// <summary>The other way round: expert 0 alone first (the original's mode 1, with 850 there).</summary>
    public bool BlendLast { get; init; }
}

/// <summary>
/// Fusions of whole noise predictions, the paper's baselines. Predictions are [N][2][count, C, h, w] with the negative prompt's
/// first, or [N][count, C, h, w]
/// without guidance; results [count, C, h, w].
/// </summary>
public static class NoiseFusion
{
    /// <summary>Classifier-free guidance of every expert: uncond + scale (cond - uncond), [N][count, C, h, w].</summary>
    public static float[][] Guide(ReadOnlySpan<float> predicted, int experts, bool guided, float scale)
    {
        int per = predicted.Length / experts,
            length = guided ? per / 2 : per;
        var result = new float[experts][];
        for (int n = 0; n < experts; n++)
        {
            ReadOnlySpan<float> own = predicted.Slice(n * per, per);
            result[n] = own[^length..].ToArray();
            for (int i = 0; guided && i < length; i++)
                result[n][i] = own[i] + scale * (own[length + i] - own[i]);
        }

        return result;
    }

    /// <summary>Predictions [N][...] of those experts that take part, in the order they are named; null: all.</summary>
    public static float[] Select(float[] predicted, int experts, IReadOnlyList<int>? members)
    {
        int per = predicted.Length / experts;
        return members is null ? predicted : [.. members.SelectMany(m => predicted[(m * per)..((m + 1) * per)])];
    }

    /// <summary>The mean of the experts' guided predictions.</summary>
    public static float[] Mean(ReadOnlySpan<float> predicted, int experts, bool guided, float scale)
    {
        float[][] noise = Guide(predicted, experts, guided, scale);
        float[] mean = noise[0];
        for (int n = 1; n < experts; n++)
        {
            for (int i = 0; i < mean.Length; i++)
                mean[i] += noise[n][i];
        }

        for (int i = 0; i < mean.Length; i++)
            mean[i] /= experts;
        return mean;
    }

    /// <summary>
    /// MagicFusion (Zhao et al., ICCV 2023): saliency |scale (cond_x - uncond_0)|, smoothed by a 4x4 mean, averaged over channels
    /// and brought to a softmax over the
    /// picture's pixels; per pixel the expert with the largest supplies the noise. With more than two experts the largest of all
    /// (ours; the original has two).
    /// </summary>
    public static float[] Magic(
        ReadOnlySpan<float> predicted,
        int experts,
        float scale,
        int count,
        int channels,
        int height,
        int width,
        float timestep,
        MagicFusionOptions options
    )
    {
        float[][] noise = Guide(predicted, experts, guided: true, scale);
        if (timestep > options.SwitchTimestep == options.BlendLast)
            return noise[0];
        int pixels = height * width,
            image = channels * pixels,
            per = predicted.Length / experts;
        ReadOnlySpan<float> general = predicted[..(per / 2)];
        var result = new float[count * image];
        var best = new double[pixels];
        var winner = new int[pixels];
        for (int b = 0; b < count; b++)
        {
            Array.Fill(best, double.NegativeInfinity);
            for (int n = 0; n < experts; n++)
            {
                ReadOnlySpan<float> conditional = predicted.Slice(n * per + per / 2 + b * image, image);
                double[] saliency = Saliency(conditional, general.Slice(b * image, image), scale, channels, height, width);
                double k = options.Weights is { } w ? w[n] : 1,
                    largest = saliency.Max() * k,
                    total = saliency.Sum(s => Math.Exp(s * k - largest)),
                    normalizer = largest + Math.Log(total);
                for (int p = 0; p < pixels; p++)
                {
                    // Softmaxes are compared by their logarithms, which do not underflow.
                    double value = saliency[p] * k - normalizer;
                    if (value > best[p])
                        (best[p], winner[p]) = (value, n);
                }
            }

            for (int c = 0; c < channels; c++)
            {
                for (int p = 0; p < pixels; p++)
                    result[b * image + c * pixels + p] = noise[winner[p]][b * image + c * pixels + p];
            }
        }

        return result;
    }

    /// <summary>
    /// Mean over channels of the smoothed |scale (cond - uncond)|, [h, w]: a 4x4 mean with stride 1 over zero padding of 1 loses
    /// a row and a column, which the nearest neighbour gives back.
    /// </summary>
    internal static double[] Saliency(
        ReadOnlySpan<float> conditional,
        ReadOnlySpan<float> unconditional,
        float scale,
        int channels,
        int height,
        int width
    )
    {
        var difference = new double[height * width];
        for (int c = 0; c < channels; c++)
        {
            // Smoothing is linear: channels may be averaged first.
            for (int p = 0; p < difference.Length; p++)
                difference[p] +=
                    Math.Abs(scale * (conditional[c * difference.Length + p] - unconditional[c * difference.Length + p]))
                    / channels;
        }

        int smallHeight = Math.Max(1, height - 1),
            smallWidth = Math.Max(1, width - 1);
        var result = new double[difference.Length];
        for (int y = 0; y < height; y++)
        {
            int top = y * smallHeight / height - 1;
            for (int x = 0; x < width; x++)
            {
                int left = x * smallWidth / width - 1;
                double sum = 0;
                for (int v = Math.Max(0, top); v < Math.Min(height, top + 4); v++)
                {
                    for (int u = Math.Max(0, left); u < Math.Min(width, left + 4); u++)
                        sum += difference[v * width + u];
                }

                result[y * width + x] = sum / 16;
            }
        }

        return result;
    }
}
