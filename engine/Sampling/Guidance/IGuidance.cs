using AfaNative.Engine.Core;

namespace AfaNative.Engine.Sampling.Guidance;

/// <summary>
/// Makes the one prediction a sampler follows of all that a denoiser predicts: of several experts, with and without the prompt.
/// It holds nothing of a run, so one may serve several.
/// </summary>
public interface IGuidance
{
    /// <summary>
    /// Under how many conditions the denoiser is asked: 1, the prompt's, or 2, the negative prompt's before it.
    /// </summary>
    int Conditions { get; }

    /// <summary>The prediction to follow, [count, C, h, w].</summary>
    /// <param name="predictions">Under <see cref="Conditions"/> conditions.</param>
    /// <param name="trainingStep">The training step of the evaluation; may lie between two.</param>
    float[] Guide(Predictions predictions, double trainingStep);
}

/// <summary>What one expert predicts under the prompt, as it is.</summary>
public sealed class NoGuidance : IGuidance
{
    /// <inheritdoc/>
    public int Conditions => 1;

    /// <inheritdoc/>
    public float[] Guide(Predictions predictions, double trainingStep) => predictions.Prompted(0).ToArray();
}

/// <summary>
/// Classifier-free guidance (Ho and Salimans 2022) of one expert: negative + <paramref name="scale"/> (prompted - negative),
/// of which the share <paramref name="rescale"/> is brought to every picture's standard deviation of the prompted prediction
/// (Lin et al. 2024, equations 14 to 16; diffusers' rescale_noise_cfg).
/// </summary>
public sealed class ClassifierFreeGuidance(float scale, float rescale = 0) : IGuidance
{
    /// <summary>How many times the difference that the prompt makes is taken.</summary>
    public float Scale => scale;

    /// <inheritdoc/>
    public int Conditions => 2;

    /// <inheritdoc/>
    public float[] Guide(Predictions predictions, double trainingStep)
    {
        ReadOnlySpan<float> negative = predictions.Negative(0),
            prompted = predictions.Prompted(0);
        var guided = new float[prompted.Length];
        for (int i = 0; i < guided.Length; i++)
            guided[i] = negative[i] + scale * (prompted[i] - negative[i]);
        int each = predictions.Shape.Each;
        for (int from = 0; rescale > 0 && from < guided.Length; from += each)
            Rescale(guided.AsSpan(from, each), prompted.Slice(from, each));
        return guided;
    }

    private void Rescale(Span<float> guided, ReadOnlySpan<float> prompted)
    {
        double own = Deviation(guided);
        // Nothing to be brought to another size.
        if (own == 0)
            return;
        float factor = (float)(rescale * Deviation(prompted) / own + 1 - rescale);
        for (int i = 0; i < guided.Length; i++)
            guided[i] *= factor;
    }

    private static double Deviation(ReadOnlySpan<float> values)
    {
        double mean = 0;
        foreach (float v in values)
            mean += v;
        mean /= values.Length;
        double squares = 0;
        foreach (float v in values)
            squares += (v - mean) * (v - mean);
        return Math.Sqrt(squares / Math.Max(1, values.Length - 1));
    }
}

/// <summary>The mean of what <paramref name="each"/> makes of every expert's predictions.</summary>
public sealed class MeanGuidance(IGuidance each) : IGuidance
{
    /// <inheritdoc/>
    public int Conditions => each.Conditions;

    /// <inheritdoc/>
    public float[] Guide(Predictions predictions, double trainingStep)
    {
        float[] mean = each.Guide(predictions.Expert(0), trainingStep);
        for (int n = 1; n < predictions.Experts; n++)
        {
            float[] guided = each.Guide(predictions.Expert(n), trainingStep);
            for (int i = 0; i < mean.Length; i++)
                mean[i] += guided[i];
        }

        for (int i = 0; i < mean.Length; i++)
            mean[i] /= predictions.Experts;
        return mean;
    }
}
