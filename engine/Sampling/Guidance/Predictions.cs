namespace AfaNative.Engine.Sampling.Guidance;

/// <summary>The size of the latents [Count, Channels, Height, Width] of a batch.</summary>
public readonly record struct LatentShape(int Count, int Channels, int Height, int Width)
{
    /// <summary>Values of one channel of one picture.</summary>
    public int Pixels => Height * Width;

    /// <summary>Values of one picture.</summary>
    public int Each => Channels * Pixels;

    /// <summary>Values of all pictures.</summary>
    public int Length => Count * Each;
}

/// <summary>
/// What a denoiser predicts at one evaluation, [Experts][Conditions][Count, C, h, w]: by every expert (one where experts act as
/// one) and under every condition its pictures are shown with.
/// </summary>
/// <param name="Values">All predictions.</param>
/// <param name="Experts">Experts that predict apart.</param>
/// <param name="Conditions">1: under the prompt alone; 2: under the negative prompt first, then under the prompt.</param>
/// <param name="Shape">The latents' size.</param>
public readonly record struct Predictions(ReadOnlyMemory<float> Values, int Experts, int Conditions, LatentShape Shape)
{
    /// <summary>One expert's predictions.</summary>
    public Predictions Expert(int expert)
    {
        int each = Conditions * Shape.Length;
        return new Predictions(Values.Slice(expert * each, each), 1, Conditions, Shape);
    }

    /// <summary>What one expert predicts under the prompt, [Count, C, h, w].</summary>
    public ReadOnlySpan<float> Prompted(int expert) => Under(expert, Conditions - 1);

    /// <summary>What one expert predicts under the negative prompt, [Count, C, h, w]; there have to be two conditions.</summary>
    public ReadOnlySpan<float> Negative(int expert) => Under(expert, 0);

    private ReadOnlySpan<float> Under(int expert, int condition) =>
        Values.Span.Slice((expert * Conditions + condition) * Shape.Length, Shape.Length);
}
