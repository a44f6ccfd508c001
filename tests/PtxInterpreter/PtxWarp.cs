using System.Numerics;

namespace AfaNative.Tests.PtxInterpreter;

/// <summary>
/// 32 threads that execute an instruction together while they are at the same place. Lanes that part run the lowest place first,
/// so that they meet again
/// where their ways join.
/// </summary>
internal sealed unsafe partial class PtxWarp
{
    private const int Lanes = 32;
    private readonly PtxBlock _block;
    private readonly PtxInstruction[] _code;
    private readonly ulong[] _registers;
    private readonly int[] _at = new int[Lanes];
    private readonly int _index;
    private uint _parked;
    private int _epoch = 1;

    public PtxWarp(PtxBlock block, int index, int count)
    {
        _block = block;
        _index = index;
        PtxKernel kernel = block.Launch.Kernel;
        _code = kernel.Code;
        _registers = new ulong[kernel.RegisterCount * Lanes];
        Array.Fill(_registers, 0xFFFF_FFFF_FFFF_FFFFul);
        foreach ((int register, ulong value) in kernel.Constants)
            Registers(register).Fill(value);
        int[] specials = kernel.Specials;
        (int x, int y, int z) = block.Launch.Size;
        for (int lane = 0; lane < Lanes; lane++)
        {
            int thread = index * Lanes + lane;
            ReadOnlySpan<int> values =
            [
                thread % x,
                thread / x % y,
                thread / x / y,
                block.Position.X,
                block.Position.Y,
                block.Position.Z,
                x,
                y,
                z,
                block.Launch.Grid.X,
                block.Launch.Grid.Y,
                block.Launch.Grid.Z,
                lane,
            ];
            for (int i = 0; i < specials.Length; i++)
            {
                if (specials[i] >= 0)
                    _registers[specials[i] * Lanes + lane] = (uint)values[i];
            }
        }

        All = count == Lanes ? uint.MaxValue : (1u << count) - 1;
        Live = All;
    }

    /// <summary>The lanes that exist.</summary>
    public uint All { get; }

    /// <summary>The lanes that have not ended.</summary>
    public uint Live { get; private set; }

    /// <summary>The lanes at a barrier.</summary>
    public uint Waiting { get; private set; }

    /// <summary>Where that barrier is.</summary>
    public int BarrierAt { get; private set; }

    /// <summary>Instructions executed, counted per lane.</summary>
    public long Executed { get; private set; }

    /// <summary>Runs until every lane has ended or waits at a barrier.</summary>
    public void Run()
    {
        while (true)
        {
            uint ready = Live & ~Waiting & ~_parked;
            if (ready == 0)
            {
                if (_parked == 0)
                    return;
                // Every lane that can come has come: now it must be all of them, at one instruction.
                int at = _at[BitOperations.TrailingZeroCount(_parked)];
                bool together = _parked == uint.MaxValue;
                for (int lane = 0; lane < Lanes; lane++)
                    together &= _at[lane] == at;
                if (!together)
                    throw Fault(at, $"a warp instruction that only lanes 0x{_parked:x8} of the warp reach");
                _parked = 0;
                Together(_code[at], at);
                for (int lane = 0; lane < Lanes; lane++)
                    _at[lane] = at + 1;
                continue;
            }

            int lowest = int.MaxValue,
                next = int.MaxValue;
            uint group = 0;
            for (uint rest = ready; rest != 0; rest &= rest - 1)
            {
                int lane = BitOperations.TrailingZeroCount(rest),
                    at = _at[lane];
                if (at < lowest)
                    (next, lowest, group) = (lowest, at, 1u << lane);
                else if (at == lowest)
                    group |= 1u << lane;
                else
                    next = Math.Min(next, at);
            }

            Execute(group, lowest, next);
        }
    }

    /// <summary>Lets the lanes go on behind the barrier.</summary>
    public void Release() => Waiting = 0;

    /// <summary>An exception that says what happened where.</summary>
    public PtxFaultException Fault(int at, string what, int lane = -1)
    {
        string who = lane < 0 ? $"warp {_index}" : $"thread {_index * Lanes + lane}";
        return new PtxFaultException(
            $"{_block.Launch.Kernel.Name}, block ({_block.Position.X}, {_block.Position.Y}, {_block.Position.Z}), {who}: "
                + $"{what}; instruction {at}: {_code[at].Text}"
        );
    }

    private Span<ulong> Registers(int register) => _registers.AsSpan(register * Lanes, Lanes);

    // Runs one group of lanes until it branches apart, ends, waits, or comes to where others are.
    private void Execute(uint group, int at, int next)
    {
        while (at < next)
        {
            PtxInstruction i = _code[at];
            uint mask = group;
            if (i.Predicate >= 0)
            {
                uint set = 0;
                Span<ulong> predicate = Registers(i.Predicate);
                for (int lane = 0; lane < Lanes; lane++)
                    set |= predicate[lane] != 0 ? 1u << lane : 0;
                mask &= i.Negated ? ~set : set;
            }

            Executed += BitOperations.PopCount(mask);
            switch (i.Op)
            {
                case PtxOp.Branch:
                    if (mask == group)
                    {
                        at = i.Detail;
                        continue;
                    }

                    if (mask != 0)
                    {
                        Park(group & ~mask, at + 1);
                        Park(mask, i.Detail);
                        return;
                    }

                    break;
                case PtxOp.Return:
                    Live &= ~mask;
                    group &= ~mask;
                    break;
                case PtxOp.Barrier:
                    if (Waiting != 0 && BarrierAt != at)
                        throw Fault(at, "lanes of the warp wait at different barriers");
                    Park(mask, at + 1);
                    Waiting |= mask;
                    BarrierAt = at;
                    group &= ~mask;
                    break;
                default:
                    if (mask == 0)
                        break;
                    if (!i.Collective)
                    {
                        Step(i, at, mask);
                        break;
                    }

                    if (mask == uint.MaxValue)
                    {
                        Together(i, at);
                        break;
                    }

                    Park(mask, at);
                    _parked |= mask;
                    group &= ~mask;
                    break;
            }

            if (group == 0)
                return;
            at++;
        }

        Park(group, at);
    }

    private void Park(uint lanes, int at)
    {
        for (; lanes != 0; lanes &= lanes - 1)
            _at[BitOperations.TrailingZeroCount(lanes)] = at;
    }

    private void Step(PtxInstruction i, int at, uint mask)
    {
        switch (i.Op)
        {
            case PtxOp.Unary:
            {
                Span<ulong> d = Registers(i.Destinations[0]),
                    a = Registers(i.Sources[0]);
                Func<ulong, ulong> f = i.Unary!;
                for (int lane = 0; lane < Lanes; lane++)
                {
                    if ((mask >> lane & 1) != 0)
                        d[lane] = f(a[lane]);
                }

                break;
            }

            case PtxOp.Binary:
            {
                Span<ulong> d = Registers(i.Destinations[0]),
                    a = Registers(i.Sources[0]),
                    b = Registers(i.Sources[1]);
                Func<ulong, ulong, ulong> f = i.Binary!;
                for (int lane = 0; lane < Lanes; lane++)
                {
                    if ((mask >> lane & 1) != 0)
                        d[lane] = f(a[lane], b[lane]);
                }

                break;
            }

            case PtxOp.Ternary:
            {
                Span<ulong> d = Registers(i.Destinations[0]),
                    a = Registers(i.Sources[0]),
                    b = Registers(i.Sources[1]),
                    c = Registers(i.Sources[2]);
                Func<ulong, ulong, ulong, ulong> f = i.Ternary!;
                for (int lane = 0; lane < Lanes; lane++)
                {
                    if ((mask >> lane & 1) != 0)
                        d[lane] = f(a[lane], b[lane], c[lane]);
                }

                break;
            }

            default:
                for (int lane = 0; lane < Lanes; lane++)
                {
                    if ((mask >> lane & 1) != 0)
                        Single(i, at, lane);
                }

                break;
        }
    }
}
