namespace AfaNative.Kernels.Contracts;

/// <summary>
/// The last step of SABW (AFA, ICLR 2025): features [E, B, Pixels, Channels], logits [B, Pixels, E];
/// maps[b, p, :] = softmax(logits[b, p, :]), y[b, p, c] = sum_e maps[b, p, e] features[e, b, p, c].
/// </summary>
public readonly record struct FusionShape(int Experts, int Batch, int Pixels, int Channels);
