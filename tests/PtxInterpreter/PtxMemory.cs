namespace AfaNative.Tests.PtxInterpreter;

/// <summary>
/// Global memory as the kernels may see it: device pointers are host addresses, and every access must lie inside one region.
/// </summary>
public sealed class PtxMemory
{
    private readonly Lock _lock = new();
    private (ulong Start, ulong End, string Name)[] _regions = [];

    /// <summary>Allows a region.</summary>
    public void Add(ulong address, ulong bytes, string name)
    {
        lock (_lock)
            _regions = [.. _regions.Append((address, address + bytes, name)).OrderBy(r => r.Item1)];
    }

    /// <summary>Forbids it again.</summary>
    public void Remove(ulong address)
    {
        lock (_lock)
            _regions = [.. _regions.Where(r => r.Start != address)];
    }

    /// <summary>Why an access is wrong, or null.</summary>
    internal string? Problem(ulong address, int bytes)
    {
        if (address % (ulong)bytes != 0)
            return $"global address 0x{address:x} is not aligned to {bytes} bytes";
        (ulong Start, ulong End, string Name)[] regions = _regions;
        int low = 0,
            high = regions.Length - 1;
        while (low < high)
        {
            int middle = (low + high + 1) / 2;
            if (regions[middle].Start <= address)
                low = middle;
            else
                high = middle - 1;
        }

        if (regions.Length > 0 && regions[low].Start <= address && address + (ulong)bytes <= regions[low].End)
            return null;
        (ulong start, ulong end, string name) = regions
            .OrderBy(r => address < r.Start ? r.Start - address : address - r.End)
            .FirstOrDefault();
        return $"global access of {bytes} bytes at 0x{address:x} lies outside every buffer (nearest: {name}, "
            + $"{(long)(address - start)} bytes from its start, its length is {end - start})";
    }
}

/// <summary>
/// Who touched which bytes of a block's shared memory, to find accesses that no barrier orders. Bytes go in pairs.
/// </summary>
internal sealed class SharedShadow(int bytes)
{
    private readonly Unit[] _units = new Unit[(bytes + 1) / 2];

    private struct Unit
    {
        // Threads and copies are numbered from 1; 0 is no one, -1 several.
        public int Writer,
            WriteEpoch,
            WriteWarpEpoch,
            ReadEpoch,
            Reader,
            ReadWarpEpoch,
            Copier;
        public uint ReadWarps;
    }

    public string? Read(int offset, int count, int thread, int epoch, int warpEpoch)
    {
        int warp = thread >> 5;
        for (int u = offset / 2; u < (offset + count + 1) / 2; u++)
        {
            ref Unit unit = ref _units[u];
            if (unit.Copier != 0)
                return $"reads shared byte {u * 2} while thread {unit.Copier - 1}'s asynchronous copy to it is on its way";
            if (Unordered(unit, thread, warp, epoch, warpEpoch))
                return $"reads shared byte {u * 2} that thread {unit.Writer - 1} wrote since the last barrier";
            if (unit.ReadEpoch != epoch)
                (unit.ReadEpoch, unit.ReadWarps, unit.Reader) = (epoch, 0, 0);
            uint bit = 1u << warp;
            unit.Reader =
                (unit.ReadWarps & bit) != 0 && unit.ReadWarpEpoch == warpEpoch && unit.Reader != 0 && unit.Reader != thread + 1
                    ? -1
                    : thread + 1;
            unit.ReadWarpEpoch = warpEpoch;
            unit.ReadWarps |= bit;
        }

        return null;
    }

    public string? Write(int offset, int count, int thread, int epoch, int warpEpoch, bool copy)
    {
        int warp = thread >> 5;
        for (int u = offset / 2; u < (offset + count + 1) / 2; u++)
        {
            ref Unit unit = ref _units[u];
            if (unit.Copier != 0)
                return $"writes shared byte {u * 2} while thread {unit.Copier - 1}'s asynchronous copy to it is on its way";
            if (Unordered(unit, thread, warp, epoch, warpEpoch))
                return $"writes shared byte {u * 2} that thread {unit.Writer - 1} wrote since the last barrier";
            if (unit.ReadEpoch == epoch && unit.ReadWarps != 0)
            {
                if ((unit.ReadWarps & ~(1u << warp)) != 0)
                    return $"writes shared byte {u * 2} that another warp read since the last barrier";
                if (unit.ReadWarpEpoch == warpEpoch && unit.Reader != thread + 1)
                    return $"writes shared byte {u * 2} that another lane read since the warp last met";
            }

            if (copy)
                unit.Copier = thread + 1;
            else
                (unit.Writer, unit.WriteEpoch, unit.WriteWarpEpoch) = (thread + 1, epoch, warpEpoch);
        }

        return null;
    }

    /// <summary>A copy has arrived: from now on it is a write by its thread.</summary>
    public void Arrive(int offset, int count, int thread, int epoch, int warpEpoch)
    {
        for (int u = offset / 2; u < (offset + count + 1) / 2; u++)
        {
            _units[u].Copier = 0;
            (_units[u].Writer, _units[u].WriteEpoch, _units[u].WriteWarpEpoch) = (thread + 1, epoch, warpEpoch);
        }
    }

    private static bool Unordered(in Unit unit, int thread, int warp, int epoch, int warpEpoch) =>
        unit.Writer != 0
        && unit.WriteEpoch == epoch
        && unit.Writer != thread + 1
        && (((unit.Writer - 1) >> 5) != warp || unit.WriteWarpEpoch == warpEpoch);
}
