using AfaNative.Engine.Core;
using AfaNative.Kernels.Random;

namespace AfaNative.Engine.Training;

/// <summary>
/// First values of a network that starts from nothing: weights uniform within 1 / sqrt(fan in) as torch's layers start, norms as
/// the identity, biases zero, embeddings normal with deviation 0.02; what ends a
/// residual branch or the U-Net zero, so that every block starts as the identity (Goyal et al. 2017; Dhariwal and Nichol 2021); a
/// VAE's posterior narrow.
/// </summary>
public static class NetworkInitialization
{
    // Logarithm of the variance that an untrained encoder states: a deviation of 0.05.
    private const float NarrowPosterior = -6;

    private static readonly string[] s_zero =
    [
        ".conv2.weight",
        ".to_out.0.weight",
        ".ff.net.2.weight",
        ".proj_out.weight",
        ".out_proj.weight",
        ".fc2.weight",
    ];

    /// <summary>The values of one tensor; they depend on the seed, <paramref name="component"/> and the name alone.</summary>
    public static float[] Values(string component, ParameterSpec spec, ulong seed)
    {
        long count = spec.Shape.Aggregate(1L, (a, b) => a * b);
        var values = new float[count];
        if (spec.Shape.Count == 1)
        {
            if (spec.Name.EndsWith(".weight", StringComparison.Ordinal))
                Array.Fill(values, 1);
            // A decoder that first sees the latents' noise alone learns for long that nothing can be told from them.
            if (component == "vae" && spec.Name == "quant_conv.bias")
                Array.Fill(values, NarrowPosterior, values.Length / 2, values.Length / 2);
            return values;
        }

        if (
            s_zero.Any(z => spec.Name.EndsWith(z, StringComparison.Ordinal))
            || (component == "unet" && spec.Name == "conv_out.weight")
        )
            return values;
        // FNV-1a.
        ulong stream = 14695981039346656037;
        foreach (char c in component + "/" + spec.Name)
            stream = (stream ^ c) * 1099511628211;
        if (spec.Name.Contains("embedding.weight", StringComparison.Ordinal))
        {
            GaussianNoise.Fill(values, seed, stream);
            for (int i = 0; i < values.Length; i++)
                values[i] *= 0.02f;
            return values;
        }

        float range = 1 / MathF.Sqrt(spec.Shape.Skip(1).Aggregate(1L, (a, b) => a * b));
        for (int i = 0; i < values.Length; i += 4)
        {
            (uint a, uint b, uint c, uint d) = Philox.Block(seed, stream, (ulong)i / 4);
            Put(i, a);
            Put(i + 1, b);
            Put(i + 2, c);
            Put(i + 3, d);
        }

        if (component == "vae" && spec.Name.Contains("samplers.0.conv.weight", StringComparison.Ordinal))
            PassThrough(values, spec.Shape, spec.Name.Contains("down", StringComparison.Ordinal));
        return values;

        void Put(int i, uint word)
        {
            if (i < values.Length)
                values[i] = range * ((int)word * (1f / 2147483648f));
        }
    }

    // Chains of random resampling convolutions forget colours: these begin as the mean of 2 x 2 pixels, or as the identity, with
    // a little noise.
    private static void PassThrough(float[] values, IReadOnlyList<long> shape, bool halves)
    {
        for (int i = 0; i < values.Length; i++)
            values[i] *= 0.5f;
        long inputs = shape[1];
        for (long c = 0; c < Math.Min(shape[0], inputs); c++)
        {
            Span<float> taps = values.AsSpan((int)((c * inputs + c) * 9), 9);
            if (!halves)
                taps[4] += 1;
            else
                foreach (int tap in (int[])[0, 1, 3, 4])
                    taps[tap] += 0.25f;
        }
    }
}
