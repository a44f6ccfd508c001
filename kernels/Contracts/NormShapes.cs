namespace AfaNative.Kernels.Contracts;

/// <summary>
/// Group norm over x [E or 1, B, Pixels, Channels] with weight and bias [E, Channels], y [E, B, Pixels, Channels]:
/// biased variance over a group's Channels/Groups consecutive channels and all pixels of one image, (x - mean) / sqrt(var +
/// Epsilon) * weight + bias, then SiLU if asked.
/// </summary>
public readonly record struct GroupNormShape(
    int Experts,
    int Batch,
    int Pixels,
    int Channels,
    int Groups,
    float Epsilon,
    bool Silu,
    bool SharedInput
);

/// <summary>
/// Layer norm over x [E or 1, Rows, Channels] with weight and bias [E, Channels], y [E, Rows, Channels]; biased variance, epsilon
/// inside the root.
/// </summary>
public readonly record struct LayerNormShape(int Experts, int Rows, int Channels, float Epsilon, bool SharedInput);
