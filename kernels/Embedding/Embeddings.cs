namespace AfaNative.Kernels.Embedding;

/// <summary>Time-step and token embeddings: too small to need more than one implementation.</summary>
internal static unsafe class Embeddings
{
    /// <summary>See IKernels.TimestepEmbedding; frequencies exp(-ln(10000) i / (dim/2)) in float32.</summary>
    public static void Timesteps(ReadOnlySpan<float> timesteps, int dim, float* y)
    {
        int half = dim / 2;
        for (int b = 0; b < timesteps.Length; b++)
        {
            for (int i = 0; i < half; i++)
            {
                float exponent = (float)-Math.Log(10000) * i / half;
                float angle = timesteps[b] * MathF.Exp(exponent);
                y[b * dim + i] = (float)Math.Cos(angle);
                y[b * dim + half + i] = (float)Math.Sin(angle);
            }

            if (dim % 2 != 0)
                y[b * dim + dim - 1] = 0;
        }
    }

    /// <summary>See IKernels.TokenEmbedding.</summary>
    public static void Tokens(
        int experts,
        int vocabulary,
        int length,
        int dim,
        ReadOnlySpan<int> ids,
        float* tokens,
        float* positions,
        int positionRows,
        float* y
    )
    {
        for (int e = 0; e < experts; e++)
        {
            for (int i = 0; i < ids.Length; i++)
            {
                float* token = tokens + ((long)e * vocabulary + ids[i]) * dim,
                    position = positions + ((long)e * positionRows + i % length) * dim,
                    to = y + ((long)e * ids.Length + i) * dim;
                for (int c = 0; c < dim; c++)
                    to[c] = token[c] + position[c];
            }
        }
    }
}
