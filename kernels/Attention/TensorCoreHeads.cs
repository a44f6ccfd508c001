namespace AfaNative.Kernels.Attention;

/// <summary>Addresses and sizes of a tensor-core attention; <see cref="Scale"/> includes log2(e).</summary>
internal struct TensorCoreAttentionArguments
{
    public ulong Q,
        K,
        V,
        Y;
    public int Heads,
        HeadWidth,
        Queries,
        Keys,
        Causal;
    public float Scale;
}

/// <summary>How wide a head is in shared memory, and how many keys a step takes; constants in the compiled kernel.</summary>
internal interface IHeadWidth
{
    /// <summary>Channels, padded with zeros to a multiple of 16.</summary>
    int Padded { get; }

    /// <summary>64, or 32 where 64 would not fit shared memory.</summary>
    int Keys { get; }
}

internal readonly struct Head16 : IHeadWidth
{
    public int Padded => 16;

    public int Keys => 64;
}

internal readonly struct Head48 : IHeadWidth
{
    public int Padded => 48;

    public int Keys => 64;
}

internal readonly struct Head64 : IHeadWidth
{
    public int Padded => 64;

    public int Keys => 64;
}

internal readonly struct Head80 : IHeadWidth
{
    public int Padded => 80;

    public int Keys => 64;
}

internal readonly struct Head160 : IHeadWidth
{
    public int Padded => 160;

    public int Keys => 32;
}
