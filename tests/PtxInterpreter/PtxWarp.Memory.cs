using AfaNative.Engine.Core;

namespace AfaNative.Tests.PtxInterpreter;

/// <summary>Loads, stores and asynchronous copies of single lanes.</summary>
internal sealed unsafe partial class PtxWarp
{
    private readonly record struct Copy(uint Shared, ulong Global, int Bytes, int Read);

    private List<List<Copy>>[] _committed = [];
    private List<Copy>[] _open = [];

    private void Single(PtxInstruction i, int at, int lane)
    {
        int thread = _index * Lanes + lane;
        if (_open.Length == 0 && i.Op is (PtxOp.CopyAsync or PtxOp.CommitCopies or PtxOp.WaitCopies))
        {
            _committed = [.. Enumerable.Range(0, Lanes).Select(_ => new List<List<Copy>>())];
            _open = [.. Enumerable.Range(0, Lanes).Select(_ => new List<Copy>())];
        }

        switch (i.Op)
        {
            case PtxOp.LoadParameter:
                fixed (byte* p = _block.Launch.Parameters)
                    Registers(i.Destinations[0])[lane] = Read(p + i.Offset, i);
                break;
            case PtxOp.Load:
            {
                byte* p = Locate(
                    i,
                    at,
                    lane,
                    Registers(i.Sources[0])[lane] + (ulong)i.Offset,
                    i.Bytes * i.Destinations.Length,
                    write: false
                );
                for (int k = 0; k < i.Destinations.Length; k++)
                    Registers(i.Destinations[k])[lane] = Read(p + k * i.Bytes, i);
                break;
            }

            case PtxOp.Store:
            {
                byte* p = Locate(
                    i,
                    at,
                    lane,
                    Registers(i.Sources[0])[lane] + (ulong)i.Offset,
                    i.Bytes * (i.Sources.Length - 1),
                    write: true
                );
                for (int k = 1; k < i.Sources.Length; k++)
                    Write(p + (k - 1) * i.Bytes, i.Bytes, Registers(i.Sources[k])[lane]);
                break;
            }

            case PtxOp.AtomicAdd:
            {
                var p = (int*)Locate(i, at, lane, Registers(i.Sources[0])[lane] + (ulong)i.Offset, 4, write: true);
                float add = PtxArithmetic.F(Registers(i.Sources[1])[lane]);
                int old;
                do old = *p;
                while (
                    Interlocked.CompareExchange(
                        ref *p,
                        BitConverter.SingleToInt32Bits(BitConverter.Int32BitsToSingle(old) + add),
                        old
                    ) != old
                );
                if (i.Destinations.Length > 0)
                    Registers(i.Destinations[0])[lane] = (uint)old;
                break;
            }

            case PtxOp.PackHalves:
                Registers(i.Destinations[0])[lane] =
                    (ushort)Registers(i.Sources[0])[lane] | ((ulong)(ushort)Registers(i.Sources[1])[lane] << 16);
                break;
            case PtxOp.UnpackHalves:
                ulong pair = Registers(i.Sources[0])[lane];
                Registers(i.Destinations[0])[lane] = (ushort)pair;
                Registers(i.Destinations[1])[lane] = (ushort)(pair >> 16);
                break;
            case PtxOp.CopyAsync:
            {
                uint shared = (uint)(Registers(i.Sources[0])[lane] + (ulong)i.Offset);
                ulong global = Registers(i.Sources[1])[lane] + (ulong)i.SecondOffset;
                int read = i.Sources.Length > 2 ? (int)Registers(i.Sources[2])[lane] : i.Bytes;
                if (read < 0 || read > i.Bytes)
                    throw Fault(at, $"an asynchronous copy of {i.Bytes} bytes that reads {read}", lane);
                if (shared % (uint)i.Bytes != 0 || shared + (uint)i.Bytes > (uint)_block.Launch.SharedBytes)
                    throw Fault(
                        at,
                        $"shared access of {i.Bytes} bytes at {shared} is misaligned or outside "
                            + $"{_block.Launch.SharedBytes} bytes",
                        lane
                    );
                // Hardware wants a valid, aligned source even where nothing is read.
                if (_block.Launch.Memory.Problem(global, i.Bytes) is { } problem && (read > 0 || global % (ulong)i.Bytes != 0))
                    throw Fault(at, problem, lane);
                if (_block.Shadow.Write((int)shared, i.Bytes, thread, _block.Epoch, _epoch, copy: true) is { } race)
                    throw Fault(at, race, lane);
                _open[lane].Add(new Copy(shared, global, i.Bytes, read));
                break;
            }

            case PtxOp.CommitCopies:
                _committed[lane].Add(_open[lane]);
                _open[lane] = [];
                break;
            case PtxOp.WaitCopies:
                if (i.Flag && _open[lane].Count > 0)
                {
                    _committed[lane].Add(_open[lane]);
                    _open[lane] = [];
                }

                while (_committed[lane].Count > i.Detail)
                {
                    foreach (Copy copy in _committed[lane][0])
                    {
                        new ReadOnlySpan<byte>((void*)copy.Global, copy.Read).CopyTo(
                            new Span<byte>(_block.Shared + copy.Shared, copy.Bytes)
                        );
                        new Span<byte>(_block.Shared + copy.Shared + copy.Read, copy.Bytes - copy.Read).Clear();
                        _block.Shadow.Arrive((int)copy.Shared, copy.Bytes, thread, _block.Epoch, _epoch);
                    }

                    _committed[lane].RemoveAt(0);
                }

                break;
            case PtxOp.Nothing:
                break;
            default:
                throw Fault(at, "an instruction the interpreter does not execute", lane);
        }
    }

    private byte* Locate(PtxInstruction i, int at, int lane, ulong address, int bytes, bool write)
    {
        PtxSpace space = i.Space;
        if (space == PtxSpace.Generic)
        {
            space = address >= PtxKernel.SharedBase ? PtxSpace.Shared : PtxSpace.Global;
            if (space == PtxSpace.Shared)
                address -= PtxKernel.SharedBase;
        }

        if (space == PtxSpace.Global)
        {
            return _block.Launch.Memory.Problem(address, bytes) is { } problem ? throw Fault(at, problem, lane) : (byte*)address;
        }

        uint offset = (uint)address;
        if (offset % (uint)bytes != 0 || offset + (ulong)bytes > (ulong)_block.Launch.SharedBytes)
        {
            throw Fault(
                at,
                $"shared access of {bytes} bytes at {offset} is misaligned or outside {_block.Launch.SharedBytes} bytes",
                lane
            );
        }

        int thread = _index * Lanes + lane;
        string? race = write
            ? _block.Shadow.Write((int)offset, bytes, thread, _block.Epoch, _epoch, copy: false)
            : _block.Shadow.Read((int)offset, bytes, thread, _block.Epoch, _epoch);
        return race is null ? _block.Shared + offset : throw Fault(at, race, lane);
    }

    private static ulong Read(byte* p, PtxInstruction i) =>
        (i.Bytes, i.SignExtend) switch
        {
            (1, true) => (ulong)*(sbyte*)p,
            (1, false) => *p,
            (2, true) => (ulong)*(short*)p,
            (2, false) => *(ushort*)p,
            (4, true) => (ulong)*(int*)p,
            (4, false) => *(uint*)p,
            _ => *(ulong*)p,
        };

    private static void Write(byte* p, int bytes, ulong value)
    {
        if (bytes == 1)
            *p = (byte)value;
        else if (bytes == 2)
            *(ushort*)p = (ushort)value;
        else if (bytes == 4)
            *(uint*)p = (uint)value;
        else
            *(ulong*)p = value;
    }
}
