namespace AfaNative.Kernels.Random;

/// <summary>
/// Philox4x32-10, the counter-based generator of Salmon et al. (2011): four 32-bit words that depend only on a 128-bit
/// counter and a 64-bit key, so any element of a noise tensor can be drawn alone, on any device, in any order.
/// </summary>
public static class Philox
{
    private const uint Multiplier0 = 0xD2511F53u;
    private const uint Multiplier1 = 0xCD9E8D57u;
    private const uint Weyl0 = 0x9E3779B9u;
    private const uint Weyl1 = 0xBB67AE85u;
    private const int Rounds = 10;

    /// <summary>Four random words for a counter under a key.</summary>
    public static (uint X0, uint X1, uint X2, uint X3) Block(uint c0, uint c1, uint c2, uint c3, uint k0, uint k1)
    {
        for (int round = 0; round < Rounds; round++)
        {
            ulong product0 = (ulong)Multiplier0 * c0;
            ulong product1 = (ulong)Multiplier1 * c2;
            uint n0 = (uint)(product1 >> 32) ^ c1 ^ k0;
            uint n2 = (uint)(product0 >> 32) ^ c3 ^ k1;
            c0 = n0;
            c1 = (uint)product1;
            c2 = n2;
            c3 = (uint)product0;
            unchecked
            {
                k0 += Weyl0;
                k1 += Weyl1;
            }
        }
        return (c0, c1, c2, c3);
    }

    /// <summary>Four random words for block <paramref name="block"/> of a stream; the seed is the key.</summary>
    public static (uint X0, uint X1, uint X2, uint X3) Block(ulong seed, ulong stream, ulong block) =>
        Block((uint)block, (uint)(block >> 32), (uint)stream, (uint)(stream >> 32), (uint)seed, (uint)(seed >> 32));
}
