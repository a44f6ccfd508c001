using System.Numerics;

namespace AfaNative.Engine.Training;

/// <summary>Adam with decoupled weight decay, as <c>torch.optim.AdamW</c> computes it (Loshchilov and Hutter, 2019).</summary>
public sealed class AdamW(
    double learningRate = 1e-4,
    double beta1 = 0.9,
    double beta2 = 0.999,
    double epsilon = 1e-8,
    double weightDecay = 0.01
)
{
    /// <summary>
    /// Updates one tensor in place; <paramref name="step"/> counts from 1, the moments start at zero; <paramref name="rate"/>
    /// scales the learning rate (a schedule).
    /// </summary>
    public void Step(
        int step,
        ReadOnlySpan<float> gradient,
        Span<float> parameter,
        Span<float> firstMoment,
        Span<float> secondMoment,
        double rate = 1
    )
    {
        double learningRateNow = learningRate * rate;
        float decay = (float)(1 - learningRateNow * weightDecay),
            b1 = (float)beta1,
            b2 = (float)beta2,
            c1 = (float)(1 - beta1),
            c2 = (float)(1 - beta2),
            eps = (float)epsilon;
        float size = (float)(learningRateNow / (1 - Math.Pow(beta1, step))),
            root = (float)Math.Sqrt(1 - Math.Pow(beta2, step));
        int whole = parameter.Length - parameter.Length % Vector<float>.Count;
        for (int i = 0; i < whole; i += Vector<float>.Count)
        {
            // The same operations in the same order as below, several elements at a time.
            var g = new Vector<float>(gradient[i..]);
            Vector<float> m = b1 * new Vector<float>(firstMoment[i..]) + c1 * g,
                v = b2 * new Vector<float>(secondMoment[i..]) + c2 * g * g;
            m.CopyTo(firstMoment[i..]);
            v.CopyTo(secondMoment[i..]);
            (
                new Vector<float>(parameter[i..]) * decay
                - size * (m / (Vector.SquareRoot(v) / new Vector<float>(root) + new Vector<float>(eps)))
            ).CopyTo(parameter[i..]);
        }

        for (int i = whole; i < parameter.Length; i++)
        {
            float g = gradient[i];
            float m = firstMoment[i] = b1 * firstMoment[i] + c1 * g;
            float v = secondMoment[i] = b2 * secondMoment[i] + c2 * g * g;
            parameter[i] = parameter[i] * decay - size * (m / (MathF.Sqrt(v) / root + eps));
        }
    }
}
