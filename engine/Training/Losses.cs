namespace AfaNative.Engine.Training;

/// <summary>Training losses.</summary>
public static class Losses
{
    /// <summary>Mean of the squared differences over all elements, summed in float64.</summary>
    public static float MeanSquaredError(ReadOnlySpan<float> prediction, ReadOnlySpan<float> target)
    {
        if (prediction.Length != target.Length)
            throw new ArgumentException($"{prediction.Length} predictions and {target.Length} targets");
        double sum = 0;
        for (int i = 0; i < prediction.Length; i++)
        {
            double d = (double)prediction[i] - target[i];
            sum += d * d;
        }

        return (float)(sum / prediction.Length);
    }

    /// <summary>
    /// The gradient of <see cref="MeanSquaredError"/> with respect to the prediction, times <paramref name="scale"/>.
    /// </summary>
    public static float[] MeanSquaredErrorGradient(ReadOnlySpan<float> prediction, ReadOnlySpan<float> target, float scale = 1)
    {
        if (prediction.Length != target.Length)
            throw new ArgumentException($"{prediction.Length} predictions and {target.Length} targets");
        var gradient = new float[prediction.Length];
        float factor = 2 * scale / prediction.Length;
        for (int i = 0; i < gradient.Length; i++)
            gradient[i] = factor * (prediction[i] - target[i]);
        return gradient;
    }
}
