using AfaNative.Engine.Layers;
using AfaNative.Kernels.Random;

namespace AfaNative.Engine.Training;

/// <summary>
/// First values of a network that starts from nothing: weights uniform within 1 / sqrt(fan in) as torch's layers start, norms as the identity, biases zero, embeddings normal with deviation 0.02; what ends a
/// residual branch or the U-Net zero, so that every block starts as the identity (Goyal et al. 2017; Dhariwal and Nichol 2021).
/// </summary>
public static class NetworkInitialization
{
    private static readonly string[] s_zero = [".conv2.weight", ".to_out.0.weight", ".ff.net.2.weight", ".proj_out.weight", ".out_proj.weight", ".fc2.weight"];

    /// <summary>The values of one tensor; they depend on the seed, <paramref name="component"/> and the name alone.</summary>
    public static float[] Values(string component, ParameterSpec spec, ulong seed)
    {
        long count = spec.Shape.Aggregate(1L, (a, b) => a * b);
        var values = new float[count];
        if (spec.Shape.Count == 1)
        {
            if (spec.Name.EndsWith(".weight", StringComparison.Ordinal)) Array.Fill(values, 1);
            return values;
        }

        if (s_zero.Any(z => spec.Name.EndsWith(z, StringComparison.Ordinal)) || (component == "unet" && spec.Name == "conv_out.weight")) return values;
        // FNV-1a.
        ulong stream = 14695981039346656037;
        foreach (char c in component + "/" + spec.Name) stream = (stream ^ c) * 1099511628211;
        if (spec.Name.Contains("embedding.weight", StringComparison.Ordinal))
        {
            GaussianNoise.Fill(values, seed, stream);
            for (int i = 0; i < values.Length; i++) values[i] *= 0.02f;
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

        return values;

        void Put(int i, uint word)
        {
            if (i < values.Length) values[i] = range * ((int)word * (1f / 2147483648f));
        }
    }
}
