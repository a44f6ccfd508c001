namespace AfaNative.Kernels.Contracts;

/// <summary>
/// softmax(scale q k^T) v for every expert, image and head. q [E, B, Queries, Heads * HeadWidth], k and v [E, B, Keys, Heads *
/// HeadWidth],
/// y [E, B, Queries, Heads * HeadWidth]. Head h of a token is its elements [h * HeadWidth, (h + 1) * HeadWidth) (head index
/// slow). Memory is linear in tokens.
/// </summary>
/// <param name="Experts">E.</param>
/// <param name="Batch">B.</param>
/// <param name="Heads">Number of heads.</param>
/// <param name="HeadWidth">Channels of a head, at least 1.</param>
/// <param name="Queries">Query tokens.</param>
/// <param name="Keys">Key tokens, at least 1.</param>
/// <param name="Scale">Usually HeadWidth^-0.5.</param>
/// <param name="Causal">Query i sees keys 0..i only (needs Queries == Keys).</param>
/// <param name="Exact">Multiply as stored, even where the device rounds operands for speed.</param>
public readonly record struct AttentionShape(
    int Experts,
    int Batch,
    int Heads,
    int HeadWidth,
    int Queries,
    int Keys,
    float Scale,
    bool Causal = false,
    bool Exact = false
)
{
    /// <summary>Channels of a token: Heads * HeadWidth.</summary>
    public int Channels => Heads * HeadWidth;
}
