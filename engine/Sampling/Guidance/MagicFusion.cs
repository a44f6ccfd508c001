namespace AfaNative.Engine.Sampling.Guidance;

/// <summary>
/// MagicFusion (Zhao et al., ICCV 2023): saliency |scale (prompted_x - negative_0)|, smoothed by a 4x4 mean, averaged over
/// channels and brought to a softmax over the picture's pixels; per pixel the expert with the largest supplies the guided
/// prediction. With more than two experts the largest of all (ours; the original has two).
/// </summary>
/// <param name="each">Guides every expert's predictions; its scale is the saliency's as well.</param>
/// <param name="weights">The temperature weight of every expert's saliency; null means 1 for all.</param>
/// <param name="switchTimestep">
/// The training step between the two phases: above it experts are blended, from it on expert 0 goes alone.
/// </param>
/// <param name="blendLast">The other way round: expert 0 alone first.</param>
public sealed class MagicFusion(
    ClassifierFreeGuidance each,
    IReadOnlyList<float>? weights = null,
    int switchTimestep = 600,
    bool blendLast = false
) : IGuidance
{
    /// <inheritdoc/>
    public int Conditions => each.Conditions;

    /// <inheritdoc/>
    public float[] Guide(Predictions predictions, double trainingStep)
    {
        if ((int)trainingStep > switchTimestep == blendLast)
            return each.Guide(predictions.Expert(0), trainingStep);
        float[][] guided =
        [
            .. Enumerable.Range(0, predictions.Experts).Select(n => each.Guide(predictions.Expert(n), trainingStep)),
        ];
        LatentShape shape = predictions.Shape;
        var result = new float[shape.Length];
        for (int b = 0; b < shape.Count; b++)
        {
            int[] winner = MostSalient(predictions, b);
            for (int c = 0; c < shape.Channels; c++)
            {
                int from = b * shape.Each + c * shape.Pixels;
                for (int p = 0; p < shape.Pixels; p++)
                    result[from + p] = guided[winner[p]][from + p];
            }
        }

        return result;
    }

    // The expert of every pixel of a picture.
    private int[] MostSalient(Predictions predictions, int picture)
    {
        LatentShape shape = predictions.Shape;
        ReadOnlySpan<float> general = predictions.Negative(0).Slice(picture * shape.Each, shape.Each);
        var best = new double[shape.Pixels];
        var winner = new int[shape.Pixels];
        Array.Fill(best, double.NegativeInfinity);
        for (int n = 0; n < predictions.Experts; n++)
        {
            ReadOnlySpan<float> prompted = predictions.Prompted(n).Slice(picture * shape.Each, shape.Each);
            double[] saliency = Saliency(prompted, general, each.Scale, shape);
            double k = weights is { } w ? w[n] : 1;
            double largest = saliency.Max() * k;
            double total = saliency.Sum(s => Math.Exp(s * k - largest));
            double normalizer = largest + Math.Log(total);
            for (int p = 0; p < best.Length; p++)
            {
                // Softmaxes are compared by their logarithms, which do not underflow.
                double value = saliency[p] * k - normalizer;
                if (value > best[p])
                    (best[p], winner[p]) = (value, n);
            }
        }

        return winner;
    }

    /// <summary>
    /// Mean over channels of the smoothed |scale (prompted - negative)| of one picture, [h, w]: a 4x4 mean with stride 1 over
    /// zero padding of 1 loses a row and a column, which the nearest neighbour gives back.
    /// </summary>
    internal static double[] Saliency(ReadOnlySpan<float> prompted, ReadOnlySpan<float> negative, float scale, LatentShape shape)
    {
        int height = shape.Height;
        int width = shape.Width;
        var difference = new double[shape.Pixels];
        for (int c = 0; c < shape.Channels; c++)
        {
            int from = c * shape.Pixels;
            // Smoothing is linear: channels may be averaged first.
            for (int p = 0; p < difference.Length; p++)
                difference[p] += Math.Abs(scale * (prompted[from + p] - negative[from + p])) / shape.Channels;
        }

        int smallHeight = Math.Max(1, height - 1);
        int smallWidth = Math.Max(1, width - 1);
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
