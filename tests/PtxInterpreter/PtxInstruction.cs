using AfaNative.Engine.Training;

namespace AfaNative.Tests.PtxInterpreter;

/// <summary>A kernel did what the hardware forbids or leaves undefined.</summary>
public sealed class PtxFaultException(string message) : Exception(message);

/// <summary>What the scheduler does with an instruction; arithmetic is a function of one to three operands.</summary>
internal enum PtxOp
{
    Unary,
    Binary,
    Ternary,
    LoadParameter,
    Load,
    Store,
    AtomicAdd,
    PackHalves,
    UnpackHalves,
    Branch,
    Return,
    Barrier,
    Nothing,
    CopyAsync,
    CommitCopies,
    WaitCopies,
    WarpBarrier,
    Shuffle,
    LoadMatrix,
    Mma,
}

internal enum PtxSpace
{
    Generic,
    Global,
    Shared,
}

/// <summary>A decoded instruction; operands are register numbers, constants included.</summary>
internal sealed class PtxInstruction
{
    public required string Text { get; init; }

    public PtxOp Op { get; set; }

    public int[] Destinations { get; set; } = [];

    public int[] Sources { get; set; } = [];

    /// <summary>-1: always executed.</summary>
    public int Predicate { get; set; } = -1;

    public bool Negated { get; set; }

    public Func<ulong, ulong>? Unary { get; set; }

    public Func<ulong, ulong, ulong>? Binary { get; set; }

    public Func<ulong, ulong, ulong, ulong>? Ternary { get; set; }

    public PtxSpace Space { get; set; }

    /// <summary>Bytes of one element.</summary>
    public int Bytes { get; set; }

    public bool SignExtend { get; set; }

    public long Offset { get; set; }

    public long SecondOffset { get; set; }

    /// <summary>Branch target, groups a wait leaves, shuffle mode or matrix count.</summary>
    public int Detail { get; set; }

    /// <summary>Transposed matrices, or bfloat16 factors.</summary>
    public bool Flag { get; set; }

    public string? Label { get; set; }

    /// <summary>All lanes of a warp must take part.</summary>
    public bool Collective => Op >= PtxOp.WarpBarrier;
}
