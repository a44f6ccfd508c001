using System.Globalization;
using AfaNative.Engine.Core;

namespace AfaNative.Engine.Pipeline;

/// <summary>Stops a run whose numbers are none any more, before they become a black picture.</summary>
internal static class FiniteCheck
{
    private const string Advice =
        "a lower guidance may help, f32 or bf16 where it runs in f16, and leaving out LoRAs; else the "
        + "model's weights are damaged";

    /// <summary>The index of the first value that is not finite; -1: all are.</summary>
    public static int FirstOdd(ReadOnlySpan<float> values)
    {
        // Nothing times zero is zero, but for these.
        float sum = 0;
        foreach (float v in values)
            sum += v * 0;
        if (sum == 0)
            return -1;
        for (int i = 0; i < values.Length; i++)
        {
            if (!float.IsFinite(values[i]))
                return i;
        }

        return -1;
    }

    /// <summary>What the model predicted, [count, C, h, w], at a step from 1 on.</summary>
    /// <exception cref="AfaException">It is not finite.</exception>
    public static void Prediction(ReadOnlySpan<float> values, IReadOnlyList<ulong> seeds, int step, int steps) =>
        Check(values, seeds, step, steps, "what the model predicted is");

    /// <summary>Latents [count, C, h, w] after a step from 1 on.</summary>
    /// <exception cref="AfaException">They are not finite.</exception>
    public static void Latents(ReadOnlySpan<float> values, IReadOnlyList<ulong> seeds, int step, int steps) =>
        Check(values, seeds, step, steps, "the latents are");

    /// <summary>A picture that the autoencoder gave, or the latents of one.</summary>
    /// <exception cref="AfaException">It is not finite.</exception>
    public static void Autoencoder(ReadOnlySpan<float> values, string what)
    {
        if (FirstOdd(values) >= 0)
        {
            throw new AfaException(
                $"The autoencoder gave {what} that is not finite numbers: f32 or bf16 may help where it runs in f16, or another "
                    + "VAE; else its weights are damaged."
            );
        }
    }

    private static void Check(ReadOnlySpan<float> values, IReadOnlyList<ulong> seeds, int step, int steps, string what)
    {
        int odd = FirstOdd(values);
        if (odd < 0)
            return;
        ulong seed = seeds[odd / (values.Length / seeds.Count)];
        throw new AfaException(
            string.Create(
                CultureInfo.InvariantCulture,
                $"The picture of seed {seed} fails at step {step} of {steps}, where {what} not finite numbers: {Advice}."
            )
        );
    }
}
