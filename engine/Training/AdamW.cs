namespace AfaNative.Engine.Training;

/// <summary>Adam with decoupled weight decay, as <c>torch.optim.AdamW</c> computes it (Loshchilov and Hutter, 2019).</summary>
public sealed class AdamW(double learningRate = 1e-4, double beta1 = 0.9, double beta2 = 0.999, double epsilon = 1e-8, double weightDecay = 0.01)
{
    /// <summary>Updates one tensor in place; <paramref name="step"/> counts from 1, the moments start at zero; <paramref name="rate"/> scales the learning rate (a schedule).</summary>
    public void Step(int step, ReadOnlySpan<float> gradient, Span<float> parameter, Span<float> firstMoment, Span<float> secondMoment, double rate = 1)
    {
        double learningRateNow = learningRate * rate;
        float decay = (float)(1 - learningRateNow * weightDecay), b1 = (float)beta1, b2 = (float)beta2, c1 = (float)(1 - beta1), c2 = (float)(1 - beta2), eps = (float)epsilon;
        float size = (float)(learningRateNow / (1 - Math.Pow(beta1, step))), root = (float)Math.Sqrt(1 - Math.Pow(beta2, step));
        for (int i = 0; i < parameter.Length; i++)
        {
            float g = gradient[i];
            float m = firstMoment[i] = b1 * firstMoment[i] + c1 * g;
            float v = secondMoment[i] = b2 * secondMoment[i] + c2 * g * g;
            parameter[i] = parameter[i] * decay - size * (m / (MathF.Sqrt(v) / root + eps));
        }
    }
}
