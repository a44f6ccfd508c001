namespace AfaNative.Engine.Training;

/// <summary>Training losses.</summary>
public static class Losses
{
    /// <summary>Mean of the squared differences over all elements, summed in float64.</summary>
    public static float MeanSquaredError(ReadOnlySpan<float> prediction, ReadOnlySpan<float> target)
    {
        if (prediction.Length != target.Length) throw new ArgumentException($"{prediction.Length} predictions and {target.Length} targets");
        double sum = 0;
        for (int i = 0; i < prediction.Length; i++)
        {
            double d = (double)prediction[i] - target[i];
            sum += d * d;
        }

        return (float)(sum / prediction.Length);
    }
}
